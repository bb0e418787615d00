//! Whether everything that the server has sent was also looked at.
//!
//! A push may lie in the socket's queue while the control thread has yet to be scheduled, and on a busy machine that
//! takes milliseconds. A worker that trusted its cache meanwhile would route to a sandbox whose writer has long been
//! told `OK`. So a lookup asks first whether anything is unread (a fifth of a microsecond), and whether what was read
//! has been handled. Mostly nothing is; otherwise the lookup waits until the control thread has caught up. What Redis
//! has sent before it answered its writer is thereby seen by every lookup after that answer, as far as the network
//! keeps that order: always on one machine, nearly always between several. Redis writes its pushes first, with two
//! exceptions, in which they follow the answer by some microseconds: those of FLUSHALL and FLUSHDB, and those that
//! leave together with the answer to a question of ours. For the latter a lookup first waits for the answers to what
//! was asked before it ([`Questions`]).
//!
//! Who asks cannot peek at the socket: it is open in the control thread's descriptor table alone. It asks an epoll that
//! every table has ([`Arrivals`]), which differs from a peek in one point. What arrives while a system call holds the
//! socket is put aside until that call ends (the socket's backlog), and is in no epoll before; a peek would wait for
//! it. So every call is marked, and a worker that finds one under way, or finds that there was one while it looked,
//! does not believe what it saw.

use std::io;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::task::{Context, Poll};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::questions::Questions;

/// Tells every thread whether a connection has unread bytes. To be made before the workers' descriptor tables part from
/// the control thread's, so that it has the same number in all of them.
///
/// It holds the connections that are not dropped yet: one, or for a moment none or two.
pub(super) struct Arrivals(Epoll);

impl Arrivals {
    /// Of no connection yet. Fails where the process or the system has no descriptor left.
    pub(super) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?)))
    }

    /// The end of the stream and errors count as something to read: the control thread has yet to learn of them.
    ///
    /// By poll(2) of the epoll, which looks under its lock. epoll_wait(2) is cheaper by half, but one that does not
    /// wait looks without it (`ep_events_available`), and may miss what another thread is looking at.
    fn are_there(&self) -> bool {
        let Self(epoll) = self;
        poll(&mut [PollFd::new(epoll.0.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) != Ok(0)
    }
}

/// The workers' view of a connection's incoming bytes.
pub(super) struct Intake {
    arrivals: Arc<Arrivals>,
    /// Even: no system call of ours is under way, and everything that was read has been handled. It rises with each
    /// change, and only the control thread changes it.
    turn: AtomicU64,
    /// The last turn in which everything that had arrived was found handled.
    emptied_in: AtomicU64,
    questions: Questions,
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
    /// Returns once everything has been handled that had arrived when this was called, or that came with the answer to
    /// a question from before; or once the connection has ended.
    pub(super) async fn caught_up(&self) {
        // What an answer brings along has arrived when the answer is counted, so arrivals come second.
        self.questions.until_answered(self.questions.asked()).await;
        self.emptied().await;
    }

    /// Returns once everything that had arrived when this was called has been handled, or the connection has ended.
    async fn emptied(&self) {
        let begun_in = self.turn.load(Ordering::SeqCst);
        loop {
            let mut emptied = pin!(self.emptied.notified());
            emptied.as_mut().enable();
            // Being woken says less: the control thread may have found nothing before this was called, and have told so
            // only after it.
            if self.emptied_in.load(Ordering::SeqCst) > begun_in || self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Whether [`Intake::caught_up`] would return at once.
    pub(super) fn is_caught_up(&self) -> bool {
        self.questions.are_answered(self.questions.asked()) && self.is_empty()
    }

    /// What the server was asked and has answered on this connection.
    pub(super) const fn questions(&self) -> &Questions {
        &self.questions
    }

    /// Whether everything that has arrived until now has been handled, or the connection has ended.
    fn is_empty(&self) -> bool {
        if self.closed.load(Ordering::SeqCst) {
            return true;
        }
        // In this order: what is not in the epoll any more was taken out by a read, and what is not in it yet is kept
        // back by a call; either has changed the turn before.
        let before = self.turn.load(Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let has_unread = self.arrivals.are_there();
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
        let turn = self.turn.load(Ordering::Relaxed) + 1;
        self.turn.store(turn, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // Otherwise tokio will hear of the new bytes, and the reader calls again.
        if !self.arrivals.are_there() {
            self.emptied_in.store(turn, Ordering::SeqCst);
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
        let watched = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        arrivals.0.add(&stream, EpollEvent::new(watched, 0))?;
        let intake = Intake {
            arrivals: Arc::clone(arrivals),
            turn: AtomicU64::new(0),
            emptied_in: AtomicU64::new(0),
            questions: Questions::default(),
            closed: AtomicBool::new(false),
            emptied: Notify::new(),
        };
        Ok(Self { stream, intake: Arc::new(intake) })
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
        if let Err(error) = self.intake.arrivals.0.delete(&self.stream) {
            tracing::debug!(%error, "a connection to redis was not watched any more");
        }
        self.intake.closed.store(true, Ordering::SeqCst);
        self.intake.questions.close();
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
    async fn what_comes_with_an_answer_is_waited_for() {
        let (mut server, stream) = UnixStream::pair().unwrap();
        let mut watched = Watched::new(stream, &Arrivals::new().unwrap()).unwrap();
        let intake = watched.intake();
        intake.questions().ask();
        let mut waiting = pin!(intake.caught_up());
        assert!(!intake.is_caught_up() && poll_once(&mut waiting).is_pending());
        // Nothing was left for a moment; the answer is still to come.
        read_until_empty(&mut watched).await;
        assert!(poll_once(&mut waiting).is_pending());

        server.write_all(b"answer, push").await.unwrap();
        watched.read_exact(&mut [0; 8]).await.unwrap();
        intake.questions().answer();
        assert!(poll_once(&mut waiting).is_pending(), "the push is not handled");
        watched.read_exact(&mut [0; 4]).await.unwrap();
        read_until_empty(&mut watched).await;
        assert!(poll_once(&mut waiting).is_ready() && intake.is_caught_up());
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
        watched.marked(|_| assert!(poll_once(&mut waiting).is_pending()));
        assert!(poll_once(&mut waiting).is_ready());
    }

    #[tokio::test]
    async fn what_an_ended_connection_has_left_unread_is_no_concern_of_the_next() {
        let arrivals = Arrivals::new().unwrap();
        let (mut server, stream) = UnixStream::pair().unwrap();
        let old = Watched::new(stream, &arrivals).unwrap();
        server.write_all(b"push").await.unwrap();
        assert!(!old.intake().is_caught_up());
        drop(old);
        let (_server, stream) = UnixStream::pair().unwrap();
        assert!(Watched::new(stream, &arrivals).unwrap().intake().is_caught_up());
    }

    #[tokio::test]
    async fn news_from_before_the_question_is_no_answer() {
        let (mut server, stream) = UnixStream::pair().unwrap();
        let mut watched = Watched::new(stream, &Arrivals::new().unwrap()).unwrap();
        let intake = watched.intake();
        server.write_all(b"push").await.unwrap();
        let mut waiting = pin!(intake.caught_up());
        assert!(poll_once(&mut waiting).is_pending());
        // As a control thread does that found nothing just before, and was interrupted.
        intake.emptied.notify_waiters();
        assert!(poll_once(&mut waiting).is_pending());
        watched.read_exact(&mut [0; 4]).await.unwrap();
        read_until_empty(&mut watched).await;
        assert!(poll_once(&mut waiting).is_ready());
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

    fn poll_once<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()))
    }
}
