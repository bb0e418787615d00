//! Where a sandbox listens.
//!
//! One [`Directory`] serves every worker. The embedded one is a table that was given at the start; the Redis one is a
//! coherent cache in front of a hash that other programs write, with one task on the control thread behind it
//! (`redis`). A lookup that the cache can answer happens on the worker's own thread, without a queue and without an
//! await; every other one is a message to that task and a wait for its answer, so `locate` works on any runtime.

pub mod cache;
pub mod dns;
pub mod control_plane;
pub mod embedded;
pub mod endpoint;
pub mod record;
pub mod redis;
mod rounds;
pub mod state_name;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::control_plane::ControlPlaneTask;
pub use self::dns::{Dns, DnsError, DnsTask};
pub use self::embedded::TableError;
pub use self::endpoint::{Endpoint, EndpointError, EndpointRules};
use self::record::NoEndpoint;
pub use self::record::RecordError;
pub use self::redis::{RedisTask, ServerError};
pub use self::state_name::StateName;
use crate::config::{ControlPlaneConfig, RedisConfig};
use crate::route::SandboxId;

/// The mapping from sandboxes to endpoints, shared by all workers. Cheap to clone.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

struct Inner {
    kind: Kind,
    rules: EndpointRules,
    events: Arc<dyn DirectoryEvents>,
}

enum Kind {
    Embedded(embedded::Table),
    Redis(redis::Handle),
    ControlPlane(control_plane::Handle),
}

/// An answer of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// Where the sandbox listens.
    pub endpoint: Endpoint,
    /// Changes whenever the endpoint of this sandbox changed, or the sandbox left and came back: a connection that was
    /// opened under another generation may lead to somebody else. Never used twice in one process; 0 only for an
    /// address that the client named.
    pub generation: u64,
}

/// Why there is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// The directory does not have the sandbox.
    #[error("the directory does not have this sandbox")]
    NotFound,
    /// It is there, and does not run.
    #[error("the sandbox is not running (state: {0})")]
    NotRunning(StateName),
    /// It was stopped for good.
    #[error("the sandbox was stopped")]
    Stopped,
    /// It is on its way to another host; worth another try in a second.
    #[error("the sandbox is migrating to another host")]
    Migrating,
    /// It runs, and has no address yet; worth another try in a second.
    #[error("the sandbox has no address yet")]
    NoAddress,
    /// Nobody can say at present; worth another try in a second.
    #[error("the directory cannot be asked at present")]
    Unavailable,
    /// The directory has the sandbox, but not with an endpoint that may be dialled.
    #[error(transparent)]
    BadEndpoint(#[from] RecordError),
}

impl From<NoEndpoint> for LocateError {
    fn from(why: NoEndpoint) -> Self {
        match why {
            NoEndpoint::Unusable(error) => Self::BadEndpoint(error),
            NoEndpoint::Stopped => Self::Stopped,
            NoEndpoint::Migrating => Self::Migrating,
        }
    }
}

impl LocateError {
    /// Whether the sandbox cannot be there any more, so that its live streams have to end too.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::NotFound | Self::Stopped | Self::NotRunning(_))
    }
}

impl Directory {
    /// A directory that is `table` for ever. Every endpoint that `rules` refuse is named in the error.
    pub fn embedded(
        table: &BTreeMap<SandboxId, SocketAddr>,
        rules: &EndpointRules,
        events: Arc<dyn DirectoryEvents>,
    ) -> Result<Self, TableError> {
        let kind = Kind::Embedded(embedded::Table::new(table, rules)?);
        Ok(Self(Arc::new(Inner { kind, rules: rules.clone(), events })))
    }

    /// A directory in Redis, and the task that talks to the server: nothing is answered before [`RedisTask::run`] is
    /// polled.
    ///
    /// Fails if `config` names no server that could be talked to; a server that is not there is not an error.
    pub fn redis(
        config: &RedisConfig,
        rules: EndpointRules,
        events: Arc<dyn DirectoryEvents>,
        live: Arc<dyn LiveSandboxes>,
    ) -> Result<(Self, RedisTask), ServerError> {
        let (handle, task) = redis::new(config, rules.clone(), Arc::clone(&events), live)?;
        Ok((Self(Arc::new(Inner { kind: Kind::Redis(handle), rules, events })), task))
    }

    /// A control plane as the directory, and the task that asks it: what is not known is not answered before
    /// [`ControlPlaneTask::run`] is polled.
    #[must_use]
    pub fn control_plane(
        config: &ControlPlaneConfig,
        rules: EndpointRules,
        events: Arc<dyn DirectoryEvents>,
        live: Arc<dyn LiveSandboxes>,
    ) -> (Self, ControlPlaneTask) {
        let (handle, task) = control_plane::new(config, rules.clone(), Arc::clone(&events), live);
        (Self(Arc::new(Inner { kind: Kind::ControlPlane(handle), rules, events })), task)
    }

    /// Where `id` listens now.
    pub async fn locate(&self, id: &SandboxId) -> Result<Located, LocateError> {
        let begun = Instant::now();
        let (source, answer) = match &self.0.kind {
            Kind::Embedded(table) => (LookupSource::Embedded, table.locate(id)),
            Kind::Redis(handle) => handle.locate(id, begun).await,
            Kind::ControlPlane(handle) => handle.locate(id, begun).await,
        };
        self.0.events.lookup(source, LookupOutcome::of(&answer), begun.elapsed());
        answer
    }

    /// Where `id` listens now, by an answer to a question that was sent after this was called: nothing that is
    /// remembered counts, and where nobody can be asked there is no answer. Those who call at the same time share
    /// questions.
    pub async fn locate_afresh(&self, id: &SandboxId) -> Result<Located, LocateError> {
        let begun = Instant::now();
        let (source, answer) = match &self.0.kind {
            Kind::Embedded(table) => (LookupSource::Embedded, table.locate(id)),
            Kind::Redis(handle) => (LookupSource::Redis, handle.locate_afresh(id).await),
            Kind::ControlPlane(handle) => (LookupSource::ControlPlane, handle.locate_afresh(id).await),
        };
        self.0.events.lookup(source, LookupOutcome::of(&answer), begun.elapsed());
        answer
    }

    /// The endpoint beside `endpoint` at `port`, by the rules that hold for all of them.
    pub fn at_port(&self, endpoint: Endpoint, port: u16) -> Result<Endpoint, LocateError> {
        let address = SocketAddr::new(endpoint.address().ip(), port);
        self.0.rules.check(address).map_err(|error| LocateError::BadEndpoint(error.into()))
    }

    /// Says that the host of `endpoint` is gone (a dial failed with "no route to host" and its like, not with
    /// "connection refused", which says that the host is there). The next lookup asks the directory again, if `id`
    /// still has that endpoint.
    pub fn evict(&self, id: &SandboxId, endpoint: Endpoint) {
        let distrusted = match &self.0.kind {
            Kind::Embedded(_) => false,
            Kind::Redis(handle) => handle.distrust(id, endpoint),
            Kind::ControlPlane(handle) => handle.distrust(id, endpoint),
        };
        if distrusted {
            self.0.events.invalidation(InvalidationCause::DialFailure);
        }
    }

    /// Whether every sandbox can be located, known or not: what `/readyz` asks.
    #[must_use]
    pub fn ready(&self) -> bool {
        match &self.0.kind {
            Kind::Embedded(_) => true,
            Kind::Redis(handle) => handle.is_up(),
            Kind::ControlPlane(handle) => handle.is_up(),
        }
    }
}

/// Which sandboxes have streams or other connections, and the means to end them: the registries of both.
///
/// Called on the control thread; all calls return at once.
pub trait LiveSandboxes: Send + Sync {
    /// Every sandbox with at least one stream or connection, once, in order.
    fn live(&self) -> Vec<SandboxId>;

    /// Ends every stream and connection of a sandbox that has left the directory.
    fn close(&self, id: &SandboxId);

    /// Says where a sandbox is now: of its idle connections, those that are from before `generation` end.
    fn located(&self, id: &SandboxId, generation: u64);
}

/// What a directory reports: the metrics.
pub trait DirectoryEvents: Send + Sync {
    /// A lookup ended.
    fn lookup(&self, source: LookupSource, outcome: LookupOutcome, duration: Duration);

    /// A question about one sandbox was sent; lookups of the same sandbox at the same time share it.
    fn question(&self, source: LookupSource);

    /// Cached entries became "revalidate on next use".
    fn invalidation(&self, cause: InvalidationCause);

    /// The Redis directory can, or can no longer, answer for every sandbox.
    fn redis_up(&self, up: bool);

    /// A connection to Redis was made again, after one was lost.
    fn redis_reconnected(&self);
}

/// Reports nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEvents;

impl DirectoryEvents for NoEvents {
    fn lookup(&self, _: LookupSource, _: LookupOutcome, _: Duration) {}
    fn question(&self, _: LookupSource) {}
    fn invalidation(&self, _: InvalidationCause) {}
    fn redis_up(&self, _: bool) {}
    fn redis_reconnected(&self) {}
}

/// Who answered a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LookupSource {
    /// The embedded table.
    Embedded,
    /// The cache, with an entry that no change has touched.
    Cache,
    /// Redis, or its absence.
    Redis,
    /// The control plane, or its absence.
    ControlPlane,
    /// The cache, with an entry that may have changed, because nobody could be asked.
    Stale,
    /// The cluster's DNS, or its absence.
    Dns,
}

impl LookupSource {
    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Cache => "cache",
            Self::Redis => "redis",
            Self::ControlPlane => "control_plane",
            Self::Stale => "stale",
            Self::Dns => "dns",
        }
    }
}

/// What a lookup found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LookupOutcome {
    /// An endpoint.
    Hit,
    /// That the directory does not have the sandbox, or has it in a state in which it has no endpoint.
    Miss,
    /// Nobody to ask, or an endpoint that may not be dialled.
    Error,
}

impl LookupOutcome {
    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Error => "error",
        }
    }

    pub(crate) fn of(answer: &Result<Located, LocateError>) -> Self {
        match answer {
            Ok(_) => Self::Hit,
            Err(LocateError::Unavailable | LocateError::BadEndpoint(_)) => Self::Error,
            Err(_) => Self::Miss,
        }
    }
}

/// Why cached entries became "revalidate on next use".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvalidationCause {
    /// The server said that the hash changed. All entries.
    Push,
    /// Connected again: pushes may have been missed. All entries.
    Reconnect,
    /// A host could not be reached. One entry.
    DialFailure,
}

impl InvalidationCause {
    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Reconnect => "reconnect",
            Self::DialFailure => "dial_failure",
        }
    }
}
