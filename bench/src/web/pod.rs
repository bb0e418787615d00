//! A pod that serves pages, assets and WebSockets, and says with each answer which pod it is.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, bail, ensure};

use super::{ASSET_BYTES, PAGE_BYTES};
use crate::load::pattern::Pattern;
use crate::load::pod::{ANSWER, Conversation, serve_all};

/// What the server of a desktop says first (RFC 6143 section 7.1.1), in a binary frame.
pub(crate) const FIRST_FRAME: &[u8] = b"\x82\x0cRFB 003.008\n";

/// The longest request head that is taken.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Serves visitors until the process ends.
pub(crate) fn serve(listener: &TcpListener) -> Result<()> {
    serve_all::<Connection>(listener)
}

struct Connection {
    socket: TcpStream,
    /// The pod's address, by which visitors know it.
    name: SocketAddr,
    /// The request head so far.
    head: Vec<u8>,
    /// The answer, and how much of it is sent.
    owed: Vec<u8>,
    sent: usize,
    /// Behind a 101 only the end is of interest.
    is_stream: bool,
}

impl Conversation for Connection {
    fn begin(socket: TcpStream) -> Result<Self> {
        let name = socket.local_addr()?;
        Ok(Self { socket, name, head: Vec::new(), owed: Vec::new(), sent: 0, is_stream: false })
    }

    fn go_on(&mut self, pattern: &Pattern, buffer: &mut [u8]) -> Result<()> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(_) if self.is_stream => {}
                Ok(count) => self.take(&buffer[..count], pattern)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.send(),
                Err(error) => return Err(error.into()),
            }
            self.send()?;
        }
    }
}

impl Connection {
    fn take(&mut self, bytes: &[u8], pattern: &Pattern) -> Result<()> {
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
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-Pod: {}\r\nContent-Length: {bytes}\r\n\r\n",
                self.name
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
