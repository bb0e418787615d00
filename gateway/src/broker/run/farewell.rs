//! The last words.

use std::time::Duration;

use super::{Host, Shared};
use crate::broker::frame::Close;
use crate::sys::ChunkSize;

/// How long the last words to a peer may take to leave, and how long its answer is waited for.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

impl<H: Host> Shared<'_, H> {
    /// Tells both sides how the session ended, and lets the client read it.
    pub(super) async fn say_goodbye(&self, close: &Close) {
        let client = async {
            if self.client.is_torn() {
                return self.client.socket.reset_on_close();
            }
            let mut out = Vec::new();
            close.append(None, &mut out);
            if self.client.data(out).await.is_err() || self.client.socket.shutdown_write().is_err() {
                return;
            }
            // A socket that is closed with unread bytes resets the connection, and the close is lost with it.
            while matches!(self.client.socket.recv(ChunkSize::Small).await, Ok(Some(_))) {}
        };
        let upstream = self.upstream.borrow().clone();
        let upstream = async {
            let Some(upstream) = upstream.filter(|upstream| !upstream.is_torn()) else { return };
            let mut out = Vec::new();
            close.append(Some(rand::random()), &mut out);
            if upstream.data(out).await.is_ok() {
                // The pod may have closed first.
                let _ended_already = upstream.socket.shutdown_write().is_err();
            }
        };
        let both = async { tokio::join!(client, upstream) };
        // Whoever takes longer has had its chance.
        let _in_time = tokio::time::timeout(GOODBYE_TIMEOUT, both).await.is_ok();
    }
}
