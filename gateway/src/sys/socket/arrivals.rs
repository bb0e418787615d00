//! Waiting until a socket has something to read, without reading it.

use std::io;

use super::{Edge, Socket};
use crate::sys::driver::Means;
use crate::sys::ring::Submitted;

/// Tells when something arrives at a socket. Holds no memory while nothing does, and takes nothing.
pub struct Arrivals<'a> {
    socket: &'a Socket,
    /// On the ring: the poll that is under way.
    watching: Option<Submitted>,
}

impl Socket {
    /// Watches what arrives.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals<'_> {
        Arrivals { socket: self, watching: None }
    }
}

impl Arrivals<'_> {
    /// Waits for bytes, the peer's end of stream, or the connection's failure. Each is told once, at the earliest after
    /// it came, so whoever is told reads until there is nothing. Losing the future loses nothing.
    ///
    /// # Errors
    /// When the system cannot watch the socket.
    pub async fn next(&mut self) -> io::Result<()> {
        let socket = self.socket;
        match &socket.driver.means {
            Means::Ring(ring) => {
                let watching = self.watching.get_or_insert_with(|| ring.watch(&socket.fd, libc::POLLIN));
                let told = watching.await;
                if told.last {
                    self.watching = None;
                }
                told.result.map(drop)
            }
            Means::Epoll(_) => socket.ready(Edge::Readable).await.map(drop),
        }
    }
}
