//! The directory of a control plane with a database of its own, asked over HTTP.
//!
//! ```text
//! GET http://control-plane/resolve/{id}
//! 200 {"endpoint": "10.18.124.21:6080", "ttl": 120}    where it listens, and for how many seconds that holds
//! 200 {"endpoint": null}                               it runs, and has no address yet
//! 404, 410, 409 {"state": "paused"}                    unknown; stopped for good; not running
//! 503 with "migrating" in its body                     on its way to another host
//! ```
//!
//! Nothing pushes changes here, so an answer is believed for its time to live, for less only if the host that it names
//! is gone. One question per sandbox is under way, and whoever asks the same waits for it. While the control plane
//! cannot be asked, known sandboxes keep their last endpoint and unknown ones are `Unavailable` at once or after the
//! timeout. Sandboxes with streams or other connections are asked for again when their answer has run out, so that a
//! sandbox that ends loses them although nobody asks for it.

mod answer;
mod memory;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use self::answer::Said;
use self::memory::{Found, Memory};
use super::endpoint::{Endpoint, EndpointRules};
use super::rounds::Rounds;
use super::{DirectoryEvents, LiveSandboxes, LocateError, Located, LookupSource};
use crate::config::ControlPlaneConfig;
use crate::route::SandboxId;

/// How many questions of workers may wait for the task. One is one client that waits.
const QUESTIONS_MAX: usize = 4096;

/// How many requests to the control plane may be under way, one connection each. More sandboxes at one moment are told
/// that the directory cannot be asked.
const ASKS_MAX: usize = 64;

/// How often live sandboxes are looked through for answers that have run out.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The workers' side.
pub(super) struct Handle {
    shared: Arc<Shared>,
    questions: mpsc::Sender<Question>,
}

/// The control thread's side.
pub struct ControlPlaneTask {
    shared: Arc<Shared>,
    questions: mpsc::Receiver<Question>,
    config: Arc<ControlPlaneConfig>,
    rules: EndpointRules,
    live: Arc<dyn LiveSandboxes>,
    events: Arc<dyn DirectoryEvents>,
    /// Who waits for which sandbox. Each waiter is a client's request, which the limit of connections bounds.
    waiting: HashMap<SandboxId, Vec<oneshot::Sender<Verdict>>>,
    /// Who will have no answer but one to a question of after theirs.
    rounds: Rounds<oneshot::Sender<Verdict>>,
    /// Of these, questions that wait for a place among those under way: one for each sandbox of `rounds` at most.
    postponed: VecDeque<SandboxId>,
    asking: JoinSet<Answered>,
    /// The last sandbox that could not be asked for: asking for it again tells when the control plane is back.
    unanswered: Option<SandboxId>,
}

struct Shared {
    memory: Mutex<Memory>,
    up: AtomicBool,
}

/// A worker's question. Dropping it without an answer says that the directory cannot be asked.
struct Question {
    id: SandboxId,
    /// Nothing that was asked before will do.
    afresh: bool,
    reply: oneshot::Sender<Verdict>,
}

type Verdict = Result<Located, LocateError>;

/// What became of a request to the control plane.
struct Answered {
    id: SandboxId,
    afresh: bool,
    said: Option<Said>,
}

/// Both sides of a directory.
pub(super) fn new(
    config: &ControlPlaneConfig,
    rules: EndpointRules,
    events: Arc<dyn DirectoryEvents>,
    live: Arc<dyn LiveSandboxes>,
) -> (Handle, ControlPlaneTask) {
    let memory = Mutex::new(Memory::new(config.entries_max));
    let shared = Arc::new(Shared { memory, up: AtomicBool::new(true) });
    let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
    let task = ControlPlaneTask {
        shared: Arc::clone(&shared),
        questions,
        config: Arc::new(config.clone()),
        rules,
        live,
        events,
        waiting: HashMap::new(),
        rounds: Rounds::default(),
        postponed: VecDeque::new(),
        asking: JoinSet::new(),
        unanswered: None,
    };
    (Handle { shared, questions: sender }, task)
}

impl Handle {
    /// Where `id` listens, and who says so.
    pub(super) async fn locate(&self, id: &SandboxId, now: Instant) -> (LookupSource, Verdict) {
        let old = match self.shared.memory().lookup(id, now) {
            Found::Fresh(verdict) => return (LookupSource::Cache, verdict),
            Found::Expired(located) => Some(located),
            Found::Nothing => None,
        };
        match (self.ask(id, false).await, old) {
            (Some(verdict), _) => (LookupSource::ControlPlane, verdict),
            (None, Some(located)) => (LookupSource::Stale, Ok(located)),
            (None, None) => (LookupSource::ControlPlane, Err(LocateError::Unavailable)),
        }
    }

    /// Where `id` listens, by an answer to a question of after this call.
    pub(super) async fn locate_afresh(&self, id: &SandboxId) -> Verdict {
        self.ask(id, true).await.unwrap_or(Err(LocateError::Unavailable))
    }

    /// Asks again for `id` at the next lookup, if it still has that endpoint.
    pub(super) fn distrust(&self, id: &SandboxId, endpoint: Endpoint) -> bool {
        self.shared.memory().distrust(id, endpoint)
    }

    /// Whether the last question was answered.
    pub(super) fn is_up(&self) -> bool {
        self.shared.up.load(Ordering::Relaxed)
    }

    async fn ask(&self, id: &SandboxId, afresh: bool) -> Option<Verdict> {
        let (reply, verdict) = oneshot::channel();
        self.questions.try_send(Question { id: id.clone(), afresh, reply }).ok()?;
        verdict.await.ok()
    }
}

impl ControlPlaneTask {
    /// Serves until every [`super::Directory`] made with this task is dropped. Wants an ordinary tokio runtime with I/O
    /// and time.
    pub async fn run(mut self) {
        let mut ticks = tokio::time::interval(RECHECK_INTERVAL);
        loop {
            tokio::select! {
                question = self.questions.recv() => match question {
                    Some(question) => self.take(question),
                    None => return,
                },
                Some(answered) = self.asking.join_next() => {
                    self.answered(answered);
                    self.send_postponed();
                }
                _ = ticks.tick() => self.recheck(),
            }
        }
    }

    fn take(&mut self, Question { id, afresh, reply }: Question) {
        if afresh {
            if self.rounds.join(&id, reply) {
                self.postponed.push_back(id);
                self.send_postponed();
            }
            return;
        }
        // A question that was put while the same one was under way may be answered by now.
        let found = self.shared.memory().lookup(&id, Instant::now());
        if let Found::Fresh(verdict) = found {
            // A worker whose client has left does not wait any more.
            let _left = reply.send(verdict);
        } else if self.ask(&id) {
            self.waiting.entry(id).or_default().push(reply);
        }
    }

    /// Asks for `id`, unless that is under way; false where too much is.
    fn ask(&mut self, id: &SandboxId) -> bool {
        if self.waiting.contains_key(id) {
            return true;
        }
        if self.asking.len() >= ASKS_MAX {
            return false;
        }
        self.waiting.insert(id.clone(), Vec::new());
        self.send(id.clone(), false);
        true
    }

    /// Sends what waits for a place. A redial has one among a bounded number of dials, so it is not told to come back
    /// only because many others have one, too.
    fn send_postponed(&mut self) {
        while self.asking.len() < ASKS_MAX
            && let Some(id) = self.postponed.pop_front()
        {
            self.send(id, true);
        }
    }

    fn send(&mut self, id: SandboxId, afresh: bool) {
        self.events.question(LookupSource::ControlPlane);
        let (config, rules) = (Arc::clone(&self.config), self.rules.clone());
        self.asking.spawn(async move {
            let said = answer::ask(&config, &rules, &id).await;
            Answered { id, afresh, said }
        });
    }

    fn answered(&mut self, answered: Result<Answered, JoinError>) {
        let Ok(Answered { id, afresh, said }) = answered else {
            // Whose question it was is lost; nobody must wait for ever.
            self.rounds.clear();
            self.postponed.clear();
            return self.waiting.clear();
        };
        let waiting = if afresh {
            let (waiting, again) = self.rounds.answered(&id);
            if again {
                self.postponed.push_back(id.clone());
            }
            waiting
        } else {
            self.waiting.remove(&id).unwrap_or_default()
        };
        if self.shared.up.swap(said.is_some(), Ordering::Relaxed) != said.is_some() {
            tracing::warn!(up = said.is_some(), "the control plane changed between answering and not");
        }
        let Some(said) = said else {
            self.unanswered = Some(id);
            return;
        };
        self.unanswered = None;
        let verdict = self.shared.memory().store(&id, said, Instant::now());
        match &verdict {
            Ok(located) => self.live.located(&id, located.generation),
            Err(error) if error.is_gone() => self.live.close(&id),
            Err(_) => {}
        }
        for reply in waiting {
            let _left = reply.send(verdict.clone());
        }
    }

    fn recheck(&mut self) {
        let now = Instant::now();
        let mut due = self.live.live();
        due.retain(|id| !matches!(self.shared.memory().lookup(id, now), Found::Fresh(_)));
        due.extend(self.unanswered.clone());
        for id in due {
            self.ask(&id);
        }
    }
}

impl Shared {
    /// Nothing is left half-done when a thread panics, so a poisoned lock is as good as any.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
