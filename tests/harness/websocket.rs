//! WebSocket as it stands on the wire, RFC 6455 section 5: every bit of a frame is chosen and seen. Nothing is
//! answered, joined or refused unasked, so that a story sees what the gateway did and not what a library made of it.

mod frame;

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::SockRef;

use crate::wire::{Answer, Client, End, Head, Received, UPGRADE_FIELDS, WEBSOCKET_ACCEPT};

pub(crate) use frame::read;
pub use frame::{Frame, Opcode};

/// Which end of a connection this is: what a client sends is masked, what a server sends is not (section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It opened the connection.
    Client,
    /// It accepted it.
    Server,
}

/// One end of an established connection. Dropping it closes the socket without a word.
#[derive(Debug)]
pub struct Socket {
    received: Received,
    role: Role,
}

/// The answer to an opening handshake.
#[derive(Debug)]
pub enum Opened {
    /// 101, with its head.
    Switched(Socket, Head),
    /// Anything else.
    Refused(Answer),
}

impl Socket {
    /// What is left of a connection behind its handshake.
    pub fn new(received: Received, role: Role) -> Self {
        Self { received, role }
    }

    /// Asks for an upgrade of `target`, with further `fields`, each with its line end.
    pub fn open(address: SocketAddr, target: &str, fields: &str) -> Result<Opened> {
        let mut client = Client::connect(address)?;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: gw.example\r\n{UPGRADE_FIELDS}{fields}\r\n"))?;
        let head = client.head()?;
        if head.status() != 101 {
            return Ok(Opened::Refused(client.rest(head)?));
        }
        ensure!(head.field("sec-websocket-accept") == Some(WEBSOCKET_ACCEPT), "another key was answered: {head:?}");
        Ok(Opened::Switched(Self::new(client.into_received(), Role::Client), head))
    }

    /// The same where a refusal is an error.
    pub fn connect(address: SocketAddr, target: &str) -> Result<Self> {
        match Self::open(address, target, "")? {
            Opened::Switched(socket, _) => Ok(socket),
            Opened::Refused(answer) => bail!("{target} was refused: {} {}", answer.head.start(), answer.text()),
        }
    }

    /// Sends one frame in one segment.
    pub fn send(&self, frame: &Frame) -> Result<()> {
        self.send_raw(&frame.encode(self.role))
    }

    /// Sends several frames in one segment.
    pub fn send_all(&self, frames: &[Frame]) -> Result<()> {
        self.send_raw(&frames.iter().flat_map(|frame| frame.encode(self.role)).collect::<Vec<_>>())
    }

    /// Sends a frame byte by byte, each in a segment of its own.
    pub fn send_slowly(&self, frame: &Frame) -> Result<()> {
        frame.encode(self.role).chunks(1).try_for_each(|byte| self.send_raw(byte))
    }

    /// Sends bytes that need not be a frame.
    pub fn send_raw(&self, bytes: &[u8]) -> Result<()> {
        self.received.send(bytes)
    }

    /// The next frame. An error where the connection ends instead, and where it breaks a rule of section 5.
    pub fn frame(&mut self) -> Result<Frame> {
        let peer = self.peer();
        read(&mut self.received, peer)?.context("the connection ended where a frame should begin")
    }

    /// The next frame must be this one.
    pub fn expect(&mut self, expected: &Frame) -> Result<()> {
        let frame = self.frame().with_context(|| format!("expected {expected:?}"))?;
        ensure!(frame == *expected, "expected {expected:?} and not {frame:?}");
        Ok(())
    }

    /// The next frames must be these.
    pub fn expect_all(&mut self, expected: &[Frame]) -> Result<()> {
        expected.iter().enumerate().try_for_each(|(number, frame)| {
            self.expect(frame).with_context(|| format!("frame {number} of {}", expected.len()))
        })
    }

    /// The peer closes: its next frame is a close frame with this code and reason. It is answered, and what the peer
    /// does then must be to end the connection in order.
    pub fn expect_close(&mut self, code: u16, reason: &str) -> Result<()> {
        self.expect(&Frame::close(code, reason))?;
        // The peer may have left at once.
        if self.send(&Frame::close(code, "")).is_ok() && self.role == Role::Server {
            // The server ends the connection first, section 7.1.1.
            self.received.stream().shutdown(Shutdown::Write).or_else(not_connected)?;
        }
        self.expect_end()
    }

    /// The peer ends the connection without another frame.
    pub fn expect_end(&mut self) -> Result<()> {
        let (rest, _end) = self.received.end()?;
        ensure!(rest.is_empty(), "{} bytes before the end: {:?}", rest.len(), &rest[..rest.len().min(64)]);
        Ok(())
    }

    /// All that comes before the connection ends, and how it ends.
    pub fn end(&mut self) -> Result<(Vec<u8>, End)> {
        self.received.end()
    }

    /// Whether nothing has come that was not read.
    pub fn is_silent(&self) -> Result<bool> {
        let stream = self.received.stream();
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        let waits = matches!(&peeked, Err(error) if error.kind() == ErrorKind::WouldBlock);
        Ok(self.received.unread().is_empty() && waits)
    }

    /// Whatever this end sends next, the other end of a round trip through the gateway has been reached: a message goes
    /// to `other` and back.
    pub fn exchange(&mut self, other: &mut Self, text: &str) -> Result<()> {
        self.send(&Frame::text(text))?;
        other.expect(&Frame::text(text))?;
        let answer = format!("{text}, too");
        other.send(&Frame::text(&answer))?;
        self.expect(&Frame::text(&answer))
    }

    /// Ends the connection with a reset, as the kernel of a killed process does with unread bytes.
    pub fn reset(self) -> Result<()> {
        Ok(SockRef::from(self.received.stream()).set_linger(Some(Duration::ZERO))?)
    }

    /// The socket, for a thread that only sends.
    pub fn sender(&self) -> Sender {
        Sender::new(self.received.shared(), self.role)
    }

    /// The own address.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.received.stream().local_addr()?)
    }

    fn peer(&self) -> Role {
        match self.role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }
}

/// The sending half of a [`Socket`].
#[derive(Debug, Clone)]
pub struct Sender {
    stream: Arc<TcpStream>,
    role: Role,
}

impl Sender {
    pub(crate) fn new(stream: Arc<TcpStream>, role: Role) -> Self {
        Self { stream, role }
    }

    /// Sends one frame in one segment.
    pub fn send(&self, frame: &Frame) -> Result<()> {
        Ok((&*self.stream).write_all(&frame.encode(self.role))?)
    }

    /// Ends the connection in both directions, also for who reads from it.
    pub fn end(&self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Both).or_else(not_connected)?)
    }
}

/// A peer that has ended the connection already is as good.
fn not_connected(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotConnected { Ok(()) } else { Err(error) }
}
