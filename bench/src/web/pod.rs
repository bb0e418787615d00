//! A pod that serves pages, assets and WebSockets, and says with each answer which pod it is.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{ASSET_BYTES, PAGE_BYTES};
use crate::load::pattern::Pattern;
use crate::load::pod::ANSWER;

/// What the server of a desktop says first (RFC 6143 section 7.1.1), in a binary frame.
pub(crate) const FIRST_FRAME: &[u8] = b"\x82\x0cRFB 003.008\n";

/// The longest request head that is taken.
const HEAD_BYTES_MAX: usize = 8 << 10;

const LISTENER: u64 = u64::MAX;
const EVENTS_AT_ONCE: usize = 256;

/// Serves until the process ends.
pub(crate) fn serve(listener: &TcpListener) -> Result<()> {
    let name = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let pattern = Pattern::new();
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    let mut events = vec![EpollEvent::empty(); EVENTS_AT_ONCE];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            count => count?,
        };
        for event in &events[..count] {
            if event.data() == LISTENER {
                accept(listener, &epoll, &mut connections, &mut free)?;
                continue;
            }
            let index = usize::try_from(event.data())?;
            let Some(Some(connection)) = connections.get_mut(index) else { continue };
            if let Err(error) = connection.go_on(&pattern, name) {
                // The visitor sees the end, and fails the run with it.
                if error.downcast_ref::<io::Error>().is_none() {
                    eprintln!("pod: {error:#}");
                }
                connections[index] = None;
                free.push(index);
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<Connection>>,
    free: &mut Vec<usize>,
) -> Result<()> {
    loop {
        let socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("accept"),
        };
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let index = free.pop().unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&socket, EpollEvent::new(flags, index as u64))?;
        connections[index] = Some(Connection { socket, head: Vec::new(), owed: Vec::new(), sent: 0, is_stream: false });
    }
}

struct Connection {
    socket: TcpStream,
    /// The request head so far.
    head: Vec<u8>,
    /// The answer, and how much of it is sent.
    owed: Vec<u8>,
    sent: usize,
    /// Behind a 101 only the end is of interest.
    is_stream: bool,
}

impl Connection {
    /// Takes what has come and sends what is owed. An error is also the visitor's end.
    fn go_on(&mut self, pattern: &Pattern, name: SocketAddr) -> Result<()> {
        let mut buffer = [0; HEAD_BYTES_MAX];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(_) if self.is_stream => {}
                Ok(count) => self.take(&buffer[..count], pattern, name)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.send(),
                Err(error) => return Err(error.into()),
            }
            self.send()?;
        }
    }

    fn take(&mut self, bytes: &[u8], pattern: &Pattern, name: SocketAddr) -> Result<()> {
        self.head.extend_from_slice(bytes);
        ensure!(self.head.len() <= HEAD_BYTES_MAX, "a request head of more than {HEAD_BYTES_MAX} bytes");
        if !self.head.ends_with(b"\r\n\r\n") {
            return Ok(());
        }
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        request.parse(&self.head)?;
        let path = request.path.context("a request without a target")?;
        let path = path.split('?').next().unwrap_or_default();
        if request.headers.iter().any(|field| field.name.eq_ignore_ascii_case("upgrade")) {
            self.owed.extend_from_slice(ANSWER);
            self.owed.extend_from_slice(FIRST_FRAME);
            self.is_stream = true;
        } else {
            let (bytes, position) = body(path)?;
            write!(
                self.owed,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-Pod: {name}\r\nContent-Length: {bytes}\r\n\r\n"
            )?;
            self.owed.extend_from_slice(pattern.at(position, bytes));
        }
        self.head.clear();
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        while self.sent < self.owed.len() {
            match self.socket.write(&self.owed[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.owed.clear();
        self.sent = 0;
        Ok(())
    }
}

/// How long the body of a path is, and where in the pattern it begins: a page ends with a slash, an asset is a number.
pub(crate) fn body(path: &str) -> Result<(usize, u64)> {
    match path.rsplit('/').next() {
        Some("") => Ok((PAGE_BYTES, 0)),
        Some(asset) => Ok((ASSET_BYTES, asset.parse::<u64>()? * ASSET_BYTES as u64)),
        None => bail!("no path"),
    }
}
