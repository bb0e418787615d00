//! The receiving side of a connection, with what has arrived and was not used yet.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail, ensure};

use super::head::{Body, Head};
use crate::wait::PATIENCE;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a FIN.
    Closed,
    /// With a reset.
    Reset,
}

/// What has arrived on a connection, in order. A copy of it can be kept from the first byte on.
#[derive(Debug)]
pub struct Received {
    stream: Arc<TcpStream>,
    unread: Vec<u8>,
    record: Option<Arc<Mutex<Vec<u8>>>>,
}

/// The most bytes of a connection that are recorded: a story about more counts them instead.
pub(crate) const RECORDED_BYTES_MAX: usize = 1 << 20;

/// The largest piece that is read at once.
const PIECE_BYTES_MAX: usize = 1 << 16;

impl Received {
    /// Reading and writing fail after [`PATIENCE`] each, with an error that says so.
    pub fn new(stream: impl Into<Arc<TcpStream>>) -> Result<Self> {
        let stream = stream.into();
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, unread: Vec::new(), record: None })
    }

    /// Copies everything that arrives from now on, up to [`RECORDED_BYTES_MAX`].
    pub(crate) fn record(mut self, record: Arc<Mutex<Vec<u8>>>) -> Self {
        self.record = Some(record);
        self
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The socket, shared with who sends on it.
    pub fn shared(&self) -> Arc<TcpStream> {
        Arc::clone(&self.stream)
    }

    /// What has arrived and was not used yet.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Sends all of `bytes`.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        (&*self.stream).write_all(bytes).with_context(|| format!("send {} bytes", bytes.len()))
    }

    /// The next head; `None` where the connection ended with a FIN before its first byte.
    pub fn head(&mut self) -> Result<Option<Head>> {
        const EMPTY_LINE: &[u8] = b"\r\n\r\n";
        if self.unread.is_empty() && self.receive()? == Some(End::Closed) {
            return Ok(None);
        }
        let raw = self.until(EMPTY_LINE).context("receive a head")?;
        Head::parse(&raw).map(Some)
    }

    /// A whole body, chunks joined.
    pub fn body(&mut self, body: Body) -> Result<Vec<u8>> {
        match body {
            Body::None => Ok(Vec::new()),
            Body::Length(length) => self.exactly(length).context("receive a body of known length"),
            Body::Chunked => self.chunks().context("receive a body of chunks"),
            Body::UntilEnd => match self.end()? {
                (body, End::Closed) => Ok(body),
                (body, End::Reset) => bail!("a reset after {} bytes of a body", body.len()),
            },
        }
    }

    /// The next bytes that arrive, at least one; `None` at the end.
    pub fn some(&mut self) -> Result<Option<Vec<u8>>> {
        if self.unread.is_empty() {
            self.receive()?;
        }
        let bytes = std::mem::take(&mut self.unread);
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// Waits for bytes; false where the connection has ended with a FIN.
    pub fn wait(&mut self) -> Result<bool> {
        match self.receive()? {
            None => Ok(true),
            Some(End::Closed) => Ok(false),
            Some(End::Reset) => bail!("a reset"),
        }
    }

    /// The next `count` bytes.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.unread.len() < count {
            let end = self.receive()?;
            ensure!(end.is_none(), "{end:?} after {} of {count} bytes", self.unread.len());
        }
        let rest = self.unread.split_off(count);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    /// Everything up to `end`, and `end` itself.
    pub fn until(&mut self, end: &[u8]) -> Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.unread[searched..].windows(end.len()).position(|window| window == end) {
                return self.exactly(searched + at + end.len());
            }
            searched = self.unread.len().saturating_sub(end.len() - 1);
            if let Some(ended) = self.receive()? {
                let unread = String::from_utf8_lossy(&self.unread);
                bail!("{ended:?} after {unread:?}, before {:?}", String::from_utf8_lossy(end));
            }
        }
    }

    /// Reads until the connection ends.
    pub fn end(&mut self) -> Result<(Vec<u8>, End)> {
        loop {
            if let Some(end) = self.receive()? {
                return Ok((std::mem::take(&mut self.unread), end));
            }
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n")?;
            let size = std::str::from_utf8(&line)?.trim_end();
            let size = usize::from_str_radix(size, 16).with_context(|| format!("chunk size {size:?}"))?;
            body.extend(self.exactly(size)?);
            let end = self.exactly(2)?;
            ensure!(end == b"\r\n", "{end:?} behind a chunk of {size} bytes");
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// Adds what arrives next to the unread bytes, or says how the connection ended.
    fn receive(&mut self) -> Result<Option<End>> {
        let before = self.unread.len();
        self.unread.resize(before + PIECE_BYTES_MAX, 0);
        let received = (&*self.stream).read(&mut self.unread[before..]);
        self.unread.truncate(before + received.as_ref().copied().unwrap_or_default());
        match received {
            Ok(0) => Ok(Some(End::Closed)),
            Ok(_) => {
                self.copy(before);
                Ok(None)
            }
            Err(error) => match error.kind() {
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(Some(End::Reset)),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => bail!("nothing came for {PATIENCE:?}"),
                _ => Err(error).context("receive"),
            },
        }
    }

    fn copy(&self, from: usize) {
        if let Some(record) = &self.record {
            let mut record = record.lock().expect("no thread panics while it holds the record");
            let room = RECORDED_BYTES_MAX - record.len();
            let new = &self.unread[from..];
            record.extend_from_slice(&new[..new.len().min(room)]);
        }
    }
}
