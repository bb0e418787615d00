//! `gateway serve`: listeners, control thread, workers; then wait, drain, and say how it ended.

mod engines;
mod entrance;
mod observers;
mod workers;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::{self, AdminState};
use crate::config::packet::SEGMENT_LIMIT;
use crate::config::{AddressBook, Config, DirectoryConfig, StreamConfig};
use crate::connection::{Places, Shared, Table};
use crate::directory::{
    self, ControlPlaneTask, Directory, DirectoryEvents, DnsError, EndpointRules, RedisTask, ServerError, TableError,
};
use crate::drain::{self, DrainSwitch};
use crate::metrics::{DrainState, Metrics};
use crate::sys::descriptors::{self, Capacity};
use crate::sys::{heap, tcp};
use crate::tunnel::live::Caps;
use crate::tunnel::{LiveStreams, Reason};
use crate::upstream::Register;
use crate::worker;
use crate::worker::parting::Parting;
pub(crate) use entrance::secret;
use observers::{Events, Found, Ready, Totals};
use workers::Workers;

/// Connections that wait to be accepted, per listener: a burst of a node's reconnecting clients. The kernel caps it at
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How long closed streams may take to leave after the drain deadline.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the program could not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener could not be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// An engine was asked for that cannot run here.
    #[error("engine '{engine}' cannot run here: {missing} (`gateway probe` tells more)")]
    Engine {
        /// Its name.
        engine: &'static str,
        /// Everything that is missing.
        missing: String,
    },
    /// The embedded table names endpoints that may not be dialled.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The Redis URL does not name a server.
    #[error(transparent)]
    Redis(#[from] ServerError),
    /// Nobody can be asked for the cluster's names.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// A file of a token secret cannot be used.
    #[error("{}: {reason}", path.display())]
    Secret {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A worker ended before the shutdown.
    #[error("a worker failed: {0}")]
    Worker(io::Error),
    /// Anything else that the system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError::System { what, source }
}

/// Runs the gateway until a signal ends it.
///
/// # Errors
/// When it could not start, or a worker failed.
pub fn run(config: Config) -> Result<(), ServeError> {
    heap::keep_little();
    let capacity = capacity(&config)?;
    // First the one that cannot be shared: a second gateway started by mistake fails here, before it takes connections.
    let admin = listen_admin(config.admin).map_err(|source| ServeError::Listen { address: config.admin, source })?;
    let listeners = listeners(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("cannot start the control thread"))?;
    runtime.block_on(control(config, capacity, admin, listeners))
}

/// Raises the soft limit of descriptors to the hard one, and derives how many connections fit.
fn capacity(config: &Config) -> Result<Capacity, ServeError> {
    let limits = || -> nix::Result<u64> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(hard)
    };
    let descriptors = limits().map_err(|error| system("cannot read the limit of descriptors")(error.into()))?;
    let refused = descriptors::own_table_refused();
    if let Some(error) = &refused {
        tracing::warn!(%error, "workers cannot have descriptor tables of their own and share one");
    }
    let capacity = Capacity::new(descriptors, config.workers.get(), refused.is_none());
    let Capacity { per_table, tables, .. } = capacity;
    tracing::info!(connections_max = connections_max(config, capacity), per_table, tables, descriptors, "limits");
    Ok(capacity)
}

fn connections_max(config: &Config, capacity: Capacity) -> usize {
    match config.http.connections_max {
        0 => capacity.total(),
        wanted => wanted.min(capacity.total()),
    }
}

/// The listeners of each worker: one socket per address and worker, all on the same port.
fn listeners(config: &Config) -> Result<Vec<Vec<TcpListener>>, ServeError> {
    let mut workers: Vec<Vec<TcpListener>> = (0..config.workers.get()).map(|_| Vec::new()).collect();
    let segment_max = Some(config.packet.segment_max).filter(|&bytes| bytes <= SEGMENT_LIMIT);
    let segment_max = segment_max.map(|bytes| u32::try_from(bytes).expect("below the limit"));
    for &wanted in &config.listen {
        let mut address = wanted;
        for worker in &mut workers {
            let listener = listen(address, segment_max).map_err(|source| ServeError::Listen { address, source })?;
            // Port 0 becomes a port with the first socket; the other workers join that one.
            address = listener.local_addr().map_err(|source| ServeError::Listen { address, source })?;
            worker.push(listener);
        }
        tracing::info!(%address, role = "data", "listening");
    }
    Ok(workers)
}

fn listen_admin(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn listen(address: SocketAddr, segment_max: Option<u32>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(bytes) = segment_max {
        tcp::set_segment_max(&socket, bytes)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The places of each descriptor table, shared by the workers that have the same one.
fn tables(config: &Config, capacity: &Capacity) -> Vec<Table> {
    let sharing = config.workers.get() / capacity.tables;
    (0..capacity.tables).map(|_| Table::new(capacity.per_table, sharing)).collect()
}

async fn control(
    config: Config,
    capacity: Capacity,
    admin: TcpListener,
    listeners: Vec<Vec<TcpListener>>,
) -> Result<(), ServeError> {
    let mut signals = Signals::new().map_err(system("cannot wait for signals"))?;
    let admin = tokio::net::TcpListener::from_std(admin).map_err(system("cannot serve the admin port"))?;
    let admin_address = admin.local_addr().map_err(|source| ServeError::Listen { address: config.admin, source })?;
    tracing::info!(address = %admin_address, role = "admin", "listening");

    let (switch, drain) = drain::switch();
    let live = LiveStreams::new(config.workers.get(), caps(&config.stream));
    let metrics = Arc::new(Metrics::new());
    let rules = endpoint_rules(&config, &listeners, admin_address)?;
    let guard = entrance::guard(&config.auth)?;
    let register = Register::new(config.workers.get());
    let found = |book| Arc::new(Found { book, streams: Arc::clone(&live), register: Arc::clone(&register) });
    let (dns, resolving) = entrance::dns(&config, &rules, &metrics, found(AddressBook::Dns))?.unzip();
    let (directory, task) = directory(&config, rules, &metrics, found(AddressBook::Directory))?;
    let backend = engines::backend(config.io)?;
    let offload = engines::offload(config.engine, backend, &metrics)?;
    let spliced = engines::splicer(&config, backend, &metrics, &live)?;
    let splicer = spliced.as_ref().map(|spliced| Arc::clone(spliced.splicer()));
    metrics.streams().set_totals(Arc::new(Totals { live: Arc::clone(&live), splicer: splicer.clone() }));
    let connections_max = connections_max(&config, capacity);
    let tables = tables(&config, &capacity);
    let shared = Arc::new(Shared {
        instance: instance(),
        config,
        directory: directory.clone(),
        dns,
        guard,
        metrics: Arc::clone(&metrics),
        register,
        live: Arc::clone(&live),
        drain: drain.clone(),
        connections: Places::new(connections_max),
        tables,
        offload,
        splicer,
    });
    let state = AdminState {
        readiness: Arc::new(Ready { directory, drain }),
        streams: Arc::clone(&live),
        metrics: Arc::clone(&metrics),
    };
    // Sockets of the control thread's come after the parting: none of them gets into a worker's table.
    let sockets = listeners.iter().map(|worker| worker.iter().map(AsRawFd::as_raw_fd).collect()).collect();
    let parting = Parting::new(sockets, admin.as_raw_fd(), capacity.own_tables);
    let mut workers = Workers::start(&shared, backend, parting, listeners).await?;
    spliced.into_iter().for_each(|spliced| spliced.watch(Arc::clone(&live)));
    task.start();
    let _resolving = resolving.map(|resolving| tokio::spawn(resolving.run()));
    tokio::spawn(async move {
        if let Err(error) = admin::serve(admin, state).await {
            tracing::error!(%error, "the admin listener failed");
        }
    });
    tracing::info!(workers = shared.config.workers.get(), "ready");
    tokio::select! {
        () = signals.next() => {}
        failed = workers.failed() => return Err(ServeError::Worker(failed)),
    }
    finish(&shared, &switch, signals, workers).await
}

/// The caps of streams; sessions of the broker bring their own.
fn caps(stream: &StreamConfig) -> Caps {
    Caps { per_client: stream.per_client_max, per_sandbox: stream.per_sandbox_max, counted_with: 0 }
}

/// Drains. A second signal ends at once.
async fn finish(
    shared: &Arc<Shared>,
    switch: &DrainSwitch,
    mut signals: Signals,
    workers: Workers,
) -> Result<(), ServeError> {
    let config = &shared.config;
    tracing::info!(streams = shared.live.len(), timeout_s = config.drain_timeout.as_secs(), "draining");
    shared.metrics.set_drain_state(DrainState::Draining);
    tokio::select! {
        () = switch.run(config.drain_delay, config.drain_timeout, worker::drained(shared)) => {}
        () = engines::hand_over(shared.live.keeper()) => {}
        () = signals.next() => {
            tracing::warn!("a second signal: ending at once");
            return Ok(());
        }
    }
    let left = shared.live.len();
    if left > 0 {
        shared.metrics.set_drain_state(DrainState::Closing);
        tracing::info!(streams = left, "the drain deadline is over: closing what is left");
        shared.live.close_all(Reason::Drain);
        let _all_left = tokio::time::timeout(CLOSING_TIMEOUT, worker::drained(shared)).await.is_ok();
    }
    switch.expire();
    workers.join().await;
    if let Some(splicer) = &shared.splicer {
        splicer.remove();
    }
    tracing::info!(closed_by_deadline = left, "stopped");
    Ok(())
}

/// What a directory does on the control thread.
enum Task {
    None,
    Redis(Box<RedisTask>),
    ControlPlane(Box<ControlPlaneTask>),
}

impl Task {
    fn start(self) {
        match self {
            Self::None => {}
            Self::Redis(task) => drop(tokio::spawn(task.run())),
            Self::ControlPlane(task) => drop(tokio::spawn(task.run())),
        }
    }
}

fn endpoint_rules(
    config: &Config,
    listeners: &[Vec<TcpListener>],
    admin: SocketAddr,
) -> Result<EndpointRules, ServeError> {
    let bound: io::Result<Vec<_>> =
        listeners.first().into_iter().flatten().map(TcpListener::local_addr).chain([Ok(admin)]).collect();
    let own = bound
        .and_then(|bound| directory::endpoint::own_addresses(&bound))
        .map_err(system("cannot list own addresses"))?;
    Ok(EndpointRules { allow: config.upstream.allow.clone(), own })
}

fn directory(
    config: &Config,
    rules: EndpointRules,
    metrics: &Arc<Metrics>,
    found: Arc<Found>,
) -> Result<(Directory, Task), ServeError> {
    let events: Arc<dyn DirectoryEvents> = Arc::new(Events(Arc::clone(metrics)));
    match &config.directory {
        DirectoryConfig::Embedded(table) => Ok((Directory::embedded(table, &rules, events)?, Task::None)),
        DirectoryConfig::Redis(redis) => {
            let (directory, task) = Directory::redis(redis, rules, events, found)?;
            Ok((directory, Task::Redis(Box::new(task))))
        }
        DirectoryConfig::ControlPlane(control_plane) => {
            let (directory, task) = Directory::control_plane(control_plane, rules, events, found);
            Ok((directory, Task::ControlPlane(Box::new(task))))
        }
    }
}

/// What tells this process from others in request ids.
fn instance() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.subsec_nanos().rotate_left(16)
        ^ std::process::id()
        ^ u32::try_from(since.as_secs() & 0xffff_ffff).unwrap_or_default()
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
