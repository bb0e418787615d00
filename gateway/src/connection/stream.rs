//! From the 101 to the end: the stream's own task, which outlives everything HTTP about its connection.

use std::rc::Rc;
use std::time::Duration;

use super::context::{Context, Counted};
use crate::sys::Socket;
use crate::tunnel::live::Direction;
use crate::tunnel::{self, StreamGuard, Tunnel};

/// An accepted upgrade: everything about the stream but the client's side.
pub(super) struct Accepted {
    pub(super) upstream: Socket,
    /// What the pod sent behind its 101.
    pub(super) to_client: Vec<u8>,
    pub(super) stream: StreamGuard,
    pub(super) request_id: String,
}

/// Runs an established stream to its end and accounts for it.
pub(super) async fn run(
    client: Socket,
    to_upstream: Vec<u8>,
    accepted: Accepted,
    context: Rc<Context>,
    counted: Counted,
) {
    let Accepted { upstream, to_client, stream, request_id } = accepted;
    for (socket, tuning) in [(&client, &context.client_tuning), (&upstream, &context.upstream_tuning)] {
        if let Err(error) = tuning.apply(socket) {
            tracing::debug!(%error, "could not tune a stream's socket");
        }
    }
    let metrics = context.shared.metrics.streams();
    metrics.opened(stream.engine().label());
    let ended = tunnel::run(Tunnel { client, upstream, to_upstream, to_client }, &context.plan, &stream).await;
    metrics.closed(stream.engine().label(), ended.side.label(), ended.reason.label(), stream.age());
    tracing::info!(
        target: "stream",
        request_id,
        stream = stream.id(),
        sandbox = %stream.sandbox(),
        client = %stream.client(),
        endpoint = %stream.endpoint(),
        engine = stream.engine().label(),
        bytes_up = stream.bytes(Direction::Up),
        bytes_down = stream.bytes(Direction::Down),
        kernel_bytes = stream.kernel_bytes(),
        promotions = stream.promotions(),
        duration_ms = millis(stream.age()),
        side = ended.side.label(),
        reason = ended.reason.label(),
        "stream closed"
    );
    leave(stream, counted);
}

/// The registry forgets a stream before the connection is counted out, so that whoever sees no connection sees no
/// stream.
fn leave(stream: StreamGuard, counted: Counted) {
    drop(stream);
    drop(counted);
}

/// For a log line.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
