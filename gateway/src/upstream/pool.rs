//! A worker's idle connections.

mod shelf;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Lease;
use crate::config::UpstreamConfig;
use crate::route::SandboxId;
use crate::sys::Socket;
use shelf::Shelf;

/// Idle connections of one worker, all sandboxes together. For each beyond it, the one that was idle for longest is
/// closed: visitors come and go, and it is those who are here that ask again.
const WORKER_IDLE_MAX: usize = 1024;

/// Whose connection it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Its endpoint.
    pub endpoint: SocketAddr,
    /// The directory's generation of that mapping.
    pub generation: u64,
}

struct Idle {
    socket: Socket,
    lease: Lease,
    since: Instant,
}

/// A worker's idle connections.
pub struct Pool {
    idle: RefCell<Shelf<PoolKey, Idle>>,
    per_sandbox_max: usize,
    idle_timeout: Duration,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(config: &UpstreamConfig) -> Self {
        Self { idle: RefCell::default(), per_sandbox_max: config.pool_idle_max, idle_timeout: config.pool_idle_timeout }
    }

    /// Takes the connection that was used last, if that is not longer ago than `idle_max` and it is still usable: not
    /// closed by the pod, and without unasked bytes.
    pub fn take(&self, key: &PoolKey, idle_max: Duration) -> Option<(Socket, Lease)> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let connection = idle.take_if(key, |connection| connection.since.elapsed() <= idle_max)?;
            if self.is_usable(&connection) {
                return Some((connection.socket, connection.lease));
            }
        }
    }

    /// Keeps a connection whose last exchange ended in order. Where there are `idle_max` already, another goes.
    pub fn put(&self, key: PoolKey, socket: Socket, lease: Lease, idle_max: usize) {
        if lease.holds() {
            let connection = Idle { socket, lease, since: Instant::now() };
            self.idle.borrow_mut().put(key, connection, self.per_sandbox_max, idle_max.min(WORKER_IDLE_MAX));
        }
    }

    /// Closes everything if there are more than `idle_max`: the descriptors are wanted by clients.
    pub fn make_room(&self, idle_max: usize) {
        if self.idle.borrow().len() > idle_max {
            self.clear();
        }
    }

    /// Closes everything: idle connections give way when descriptors run out.
    pub fn clear(&self) {
        self.idle.take();
    }

    /// Closes what was idle for too long or was closed by its pod. What is marked waits for [`Self::reset_marked`].
    pub fn sweep(&self) {
        self.idle.borrow_mut().retain(|connection| !connection.lease.holds() || self.is_usable(connection));
    }

    /// Resets the connections of sandboxes that have ended or moved, and says how many there were: whoever has their
    /// address now must not find them open.
    pub fn reset_marked(&self) -> u64 {
        let mut count = 0;
        self.idle.borrow_mut().retain(|connection| {
            let holds = connection.lease.holds();
            if !holds {
                connection.socket.reset_on_close();
                count += 1;
            }
            holds
        });
        count
    }

    fn is_usable(&self, connection: &Idle) -> bool {
        connection.lease.holds() && connection.since.elapsed() < self.idle_timeout && connection.socket.is_quiet()
    }
}
