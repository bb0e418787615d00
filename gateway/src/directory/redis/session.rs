//! One healthy connection to the server, from subscription to failure.
//!
//! Everything that waits for the server is a job of its own; the session itself only starts jobs and applies what they
//! bring, in one loop, so its state needs no lock. Dropping it ends every job, and everybody who waited learns of it by
//! their dropped [`Request`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{PushInfo, PushKind, RedisError};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::intake::Intake;
use super::server::{ConnectError, Held, Link, Server};
use super::{RedisTask, Request, Shared};
use crate::directory::cache::{Answer, Lookup};
use crate::directory::endpoint::Endpoint;
use crate::directory::record::{self, FieldNames, NoEndpoint, RecordError, State};
use crate::directory::rounds::Rounds;
use crate::directory::{InvalidationCause, LookupSource};
use crate::route::SandboxId;

/// How many HGETs may be under way. They share one connection, so more would only queue up in front of it.
pub(super) const FLIGHTS_MAX: usize = 1024;

/// How often the server is asked whether it still answers.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two looks for sandboxes that have left. The first look after a quiet time is immediate.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// How many sandboxes one HMGET of a sweep asks for: some tens of kilobytes of reply, well below a millisecond of the
/// server.
const SWEEP_CHUNK: usize = 512;

/// How long a server that was found empty on a reconnect is doubted.
///
/// While the hash is empty the directory is not ready and answers from the cache. Once there is something in it,
/// questions go to the server again, and what it has is believed; but that a sandbox is *absent* is believed only of
/// one that this server has spoken of before. No stream is closed on other grounds. After this time everything is
/// believed.
pub(super) const EMPTY_GRACE: Duration = Duration::from_secs(30);

/// How many bytes of an unusable value are logged.
const LOGGED_VALUE_BYTES_MAX: usize = 64;

/// Counts pushes; closes when the connection does.
type Pushes = watch::Receiver<u64>;

/// A connection on which everything has worked that has to work before the server is believed.
pub(super) struct Connected {
    link: Link,
    /// Its incoming bytes, where they can be watched.
    intake: Option<Arc<Intake>>,
    pushes: Pushes,
    /// How many fields the hash has.
    count: u64,
}

/// Connects, subscribes, and counts the hash's fields.
pub(super) async fn connect(shared: &Arc<Shared>, server: &Server) -> Result<Connected, ConnectError> {
    let (count_push, pushes) = watch::channel(0);
    let (arrivals, known) = (&shared.arrivals, shared);
    let (shared, state_hash) = (Arc::clone(shared), server.state_hash().to_owned());
    shared.states.forget();
    // Runs while the push is read off the socket, before any reply behind it. A FLUSHALL is a push without keys. The
    // library drops this closure when the connection ends, which closes the channel.
    let on_push = move |push: PushInfo| {
        if push.kind == PushKind::Invalidate {
            shared.states.pushed(&push, &state_hash);
            shared.invalidate(InvalidationCause::Push);
            count_push.send_modify(|count| *count += 1);
        }
        Ok::<(), ()>(())
    };
    let (mut link, intake) = server.connect_tracking(on_push, arrivals).await?;
    match link.count_states().await {
        // A push that has come meanwhile is not overruled.
        Ok(0) => {}
        Ok(_) => known.states.appear(),
        // The server has answered, and about this hash alone: a missing permission, or another type.
        Err(error) if error.code().is_some() => {
            tracing::warn!(%error, "the hash of sandboxes' states cannot be read; it is ignored");
            known.states.refuse();
        }
        Err(error) => return Err(error.into()),
    }
    let count = link.count().await?;
    Ok(Connected { link, intake, pushes, count })
}

/// The state of one connection.
pub(super) struct Session<'t> {
    task: &'t mut RedisTask,
    link: Link,
    pushes: Pushes,
    jobs: JoinSet<Done>,
    /// Who waits for the answer to which question. The epoch is part of the question: nobody who came after a push is
    /// put to those who came before it.
    flights: HashMap<(SandboxId, u64), Vec<oneshot::Sender<Option<Answer>>>>,
    /// Who will have no answer but one to a question of after theirs.
    rounds: Rounds<oneshot::Sender<Option<Answer>>>,
    doubt: Option<Doubt>,
    probing: bool,
    probe_at: Instant,
    sweeping: bool,
    sweep_due: bool,
    sweep_at: Instant,
}

/// A server that was empty when it came back.
struct Doubt {
    until: Instant,
    /// What the server says is heard from this epoch on.
    since: u64,
}

/// Why a session ended.
pub(super) enum Ended {
    /// Nobody is left to ask.
    Unused,
    /// The connection is lost, or as good as lost.
    Failed(RedisError),
}

/// What a job brings.
enum Done {
    Flight { id: SandboxId, asked_in: u64, afresh: bool, held: Result<Held, RedisError> },
    Probe { count: Result<u64, RedisError> },
    Sweep { asked_in: u64, values: Result<Values, RedisError> },
}

/// Sandboxes, each with what the hashes hold of it.
type Values = Vec<(SandboxId, Held)>;

impl<'t> Session<'t> {
    /// A session over a fresh connection.
    pub(super) fn new(task: &'t mut RedisTask, connected: Connected) -> Self {
        let Connected { link, intake, pushes, count } = connected;
        task.shared.watch(intake);
        let now = Instant::now();
        let empty_but_should_not_be = count == 0 && task.shared.cache.known() > 0;
        let doubt =
            empty_but_should_not_be.then(|| Doubt { until: now + task.empty_grace, since: task.shared.cache.epoch() });
        let mut session = Self {
            task,
            link,
            pushes,
            jobs: JoinSet::new(),
            flights: HashMap::new(),
            rounds: Rounds::default(),
            doubt,
            probing: false,
            probe_at: now + PROBE_INTERVAL,
            sweeping: false,
            sweep_due: true,
            sweep_at: now,
        };
        session.counted(count);
        session
    }

    /// Serves until the connection fails or nobody is left to ask.
    pub(super) async fn serve(mut self) -> Ended {
        loop {
            let wake_at = self.wake_at();
            let has_room = self.flights.len() + self.rounds.len() < FLIGHTS_MAX;
            tokio::select! {
                // Bounded things first: requests can come without end.
                biased;
                pushed = self.pushes.changed() => match pushed {
                    Ok(()) => self.pushed(),
                    Err(_) => return Ended::Failed(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
                },
                Some(done) = self.jobs.join_next() => if let Err(error) = self.apply(done) {
                    return Ended::Failed(error);
                },
                () = sleep_until(wake_at) => self.on_time(Instant::now()),
                request = self.task.requests.recv(), if has_room => match request {
                    Some(request) => self.ask(request),
                    None => return Ended::Unused,
                },
            }
        }
    }

    fn shared(&self) -> &Shared {
        &self.task.shared
    }

    fn wake_at(&self) -> Instant {
        let probe = (!self.probing).then_some(self.probe_at);
        let sweep = (self.sweep_due && !self.sweeping && self.shared().is_up()).then_some(self.sweep_at);
        let doubt = self.doubt.as_ref().map(|doubt| doubt.until);
        // While a probe is under way it will end by itself; the interval is then only an upper bound.
        [probe, sweep, doubt].into_iter().flatten().min().unwrap_or_else(|| Instant::now() + PROBE_INTERVAL)
    }

    fn on_time(&mut self, now: Instant) {
        if self.doubt.as_ref().is_some_and(|doubt| doubt.until <= now) {
            self.doubt = None;
            self.sweep_due = true;
            self.shared().went_up();
        }
        if !self.probing && self.probe_at <= now {
            self.probing = true;
            let mut link = self.link.clone();
            self.jobs.spawn(async move { Done::Probe { count: link.count().await } });
        }
        if self.sweep_due && !self.sweeping && self.sweep_at <= now && self.shared().is_up() {
            self.sweep(now);
        }
    }

    /// Something in the hash changed; the cache knows already.
    fn pushed(&mut self) {
        self.sweep_due = true;
        if !self.shared().is_up() {
            self.probe_at = Instant::now();
        }
    }

    fn counted(&mut self, count: u64) {
        if self.doubt.is_none() || count > 0 {
            self.shared().went_up();
        }
    }

    fn ask(&mut self, Request { id, afresh, reply }: Request) {
        let shared = &self.task.shared;
        if afresh {
            // Dropping the reply says that nobody can be asked.
            if shared.is_up() && self.rounds.join(&id, reply) {
                self.fly(id, afresh);
            }
            return;
        }
        // The answer may have come while the request was queued.
        let known = match shared.cache.lookup(&id, std::time::Instant::now()) {
            Lookup::Fresh(answer) => Some(Some(answer)),
            Lookup::FreshAbsent => Some(None),
            Lookup::Revalidate(_) | Lookup::Miss if !shared.is_up() => return,
            Lookup::Revalidate(_) | Lookup::Miss => None,
        };
        if let Some(known) = known {
            give(reply, known);
            return;
        }
        let asked_in = shared.cache.epoch();
        let waiting = self.flights.entry((id.clone(), asked_in)).or_default();
        waiting.push(reply);
        if waiting.len() == 1 {
            self.fly(id, afresh);
        }
    }

    fn fly(&mut self, id: SandboxId, afresh: bool) {
        // In this order: whoever knows the new epoch knows that there are states.
        let asked_in = self.shared().cache.epoch();
        let with_state = self.shared().states.are_there();
        self.shared().events.question(LookupSource::Redis);
        let mut link = self.link.clone();
        let field = self.task.names.encode(&id);
        self.jobs.spawn(async move {
            let held = link.held(&field, with_state).await;
            Done::Flight { id, asked_in, afresh, held }
        });
    }

    fn apply(&mut self, done: Result<Done, JoinError>) -> Result<(), RedisError> {
        match done.expect("a job neither panics nor is cancelled while its session lives") {
            Done::Flight { id, asked_in, afresh, held } => self.landed(&id, asked_in, afresh, held?),
            Done::Probe { count } => {
                self.probing = false;
                self.probe_at = Instant::now() + PROBE_INTERVAL;
                self.counted(count?);
            }
            Done::Sweep { asked_in, values } => {
                self.sweeping = false;
                self.swept(asked_in, values?);
            }
        }
        Ok(())
    }

    fn landed(&mut self, id: &SandboxId, asked_in: u64, afresh: bool, held: Held) {
        let said = self.read(id, held);
        let waiting = if afresh {
            let (waiting, again) = self.rounds.answered(id);
            if again {
                self.fly(id.clone(), afresh);
            }
            waiting
        } else {
            self.flights.remove(&(id.clone(), asked_in)).unwrap_or_default()
        };
        if said.is_none() && self.doubts(id) {
            return;
        }
        let answer = self.shared().cache.store(id, said, asked_in, std::time::Instant::now());
        for reply in waiting {
            give(reply, answer);
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.sweep_due = false;
        self.sweep_at = now + SWEEP_INTERVAL;
        let live = self.task.live.live();
        if live.is_empty() {
            return;
        }
        self.sweeping = true;
        let asked_in = self.shared().cache.epoch();
        let with_state = self.shared().states.are_there();
        let link = self.link.clone();
        let fields = self.task.names.clone();
        let values = async move { values_of(link, &fields, live, with_state).await };
        self.jobs.spawn(async move { Done::Sweep { asked_in, values: values.await } });
    }

    /// Ends what sandboxes have open that left or are stopped. What it learns of the others is kept: they need no HGET.
    fn swept(&mut self, asked_in: u64, values: Values) {
        let now = std::time::Instant::now();
        for (id, held) in values {
            let said = self.read(&id, held);
            if said.is_none() && self.doubts(&id) {
                continue;
            }
            let gone = match self.shared().cache.store(&id, said, asked_in, now) {
                Some(Ok(located)) => {
                    self.task.live.located(&id, located.generation);
                    continue;
                }
                None => "it has left the directory",
                Some(Err(NoEndpoint::Stopped)) => "it is stopped",
                // An endpoint that may not be dialled ends nothing: its writer may have slipped.
                Some(Err(_)) => continue,
            };
            tracing::info!(sandbox = %id, gone, "the sandbox's streams are closed");
            self.task.live.close(&id);
        }
    }

    /// Whether this server's "there is no such sandbox" says nothing yet.
    fn doubts(&self, id: &SandboxId) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| !self.shared().cache.heard_since(id, doubt.since))
    }

    fn read(&mut self, id: &SandboxId, held: Held) -> Option<Result<Endpoint, NoEndpoint>> {
        let Held { endpoint, state } = held;
        match state.as_deref().map(record::decode_state) {
            Some(Some(State::Stopped)) => return Some(Err(NoEndpoint::Stopped)),
            Some(Some(State::Migrating)) => return Some(Err(NoEndpoint::Migrating)),
            // Whether it can be reached, the dial will tell.
            Some(None) => self.complain(id, &state.unwrap_or_default(), "the sandbox's state is unknown", None),
            Some(Some(State::Running)) | None => {}
        }
        let value = endpoint?;
        let said = record::decode_value(&value, &self.task.rules);
        if let Err(error) = said {
            self.complain(id, &value, "the sandbox cannot be reached", Some(error));
        }
        Some(said.map_err(NoEndpoint::from))
    }

    /// Says what is wrong with a value, with all moderation.
    fn complain(&mut self, id: &SandboxId, value: &[u8], what: &'static str, error: Option<RecordError>) {
        if let Some(withheld) = self.task.record_complaints.permit(std::time::Instant::now()) {
            let shown = value[..value.len().min(LOGGED_VALUE_BYTES_MAX)].escape_ascii();
            let error = error.map(tracing::field::display);
            tracing::warn!(sandbox = %id, value = %shown, error, withheld, "{what}");
        }
    }
}

fn give(reply: oneshot::Sender<Option<Answer>>, answer: Option<Answer>) {
    // Who asked may have gone; the answer is in the cache all the same.
    let _refused = reply.send(answer);
}

async fn values_of(
    mut link: Link,
    names: &FieldNames,
    ids: Vec<SandboxId>,
    with_state: bool,
) -> Result<Values, RedisError> {
    let mut values = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(SWEEP_CHUNK) {
        let fields: Vec<String> = chunk.iter().map(|id| names.encode(id)).collect();
        values.extend(link.held_many(&fields, with_state).await?);
    }
    Ok(ids.into_iter().zip(values).collect())
}
