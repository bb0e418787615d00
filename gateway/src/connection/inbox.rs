//! One side of a connection while HTTP is spoken on it: its socket, and what was received and not used yet.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::http::parse::{self, ResponseContext};
use crate::http::{HeadError, HeadLimits, Progress, RequestHead, ResponseHead};
use crate::sys::{Chunk, ChunkSize, Socket};

/// A socket with its unread bytes.
pub(super) struct Inbox {
    pub(super) socket: Socket,
    bytes: Vec<u8>,
}

/// Why no head came.
#[derive(Debug)]
pub(super) enum ReadHeadError {
    /// It broke a rule.
    Malformed(HeadError),
    /// The peer closed or its connection failed. `received` says whether any byte of the head had come.
    Ended { received: bool, source: io::Error },
    /// It took too long.
    Late,
}

impl Inbox {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, bytes: Vec::new() }
    }

    /// What was received and not used yet.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives up the socket, and the unused bytes with it.
    pub(super) fn into_parts(self) -> (Socket, Vec<u8>) {
        (self.socket, self.bytes)
    }

    /// Marks the first `count` bytes as used. An empty inbox holds no memory, since a connection may stay idle for
    /// long.
    pub(super) fn consume(&mut self, count: usize) {
        if count >= self.bytes.len() {
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..count);
        }
    }

    /// Keeps received bytes for later.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next request head; `None` where the client closed or stayed silent between two requests.
    ///
    /// `idle` is how long the first byte may take, `limit` how long the head may take from then on: absolute, so that a
    /// slow sender cannot renew it byte by byte. When `given_up` completes, a client that has not begun a request is
    /// not waited for any longer; one whose bytes have arrived is served.
    pub(super) async fn request_head(
        &mut self,
        limits: &HeadLimits,
        idle: Duration,
        limit: Duration,
        given_up: impl Future<Output = ()>,
    ) -> Result<Option<RequestHead>, ReadHeadError> {
        if self.bytes.is_empty() {
            let socket = self.socket.clone();
            let mut first = pin!(tokio::time::timeout(idle, self.receive(ChunkSize::Small)));
            let first = tokio::select! {
                biased;
                first = &mut first => first,
                () = given_up => {
                    // Ends the receive that is under way, which still delivers what has arrived: dropping it would not.
                    socket.shutdown_read();
                    first.await
                }
            };
            match first {
                Err(_) | Ok(Ok(None) | Err(_)) => return Ok(None),
                Ok(Ok(Some(()))) => {}
            }
        }
        let deadline = Instant::now() + limit;
        let reading = self.head(limits, ChunkSize::Small, |bytes| parse::request(bytes, limits));
        match tokio::time::timeout_at(deadline, reading).await {
            Ok(head) => head.map(Some),
            Err(_) => Err(ReadHeadError::Late),
        }
    }

    /// The next response head. Its deadline is the caller's, since it begins where the request ends.
    pub(super) async fn response_head(
        &mut self,
        context: ResponseContext,
        limits: &HeadLimits,
    ) -> Result<ResponseHead, ReadHeadError> {
        // What a response begins with often comes in one piece with its head. Received in one piece, it costs one send
        // and wakes the client once.
        self.head(limits, ChunkSize::Large, |bytes| parse::response(bytes, context, limits)).await
    }

    async fn head<H>(
        &mut self,
        limits: &HeadLimits,
        size: ChunkSize,
        parse: impl Fn(&[u8]) -> Result<Progress<H>, HeadError>,
    ) -> Result<H, ReadHeadError> {
        // A head is looked at again only when a line has ended or a limit may be exceeded: a sender of single bytes
        // must not make each of them cost a pass over all.
        let mut news = !self.bytes.is_empty();
        loop {
            if news {
                match parse(&self.bytes).map_err(ReadHeadError::Malformed)? {
                    Progress::Complete { head, consumed } => {
                        self.consume(consumed);
                        return Ok(head);
                    }
                    Progress::Partial => {}
                }
            }
            let before = self.bytes.len();
            let ended = match self.receive(size).await {
                Ok(Some(())) => None,
                Ok(None) => Some(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => Some(error),
            };
            if let Some(source) = ended {
                return Err(ReadHeadError::Ended { received: !self.bytes.is_empty(), source });
            }
            let now = self.bytes.len();
            let exceeds = [limits.line_bytes_max, limits.head_bytes_max].iter().any(|max| before <= *max && now > *max);
            news = before == 0 || exceeds || self.bytes[before..].contains(&b'\n');
        }
    }

    /// Appends what arrives next; `None` at the end.
    async fn receive(&mut self, size: ChunkSize) -> io::Result<Option<()>> {
        let chunk = self.socket.recv(size).await?;
        Ok(chunk.map(|chunk| self.bytes.extend_from_slice(&chunk)))
    }

    /// Receives what the inbox does not hold.
    pub(super) async fn chunk(&self, size: ChunkSize) -> io::Result<Option<Chunk>> {
        debug_assert!(self.bytes.is_empty(), "what was received first is used first");
        self.socket.recv(size).await
    }
}
