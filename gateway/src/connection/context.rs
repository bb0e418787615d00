//! What a connection works with: its worker's own state, and what all workers share.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::Config;
use crate::directory::Directory;
use crate::drain::Drain;
use crate::http::HeadLimits;
use crate::metrics::Metrics;
use crate::sys::{Driver, TcpTuning};
use crate::tunnel::{self, LiveStreams, Plan};
use crate::upstream::Pool;

/// What all workers share.
pub struct Shared {
    /// A number that tells this process from others in request ids.
    pub instance: u32,
    /// The configuration.
    pub config: Config,
    /// Where sandboxes are.
    pub directory: Directory,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The live streams.
    pub live: Arc<LiveStreams>,
    /// The shutdown's phase.
    pub drain: Drain,
    /// Connections that are served now, streams included.
    pub connections: AtomicUsize,
    /// How many there may be.
    pub connections_max: usize,
    /// Workers offload their streams to the kernel.
    pub offload: bool,
}

/// One worker's own state, and what it shares.
pub struct Context {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Its number, from 0.
    pub index: usize,
    /// Its means of moving bytes.
    pub driver: Driver,
    /// How its streams are moved.
    pub plan: Plan,
    /// Its idle upstream connections.
    pub pool: Pool,
    /// The limits of heads.
    pub limits: HeadLimits,
    /// What a stream's socket to its client is set to.
    pub client_tuning: TcpTuning,
    /// What its socket to the pod is set to.
    pub upstream_tuning: TcpTuning,
    requests: Cell<u64>,
}

impl Context {
    /// The state of the worker with this number.
    #[must_use]
    pub fn new(shared: Arc<Shared>, index: usize, driver: Driver, plan: Plan) -> Self {
        let config = &shared.config;
        let limits = HeadLimits {
            line_bytes_max: config.http.request_line_bytes_max,
            head_bytes_max: config.http.head_bytes_max,
            fields_max: config.http.fields_max,
        };
        let tuning = |unread_max| TcpTuning {
            keepalive_idle: config.stream.keepalive.idle,
            keepalive_interval: config.stream.keepalive.interval,
            keepalive_probes: config.stream.keepalive.probes,
            user_timeout: config.stream.user_timeout,
            unsent_max: tunnel::UNSENT_MAX_BYTES,
            unread_max,
        };
        let client_tuning = tuning(tunnel::CLIENT_UNREAD_MAX_BYTES);
        let upstream_tuning = tuning(tunnel::UPSTREAM_UNREAD_MAX_BYTES);
        let pool = Pool::new(&config.upstream);
        Self { shared, index, driver, plan, pool, limits, client_tuning, upstream_tuning, requests: Cell::new(0) }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// A request id: the process's start, the worker and a count, so that instances and restarts do not collide.
    pub fn next_request_id(&self) -> String {
        let count = self.requests.get() + 1;
        self.requests.set(count);
        format!("{:08x}{:02x}{count:06x}", self.shared.instance, self.index)
    }
}

/// Counts a connection for as long as it is served.
pub struct Counted(Arc<Shared>);

impl Counted {
    /// Counts a new connection in; `None` if there are as many as there may be.
    #[must_use]
    pub fn new(shared: &Arc<Shared>) -> Option<Self> {
        let before = shared.connections.fetch_add(1, Ordering::Relaxed);
        if before >= shared.connections_max {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        shared.metrics.connection_accepted();
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.connection_closed();
    }
}
