//! The last that is said of a stream.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Ended, Engine};
use crate::metrics::StreamMetrics;
use crate::route::SandboxId;

/// A stream that is over.
pub struct Closed<'a> {
    /// The request that opened it.
    pub request_id: &'a str,
    /// Its number.
    pub id: u64,
    /// Whose it was.
    pub sandbox: &'a SandboxId,
    /// The client's address.
    pub client: SocketAddr,
    /// The pod's address.
    pub endpoint: SocketAddr,
    /// Who moved its bytes at last.
    pub engine: Engine,
    /// Bytes by direction.
    pub bytes: [u64; 2],
    /// Those of them, in both directions, that the kernel moved.
    pub kernel_bytes: u64,
    /// How often it went into the kernel.
    pub promotions: u64,
    /// From its 101 to its end.
    pub duration: Duration,
    /// Who ended it, and why.
    pub ended: Ended,
}

impl Closed<'_> {
    /// Writes the stream's line, and counts it.
    pub fn tell(&self, metrics: &StreamMetrics) {
        let Self { request_id, id, sandbox, client, endpoint, engine, bytes, kernel_bytes, promotions, .. } = *self;
        let Ended { side, reason } = self.ended;
        metrics.closed(engine.label(), side.label(), reason.label(), self.duration);
        tracing::info!(
            target: "stream",
            request_id,
            stream = id,
            %sandbox,
            %client,
            %endpoint,
            engine = engine.label(),
            bytes_up = bytes[0],
            bytes_down = bytes[1],
            kernel_bytes,
            promotions,
            duration_ms = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            side = side.label(),
            reason = reason.label(),
            "stream closed"
        );
    }
}
