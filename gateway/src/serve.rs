//! `gateway serve`: listeners, control thread, workers; then wait, drain, and say how it ended.

mod observers;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::{self, AdminState};
use crate::config::{Config, DirectoryConfig, EngineChoice, IoChoice, Sources};
use crate::connection::Shared;
use crate::directory::{self, Directory, DirectoryEvents, EndpointRules, RedisTask, ServerError, TableError};
use crate::drain::{self, DrainSwitch};
use crate::metrics::{DrainState, Metrics};
use crate::probe;
use crate::sys::{Backend, cpu};
use crate::tunnel::live::Caps;
use crate::tunnel::{Engine, LiveStreams, Reason};
use crate::worker;
use observers::{Events, Ready, Streams};

/// Connections that wait to be accepted, per listener: a burst of a node's reconnecting clients. The kernel caps it at
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Descriptors that are not connections: listeners, rings, Redis, logs, admin connections.
const DESCRIPTOR_RESERVE: u64 = 256;

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
    /// Something was asked for that this build does not have.
    #[error("{0} is not available in this build")]
    NotInThisBuild(String),
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
    check_build(&config)?;
    let connections_max = connections_max(&config)?;
    // First the one that cannot be shared: a second gateway started by mistake fails here, before it takes connections.
    let admin = listen_admin(config.admin).map_err(|source| ServeError::Listen { address: config.admin, source })?;
    let listeners = listeners(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("cannot start the control thread"))?;
    runtime.block_on(control(config, connections_max, admin, listeners))
}

fn check_build(config: &Config) -> Result<(), ServeError> {
    let Sources { path: _, cookie: _, host, header, prefix, broker } = config.routing.sources;
    let missing = [("host", host), ("header", header), ("prefix", prefix), ("broker", broker)];
    if let Some((source, _)) = missing.into_iter().find(|(_, wanted)| *wanted) {
        return Err(ServeError::NotInThisBuild(format!("source '{source}'")));
    }
    match config.engine {
        EngineChoice::Auto | EngineChoice::Copy | EngineChoice::Sockmap => Ok(()),
        EngineChoice::Splice => Err(ServeError::NotInThisBuild("engine 'splice'".into())),
        EngineChoice::Packet => Err(ServeError::NotInThisBuild("engine 'packet'".into())),
    }
}

/// Raises the soft limit of descriptors to the hard one, and derives how many connections fit: each may become a
/// stream, which has two.
fn connections_max(config: &Config) -> Result<usize, ServeError> {
    let limits = || -> nix::Result<u64> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(hard)
    };
    let descriptors = limits().map_err(|error| system("cannot read the limit of descriptors")(error.into()))?;
    let fit = usize::try_from(descriptors.saturating_sub(DESCRIPTOR_RESERVE) / 2).unwrap_or(usize::MAX);
    let chosen = match config.http.connections_max {
        0 => fit,
        wanted => wanted.min(fit),
    };
    tracing::info!(connections_max = chosen, descriptors, "limits");
    Ok(chosen)
}

/// The listeners of each worker: one socket per address and worker, all on the same port.
fn listeners(config: &Config) -> Result<Vec<Vec<TcpListener>>, ServeError> {
    let mut workers: Vec<Vec<TcpListener>> = (0..config.workers.get()).map(|_| Vec::new()).collect();
    for &wanted in &config.listen {
        let mut address = wanted;
        for worker in &mut workers {
            let listener = listen(address).map_err(|source| ServeError::Listen { address, source })?;
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

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn control(
    config: Config,
    connections_max: usize,
    admin: TcpListener,
    listeners: Vec<Vec<TcpListener>>,
) -> Result<(), ServeError> {
    let mut signals = Signals::new().map_err(system("cannot wait for signals"))?;
    let admin = tokio::net::TcpListener::from_std(admin).map_err(system("cannot serve the admin port"))?;
    let admin_address = admin.local_addr().map_err(|source| ServeError::Listen { address: config.admin, source })?;
    tracing::info!(address = %admin_address, role = "admin", "listening");

    let (switch, drain) = drain::switch();
    let caps = Caps { per_client: config.stream.per_client_max, per_sandbox: config.stream.per_sandbox_max };
    let live = LiveStreams::new(config.workers.get(), caps);
    let metrics = Arc::new(Metrics::new());
    metrics.streams().set_totals(Arc::new(Streams(Arc::clone(&live))));
    let (directory, redis) = directory(&config, &listeners, admin_address, &metrics, &live)?;
    if let Some(redis) = redis {
        tokio::spawn(redis.run());
    }
    let backend = backend(config.io)?;
    let offload = offload(config.engine, backend, &metrics)?;
    let shared = Arc::new(Shared {
        instance: instance(),
        config,
        directory: directory.clone(),
        metrics: Arc::clone(&metrics),
        live: Arc::clone(&live),
        drain: drain.clone(),
        connections: AtomicUsize::new(0),
        connections_max,
        offload,
    });
    let state = AdminState {
        readiness: Arc::new(Ready { directory, drain }),
        streams: Arc::clone(&live),
        metrics: Arc::clone(&metrics),
    };
    tokio::spawn(async move {
        if let Err(error) = admin::serve(admin, state).await {
            tracing::error!(%error, "the admin listener failed");
        }
    });
    let mut workers = Workers::start(&shared, backend, listeners)?;
    tracing::info!(workers = shared.config.workers.get(), "ready");
    tokio::select! {
        () = signals.next() => {}
        failed = workers.failed() => return Err(ServeError::Worker(failed)),
    }
    finish(&shared, &switch, signals, workers).await
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
    tracing::info!(closed_by_deadline = left, "stopped");
    Ok(())
}

fn directory(
    config: &Config,
    listeners: &[Vec<TcpListener>],
    admin: SocketAddr,
    metrics: &Arc<Metrics>,
    live: &Arc<LiveStreams>,
) -> Result<(Directory, Option<RedisTask>), ServeError> {
    let bound: io::Result<Vec<_>> =
        listeners.first().into_iter().flatten().map(TcpListener::local_addr).chain([Ok(admin)]).collect();
    let own = bound
        .and_then(|bound| directory::endpoint::own_addresses(&bound))
        .map_err(system("cannot list own addresses"))?;
    let rules = EndpointRules { allow: config.upstream.allow.clone(), own };
    let events: Arc<dyn DirectoryEvents> = Arc::new(Events(Arc::clone(metrics)));
    match &config.directory {
        DirectoryConfig::Embedded(table) => Ok((Directory::embedded(table, &rules, events)?, None)),
        DirectoryConfig::Redis(redis) => {
            let streams = Arc::new(Streams(Arc::clone(live)));
            let (directory, task) = Directory::redis(redis, rules, events, streams)?;
            Ok((directory, Some(task)))
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

/// What the workers wait with. A refusal is told once, here.
fn backend(choice: IoChoice) -> Result<Backend, ServeError> {
    if choice == IoChoice::Epoll {
        return Ok(Backend::Epoll);
    }
    match Backend::detect() {
        (backend, None) => Ok(backend),
        (_, Some(source)) if choice == IoChoice::Uring => {
            Err(ServeError::System { what: "io_uring cannot be used", source })
        }
        (backend, Some(error)) => {
            tracing::warn!(%error, "io_uring cannot be used; going on with epoll");
            Ok(backend)
        }
    }
}

/// Whether streams go into the kernel. What is missing where they cannot is told once, here.
fn offload(choice: EngineChoice, backend: Backend, metrics: &Metrics) -> Result<bool, ServeError> {
    let streams = metrics.streams();
    streams.set_available(Engine::Copy.label(), true);
    let missing = match choice {
        EngineChoice::Copy | EngineChoice::Splice | EngineChoice::Packet => None,
        EngineChoice::Auto | EngineChoice::Sockmap => Some(probe::missing(Engine::Sockmap, backend)),
    };
    let available = missing.as_ref().is_some_and(Vec::is_empty);
    streams.set_available(Engine::Sockmap.label(), available);
    let missing = missing.unwrap_or_default().join("; ");
    if !missing.is_empty() && choice == EngineChoice::Sockmap {
        return Err(ServeError::Engine { engine: Engine::Sockmap.label(), missing });
    }
    if !missing.is_empty() {
        tracing::warn!(missing, "streams stay in user space");
    }
    Ok(available)
}

/// The workers' threads.
struct Workers {
    threads: Vec<JoinHandle<()>>,
    failures: tokio::sync::mpsc::UnboundedReceiver<io::Error>,
}

impl Workers {
    fn start(shared: &Arc<Shared>, backend: Backend, listeners: Vec<Vec<TcpListener>>) -> Result<Self, ServeError> {
        tracing::info!(backend = backend.label(), "moving bytes with");
        let cores = cpu::allowed().map_err(system("cannot read the allowed cores"))?;
        // More workers than cores are left to the scheduler: pinning would put two on one core and leave none free.
        let pins = cores.len() >= listeners.len();
        let (failed, failures) = tokio::sync::mpsc::unbounded_channel();
        let spawn = |(index, listeners)| {
            let (shared, failed) = (Arc::clone(shared), failed.clone());
            let core = pins.then(|| cores[index]);
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                if let Err(error) = worker::run(&shared, index, core, backend, listeners) {
                    // Nobody listens any more once the program ends for another reason.
                    let _ending = failed.send(error).is_err();
                }
            })
        };
        let threads: io::Result<Vec<_>> = listeners.into_iter().enumerate().map(spawn).collect();
        Ok(Self { threads: threads.map_err(system("cannot start a worker"))?, failures })
    }

    /// The first failure of a worker.
    async fn failed(&mut self) -> io::Error {
        match self.failures.recv().await {
            Some(error) => error,
            None => io::Error::other("all workers ended"),
        }
    }

    async fn join(self) {
        let joining = tokio::task::spawn_blocking(move || {
            self.threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count()
        });
        match tokio::time::timeout(CLOSING_TIMEOUT, joining).await {
            Ok(Ok(0)) => {}
            _ => tracing::warn!("a worker did not end in order"),
        }
    }
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
