//! One worker's thread: which runtime it runs on, and how it accepts and connects.
//!
//! With io_uring the thread runs tokio-uring, which brings the executor, the timers and accept; the ring beside it
//! (`ring`) moves the bytes. Where the kernel or a seccomp profile refuses io_uring, the same program runs on
//! tokio's epoll.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};
use socket2::{Domain, Protocol, SockAddr, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::pipe::Pipes;
use super::pool::Pool;
use super::ring::{self, Ring};
use super::socket::{Fd, Socket};
use super::tcp::set_segment_max;

/// What a worker's thread waits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// io_uring.
    Uring,
    /// epoll and ordinary system calls.
    Epoll,
}

impl Backend {
    /// The best one this process may use, and why it is not io_uring where it is not: `io_uring_setup(2)` fails with
    /// `EPERM` under `kernel.io_uring_disabled` or a seccomp profile, with `ENOSYS` where the kernel lacks it, and with
    /// `EINVAL` before Linux 6.0, which brought `IORING_SETUP_SINGLE_ISSUER`.
    #[must_use]
    pub fn detect() -> (Self, Option<io::Error>) {
        match Ring::new() {
            Ok(_) => (Self::Uring, None),
            Err(error) => (Self::Epoll, Some(error)),
        }
    }

    /// The name used in logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// A thread's means of moving bytes. Cheap to clone; stays in its thread.
#[derive(Clone)]
pub struct Driver {
    pub(super) means: Means,
    pub(super) pipes: Rc<Pipes>,
}

#[derive(Clone)]
pub(super) enum Means {
    Ring(Rc<Ring>),
    Epoll(Rc<Pool>),
}

/// tokio-uring's own ring carries accepts only.
const RUNTIME_RING_ENTRIES: u32 = 64;

impl Driver {
    /// Runs `main` to its end on this thread, with a driver. Local tasks may be spawned with
    /// `tokio::task::spawn_local`.
    ///
    /// # Errors
    /// When the runtime cannot be made, or its ring fails while it runs.
    pub fn run<F, M>(backend: Backend, main: M) -> io::Result<F::Output>
    where
        M: FnOnce(Self) -> F,
        F: Future,
    {
        match backend {
            Backend::Uring => {
                let ring = Ring::new()?;
                let mut options = tokio_uring::uring_builder();
                options.setup_single_issuer().setup_coop_taskrun();
                tokio_uring::builder().entries(RUNTIME_RING_ENTRIES).uring_builder(&options).start(async {
                    let (failed, failure) = oneshot::channel();
                    let driven = Rc::clone(&ring);
                    tokio::task::spawn_local(async move { failed.send(ring::drive(driven).await) });
                    tokio::select! {
                        output = main(Self { means: Means::Ring(ring), pipes: Rc::default() }) => Ok(output),
                        error = failure => Err(error.expect("the driving task ends only by failing")),
                    }
                })
            }
            Backend::Epoll => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let main = main(Self { means: Means::Epoll(Pool::listed()), pipes: Rc::default() });
                Ok(runtime.block_on(tokio::task::LocalSet::new().run_until(main)))
            }
        }
    }

    /// The worker's pipes.
    #[must_use]
    pub fn pipes(&self) -> &Pipes {
        &self.pipes
    }

    /// Takes over a listening socket.
    ///
    /// # Errors
    /// When it cannot be made non-blocking or registered.
    pub fn listener(&self, listener: std::net::TcpListener) -> io::Result<Listener> {
        let kind = match &self.means {
            Means::Ring(_) => ListenerKind::Uring(tokio_uring::net::TcpListener::from_std(listener)),
            Means::Epoll(_) => {
                listener.set_nonblocking(true)?;
                ListenerKind::Polled(registered(listener)?)
            }
        };
        Ok(Listener { kind, driver: self.clone() })
    }

    /// Connects to `endpoint`, from `port` where one is given, and tells it that segments may have `segment_max` bytes
    /// at most.
    ///
    /// # Errors
    /// `TimedOut` after `timeout`, otherwise what `bind(2)` and `connect(2)` say.
    pub async fn connect(
        &self,
        endpoint: SocketAddr,
        port: Option<u16>,
        segment_max: Option<u32>,
        timeout: Duration,
    ) -> io::Result<Socket> {
        let socket = socket2::Socket::new(
            Domain::for_address(endpoint),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        if let Some(bytes) = segment_max {
            set_segment_max(&socket, bytes)?;
        }
        if let Some(port) = port {
            let any: IpAddr =
                if endpoint.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            // Connections to several endpoints may have the same port.
            socket.set_reuse_address(true)?;
            socket.bind(&SockAddr::from(SocketAddr::new(any, port)))?;
        }
        match socket.connect(&SockAddr::from(endpoint)) {
            Ok(()) => return self.socket(socket.into()),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let socket = self.socket(socket.into())?;
        tokio::time::timeout(timeout, socket.writable()).await.map_err(|_| io::ErrorKind::TimedOut)??;
        match socket2::SockRef::from(&socket).take_error()? {
            Some(error) => Err(error),
            None => Ok(socket),
        }
    }

    /// Takes over a connected, non-blocking socket.
    fn socket(&self, socket: OwnedFd) -> io::Result<Socket> {
        let fd = match &self.means {
            Means::Ring(_) => Fd::Own(socket),
            Means::Epoll(_) => Fd::Polled(registered(socket)?),
        };
        Ok(Socket::new(fd, self.clone()))
    }
}

/// Registers a descriptor with the runtime's epoll.
pub(crate) fn registered<T: AsRawFd + AsFd>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the callers pass standard library owners, which answer with the same open descriptor for as long as they
    // live.
    unsafe { AsyncFd::register(owner) }.map_err(Into::into)
}

/// A listening socket of one worker.
pub struct Listener {
    kind: ListenerKind,
    driver: Driver,
}

enum ListenerKind {
    Uring(tokio_uring::net::TcpListener),
    Polled(AsyncFd<std::net::TcpListener>),
}

impl Listener {
    /// The next connection.
    ///
    /// # Errors
    /// What `accept(2)` says; `EINVAL` after [`Self::stop`].
    pub async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        match &self.kind {
            ListenerKind::Uring(listener) => {
                let (stream, client) = listener.accept().await?;
                Ok((Socket::new(Fd::Accepted(stream), self.driver.clone()), client))
            }
            ListenerKind::Polled(listener) => loop {
                let mut guard = listener.readable().await?;
                if let Ok(accepted) = guard.try_io(|listener| listener.get_ref().accept()) {
                    let (stream, client) = accepted?;
                    stream.set_nonblocking(true)?;
                    return Ok((self.driver.socket(stream.into())?, client));
                }
            },
        }
    }

    /// Whether a connection waits to be accepted.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        let mut listener = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut listener, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Ends the pending accept and refuses what comes later. Dropping the listener would not: an accept in the kernel
    /// keeps it open.
    pub fn stop(&self) {
        if let Err(error) = shutdown(self.as_fd().as_raw_fd(), Shutdown::Both) {
            tracing::debug!(%error, "a listener was closed already");
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            // SAFETY: the listener owns the descriptor and outlives the borrow.
            ListenerKind::Uring(listener) => unsafe { BorrowedFd::borrow_raw(listener.as_raw_fd()) },
            ListenerKind::Polled(listener) => listener.get_ref().as_fd(),
        }
    }
}
