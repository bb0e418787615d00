//! The `copy` engine: receive and send in user space. Always available, and the reference the others are tested
//! against.
//!
//! A direction has one chunk in flight. Its chunk is taken from the worker's pool when bytes arrive and goes back as
//! soon as the other socket has taken them, or has not: then the remainder moves to memory of its own, and nothing more
//! is read until it is gone. So an idle direction holds no memory, and a stalled one at most a chunk.

use super::Sides;
use super::half_close::DirectionEnd;
use super::live::{Direction, StreamGuard};
use super::pause::Pause;
use super::user_path::{PumpEnd, broken, discard};
use crate::sys::{ChunkSize, Received};

/// Moves one direction's bytes until it ends or rests.
pub(super) async fn pump(sides: &Sides, direction: Direction, stream: &StreamGuard, pause: &Pause) -> PumpEnd {
    let (from, to) = sides.along(direction);
    let mut size = ChunkSize::Small;
    loop {
        match from.recv_unless(size, pause.waiting(direction)).await {
            Ok(Received::Chunk(chunk)) => {
                pause.call_off().await;
                size = chunk.next_size();
                let bytes = chunk.len();
                if to.send(chunk).await.is_err() {
                    return discard(from).await;
                }
                sides.delivered(direction, bytes, stream);
            }
            Ok(Received::End) => return PumpEnd::Ended(DirectionEnd::Fin),
            Ok(Received::Nothing) => return PumpEnd::Resting,
            Err(error) => return broken(&error),
        }
    }
}
