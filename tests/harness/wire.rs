//! A client that chooses every byte it sends, and reads what comes back by its framing and nothing else.

mod head;
mod received;

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::SockRef;

use crate::wait::PATIENCE;

pub use head::{Body, Head};
pub use received::{End, Received};

/// A WebSocket key and the accept value that belongs to it: the example of RFC 6455 section 1.3.
pub const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// See [`WEBSOCKET_KEY`].
pub const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The fields of a good upgrade to WebSocket, each with its line end.
pub const UPGRADE_FIELDS: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// One connection to the gateway. Every call of [`Self::send`] is one segment, as long as the receiver keeps up.
#[derive(Debug)]
pub struct Client {
    received: Received,
}

/// A response that came whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status line and fields.
    pub head: Head,
    /// Its body, chunks joined.
    pub body: Vec<u8>,
}

impl Client {
    /// Connects. Reading and writing fail after [`PATIENCE`] each.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { received: Received::new(stream)? })
    }

    /// The client's own address.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.stream().local_addr()?)
    }

    /// The socket, for what a story does to it beside sending and receiving.
    pub fn stream(&self) -> &TcpStream {
        self.received.stream()
    }

    /// Sends `bytes`.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.received.send(bytes.as_ref())
    }

    /// Sends each piece by itself, `pause` apart, so that the gateway sees them arrive one by one.
    pub fn send_slowly<P: AsRef<[u8]>>(&self, pieces: impl IntoIterator<Item = P>, pause: Duration) -> Result<()> {
        for piece in pieces {
            self.send(piece)?;
            crate::wait::pause(pause);
        }
        Ok(())
    }

    /// Sends `request` and reads the answer to it; the method is taken from the request.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Result<Answer> {
        let request = request.as_ref();
        self.send(request)?;
        if request.starts_with(b"HEAD ") { self.answer_without_body() } else { self.answer() }
    }

    /// The next response, an interim one included.
    pub fn answer(&mut self) -> Result<Answer> {
        let head = self.head()?;
        self.rest(head)
    }

    /// The response that begins with `head`, which was read already.
    pub fn rest(&mut self, head: Head) -> Result<Answer> {
        let body = self.received.body(head.response_body())?;
        Ok(Answer { head, body })
    }

    /// What follows the last head that was read, for who speaks another protocol from here on.
    pub fn into_received(self) -> Received {
        self.received
    }

    /// The next response, to a HEAD request: whatever its fields say, no body follows.
    pub fn answer_without_body(&mut self) -> Result<Answer> {
        Ok(Answer { head: self.head()?, body: Vec::new() })
    }

    /// The head of the next response. What follows it is for the caller to read.
    pub fn head(&mut self) -> Result<Head> {
        self.received.head()?.context("the connection ended where a response should begin")
    }

    /// The next `count` bytes.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        self.received.exactly(count)
    }

    /// Everything up to `end`, and `end` itself, as soon as it has arrived.
    pub fn until(&mut self, end: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        self.received.until(end.as_ref())
    }

    /// Reads until the connection ends: what came, and how it ended. Fails when it stays open for [`PATIENCE`].
    pub fn end(&mut self) -> Result<(Vec<u8>, End)> {
        self.received.end()
    }

    /// Sends a FIN: no request follows, but answers are still read.
    pub fn finish(&self) -> Result<()> {
        Ok(self.stream().shutdown(std::net::Shutdown::Write)?)
    }

    /// Ends the connection with a reset.
    pub fn reset(self) -> Result<()> {
        Ok(SockRef::from(self.stream()).set_linger(Some(Duration::ZERO))?)
    }
}

impl Answer {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
