//! The `splice` engine: what is large goes from socket to socket through a pipe and never enters this process's memory;
//! what is small is received and sent, which is cheaper.
//!
//! A direction that waits holds nothing, neither a pipe nor a buffer. One that moves bytes has at most a pipe of them
//! (64 KiB) in flight: it reads again when they are gone. One whose reader has stalled keeps its pipe for a moment, and
//! then gives it up: the bytes move to memory of its own. So streams that stall never leave the others without.

use std::io;
use std::time::Duration;

use super::Sides;
use super::half_close::DirectionEnd;
use super::live::{Direction, StreamGuard};
use super::pause::Pause;
use super::user_path::{PumpEnd, broken, discard};
use crate::sys::{ChunkSize, Moved, Pipe, Received};

/// How long a direction whose reader takes nothing keeps its pipe. A reader that is only slower than its writer makes
/// room much sooner.
const STALL_PATIENCE: Duration = Duration::from_secs(1);

/// Pieces that a direction moves in a row before the worker's other tasks get their turn.
const PIECES_IN_A_ROW_MAX: u32 = 4;

/// What is not more than a small chunk is small. Below it, and well above, two system calls and a pipe cost more than
/// the two copies that they avoid.
const SMALL_BYTES_MAX: usize = ChunkSize::Small.bytes();

/// Moves one direction's bytes until it ends or rests.
pub(super) async fn pump(sides: &Sides, direction: Direction, stream: &StreamGuard, pause: &Pause) -> PumpEnd {
    let moving = Moving { sides, direction, stream, pause };
    loop {
        if let Err(end) = moving.small().await {
            return end;
        }
        if let Err(end) = moving.large().await {
            return end;
        }
    }
}

struct Moving<'a> {
    sides: &'a Sides,
    direction: Direction,
    stream: &'a StreamGuard,
    pause: &'a Pause,
}

/// Why a piece was not moved to its end.
enum Failure {
    NoPipe(io::Error),
    Read(io::Error),
    /// Its own direction finds out how.
    Write,
}

impl Moving<'_> {
    /// Receives and sends until as much comes as a small chunk holds.
    async fn small(&self) -> Result<(), PumpEnd> {
        while self.copied(ChunkSize::Small).await? < SMALL_BYTES_MAX {}
        Ok(())
    }

    /// Waits for bytes, and receives and sends them; returns how many.
    async fn copied(&self, size: ChunkSize) -> Result<usize, PumpEnd> {
        let (from, to) = self.sides.along(self.direction);
        match from.recv_unless(size, self.pause.waiting(self.direction)).await {
            Ok(Received::Chunk(chunk)) => {
                self.pause.call_off().await;
                let bytes = chunk.len();
                if to.send(chunk).await.is_err() {
                    return Err(discard(from).await);
                }
                self.delivered(bytes);
                Ok(bytes)
            }
            Ok(Received::End) => Err(PumpEnd::Ended(DirectionEnd::Fin)),
            Ok(Received::Nothing) => Err(PumpEnd::Resting),
            Err(error) => Err(broken(&error)),
        }
    }

    /// Splices until less comes than a small chunk holds.
    async fn large(&self) -> Result<(), PumpEnd> {
        let (from, to) = self.sides.along(self.direction);
        // splice(2) waits in the kernel, and the whole worker with it, unless the socket itself says otherwise. What
        // tokio-uring accepts does not.
        from.set_nonblocking().and_then(|()| to.set_nonblocking()).map_err(|error| broken(&error))?;
        let mut arrivals = from.arrivals();
        let mut in_a_row = 0;
        loop {
            match self.piece().await {
                Ok(Moved::Bytes(bytes)) if bytes <= SMALL_BYTES_MAX => return Ok(()),
                Ok(Moved::Bytes(_)) => in_a_row += 1,
                Ok(Moved::End) => return Err(PumpEnd::Ended(DirectionEnd::Fin)),
                Ok(Moved::Nothing) => {
                    in_a_row = 0;
                    tokio::select! {
                        biased;
                        arrived = arrivals.next() => arrived.map_err(|error| broken(&error))?,
                        () = self.pause.waiting(self.direction) => return Err(PumpEnd::Resting),
                    }
                    self.pause.call_off().await;
                }
                Err(Failure::NoPipe(error)) => {
                    tracing::debug!(%error, stream = self.stream.id(), "no pipe: a piece is copied");
                    self.copied(ChunkSize::Large).await?;
                }
                Err(Failure::Read(error)) => return Err(broken(&error)),
                Err(Failure::Write) => {
                    drop(arrivals);
                    return Err(discard(from).await);
                }
            }
            if in_a_row == PIECES_IN_A_ROW_MAX {
                in_a_row = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Splices what is there now.
    async fn piece(&self) -> Result<Moved, Failure> {
        let (from, _) = self.sides.along(self.direction);
        let mut pipe = from.pipe().map_err(Failure::NoPipe)?;
        let moved = pipe.fill(from).map_err(Failure::Read)?;
        if matches!(moved, Moved::Bytes(_)) {
            self.empty(pipe).await.map_err(|_| Failure::Write)?;
        }
        Ok(moved)
    }

    /// Sends all that is in the pipe.
    async fn empty(&self, mut pipe: Pipe) -> io::Result<()> {
        let (_, to) = self.sides.along(self.direction);
        while pipe.bytes() > 0 {
            if let Moved::Bytes(bytes) = pipe.empty_into(to)? {
                self.delivered(bytes);
                continue;
            }
            if pipe.may_wait()
                && let Ok(room) = tokio::time::timeout(STALL_PATIENCE, to.writable()).await
            {
                room?;
                continue;
            }
            let rest = pipe.into_bytes()?;
            let bytes = rest.len();
            to.send_bytes(rest).await?;
            self.delivered(bytes);
            return Ok(());
        }
        Ok(())
    }

    fn delivered(&self, bytes: usize) {
        self.sides.delivered(self.direction, bytes, self.stream);
    }
}
