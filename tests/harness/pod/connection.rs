//! What a script can do on a connection.

use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use socket2::SockRef;

use crate::websocket::{self, Frame, Role, Sender};
use crate::wire::{End, Head, Received};

/// A pod's side of a connection.
#[derive(Debug)]
pub struct Connection {
    received: Received,
    /// Requests that have begun.
    requests: usize,
    body_was_read: bool,
    is_closing: bool,
}

impl Connection {
    pub(super) fn new(received: Received) -> Self {
        Self { received, requests: 0, body_was_read: false, is_closing: false }
    }

    pub(super) fn request(&mut self) -> Result<Option<Head>> {
        let request = self.received.head()?;
        self.requests += usize::from(request.is_some());
        self.body_was_read = false;
        Ok(request)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// How many requests have begun on this connection, the present one included.
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// Reads the request's body, chunks joined; nothing if it was read before.
    pub fn body(&mut self, request: &Head) -> Result<Vec<u8>> {
        if std::mem::replace(&mut self.body_was_read, true) {
            return Ok(Vec::new());
        }
        self.received.body(request.request_body())
    }

    /// The next `count` bytes of a body or a stream.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        self.received.exactly(count)
    }

    /// The next bytes of a body or a stream; `None` at its end.
    pub fn some(&mut self) -> Result<Option<Vec<u8>>> {
        self.received.some()
    }

    /// Reads until the connection ends: what came, and how it ended.
    pub fn end(&mut self) -> Result<(Vec<u8>, End)> {
        self.received.end()
    }

    /// What has arrived and was not read yet.
    pub fn unread(&self) -> &[u8] {
        self.received.unread()
    }

    /// Sends `bytes`.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.received.send(bytes.as_ref())
    }

    /// Accepts an upgrade to WebSocket.
    pub fn switch(&mut self, request: &Head) -> Result<()> {
        self.send(switching(request)?)
    }

    /// The next frame of a connection that was switched; `None` at its end.
    pub fn frame(&mut self) -> Result<Option<Frame>> {
        websocket::read(&mut self.received, Role::Client)
    }

    /// Who sends frames on a connection that was switched, from any thread.
    pub fn sender(&self) -> Sender {
        Sender::new(self.received.shared(), Role::Server)
    }

    /// Sends everything back until the peer ends.
    pub fn echo(&mut self) -> Result<()> {
        while let Some(bytes) = self.some()? {
            self.send(bytes)?;
        }
        self.close();
        Ok(())
    }

    /// Waits until the peer ends the connection. Fails when it does not.
    pub fn wait_end(&mut self) -> Result<()> {
        self.received.end().map(drop).context("wait for the peer to end the connection")
    }

    /// Closes the connection when the script returns, with a FIN.
    pub fn close(&mut self) {
        self.is_closing = true;
    }

    /// Ends the connection when the script returns, with a reset.
    pub fn reset(&mut self) -> Result<()> {
        self.is_closing = true;
        Ok(SockRef::from(self.received.stream()).set_linger(Some(Duration::ZERO))?)
    }
}

/// The 101 that accepts `request`, RFC 6455 section 4.2.2.
pub fn switching(request: &Head) -> Result<String> {
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let key = request.field("sec-websocket-key").context("an upgrade without a key")?;
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}
