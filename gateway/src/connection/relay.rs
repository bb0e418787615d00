//! A message's body on its way from one side to the other.

use std::time::Duration;

use super::inbox::Inbox;
use crate::http::body::{BodyError, BodyReader};
use crate::sys::{ChunkSize, Socket};

/// Why a body did not arrive whole.
#[derive(Debug)]
pub(super) enum RelayError {
    /// Its framing is broken, or it ended early.
    Body(BodyError),
    /// Its sender failed.
    Sender,
    /// Its sender was silent for too long.
    SenderLate,
    /// Its receiver failed.
    Receiver,
    /// Its receiver took nothing for too long.
    ReceiverLate,
}

/// How long each step of a body may take; zero is without limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Until the sender's next byte.
    pub(super) sender: Duration,
    /// Until the receiver has taken what came.
    pub(super) receiver: Duration,
}

/// Moves a body to its end, after `head`, whatever the inbox already holds of it in one piece with the head. Returns
/// the bytes sent, head excluded.
///
/// Flushes at once: what has arrived is sent before more is waited for, which is what server-sent events need.
pub(super) async fn relay(
    head: Vec<u8>,
    from: &mut Inbox,
    body: &mut BodyReader,
    to: &Socket,
    patience: Patience,
) -> Result<u64, RelayError> {
    let mut out = head;
    let head_bytes = out.len();
    if !body.is_done() {
        let used = body.advance(from.bytes(), &mut out).map_err(RelayError::Body)?;
        from.consume(used);
    }
    let mut sent = (out.len() - head_bytes) as u64;
    if !out.is_empty() {
        out = send(to, out, patience).await?;
    }
    let mut size = ChunkSize::Small;
    while !body.is_done() {
        let received = within(patience.sender, from.chunk(size)).await.ok_or(RelayError::SenderLate)?;
        let Some(chunk) = received.map_err(|_| RelayError::Sender)? else {
            body.finish().map_err(RelayError::Body)?;
            break;
        };
        size = chunk.next_size();
        let bytes = chunk.len() as u64;
        if body.plain() >= bytes {
            body.advance_plain(bytes);
            let sending = within(patience.receiver, to.send(chunk)).await;
            sending.ok_or(RelayError::ReceiverLate)?.map_err(|_| RelayError::Receiver)?;
            sent += bytes;
        } else {
            let used = body.advance(&chunk, &mut out).map_err(RelayError::Body)?;
            from.keep(&chunk[used..]);
            drop(chunk);
            sent += out.len() as u64;
            out = send(to, out, patience).await?;
        }
    }
    Ok(sent)
}

async fn send(to: &Socket, bytes: Vec<u8>, patience: Patience) -> Result<Vec<u8>, RelayError> {
    let sending = within(patience.receiver, to.send_bytes(bytes)).await;
    sending.ok_or(RelayError::ReceiverLate)?.map_err(|_| RelayError::Receiver)
}

/// `None` when it took longer than `limit`; a limit of zero is none.
async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    if limit.is_zero() { Some(future.await) } else { tokio::time::timeout(limit, future).await.ok() }
}
