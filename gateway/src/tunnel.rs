//! An established stream: the bytes behind a 101, moved by an engine until both directions have ended.
//!
//! # The contract that every engine keeps
//!
//! 1. Bytes already read behind the heads, in either direction, are delivered first.
//! 2. Order is kept, nothing is lost, nothing is duplicated, whatever the chunking.
//! 3. Each direction's end is passed on exactly once, after its last byte; a reset becomes a reset.
//! 4. Bytes per direction, duration, who ended the stream and why are reported.
//! 5. Memory is bounded whatever either side does.
//! 6. On any exit nothing stays behind: no descriptor, no map entry, no pipe.
//! 7. The gateway can close a stream at any time.
//!
//! One conformance suite (`tests/engine_contract.rs`) runs against each engine.

pub mod copy;
pub mod half_close;
pub mod live;

use crate::sys::Socket;

pub use half_close::{Ended, Reason, Side};
pub use live::{LiveStreams, StreamGuard};

/// What is handed to an engine.
pub struct Tunnel {
    /// The browser's or SDK's connection.
    pub client: Socket,
    /// The pod's connection.
    pub upstream: Socket,
    /// What the client sent behind its request head.
    pub to_upstream: Vec<u8>,
    /// What the pod sent behind its 101.
    pub to_client: Vec<u8>,
}

/// Who moves the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Receive and send in user space: always available, and the reference for the others.
    Copy,
}

impl Engine {
    /// Every engine of this build.
    pub const ALL: [Self; 1] = [Self::Copy];

    /// The name in configuration, logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Copy => "copy",
        }
    }
}

/// Runs a stream to its end.
pub async fn run(tunnel: Tunnel, engine: Engine, stream: &StreamGuard) -> Ended {
    match engine {
        Engine::Copy => copy::run(tunnel, stream).await,
    }
}
