//! The directory in Redis: a hash that other programs write, read through a coherent cache.
//!
//! ```text
//!  workers                          control thread
//!  Handle::locate ── cache hit ──>  answered in place
//!        │ miss or revalidate
//!        └── Request (bounded) ──>  RedisTask ── Session ── HGET ──> server
//!                                       ^            │
//!        cache <── epoch + 1 ───────────┴── push <── CLIENT TRACKING ON BCAST PREFIX hash, and that of the states
//! ```
//!
//! **Coherence.** The server pushes a line whenever the hash changes (RESP3 client tracking in broadcast mode: nothing
//! to re-arm, no memory per key on the server; another key that begins with the hash's name costs a needless
//! revalidation, no more). The push raises the cache's epoch *while it is read off the socket*, before any reply behind
//! it is handled. One question per sandbox and epoch is under way, and everybody who asks the same waits for it; who
//! comes after a push never joins a question from before it. A push that has arrived but was not read yet is waited for
//! (`intake`), and so are the answers to questions that were asked before the lookup began, since a push may come with
//! them (`questions`). What is left is the network: a push may reach this machine after the writer's `OK` reached
//! another, and a connection that dies in silence is noticed by the next probe, at most its interval (1 s) and the
//! response timeout later.
//!
//! **Failure.** A session is healthy or it is ended: a timeout, a lost connection and an error answer (LOADING, NOAUTH,
//! WRONGTYPE, a half-done failover) all close it, and a new one resolves the name, authenticates and subscribes again,
//! for ever. Meanwhile nobody waits: known sandboxes are answered from the cache (`stale`), unknown ones with
//! `Unavailable`, at once. Nothing is lost by keeping the old answers, since the dial that follows will tell.
//!
//! **A server that comes back empty** is more often one that has not loaded its data than one whose sandboxes have all
//! gone, so it is doubted for a while: `EMPTY_GRACE` in `session` says what that means. A hash that is emptied under
//! our eyes, by FLUSHALL or DEL, is believed.

mod intake;
mod log_limit;
mod questions;
mod server;
mod session;
mod states;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use tokio::sync::{mpsc, oneshot};

use self::intake::{Arrivals, Intake};
use self::log_limit::LogLimit;
pub use self::server::{ConnectError, Link, Server, ServerError};
use self::session::{EMPTY_GRACE, Ended, Session};
use self::states::States;
#[cfg(test)]
pub(crate) use self::tests::RedisServer;
use super::cache::{Answer, Cache, Lookup};
use super::endpoint::{Endpoint, EndpointRules};
use super::record::FieldNames;
use super::{DirectoryEvents, InvalidationCause, LiveSandboxes, LocateError, Located, LookupSource};
use crate::config::RedisConfig;
use crate::route::SandboxId;

/// How many requests may wait for the task. One request of a worker is one client that waits, so more than this many at
/// one moment means that the task does not keep up: the rest is told so at once.
const REQUESTS_MAX: usize = 4096;

/// The first wait between two attempts to connect; it doubles from there.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// The longest wait between two attempts to connect.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// At most one line of the log per this time says that the server cannot be used.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// The workers' side.
pub(super) struct Handle {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
}

/// The control thread's side: owns the connection.
pub struct RedisTask {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    server: Server,
    names: FieldNames,
    rules: EndpointRules,
    live: Arc<dyn LiveSandboxes>,
    empty_grace: Duration,
    complaints: LogLimit,
    record_complaints: LogLimit,
}

/// What both sides see.
struct Shared {
    cache: Cache,
    states: States,
    up: AtomicBool,
    /// The present connection's incoming bytes. Empty while there is none, and over TLS.
    intake: RwLock<Option<Arc<Intake>>>,
    arrivals: Arc<Arrivals>,
    events: Arc<dyn DirectoryEvents>,
}

/// A worker's question. Dropping it without an answer says that the directory cannot be asked.
struct Request {
    id: SandboxId,
    /// Nothing that was asked before will do.
    afresh: bool,
    reply: oneshot::Sender<Option<Answer>>,
}

/// Both sides of a directory. Fails if `config` names no server, or no descriptor is left.
pub(super) fn new(
    config: &RedisConfig,
    rules: EndpointRules,
    events: Arc<dyn DirectoryEvents>,
    live: Arc<dyn LiveSandboxes>,
) -> Result<(Handle, RedisTask), ServerError> {
    let server = Server::new(config)?;
    let cache = Cache::new(config.cache_entries_max, config.negative_ttl, RandomState::default());
    let arrivals = Arrivals::new().map_err(ServerError::Unwatched)?;
    let (up, intake) = (AtomicBool::new(false), RwLock::new(None));
    let shared = Arc::new(Shared { cache, states: States::default(), up, intake, arrivals, events });
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    let task = RedisTask {
        shared: Arc::clone(&shared),
        requests: receiver,
        server,
        names: FieldNames::new(&*config.field_prefix),
        rules,
        live,
        empty_grace: EMPTY_GRACE,
        complaints: LogLimit::new(COMPLAINT_INTERVAL),
        record_complaints: LogLimit::new(COMPLAINT_INTERVAL),
    };
    Ok((Handle { shared, requests: sender }, task))
}

impl Handle {
    /// Where `id` listens, and who says so.
    pub(super) async fn locate(&self, id: &SandboxId, now: Instant) -> (LookupSource, Result<Located, LocateError>) {
        // Also if the server is to be asked: the question under way that this is put to may be from before a change.
        self.shared.caught_up().await;
        let old = match self.shared.cache.lookup(id, now) {
            Lookup::Fresh(answer) => return (LookupSource::Cache, result_of(Some(answer))),
            Lookup::FreshAbsent => return (LookupSource::Cache, result_of(None)),
            Lookup::Revalidate(old) => Some(old),
            Lookup::Miss => None,
        };
        match (self.ask(id, false).await, old) {
            (Ok(said), _) => (LookupSource::Redis, result_of(said)),
            (Err(Unanswered), Some(old)) => (LookupSource::Stale, result_of(Some(old))),
            (Err(Unanswered), None) => (LookupSource::Redis, Err(LocateError::Unavailable)),
        }
    }

    /// Where `id` listens, by an answer to a question of after this call.
    pub(super) async fn locate_afresh(&self, id: &SandboxId) -> Result<Located, LocateError> {
        match self.ask(id, true).await {
            Ok(said) => result_of(said),
            Err(Unanswered) => Err(LocateError::Unavailable),
        }
    }

    /// As [`Cache::distrust`].
    pub(super) fn distrust(&self, id: &SandboxId, endpoint: Endpoint) -> bool {
        self.shared.cache.distrust(id, endpoint)
    }

    /// Whether unknown sandboxes can be asked for.
    pub(super) fn is_up(&self) -> bool {
        self.shared.is_up()
    }

    async fn ask(&self, id: &SandboxId, afresh: bool) -> Result<Option<Answer>, Unanswered> {
        if !self.shared.is_up() {
            return Err(Unanswered);
        }
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { id: id.clone(), afresh, reply }).map_err(|_| Unanswered)?;
        answer.await.map_err(|_| Unanswered)
    }
}

/// The directory could not be asked: it is down, its task is gone or overloaded, or it went down under the question.
struct Unanswered;

fn result_of(said: Option<Answer>) -> Result<Located, LocateError> {
    Ok(said.ok_or(LocateError::NotFound)??)
}

impl RedisTask {
    /// Serves until every [`super::Directory`] made with this task is dropped. Wants an ordinary tokio runtime with I/O
    /// and time.
    pub async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        let mut connected_before = false;
        loop {
            let Some(connected) = refusing(&mut self.requests, session::connect(&self.shared, &self.server)).await
            else {
                return;
            };
            let error = match connected {
                Ok(connected) => {
                    self.welcome(connected_before);
                    connected_before = true;
                    let begun = Instant::now();
                    match Session::new(&mut self, connected).serve().await {
                        Ended::Unused => return,
                        Ended::Failed(error) => {
                            if begun.elapsed() > BACKOFF_MAX {
                                backoff = BACKOFF_MIN;
                            }
                            ConnectError::Redis(error)
                        }
                    }
                }
                Err(error) => error,
            };
            self.shared.went_down();
            self.complain(&error);
            if refusing(&mut self.requests, tokio::time::sleep(backoff)).await.is_none() {
                return;
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn welcome(&mut self, connected_before: bool) {
        let address = self.server.address();
        if connected_before {
            self.shared.invalidate(InvalidationCause::Reconnect);
            self.shared.events.redis_reconnected();
        }
        tracing::info!(server = %address, "connected to redis");
    }

    fn complain(&mut self, error: &ConnectError) {
        if let Some(withheld) = self.complaints.permit(Instant::now()) {
            let address = self.server.address();
            tracing::warn!(server = %address, %error, withheld, "redis cannot be used; known sandboxes go on");
        }
    }
}

impl Drop for RedisTask {
    fn drop(&mut self) {
        // Nobody reads pushes any more: what the workers still ask must not be answered as if it were current.
        self.shared.went_down();
    }
}

/// Does `work` and refuses every request meanwhile. `None` as soon as nobody is left to ask.
async fn refusing<T>(requests: &mut mpsc::Receiver<Request>, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            request = requests.recv() => drop(request?),
        }
    }
}

impl Shared {
    fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    fn went_up(&self) {
        if !self.up.swap(true, Ordering::AcqRel) {
            self.events.redis_up(true);
        }
    }

    /// Pushes are missed from now on, so no entry is fresh any more.
    fn went_down(&self) {
        if self.up.swap(false, Ordering::AcqRel) {
            self.events.redis_up(false);
        }
        self.watch(None);
        self.cache.invalidate_all();
    }

    fn watch(&self, intake: Option<Arc<Intake>>) {
        *self.intake.write().unwrap_or_else(PoisonError::into_inner) = intake;
    }

    /// Returns once the push of every change that was made until now is known to the cache: mostly at once.
    async fn caught_up(&self) {
        let behind = {
            let intake = self.intake.read().unwrap_or_else(PoisonError::into_inner);
            intake.as_ref().filter(|intake| !intake.is_caught_up()).map(Arc::clone)
        };
        if let Some(intake) = behind {
            intake.caught_up().await;
        }
    }

    fn invalidate(&self, cause: InvalidationCause) {
        self.cache.invalidate_all();
        self.events.invalidation(cause);
    }
}
