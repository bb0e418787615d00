//! Whether everything that the server has sent was also looked at.
//!
//! A push may lie in the socket's queue while the control thread has yet to be scheduled, and on a busy machine that
//! takes milliseconds. A worker that trusted its cache meanwhile would route to a sandbox whose writer has long been
//! told `OK`. So a lookup asks first whether anything is unread (a tenth of a microsecond), and whether what was read
//! has been handled. Mostly nothing is; otherwise the lookup waits until the control thread has caught up. What Redis
//! has sent before it answered its writer is thereby seen by every lookup after that answer, as far as the network
//! keeps that order: always on one machine (Redis writes its pushes first; those of FLUSHALL and FLUSHDB are the
//! exception and follow the answer), nearly always between several.
//!
//! Who asks cannot peek at the socket: it is open in the control thread's descriptor table alone. It asks an epoll that
//! every table has ([`Arrivals`]), which differs from a peek in one point. What arrives while a system call holds the
//! socket is put aside until that call ends (the socket's backlog), and is in no epoll before; a peek would wait for it.
//! So every call is marked, and a worker that finds one under way, or finds that there was one while it looked, does
//! not believe what it saw.

use std::io;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::task::{Context, Poll};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// Connections that are in the epoll at one time: the present one, and the last one if it has yet to be dropped.
const CONNECTIONS_MAX: usize = 4;

/// Tells every thread which connections have unread bytes. To be made before the workers' descriptor tables part from
/// the control thread's, so that it has the same number in all of them.
pub(super) struct Arrivals {
    epoll: Epoll,
    connections: AtomicU64,
}

impl Arrivals {
    /// Of no connection yet. Fails where the process or the system has no descriptor left.
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Arc::new(Self { epoll, connections: AtomicU64::new(0) }))
    }

    /// The end of the stream and errors count as something to read: the control thread has yet to learn of them.
    fn has(&self, connection: u64) -> bool {
        let mut events = [EpollEvent::empty(); CONNECTIONS_MAX];
        match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
            Ok(count) => events[..count].iter().any(|event| event.data() == connection),
            Err(_) => true,
        }
    }
}

/// The workers' view of a connection's incoming bytes.
pub(super) struct Intake {
    arrivals: Arc<Arrivals>,
    /// Which connection in the epoll.
    connection: u64,
    /// Even: no system call of ours is under way, and everything that was read has been handled. It rises with each
    /// change, and only the control thread changes it.
    turn: AtomicU64,
    closed: AtomicBool,
    /// Fires whenever everything that had arrived was handled.
    emptied: Notify,
}

/// A connection that tells its [`Intake`] about every system call.
pub(super) struct Watched<S: AsFd> {
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
        if self.closed.load(Ordering::SeqCst) {
            return true;
        }
        // In this order: what is not in the epoll any more was taken out by a read, and what is not in it yet is kept
        // back by a call; either has changed the turn before.
        let before = self.turn.load(Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let has_unread = self.arrivals.has(self.connection);
        fence(Ordering::SeqCst);
        !has_unread && is_idle(before) && self.turn.load(Ordering::SeqCst) == before
    }

    /// To be called before each system call. Returns whether everything had been handled.
    fn begin(&self) -> bool {
        let turn = self.turn.load(Ordering::Relaxed);
        let idle = is_idle(turn);
        if idle {
            self.turn.store(turn + 1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
        }
        idle
    }

    /// To be called after a system call once everything that was read has been handled.
    fn end(&self) {
        self.turn.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // Otherwise tokio will hear of the new bytes, and the reader calls again.
        if !self.arrivals.has(self.connection) {
            self.emptied.notify_waiters();
        }
    }
}

const fn is_idle(turn: u64) -> bool {
    turn.is_multiple_of(2)
}

impl<S: AsFd> Watched<S> {
    /// Watches a fresh `stream`. Fails where the kernel is out of memory for it.
    pub(super) fn new(stream: S, arrivals: &Arc<Arrivals>) -> io::Result<Self> {
        let connection = arrivals.connections.fetch_add(1, Ordering::Relaxed);
        let watched = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        arrivals.epoll.add(&stream, EpollEvent::new(watched, connection))?;
        let (turn, closed) = (AtomicU64::new(0), AtomicBool::new(false));
        let arrivals = Arc::clone(arrivals);
        Ok(Self { stream, intake: Arc::new(Intake { arrivals, connection, turn, closed, emptied: Notify::new() }) })
    }

    /// What the workers look at.
    pub(super) fn intake(&self) -> Arc<Intake> {
        Arc::clone(&self.intake)
    }

    /// A system call that takes nothing out of the socket.
    fn marked<T>(&mut self, call: impl FnOnce(Pin<&mut S>) -> T) -> T
    where
        S: Unpin,
    {
        let was_idle = self.intake.begin();
        let done = call(Pin::new(&mut self.stream));
        if was_idle {
            self.intake.end();
        }
        done
    }
}

impl<S: AsFd> Drop for Watched<S> {
    fn drop(&mut self) {
        if let Err(error) = self.intake.arrivals.epoll.delete(&self.stream) {
            tracing::debug!(%error, "a connection to redis was not watched any more");
        }
        self.intake.closed.store(true, Ordering::SeqCst);
        self.intake.emptied.notify_waiters();
    }
}

impl<S: AsyncRead + AsFd + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, intake } = self.get_mut();
        intake.begin();
        let polled = Pin::new(stream).poll_read(context, buffer);
        if polled.is_pending() {
            // The reader handles what it has before it reads on, so now it has handled everything it read.
            intake.end();
        }
        polled
    }
}

impl<S: AsyncWrite + AsFd + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().marked(|stream| stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().marked(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().marked(|stream| stream.poll_shutdown(context))
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
        let mut watched = Watched::new(stream, &Arrivals::new().unwrap()).unwrap();
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
        let watched = Watched::new(stream, &Arrivals::new().unwrap()).unwrap();
        let intake = watched.intake();
        server.write_all(b"push").await.unwrap();
        tokio::join!(intake.caught_up(), async { drop(watched) });
        assert!(intake.is_caught_up());
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_something_to_read() {
        let (server, stream) = UnixStream::pair().unwrap();
        let watched = Watched::new(stream, &Arrivals::new().unwrap()).unwrap();
        drop(server);
        assert!(!watched.intake().is_caught_up());
    }

    #[tokio::test]
    async fn a_call_that_may_keep_bytes_back_is_noticed() {
        let (_server, stream) = UnixStream::pair().unwrap();
        let mut watched = Watched::new(stream, &Arrivals::new().unwrap()).unwrap();
        let intake = watched.intake();
        watched.marked(|_| assert!(!intake.is_caught_up(), "a call is under way"));
        assert!(intake.is_caught_up());
        // Who finds one under way is woken when it is over.
        let mut waiting = pin!(intake.caught_up());
        watched.marked(|_| assert!(poll(&mut waiting).is_pending()));
        assert!(poll(&mut waiting).is_ready());
    }

    #[tokio::test]
    async fn another_connections_bytes_are_another_intakes() {
        let arrivals = Arrivals::new().unwrap();
        let (mut old_server, old) = UnixStream::pair().unwrap();
        let (_server, new) = UnixStream::pair().unwrap();
        let old = Watched::new(old, &arrivals).unwrap();
        let new = Watched::new(new, &arrivals).unwrap();
        old_server.write_all(b"push").await.unwrap();
        assert!(!old.intake().is_caught_up());
        assert!(new.intake().is_caught_up());
    }

    /// What a worker has is not the socket: a table of its own may have something else under that number.
    #[tokio::test]
    async fn a_thread_with_a_descriptor_table_of_its_own_sees_what_arrives() {
        let arrivals = Arrivals::new().unwrap();
        let meet = Arc::new(std::sync::Barrier::new(2));
        let (send_intake, receive_intake) = std::sync::mpsc::channel();
        let worker = std::thread::spawn({
            let meet = Arc::clone(&meet);
            move || {
                crate::sys::descriptors::own_table().unwrap();
                meet.wait();
                let intake: Arc<Intake> = receive_intake.recv().unwrap();
                let before = intake.is_caught_up();
                meet.wait();
                meet.wait();
                (before, intake.is_caught_up())
            }
        });
        meet.wait();
        let (mut server, stream) = UnixStream::pair().unwrap();
        let watched = Watched::new(stream, &arrivals).unwrap();
        send_intake.send(watched.intake()).unwrap();
        meet.wait();
        server.write_all(b"push").await.unwrap();
        meet.wait();
        assert_eq!(worker.join().unwrap(), (true, false));
    }

    fn poll<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()))
    }
}
