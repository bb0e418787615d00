//! From the 101 to the end: the stream's own task, which outlives everything HTTP about its connection.

use std::rc::Rc;
use std::time::Duration;

use super::context::{Context, Counted};
use crate::sys::Socket;
use crate::tunnel::closing::Closed;
use crate::tunnel::live::Direction;
use crate::tunnel::{self, Conclusion, Ended, StreamGuard, Tunnel};

/// An accepted upgrade: everything about the stream but the client's side.
pub(super) struct Accepted {
    pub(super) upstream: Socket,
    /// What the pod sent behind its 101.
    pub(super) to_client: Vec<u8>,
    pub(super) stream: StreamGuard,
}

/// Runs an established stream to its end and accounts for it, or to where it goes on without sockets.
pub(super) async fn run(
    client: Socket,
    to_upstream: Vec<u8>,
    accepted: Accepted,
    context: Rc<Context>,
    counted: Counted,
) {
    let Accepted { upstream, to_client, stream } = accepted;
    for (socket, tuning) in [(&client, &context.client_tuning), (&upstream, &context.upstream_tuning)] {
        if let Err(error) = tuning.apply(socket) {
            tracing::debug!(%error, "could not tune a stream's socket");
        }
    }
    let metrics = context.shared.metrics.streams();
    metrics.opened(stream.engine().label());
    let tunnel = Tunnel { client, upstream, to_upstream, to_client };
    match tunnel::run(tunnel, &context.plan, &stream).await {
        Conclusion::Spliced(place) => {
            tunnel::keep(stream, place);
            // It has no descriptors any more, which are what connections are counted for.
            drop(counted);
            return;
        }
        Conclusion::Ended(ended) => close_line(&stream, ended).tell(metrics),
    }
    leave(stream, counted);
}

/// The registry forgets a stream before the connection is counted out, so that whoever sees no connection sees no
/// stream.
fn leave(stream: StreamGuard, counted: Counted) {
    drop(stream);
    drop(counted);
}

fn close_line(stream: &StreamGuard, ended: Ended) -> Closed<'_> {
    Closed {
        request_id: stream.request_id(),
        id: stream.id(),
        sandbox: stream.sandbox(),
        client: stream.client(),
        endpoint: stream.endpoint(),
        engine: stream.engine(),
        bytes: Direction::ALL.map(|direction| stream.bytes(direction)),
        kernel_bytes: stream.kernel_bytes(),
        promotions: stream.promotions().into(),
        duration: stream.age(),
        ended,
    }
}

/// For a log line.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
