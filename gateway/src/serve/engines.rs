//! What the workers wait with, and which engines they have: decided once, before they start.

use std::sync::Arc;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};

use super::ServeError;
use crate::bpf::splicer::Splicer;
use crate::config::{EngineChoice, IoChoice};
use crate::metrics::Metrics;
use crate::probe;
use crate::sys::Backend;
use crate::tunnel::Engine;

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

/// How often every spliced stream looks for itself: for an event that was lost, and for an end that has gone silent.
const LOOK: Duration = Duration::from_secs(1);

/// The kernel side of the packet engine, where streams may be spliced. It watches over them on this thread. What is
/// missing where they cannot is told once, here.
pub(super) fn splicer(
    choice: EngineChoice,
    backend: Backend,
    metrics: &Metrics,
) -> Result<Option<Arc<Splicer>>, ServeError> {
    let engine = Engine::Packet;
    let started = match choice {
        EngineChoice::Auto | EngineChoice::Packet => started(backend).map(Some),
        EngineChoice::Copy | EngineChoice::Splice | EngineChoice::Sockmap => Ok(None),
    };
    metrics.streams().set_available(engine.label(), matches!(started, Ok(Some(_))));
    let (splicer, events) = match started {
        Ok(Some(started)) => started,
        Ok(None) => return Ok(None),
        Err(missing) if choice == EngineChoice::Packet => {
            return Err(ServeError::Engine { engine: engine.label(), missing });
        }
        Err(missing) => {
            tracing::warn!(missing, "streams keep their sockets");
            return Ok(None);
        }
    };
    let attending = Arc::clone(&splicer);
    tokio::spawn(async move {
        if let Err(error) = attending.attend(events).await {
            tracing::error!(%error, "the events of spliced streams cannot be read");
        }
    });
    let sweeping = Arc::clone(&splicer);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            sweeping.sweep();
        }
    });
    Ok(Some(splicer))
}

fn started(backend: Backend) -> Result<(Arc<Splicer>, RingBuf<MapData>), String> {
    let missing = probe::missing(Engine::Packet, backend);
    if !missing.is_empty() {
        return Err(missing.join("; "));
    }
    Splicer::start().map_err(|error| error.to_string())
}
