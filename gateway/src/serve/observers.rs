//! How the parts that watch each other see each other: the directory's reports as metrics, the registries of
//! streams and connections for the directory and the metrics, readiness for the admin port.

use std::sync::Arc;
use std::time::Duration;

use crate::admin::Readiness;
use crate::config::AddressBook;
use crate::directory::{Directory, DirectoryEvents, InvalidationCause, LiveSandboxes, LookupOutcome, LookupSource};
use crate::drain::{Drain, Phase};
use crate::metrics::{Metrics, StreamTotals};
use crate::route::SandboxId;
use crate::tunnel::{LiveStreams, Reason, Splicer};
use crate::upstream::Register;

/// What `/readyz` asks.
pub(super) struct Ready {
    pub(super) directory: Directory,
    pub(super) drain: Drain,
}

impl Readiness for Ready {
    fn reasons(&self) -> Vec<&'static str> {
        let draining = (self.drain.phase() != Phase::Running).then_some("draining");
        let directory = (!self.directory.ready()).then_some("directory unavailable");
        draining.into_iter().chain(directory).collect()
    }
}

/// Everything about streams as the metrics see it.
pub(super) struct Totals {
    pub(super) live: Arc<LiveStreams>,
    pub(super) splicer: Option<Arc<Splicer>>,
}

impl StreamTotals for Totals {
    fn bytes(&self) -> Vec<(&'static str, &'static str, u64)> {
        let bytes = self.live.bytes();
        bytes.into_iter().map(|(engine, direction, bytes)| (engine.label(), direction.label(), bytes)).collect()
    }

    fn skbs(&self) -> Vec<(&'static str, u64)> {
        self.live.skbs().into_iter().map(|(direction, skbs)| (direction.label(), skbs)).collect()
    }

    fn unspliced(&self) -> Vec<(&'static str, u64)> {
        let counts = self.splicer.as_ref().map(|splicer| splicer.unspliced()).unwrap_or_default();
        counts.into_iter().map(|(reason, packets)| (reason.label(), packets)).collect()
    }

    fn open(&self) -> Vec<(&'static str, u64)> {
        self.live.open_by_engine().into_iter().map(|(engine, count)| (engine.label(), count as u64)).collect()
    }
}

/// Both registries as one that answers for sandboxes sees them: as far as it was it who did.
pub(super) struct Found {
    pub(super) book: AddressBook,
    pub(super) streams: Arc<LiveStreams>,
    pub(super) register: Arc<Register>,
}

impl LiveSandboxes for Found {
    fn live(&self) -> Vec<SandboxId> {
        let mut sandboxes = self.streams.sandboxes(self.book);
        sandboxes.extend(self.register.sandboxes(self.book));
        sandboxes.sort_unstable();
        sandboxes.dedup();
        sandboxes
    }

    fn close(&self, id: &SandboxId) {
        self.streams.close_sandbox(id, self.book, Reason::SandboxGone);
        self.register.end(id, self.book);
    }

    fn located(&self, id: &SandboxId, generation: u64) {
        self.register.supersede(id, self.book, generation);
    }
}

/// The directory's reports as metrics.
pub(super) struct Events(pub(super) Arc<Metrics>);

impl DirectoryEvents for Events {
    fn lookup(&self, source: LookupSource, outcome: LookupOutcome, duration: Duration) {
        self.0.lookup(source.label(), outcome.label(), duration);
    }

    fn question(&self, source: LookupSource) {
        self.0.question(source.label());
    }

    fn invalidation(&self, cause: InvalidationCause) {
        self.0.invalidation(cause.label());
    }

    fn redis_up(&self, up: bool) {
        self.0.set_redis_up(up);
    }

    fn redis_reconnected(&self) {
        self.0.redis_reconnected();
    }
}
