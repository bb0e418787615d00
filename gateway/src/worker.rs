//! One core: its listeners, its accept loop, its connections.
//!
//! A worker shares nothing mutable with another but the directory, the metrics and the registry of streams. The kernel
//! spreads connections over the workers' listeners by itself (`SO_REUSEPORT`, Linux 3.9).

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::Config;
use crate::connection;
use crate::directory::Directory;
use crate::drain::{Drain, Phase};
use crate::error::Failure;
use crate::http::HeadLimits;
use crate::metrics::{Metrics, Reason as RejectReason};
use crate::sys::{Backend, Driver, Listener, Socket, TcpTuning, cpu};
use crate::tunnel::LiveStreams;
use crate::tunnel::live::SWEEP_INTERVAL;
use crate::upstream::Pool;

/// How long the accept loop rests after an error such as running out of descriptors: each attempt would fail alike.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
}

/// One worker's own state.
pub struct Worker {
    /// What it shares.
    pub shared: Arc<Shared>,
    /// Its number, from 0.
    pub index: usize,
    /// Its means of moving bytes.
    pub driver: Driver,
    /// Its idle upstream connections.
    pub pool: Pool,
    /// The limits of heads.
    pub limits: HeadLimits,
    /// What a stream's sockets are set to.
    pub tuning: TcpTuning,
    requests: Cell<u64>,
}

impl Worker {
    fn new(shared: Arc<Shared>, index: usize, driver: Driver) -> Self {
        let config = &shared.config;
        let limits = HeadLimits {
            line_bytes_max: config.http.request_line_bytes_max,
            head_bytes_max: config.http.head_bytes_max,
            fields_max: config.http.fields_max,
        };
        let tuning = TcpTuning {
            keepalive_idle: config.stream.keepalive.idle,
            keepalive_interval: config.stream.keepalive.interval,
            keepalive_probes: config.stream.keepalive.probes,
            user_timeout: config.stream.user_timeout,
        };
        let pool = Pool::new(&config.upstream);
        Self { shared, index, driver, pool, limits, tuning, requests: Cell::new(0) }
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
    fn new(shared: &Arc<Shared>) -> Option<Self> {
        let before = shared.connections.fetch_add(1, Ordering::Relaxed);
        // Made before the check, so that a refused connection is counted out again as well.
        let counted = Self(Arc::clone(shared));
        shared.metrics.connection_accepted();
        (before < shared.connections_max).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.connection_closed();
    }
}

/// Runs a worker on the calling thread until the shutdown is over.
///
/// # Errors
/// When its runtime or its listeners cannot be set up, or its ring fails.
pub fn run(
    shared: &Arc<Shared>,
    index: usize,
    core: Option<usize>,
    backend: Backend,
    listeners: Vec<TcpListener>,
) -> io::Result<()> {
    if let Some(core) = core {
        // A worker on any core is still a worker.
        if let Err(error) = cpu::pin(core) {
            tracing::warn!(%error, core, "could not pin a worker");
        }
    }
    let shared = Arc::clone(shared);
    Driver::run(backend, move |driver| async move {
        let worker = Rc::new(Worker::new(shared, index, driver));
        let listeners: io::Result<Vec<_>> =
            listeners.into_iter().map(|listener| worker.driver.listener(listener)).collect();
        work(worker, listeners?).await;
        Ok(())
    })?
}

async fn work(worker: Rc<Worker>, listeners: Vec<Listener>) {
    let sweeping = tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn_local(accept(Rc::clone(&worker), listener));
    }
    while accepting.join_next().await.is_some() {}
    // Every connection is a task of its own; the last one to be counted out ends the wait. Streams end with the deadline.
    let drain = worker.shared.drain.clone();
    tokio::select! {
        () = drain.reached(Phase::Expired) => {}
        () = drained(&worker.shared) => {}
    }
    sweeping.abort();
}

/// Waits until no connection is left in the process.
pub async fn drained(shared: &Shared) {
    /// How often the count is looked at: it falls to zero once in the process's life.
    const LOOK: Duration = Duration::from_millis(20);
    while shared.connections.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(LOOK).await;
    }
}

async fn accept(worker: Rc<Worker>, listener: Listener) {
    let drain = worker.shared.drain.clone();
    let mut draining = std::pin::pin!(drain.reached(Phase::Draining));
    let mut stopping = false;
    loop {
        let accepted = {
            let mut accepted = std::pin::pin!(listener.accept());
            loop {
                tokio::select! {
                    biased;
                    accepted = &mut accepted => break accepted,
                    // The accept is ended, not dropped: a connection that it has already taken still comes out.
                    () = &mut draining, if !stopping => { stopping = true; listener.stop(); }
                }
            }
        };
        match accepted {
            Ok((socket, client)) => admit(&worker, socket, client),
            Err(_) if stopping => return,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                worker.shared.metrics.connection_rejected(reject_reason(&error));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn reject_reason(error: &io::Error) -> RejectReason {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => RejectReason::Descriptors,
        _ => RejectReason::Other,
    }
}

fn admit(worker: &Rc<Worker>, socket: Socket, client: SocketAddr) {
    let counted = Counted::new(&worker.shared);
    let worker = Rc::clone(worker);
    match counted {
        Some(counted) => drop(tokio::task::spawn_local(connection::serve(socket, client, worker, counted))),
        None => {
            worker.shared.metrics.connection_rejected(RejectReason::ConnectionsMax);
            let failure = Failure::Overloaded(worker.shared.connections_max);
            drop(tokio::task::spawn_local(connection::refuse(socket, failure, worker)));
        }
    }
}

async fn sweep(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        let stream = &worker.config().stream;
        worker.shared.live.sweep(worker.index, stream.idle_timeout, stream.lifetime_max);
        worker.pool.sweep();
    }
}
