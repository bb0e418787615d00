//! What the admin listener needs from the registry of live streams.

use std::net::SocketAddr;

use crate::route::SandboxId;

/// The live streams, as somebody who asks sees them.
pub trait StreamsView: Send + Sync {
    /// All streams that are open now, in no particular order.
    fn snapshot(&self) -> Vec<StreamInfo>;

    /// Closes a stream. Returns whether there was one with this id.
    fn close(&self, id: u64) -> bool;
}

/// One live stream.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StreamInfo {
    /// Unique for the life of the process.
    pub id: u64,
    /// The sandbox it belongs to.
    pub sandbox: SandboxId,
    /// The client's address.
    pub client: SocketAddr,
    /// The sandbox's address.
    pub endpoint: SocketAddr,
    /// What moves its bytes now.
    pub engine: &'static str,
    /// Bytes from the client to the sandbox.
    pub bytes_up: u64,
    /// Bytes from the sandbox to the client.
    pub bytes_down: u64,
    /// Seconds since its 101.
    pub age_seconds: u64,
    /// Seconds since its last byte in either direction.
    pub idle_seconds: u64,
}
