//! What the workers wait with, and which engines they have: decided once, before they start.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ServeError;
use crate::bpf::splicer::{Events, Splicer, Started};
use crate::config::{AddressBook, Config, DirectoryConfig, EngineChoice, IoChoice, PacketConfig};
use crate::connection;
use crate::metrics::Metrics;
use crate::probe;
use crate::route::SandboxId;
use crate::sys::Backend;
use crate::tunnel::live::SWEEP_INTERVAL;
use crate::tunnel::packet::{self, Keeper, Terms};
use crate::tunnel::{Engine, LiveStreams, Reason};

/// What the workers wait with. A refusal is told once, here.
pub(super) fn backend(choice: IoChoice) -> Result<Backend, ServeError> {
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
pub(super) fn offload(choice: EngineChoice, backend: Backend, metrics: &Metrics) -> Result<bool, ServeError> {
    let streams = metrics.streams();
    streams.set_available(Engine::Copy.label(), true);
    let missing = |engine: Engine, wanted: bool| {
        let missing = if wanted { probe::missing(engine, backend) } else { Vec::new() };
        streams.set_available(engine.label(), wanted && missing.is_empty());
        missing.join("; ")
    };
    let splice = missing(Engine::Splice, choice == EngineChoice::Splice);
    if !splice.is_empty() {
        return Err(ServeError::Engine { engine: Engine::Splice.label(), missing: splice });
    }
    let offload = matches!(choice, EngineChoice::Auto | EngineChoice::Sockmap);
    let sockmap = missing(Engine::Sockmap, offload);
    if !sockmap.is_empty() && choice == EngineChoice::Sockmap {
        return Err(ServeError::Engine { engine: Engine::Sockmap.label(), missing: sockmap });
    }
    if !sockmap.is_empty() {
        tracing::warn!(missing = sockmap, "streams stay in user space");
    }
    Ok(offload && sockmap.is_empty())
}

/// The kernel side of the packet engine, and who looks after its streams.
pub(super) struct Spliced {
    keeper: Arc<Keeper>,
    events: Events,
    /// The sandboxes of a directory that never tells of one that has left, since none does while the process runs.
    sandboxes: Option<BTreeSet<SandboxId>>,
}

/// The kernel side of the packet engine, where streams may be spliced. The streams of gateways before this one are in
/// `live` then. What is missing where they cannot is told once, here.
pub(super) fn splicer(
    config: &Config,
    backend: Backend,
    metrics: &Arc<Metrics>,
    live: &LiveStreams,
) -> Result<Option<Spliced>, ServeError> {
    let engine = Engine::Packet.label();
    let started = match config.engine {
        EngineChoice::Auto | EngineChoice::Packet => started(&config.packet, backend).map(Some),
        EngineChoice::Copy | EngineChoice::Splice | EngineChoice::Sockmap => Ok(None),
    };
    metrics.streams().set_available(engine, matches!(started, Ok(Some(_))));
    let Started { splicer, events, adopted } = match started {
        Ok(Some(started)) => started,
        Ok(None) => return Ok(None),
        Err(missing) if config.engine == EngineChoice::Packet => return Err(ServeError::Engine { engine, missing }),
        Err(missing) => {
            tracing::warn!(missing, "streams keep their sockets");
            return Ok(None);
        }
    };
    let terms = Terms {
        keepalive: connection::tuning(&config.stream, 0),
        idle_timeout: config.stream.idle_timeout,
        lifetime_max: config.stream.lifetime_max,
    };
    let keeper = Keeper::new(splicer, terms, Arc::clone(metrics), live.ids());
    let sandboxes = match &config.directory {
        DirectoryConfig::Embedded(table) => Some(table.keys().cloned().collect()),
        DirectoryConfig::Redis(_) | DirectoryConfig::ControlPlane(_) => None,
    };
    live.set_keeper(&keeper, adopted);
    close_absent(sandboxes.as_ref(), live);
    Ok(Some(Spliced { keeper, events, sandboxes }))
}

fn started(config: &PacketConfig, backend: Backend) -> Result<Started, String> {
    let missing = probe::missing(Engine::Packet, backend);
    if !missing.is_empty() {
        return Err(missing.join("; "));
    }
    Splicer::start(config).map_err(|error| error.to_string())
}

impl Spliced {
    /// The kernel side.
    pub(super) fn splicer(&self) -> &Arc<Splicer> {
        self.keeper.splicer()
    }

    /// Looks after the streams on this thread, for as long as its runtime runs. It opens files now and then, so the
    /// workers must have tables of their own by now.
    pub(super) fn watch(self, live: Arc<LiveStreams>) {
        let Self { keeper, events, sandboxes } = self;
        let attending = Arc::clone(&keeper);
        tokio::spawn(async move {
            if let Err(error) = events.read(|number| attending.look(number)).await {
                // The sweep still sees what the events would have told, a second later at most.
                tracing::error!(%error, "the events of spliced streams cannot be read");
            }
        });
        let relaying = Arc::clone(keeper.splicer());
        tokio::spawn(async move {
            if let Err(error) = packet::relay(relaying).await {
                tracing::error!(%error, "what routers say about spliced packets is not heard");
            }
        });
        let following = Arc::clone(&keeper);
        tokio::spawn(async move {
            if let Err(error) = packet::follow(following).await {
                tracing::error!(%error, "streams without sockets do not follow routes and interfaces");
            }
        });
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
            loop {
                ticks.tick().await;
                let adopted = keeper.splicer().adopt();
                if !adopted.is_empty() {
                    live.adopt(adopted);
                    close_absent(sandboxes.as_ref(), &live);
                }
                keeper.sweep();
            }
        });
    }
}

/// Closes streams that a gateway before had to sandboxes which the embedded directory of this one lacks.
fn close_absent(sandboxes: Option<&BTreeSet<SandboxId>>, live: &LiveStreams) {
    let Some(sandboxes) = sandboxes else { return };
    let book = AddressBook::Directory;
    let absent = live.sandboxes(book).into_iter().filter(|sandbox| !sandboxes.contains(sandbox));
    absent.for_each(|sandbox| live.close_sandbox(&sandbox, book, Reason::SandboxGone));
}

/// Leaves streams without sockets to another gateway that shares them, as soon as there is one. It never returns: there
/// may be a next one.
pub(super) async fn hand_over(keeper: Option<&Arc<Keeper>>) {
    let Some(keeper) = keeper else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        // A stream that is just being spliced has come to the keeper by the next time.
        if keeper.splicer().has_successor() && !keeper.splicer().close() && keeper.splicer().is_there() {
            let streams = keeper.hand_over();
            tracing::info!(streams, "left the streams without sockets to another gateway");
        }
    }
}
