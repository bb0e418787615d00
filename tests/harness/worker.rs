//! A worker whose every step a story takes itself: it is dialled, and the story decides whether and how it answers.
//!
//! There is no thread: the kernel accepts connections, and keeps what they bring until the story looks.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;

use crate::pod::switching;
use crate::process;
use crate::wait::PATIENCE;
use crate::websocket::{Role, Socket};
use crate::wire::{Head, Received};

/// More connections than a story makes at once.
const BACKLOG: i32 = 1024;

/// A server on a loopback port of its own, which it keeps while it is stopped.
#[derive(Debug)]
pub struct Worker {
    listener: TcpListener,
    address: SocketAddr,
}

/// A request that the worker has got and not answered. Dropping it closes the connection without an answer.
#[derive(Debug)]
pub struct Call {
    /// What was asked.
    pub head: Head,
    received: Received,
}

impl Worker {
    /// A worker that listens.
    ///
    /// Its port is taken by number: a port that the kernel has chosen would be given up by [`Self::stop`].
    pub fn start() -> Result<Self> {
        let listener = process::free_listener()?;
        let address = listener.local_addr()?;
        SockRef::from(&listener).listen(BACKLOG)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses connections from now on, and resets those that nobody has looked at; the port stays taken.
    pub fn stop(&self) -> Result<()> {
        // Ends listening on Linux, as inet_shutdown does with a socket in the state LISTEN.
        Ok(SockRef::from(&self.listener).shutdown(Shutdown::Read)?)
    }

    /// Listens again.
    pub fn restart(&self) -> Result<()> {
        Ok(SockRef::from(&self.listener).listen(BACKLOG)?)
    }

    /// The next request that it gets, each on a connection of its own.
    pub fn call(&self) -> Result<Call> {
        ensure!(self.is_dialled_within(PATIENCE)?, "nobody has dialled the worker at {}", self.address);
        self.answer()
    }

    /// The next request, if somebody has dialled; or else `None`, after `silence`.
    pub fn call_within(&self, silence: Duration) -> Result<Option<Call>> {
        if self.is_dialled_within(silence)? { self.answer().map(Some) } else { Ok(None) }
    }

    /// Accepts the next request for an upgrade.
    pub fn accept(&self) -> Result<Socket> {
        self.call()?.accept()
    }

    /// Fails if somebody has dialled whose request was not looked at.
    pub fn expect_no_call(&self) -> Result<()> {
        match self.call_within(Duration::ZERO)? {
            None => Ok(()),
            Some(call) => bail!("an unexpected {}", call.head.start()),
        }
    }

    fn is_dialled_within(&self, limit: Duration) -> Result<bool> {
        let limit = PollTimeout::try_from(limit).context("a limit of at most some weeks")?;
        Ok(poll(&mut [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)], limit)? > 0)
    }

    fn answer(&self) -> Result<Call> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nodelay(true)?;
        let mut received = Received::new(stream)?;
        let head = received.head()?.context("the worker was dialled and not asked")?;
        Ok(Call { head, received })
    }
}

impl Call {
    /// Accepts the upgrade.
    pub fn accept(self) -> Result<Socket> {
        self.accept_with("", b"")
    }

    /// Accepts it with further `fields`, each with its line end; `glued` travels in one segment with the head.
    pub fn accept_with(self, fields: &str, glued: &[u8]) -> Result<Socket> {
        let head = switching(&self.head)?;
        let head = head.strip_suffix("\r\n").expect("a head ends with an empty line");
        self.received.send(&[format!("{head}{fields}\r\n").as_bytes(), glued].concat())?;
        Ok(Socket::new(self.received, Role::Server))
    }

    /// Answers with `status`, such as `404 Not Found`, and `body`, and closes.
    pub fn refuse(self, status: &str, body: &str) -> Result<()> {
        let length = body.len();
        self.received.send(
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").as_bytes(),
        )
    }

    /// The caller gives up: it ends the connection before it got an answer.
    pub fn expect_abandoned(mut self) -> Result<()> {
        self.received.end().map(drop).context("wait for the caller to give up")
    }
}
