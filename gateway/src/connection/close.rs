//! How a client's connection ends while HTTP is spoken on it.

use std::time::Duration;

use super::inbox::Inbox;
use crate::sys::ChunkSize;

/// How long an answer of ours may take to leave.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may go on sending after its last answer, and how many bytes are read for it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(10);
const LINGER_BYTES_MAX: usize = 64 << 20;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// At once: nothing is on its way to the client.
    Now,
    /// After the client has taken its answer: a socket that is closed with unread bytes resets the connection, and the
    /// answer is lost with it (RFC 9112 section 9.6).
    Linger,
    /// With a reset: the client must not take for whole what was cut.
    Reset,
}

/// Ends the connection.
pub(super) async fn close(inbox: Inbox, how: Close) {
    let (socket, _unused) = inbox.into_parts();
    match how {
        Close::Now => {}
        Close::Reset => socket.reset_on_close(),
        Close::Linger => {
            if socket.shutdown_write().is_err() {
                return;
            }
            let reading = async {
                let mut bytes = 0;
                while let Ok(Some(chunk)) = socket.recv(ChunkSize::Small).await {
                    bytes += chunk.len();
                    if bytes > LINGER_BYTES_MAX {
                        break;
                    }
                }
            };
            // Whoever still sends after that has had its chance to read.
            let _in_time = tokio::time::timeout(LINGER_TIMEOUT, reading).await.is_ok();
        }
    }
}
