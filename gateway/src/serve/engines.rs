//! What the workers wait with, and which engines they have: decided once, before they start.

use super::ServeError;
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
