//! What a connection works with: its worker's own state, and what all workers share.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::places::{Place, Places, Table};
use crate::auth::Guard;
use crate::config::{Config, StreamConfig};
use crate::directory::{Directory, Dns};
use crate::drain::Drain;
use crate::http::HeadLimits;
use crate::metrics::Metrics;
use crate::sys::{Driver, TcpTuning};
use crate::tunnel::{self, LiveStreams, Plan, Splicer};
use crate::upstream::{Pool, Register};

/// Whether clients speak TLS to the gateway itself. It terminates none.
pub(super) const CLIENTS_SPEAK_TLS: bool = false;

/// What all workers share.
pub struct Shared {
    /// A number that tells this process from others in request ids.
    pub instance: u32,
    /// The configuration.
    pub config: Config,
    /// Where sandboxes are.
    pub directory: Directory,
    /// Where the sandboxes of the header source are, if it is on.
    pub dns: Option<Dns>,
    /// Whom the sources let in that ask for tokens.
    pub guard: Guard,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The connections to pods.
    pub register: Arc<Register>,
    /// The live streams.
    pub live: Arc<LiveStreams>,
    /// The shutdown's phase.
    pub drain: Drain,
    /// Connections that are served now, streams included.
    pub connections: Arc<Places>,
    /// The descriptor tables that hold their sockets: one per worker, or one.
    pub tables: Vec<Table>,
    /// Workers offload their streams to the kernel.
    pub offload: bool,
    /// The kernel side of the packet engine, where streams are spliced.
    pub splicer: Option<Arc<Splicer>>,
}

impl Shared {
    /// The table of the worker with this number.
    #[must_use]
    pub fn table(&self, worker: usize) -> &Table {
        &self.tables[worker % self.tables.len()]
    }
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
    /// Redials of sessions that may be under way.
    pub dials: Semaphore,
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
        let tuning = |unread_max| tuning(&config.stream, unread_max);
        let client_tuning = tuning(tunnel::CLIENT_UNREAD_MAX_BYTES);
        let upstream_tuning = tuning(tunnel::UPSTREAM_UNREAD_MAX_BYTES);
        let pool = Pool::new(&config.upstream);
        let dials = Semaphore::new(config.broker.dials_max);
        Self {
            shared,
            index,
            driver,
            plan,
            pool,
            limits,
            client_tuning,
            upstream_tuning,
            dials,
            requests: Cell::new(0),
        }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Whether the client at `address` is a proxy whose word about its own client is taken.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.config().trusted_proxies.iter().any(|network| network.contains(&address))
    }

    /// How many idle upstream connections this worker's descriptor table has room for now.
    #[must_use]
    pub fn idle_max(&self) -> usize {
        self.shared.table(self.index).idle_max()
    }

    /// A request id: the process's start, the worker and a count, so that instances and restarts do not collide.
    pub fn next_request_id(&self) -> String {
        let count = self.requests.get() + 1;
        self.requests.set(count);
        format!("{:08x}{:02x}{count:06x}", self.shared.instance, self.index)
    }
}

/// What a stream's socket is set to, on which `unread_max` bytes may wait to be read.
#[must_use]
pub fn tuning(config: &StreamConfig, unread_max: u32) -> TcpTuning {
    TcpTuning {
        keepalive_idle: config.keepalive.idle,
        keepalive_interval: config.keepalive.interval,
        keepalive_probes: config.keepalive.probes,
        user_timeout: config.user_timeout,
        unsent_max: tunnel::UNSENT_MAX_BYTES,
        unread_max,
    }
}

/// Counts a connection for as long as it is served.
pub struct Counted {
    metrics: Arc<Metrics>,
    _in_table: Place,
    _in_process: Place,
}

impl Counted {
    /// Counts a new connection of a worker in.
    ///
    /// # Errors
    /// The limit that is reached: the process's, or that of the worker's descriptor table.
    pub fn new(shared: &Shared, worker: usize) -> Result<Self, usize> {
        let table = &shared.table(worker).connections;
        let in_process = shared.connections.take().ok_or(shared.connections.max())?;
        let in_table = table.take().ok_or(table.max())?;
        shared.metrics.connection_accepted();
        Ok(Self { metrics: Arc::clone(&shared.metrics), _in_table: in_table, _in_process: in_process })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}
