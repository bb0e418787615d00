//! Both directions of a stream in user space: two pumps, and what to do as each comes to its end.
//!
//! A stream can leave the user path while it lives, at an instant when both pumps wait and nothing is in their hands.
//! [`Pause`] finds that instant.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::half_close::{Action, DirectionEnd, Ended, Event, HalfClose, Peer, Reason, Side};
use super::live::{Direction, StreamGuard, Told};
use super::pause::Pause;
use super::{Sides, UserEngine, copy, splice};
use crate::sys::{ChunkSize, Socket};

/// How long a peer may go on sending to a side that takes nothing any more, before its connection is closed under it.
/// Until then its bytes are read and discarded: closing a socket with unread bytes would reset it and destroy what is
/// on its way to it.
const UNDELIVERABLE_LINGER: Duration = Duration::from_secs(60);

/// How a stream left the user path.
pub(super) enum Outcome {
    /// It is over.
    Ended(Ended),
    /// Both pumps rest, and everything that was read has been delivered.
    Resting,
}

/// What was read behind the heads, by direction; it is delivered first.
pub(super) type Behind = [Vec<u8>; 2];

/// Runs a stream on the user path until it ends, or rests because somebody asked it to.
///
/// With `eager` it rests as soon as it can.
pub(super) async fn run(sides: &Sides, behind: Behind, stream: &StreamGuard, eager: bool) -> Outcome {
    let pause = Pause::new(eager);
    let mut state = HalfClose::default();
    let [to_upstream, to_client] = behind;
    let reset = {
        let pump = |direction, behind| pump(sides, direction, behind, stream, &pause);
        let mut up = pin!(pump(Direction::Up, to_upstream));
        let mut down = pin!(pump(Direction::Down, to_client));
        let mut resting = [false; 2];
        let reset = loop {
            if resting == [true; 2] {
                return Outcome::Resting;
            }
            let turn = tokio::select! {
                end = &mut up, if !resting[0] && !state.has_ended(Peer::Client) => Turn::Pump(Peer::Client, end),
                end = &mut down, if !resting[1] && !state.has_ended(Peer::Upstream) => Turn::Pump(Peer::Upstream, end),
                told = stream.told() => Turn::Told(told),
                () = pause.off(), if resting != [false; 2] => Turn::CalledOff,
            };
            let event = match turn {
                Turn::Pump(peer, PumpEnd::Ended(end)) => Event::Ended(peer, end),
                Turn::Pump(peer, PumpEnd::Resting) => {
                    resting[peer as usize] = true;
                    continue;
                }
                Turn::Told(told) => match heed(told, state, stream, &pause) {
                    Some(reason) => Event::Close(reason),
                    None => continue,
                },
                Turn::CalledOff => {
                    if resting[0] {
                        up.set(pump(Direction::Up, Vec::new()));
                    } else {
                        down.set(pump(Direction::Down, Vec::new()));
                    }
                    resting = [false; 2];
                    continue;
                }
            };
            // With one direction over, the stream stays here to its end.
            pause.give_up();
            match state.on(event) {
                Action::Continue => {}
                Action::PassEnd(peer) => pass_end(sides.of(peer)),
                Action::Finish { reset } => break reset,
            }
        };
        // What the other direction had delivered by then is counted: its client may have read it before it left.
        if !resting[0] && !state.has_ended(Peer::Client) {
            let _over = poll_once(up.as_mut()).await;
        }
        if !resting[1] && !state.has_ended(Peer::Upstream) {
            let _over = poll_once(down.as_mut()).await;
        }
        // Leaving this block drops what is still being received: the stream is given up, its bytes with it.
        reset
    };
    if let Some(peer) = reset {
        sides.of(peer).reset_on_close();
    }
    Outcome::Ended(state.first().unwrap_or(Ended { side: Side::Gateway, reason: Reason::Failed }))
}

/// What woke the loop.
enum Turn {
    /// The pump that begins at this peer has stopped.
    Pump(Peer, PumpEnd),
    /// Somebody wants something of the stream.
    Told(Told),
    /// One pump rests, and the other found bytes.
    CalledOff,
}

/// Does what was told; `Some` where that is to end. A stream of which one direction is over stays on the user path.
fn heed(told: Told, state: HalfClose, stream: &StreamGuard, pause: &Pause) -> Option<Reason> {
    let whole = state == HalfClose::default();
    match told {
        Told::Close(reason) => return Some(reason),
        Told::Demote => {
            stream.promote_after(None);
            pause.give_up();
        }
        Told::Promote if whole => pause.want(),
        Told::Release if whole => {
            // Where the first attempt comes in between two messages, the sweeper asks for the next one.
            stream.promote_after(Some(Duration::ZERO));
            pause.want();
        }
        Told::Promote | Told::Release => {}
    }
    None
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

/// How a pump came to its end.
pub(super) enum PumpEnd {
    /// Its direction is over.
    Ended(DirectionEnd),
    /// Nothing is in its hands, and it does not wait for anything.
    Resting,
}

/// Moves one direction's bytes until it ends or rests.
async fn pump(sides: &Sides, direction: Direction, behind: Vec<u8>, stream: &StreamGuard, pause: &Pause) -> PumpEnd {
    let (from, to) = sides.along(direction);
    let bytes = behind.len();
    if bytes > 0 {
        if to.send_bytes(behind).await.is_err() {
            return discard(from).await;
        }
        sides.delivered(direction, bytes, stream);
    }
    match sides.user_engine() {
        UserEngine::Copy => copy::pump(sides, direction, stream, pause).await,
        // Apart: it is the larger one, and no stream of the other engines is to have room for it.
        UserEngine::Splice => Box::pin(splice::pump(sides, direction, stream, pause)).await,
    }
}

/// Reads what can no longer be delivered, until its sender ends too.
pub(super) async fn discard(from: &Socket) -> PumpEnd {
    // Apart, since every stream has room for this future, and few need it.
    let reading = Box::pin(async { while matches!(from.recv(ChunkSize::Small).await, Ok(Some(_))) {} });
    // Out of time or at an end, the direction is over either way.
    let _in_time = tokio::time::timeout(UNDELIVERABLE_LINGER, reading).await.is_ok();
    PumpEnd::Ended(DirectionEnd::Undeliverable)
}

/// The end of a direction whose socket failed.
pub(super) fn broken(error: &io::Error) -> PumpEnd {
    PumpEnd::Ended(DirectionEnd::Broken(match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => Reason::Reset,
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Reason::Vanished
        }
        _ => Reason::Failed,
    }))
}
