//! A connected TCP socket of one worker.

mod arrivals;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use socket2::SockRef;
use tokio::io::Ready;
use tokio::io::unix::AsyncFd;

use super::driver::{Driver, Means};
use super::pipe::Pipe;
use super::pool::{Chunk, ChunkSize, Pool};
use super::ring::{Completed, Payload, Ring};

pub use arrivals::Arrivals;

/// Who owns the descriptor.
pub(super) enum Fd {
    /// Accepted by tokio-uring.
    Accepted(tokio_uring::net::TcpStream),
    /// Connected by us, used through the ring.
    Own(OwnedFd),
    /// Registered with epoll.
    Polled(AsyncFd<OwnedFd>),
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Accepted(stream) => stream.as_raw_fd(),
            Self::Own(fd) => fd.as_raw_fd(),
            Self::Polled(fd) => fd.as_raw_fd(),
        }
    }
}

/// What epoll tells of a socket.
#[derive(Debug, Clone, Copy)]
enum Edge {
    Readable,
    Writable,
}

/// A connection. Clones are the same connection; the descriptor closes with the last clone and the last operation.
#[derive(Clone)]
pub struct Socket {
    fd: Rc<Fd>,
    driver: Driver,
    /// The last receive emptied the socket, so the next one need not try before it waits.
    drained: Rc<Cell<bool>>,
}

/// What a receive that does not wait for ever came to.
pub enum Received {
    /// Bytes.
    Chunk(Chunk),
    /// The peer's end of stream.
    End,
    /// Neither.
    Nothing,
}

impl From<Option<Chunk>> for Received {
    fn from(received: Option<Chunk>) -> Self {
        received.map_or(Self::End, Self::Chunk)
    }
}

impl Socket {
    pub(super) fn new(fd: Fd, driver: Driver) -> Self {
        Self { fd: Rc::new(fd), driver, drained: Rc::new(Cell::new(false)) }
    }

    /// Receives what has arrived, at most one chunk; `None` is the peer's end of stream. Holds no memory while it
    /// waits. Dropping the future may lose bytes: only a connection that is given up does that.
    ///
    /// # Errors
    /// What `recv(2)` says.
    pub async fn recv(&self, size: ChunkSize) -> io::Result<Option<Chunk>> {
        match &self.driver.means {
            Means::Ring(ring) => self.recv_ring(ring, size).await,
            Means::Epoll(pool) => self.recv_polled(pool, size).await,
        }
    }

    /// Receives as [`Self::recv`] does, but gives up, without losing a byte, once `interrupt` is ready.
    ///
    /// # Errors
    /// What `recv(2)` says.
    pub async fn recv_unless(&self, size: ChunkSize, interrupt: impl Future<Output = ()>) -> io::Result<Received> {
        let ring = match &self.driver.means {
            Means::Ring(ring) => ring,
            // Between two attempts nothing has been taken, so the wait may be dropped.
            Means::Epoll(pool) => {
                return tokio::select! {
                    biased;
                    received = self.recv_polled(pool, size) => Ok(received?.into()),
                    () = interrupt => Ok(Received::Nothing),
                };
            }
        };
        let mut interrupt = pin!(interrupt);
        loop {
            let mut receiving = ring.recv(&self.fd, size, self.drained.get());
            let received = tokio::select! {
                biased;
                received = &mut receiving => received,
                () = &mut interrupt => {
                    // The kernel may have taken bytes by now; they come with the operation's end.
                    receiving.cancel();
                    let received = receiving.await;
                    if received.result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ECANCELED)) {
                        return Ok(Received::Nothing);
                    }
                    received
                }
            };
            match self.received(received)? {
                Some(received) => return Ok(received),
                None => ring.pool.room(size).await,
            }
        }
    }

    async fn recv_ring(&self, ring: &Rc<Ring>, size: ChunkSize) -> io::Result<Option<Chunk>> {
        loop {
            let received = ring.recv(&self.fd, size, self.drained.get()).await;
            match self.received(received)? {
                Some(Received::Chunk(chunk)) => return Ok(Some(chunk)),
                Some(Received::End) => return Ok(None),
                Some(Received::Nothing) | None => ring.pool.room(size).await,
            }
        }
    }

    /// What a receive on the ring came to; `None` where it is to be made again, once there is room.
    fn received(&self, completed: Completed) -> io::Result<Option<Received>> {
        match completed.result {
            Ok(0) => Ok(Some(Received::End)),
            Ok(_) => {
                self.drained.set(!completed.more);
                Ok(completed.chunk.map(Received::Chunk))
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOBUFS) => {
                    self.drained.set(false);
                    Ok(None)
                }
                Some(libc::EINTR) => Ok(None),
                _ => Err(error),
            },
        }
    }

    async fn recv_polled(&self, pool: &Rc<Pool>, size: ChunkSize) -> io::Result<Option<Chunk>> {
        loop {
            let Some(chunk) = pool.take(size) else {
                pool.room(size).await;
                continue;
            };
            match self.recv_once(chunk)? {
                Some(Received::Chunk(chunk)) => return Ok(Some(chunk)),
                Some(Received::End) => return Ok(None),
                Some(Received::Nothing) => self.ready(Edge::Readable).await.map(drop)?,
                None => {}
            }
        }
    }

    /// One receive into `chunk`; `None` where a signal came between.
    fn recv_once(&self, mut chunk: Chunk) -> io::Result<Option<Received>> {
        match recv(self.as_raw_fd(), chunk.spare(), MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Ok(Some(Received::End)),
            Ok(bytes) => {
                chunk.set_filled(bytes);
                Ok(Some(Received::Chunk(chunk)))
            }
            Err(nix::Error::EAGAIN) => Ok(Some(Received::Nothing)),
            Err(nix::Error::EINTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends all of `chunk`. What the socket does not take at once is copied out of the pool first, so that a slow
    /// reader costs at most its own remainder and never a chunk that other streams need.
    ///
    /// # Errors
    /// What `send(2)` says.
    pub async fn send(&self, chunk: Chunk) -> io::Result<()> {
        let (sent, chunk) = match &self.driver.means {
            Means::Ring(ring) => {
                let sent = ring.send(&self.fd, Payload::Chunk(chunk), 0, false).await;
                let Payload::Chunk(chunk) = sent.payload else {
                    unreachable!("an operation returns the payload it was given")
                };
                (sent.result, chunk)
            }
            Means::Epoll(_) => (self.send_now(&chunk), chunk),
        };
        let sent = match sent {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error),
        };
        if sent == chunk.len() {
            return Ok(());
        }
        let rest = chunk[sent..].to_vec();
        drop(chunk);
        // Apart, since every stream has room for this future, and only a stalled one needs it.
        Box::pin(self.send_bytes(rest)).await.map(drop)
    }

    /// Sends all of `bytes` and returns the vector for further use, emptied.
    ///
    /// # Errors
    /// What `send(2)` says.
    pub async fn send_bytes(&self, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut offset = 0;
        while offset < bytes.len() {
            let sent = match &self.driver.means {
                Means::Ring(ring) => {
                    let sent = ring.send(&self.fd, Payload::Bytes(bytes), offset, true).await;
                    let Payload::Bytes(returned) = sent.payload else {
                        unreachable!("an operation returns the payload it was given")
                    };
                    bytes = returned;
                    sent.result
                }
                Means::Epoll(_) => self.send_now(&bytes[offset..]),
            };
            match sent {
                Ok(count) => offset += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready(Edge::Writable).await.map(drop)?;
                }
                Err(error) => return Err(error),
            }
        }
        bytes.clear();
        Ok(bytes)
    }

    fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?)
    }

    /// Waits until the peer has sent its end, or the connection has failed. Takes nothing from the socket.
    pub async fn gone(&self) {
        match &self.driver.means {
            Means::Ring(ring) => {
                // A poll that fails leaves nothing to wait for either.
                ring.poll(&self.fd, libc::POLLRDHUP).await;
            }
            Means::Epoll(_) => while self.ready(Edge::Readable).await.is_ok_and(|ready| !ready.is_read_closed()) {},
        }
    }

    /// Whether the connection is open and nothing waits to be read: what an idle upstream connection must be to be used
    /// again.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        recv(self.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) == Err(nix::Error::EAGAIN)
    }

    /// Whether there is nothing to receive: no byte, no end (which poll(2) calls readable), no error. Takes nothing,
    /// not even the error.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        let mut socket = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut socket, PollTimeout::ZERO) == Ok(0)
    }

    /// Waits until there is room to send, or the connection has failed.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.driver.means {
            Means::Ring(ring) => ring.poll(&self.fd, libc::POLLOUT).await.result.map(drop),
            Means::Epoll(_) => self.ready(Edge::Writable).await.map(drop),
        }
    }

    /// Waits for epoll's next edge. Every caller has tried the system call first, so what was there before is not
    /// missed. Only one task waits for each kind, so tokio's place for one waker does, and the future stays small.
    async fn ready(&self, edge: Edge) -> io::Result<Ready> {
        let Fd::Polled(fd) = &*self.fd else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut guard = poll_fn(|context| match edge {
            Edge::Readable => fd.poll_read_ready(context),
            Edge::Writable => fd.poll_write_ready(context),
        })
        .await?;
        let ready = guard.ready();
        guard.clear_ready();
        Ok(ready)
    }

    /// An empty pipe, out of its worker's.
    ///
    /// # Errors
    /// What `pipe2(2)` says.
    pub fn pipe(&self) -> io::Result<Pipe> {
        self.driver.pipes.take()
    }

    /// Makes system calls on the socket fail where they would wait (`O_NONBLOCK`): splice(2) has no flag for that.
    /// What is submitted to the ring waits all the same.
    ///
    /// # Errors
    /// What `fcntl(2)` says.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        SockRef::from(self).set_nonblocking(true)
    }

    /// Passes on an end of stream: no more bytes go to the peer.
    ///
    /// # Errors
    /// What `shutdown(2)` says.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(shutdown(self.as_raw_fd(), Shutdown::Write)?)
    }

    /// Ends our side's receiving: a receive that waits delivers what has arrived, or the end. Nothing is sent to the
    /// peer.
    pub fn shutdown_read(&self) {
        // The peer may have ended the connection already; then there is nothing left to do.
        let _ended_already = shutdown(self.as_raw_fd(), Shutdown::Read).is_err();
    }

    /// Makes the coming close a reset: unsent data is discarded and the peer gets RST (socket(7), `SO_LINGER` with
    /// zero).
    pub fn reset_on_close(&self) {
        if let Err(error) = SockRef::from(self).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "could not arm a reset");
        }
    }

    /// Sends small messages at once (`TCP_NODELAY`): every message of an exchange is written whole.
    ///
    /// # Errors
    /// What `setsockopt(2)` says.
    pub fn set_nodelay(&self) -> io::Result<()> {
        SockRef::from(self).set_tcp_nodelay(true)
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `self.fd` owns the descriptor and outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}
