//! A pod that answers every request with a 101 and every message with as many bytes as it asks for.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context as _, Result, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::pattern::{PIECE_BYTES, Pattern};
use super::{HEADER_BYTES, MESSAGE_BYTES_MAX, UP_OFFSET};

/// To the key of RFC 6455 section 1.3, which all our clients use.
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The longest request head that is taken.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// What the head of an upgrade begins with.
const METHOD: &[u8] = b"GET ";

const LISTENER: u64 = u64::MAX;
const EVENTS_AT_ONCE: usize = 256;

/// One connection of a pod.
pub(crate) trait Conversation {
    /// With the socket, which is new and does not block.
    fn begin(socket: TcpStream) -> Result<Self>
    where
        Self: Sized;

    /// Takes what has come and sends what is owed. An error is also the client's end.
    fn go_on(&mut self, pattern: &Pattern, buffer: &mut [u8]) -> Result<()>;
}

/// Serves streams until the process ends.
pub(crate) fn serve(listener: &TcpListener) -> Result<()> {
    serve_all::<Connection>(listener)
}

/// Has a conversation with everybody who connects, on one thread, until the process ends.
pub(crate) fn serve_all<C: Conversation>(listener: &TcpListener) -> Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let pattern = Pattern::new();
    let mut connections: Vec<Option<C>> = Vec::new();
    let mut free = Vec::new();
    let mut buffer = vec![0; PIECE_BYTES];
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
            if let Err(error) = connection.go_on(&pattern, &mut buffer) {
                // The client sees the end, and fails the run with it.
                if error.downcast_ref::<io::Error>().is_none_or(|error| error.kind() == ErrorKind::InvalidData) {
                    eprintln!("pod: {error:#}");
                }
                connections[index] = None;
                free.push(index);
            }
        }
    }
}

fn accept<C: Conversation>(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<C>>,
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
        // Edge-triggered and for both directions, so that the interest never changes.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&socket, EpollEvent::new(flags, index as u64))?;
        connections[index] = Some(C::begin(socket)?);
    }
}

struct Connection {
    socket: TcpStream,
    /// The request head so far; `None` once it was answered.
    head: Option<Vec<u8>>,
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    /// Bytes of the current message that are still to come.
    up_left: usize,
    answer: u32,
    seed: u64,
    up_position: u64,
    down_position: u64,
    /// Bytes of answers that are still to be sent.
    owed: u64,
}

impl Conversation for Connection {
    fn begin(socket: TcpStream) -> Result<Self> {
        Ok(Self {
            socket,
            head: Some(Vec::new()),
            header: [0; HEADER_BYTES],
            header_filled: 0,
            up_left: 0,
            answer: 0,
            seed: 0,
            up_position: 0,
            down_position: 0,
            owed: 0,
        })
    }

    fn go_on(&mut self, pattern: &Pattern, buffer: &mut [u8]) -> Result<()> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(count) => {
                    self.take(pattern, &buffer[..count])?;
                    self.send(pattern)?;
                    // Of a stream socket a short read has emptied it (epoll(7)).
                    if count < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.send(pattern),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Connection {
    fn take(&mut self, pattern: &Pattern, bytes: &[u8]) -> Result<()> {
        let Some(head) = &mut self.head else { return self.take_messages(pattern, bytes) };
        head.extend_from_slice(bytes);
        if head.len() >= METHOD.len() && !head.starts_with(METHOD) {
            // Somebody has ended WebSocket on the way: there are messages from the first byte on, whose length would be
            // beyond all bounds if it began like this.
            let messages = std::mem::take(head);
            self.head = None;
            return self.take_messages(pattern, &messages);
        }
        let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
            ensure!(head.len() <= HEAD_BYTES_MAX, "a request head of more than {HEAD_BYTES_MAX} bytes");
            return Ok(());
        };
        let rest = head.split_off(end + 4);
        self.head = None;
        // The socket is new: it has room for a head.
        self.socket.write_all(ANSWER)?;
        self.take_messages(pattern, &rest)
    }

    fn take_messages(&mut self, pattern: &Pattern, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.header_filled < HEADER_BYTES {
                let count = bytes.len().min(HEADER_BYTES - self.header_filled);
                self.header[self.header_filled..][..count].copy_from_slice(&bytes[..count]);
                self.header_filled += count;
                bytes = &bytes[count..];
                if self.header_filled < HEADER_BYTES {
                    return Ok(());
                }
                self.begin_message()?;
            }
            let count = bytes.len().min(self.up_left);
            let position = self.seed + UP_OFFSET + self.up_position;
            ensure!(pattern.matches(position, &bytes[..count]), "a wrong byte in a message");
            self.up_position += count as u64;
            self.up_left -= count;
            bytes = &bytes[count..];
            if self.up_left == 0 {
                self.owed += u64::from(self.answer);
                self.header_filled = 0;
            }
        }
        Ok(())
    }

    fn begin_message(&mut self) -> Result<()> {
        let [up, down, seed] = fields(self.header);
        let is_sane = up as usize >= HEADER_BYTES && up <= MESSAGE_BYTES_MAX && (1..=MESSAGE_BYTES_MAX).contains(&down);
        let is_first = self.up_position == 0 && self.down_position == 0 && self.owed == 0;
        ensure!(is_sane && (is_first || self.seed == u64::from(seed)), "a wrong byte in a header");
        (self.up_left, self.answer, self.seed) = (up as usize - HEADER_BYTES, down, u64::from(seed));
        Ok(())
    }

    fn send(&mut self, pattern: &Pattern) -> Result<()> {
        while self.owed > 0 {
            let wanted = usize::try_from(self.owed)?;
            match self.socket.write(pattern.at(self.seed + self.down_position, wanted)) {
                Ok(count) => {
                    self.down_position += count as u64;
                    self.owed -= count as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The three numbers of a message's header: its length, its answer's length, the stream's seed.
pub(crate) fn fields(header: [u8; HEADER_BYTES]) -> [u32; 3] {
    let (numbers, _) = header.as_chunks::<4>();
    [u32::from_be_bytes(numbers[0]), u32::from_be_bytes(numbers[1]), u32::from_be_bytes(numbers[2])]
}
