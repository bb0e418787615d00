//! Whether everything that the server has sent was also looked at.
//!
//! A push may lie in the socket's queue while the control thread has yet to be scheduled, and on a busy machine that
//! takes milliseconds. A worker that trusted its cache meanwhile would route to a sandbox whose writer has long been
//! told `OK`. So a lookup asks first whether anything is unread: a peek at the socket (a fifth of a microsecond), and
//! a flag that says whether what was read has been handled. Mostly nothing is; otherwise the lookup waits until the
//! control thread has caught up. What Redis has sent before it answered its writer is thereby seen by every lookup
//! after that answer, as far as the network keeps that order: always on one machine (Redis writes its pushes first;
//! those of FLUSHALL and FLUSHDB are the exception and follow the answer), nearly always between several.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// The workers' view of a connection's incoming bytes.
pub(super) struct Intake {
    /// A duplicate, so that it stays what it is for as long as anybody looks at it.
    socket: OwnedFd,
    /// Everything that was read has been handled. False from before a read until nothing was left to read.
    idle: AtomicBool,
    closed: AtomicBool,
    /// Fires whenever everything that had arrived was handled.
    emptied: Notify,
}

/// A connection that tells its [`Intake`] about every read.
pub(super) struct Watched<S> {
    stream: S,
    intake: Arc<Intake>,
}

impl Intake {
    /// Returns once everything that had arrived when this was called has been handled, or the connection has ended.
    pub(super) async fn caught_up(&self) {
        let mut emptied = pin!(self.emptied.notified());
        emptied.as_mut().enable();
        if !self.is_caught_up() {
            emptied.await;
        }
    }

    /// Whether everything that has arrived until now has been handled, or the connection has ended.
    pub(super) fn is_caught_up(&self) -> bool {
        // In this order: what is not in the queue any more was taken out by a read, and that read cleared the flag
        // before.
        let queue_is_empty = self.queue_is_empty();
        fence(Ordering::SeqCst);
        self.closed.load(Ordering::SeqCst) || (queue_is_empty && self.idle.load(Ordering::SeqCst))
    }

    /// The end of the stream and errors count as something to read: the control thread has yet to learn of them.
    fn queue_is_empty(&self) -> bool {
        let peeked = recv(self.socket.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        peeked == Err(Errno::EAGAIN)
    }
}

impl<S: AsFd> Watched<S> {
    /// Watches a fresh `stream`. Fails if its socket cannot be duplicated (EMFILE).
    pub(super) fn new(stream: S) -> io::Result<Self> {
        let socket = stream.as_fd().try_clone_to_owned()?;
        let (idle, closed) = (AtomicBool::new(true), AtomicBool::new(false));
        Ok(Self { stream, intake: Arc::new(Intake { socket, idle, closed, emptied: Notify::new() }) })
    }

    /// What the workers look at.
    pub(super) fn intake(&self) -> Arc<Intake> {
        Arc::clone(&self.intake)
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        self.intake.closed.store(true, Ordering::SeqCst);
        self.intake.emptied.notify_waiters();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, intake } = self.get_mut();
        intake.idle.store(false, Ordering::SeqCst);
        let polled = Pin::new(stream).poll_read(context, buffer);
        if polled.is_pending() {
            // The reader handles what it has before it reads on, so now it has handled everything it read.
            intake.idle.store(true, Ordering::SeqCst);
            // Pending can also mean that tokio has not heard of new bytes yet; then it calls again.
            if intake.queue_is_empty() {
                intake.emptied.notify_waiters();
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    /// Reads until nothing is left, as a framed reader does.
    async fn read_until_empty(watched: &mut Watched<UnixStream>) {
        let mut bytes = [0; 64];
        loop {
            tokio::select! {
                biased;
                read = watched.read(&mut bytes) => assert_ne!(read.unwrap(), 0),
                () = std::future::ready(()) => break,
            }
        }
    }

    #[tokio::test]
    async fn unread_bytes_are_noticed_at_once_and_waited_for() {
        let (mut server, stream) = UnixStream::pair().unwrap();
        let mut watched = Watched::new(stream).unwrap();
        let intake = watched.intake();
        assert!(intake.is_caught_up());
        intake.caught_up().await;

        server.write_all(b"push").await.unwrap();
        assert!(!intake.is_caught_up());
        let reader = async {
            let mut bytes = [0; 4];
            watched.read_exact(&mut bytes).await.unwrap();
            assert!(!intake.is_caught_up(), "read is not handled");
            read_until_empty(&mut watched).await;
        };
        tokio::join!(intake.caught_up(), reader);
        assert!(intake.is_caught_up());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_connection_that_has_ended() {
        let (mut server, stream) = UnixStream::pair().unwrap();
        let watched = Watched::new(stream).unwrap();
        let intake = watched.intake();
        server.write_all(b"push").await.unwrap();
        tokio::join!(intake.caught_up(), async { drop(watched) });
        assert!(intake.is_caught_up());
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_something_to_read() {
        let (server, stream) = UnixStream::pair().unwrap();
        let watched = Watched::new(stream).unwrap();
        drop(server);
        assert!(!watched.intake().is_caught_up());
    }
}
