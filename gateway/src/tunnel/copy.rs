//! The `copy` engine: receive and send in user space. Always available, and the reference the others are tested
//! against.
//!
//! A direction has one chunk in flight. Its chunk is taken from the worker's pool when bytes arrive and goes back as
//! soon as the other socket has taken them, or has not: then the remainder moves to memory of its own, and nothing more
//! is read until it is gone. So an idle direction holds no memory, and a stalled one at most a chunk.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::Tunnel;
use super::half_close::{Action, DirectionEnd, Ended, Event, HalfClose, Peer, Reason, Side};
use super::live::{Direction, StreamGuard};
use crate::sys::{ChunkSize, Socket};

/// How long a peer may go on sending to a side that takes nothing any more, before its connection is closed under it.
/// Until then its bytes are read and discarded: closing a socket with unread bytes would reset it and destroy what is
/// on its way to it.
const UNDELIVERABLE_LINGER: Duration = Duration::from_secs(60);

/// Runs a stream to its end.
pub async fn run(tunnel: Tunnel, stream: &StreamGuard) -> Ended {
    let Tunnel { client, upstream, to_upstream, to_client } = tunnel;
    let mut state = HalfClose::default();
    let reset = {
        let mut up = pin!(pump(&client, &upstream, to_upstream, stream, Direction::Up));
        let mut down = pin!(pump(&upstream, &client, to_client, stream, Direction::Down));
        let reset = loop {
            let event = tokio::select! {
                end = &mut up, if !state.has_ended(Peer::Client) => Event::Ended(Peer::Client, end),
                end = &mut down, if !state.has_ended(Peer::Upstream) => Event::Ended(Peer::Upstream, end),
                reason = stream.closing() => Event::Close(reason),
            };
            match state.on(event) {
                Action::Continue => {}
                Action::PassEnd(Peer::Client) => pass_end(&client),
                Action::PassEnd(Peer::Upstream) => pass_end(&upstream),
                Action::Finish { reset } => break reset,
            }
        };
        // What the other direction had delivered by then is counted: its client may have read it before it left.
        if !state.has_ended(Peer::Client) {
            let _over = poll_once(up.as_mut()).await;
        }
        if !state.has_ended(Peer::Upstream) {
            let _over = poll_once(down.as_mut()).await;
        }
        // Leaving this block drops what is still being received: the stream is given up, its bytes with it.
        reset
    };
    match reset {
        Some(Peer::Client) => client.reset_on_close(),
        Some(Peer::Upstream) => upstream.reset_on_close(),
        None => {}
    }
    state.first().unwrap_or(Ended { side: Side::Gateway, reason: Reason::Failed })
}

/// What `future` comes to without waiting for it.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn pass_end(peer: &Socket) {
    if let Err(error) = peer.shutdown_write() {
        // The peer is gone already; its own direction reports how.
        tracing::trace!(%error, "an end could not be passed on");
    }
}

/// Moves one direction's bytes until it ends.
async fn pump(
    from: &Socket,
    to: &Socket,
    behind_head: Vec<u8>,
    stream: &StreamGuard,
    direction: Direction,
) -> DirectionEnd {
    let bytes = behind_head.len();
    if bytes > 0 {
        if to.send_bytes(behind_head).await.is_err() {
            return discard(from).await;
        }
        stream.moved(direction, bytes);
    }
    let mut size = ChunkSize::Small;
    loop {
        match from.recv(size).await {
            Ok(Some(chunk)) => {
                size = chunk.next_size();
                let bytes = chunk.len();
                if to.send(chunk).await.is_err() {
                    return discard(from).await;
                }
                stream.moved(direction, bytes);
            }
            Ok(None) => return DirectionEnd::Fin,
            Err(error) => return DirectionEnd::Broken(reason_of(&error)),
        }
    }
}

/// Reads what can no longer be delivered, until its sender ends too.
async fn discard(from: &Socket) -> DirectionEnd {
    let reading = async { while matches!(from.recv(ChunkSize::Small).await, Ok(Some(_))) {} };
    // Out of time or at an end, the direction is over either way.
    let _in_time = tokio::time::timeout(UNDELIVERABLE_LINGER, reading).await.is_ok();
    DirectionEnd::Undeliverable
}

fn reason_of(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => Reason::Reset,
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Reason::Vanished
        }
        _ => Reason::Failed,
    }
}
