//! Connections to pods: dialling with bounded patience, and keeping what can be used again.
//!
//! A kept connection is keyed by sandbox, endpoint and directory generation, so that a recycled pod address never
//! receives another sandbox's request. It is kept for exchanges alone: a stream and a session of the broker dial for
//! themselves, so that nobody's message waits behind another's. A sandbox that ends or moves loses what is kept at once
//! ([`register`]).

pub mod register;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::config::{DialConfig, UpstreamConfig};
use crate::route::SandboxId;
use crate::sys::{Driver, Socket};
pub use register::{Lease, Register};

/// How many of the ports that are kept for streams an attempt looks at before it takes any; some microseconds each.
const PORTS_TRIED_MAX: usize = 64;

/// Idle connections of one worker, all sandboxes together. Beyond it a connection is closed after its exchange.
const WORKER_IDLE_MAX: usize = 1024;

/// Why a pod could not be reached.
#[derive(Debug, thiserror::Error)]
#[error("dialling {endpoint} failed {attempts} times, at last: {source}")]
pub struct DialError {
    /// Where to. For the log only; an answer never names it.
    pub endpoint: SocketAddr,
    /// How often it was tried.
    pub attempts: u32,
    /// What the last attempt said.
    pub source: io::Error,
}

impl DialError {
    /// Whether the host itself is gone, which makes the directory's entry suspect. A refusal says the opposite:
    /// somebody lives there who does not listen yet.
    #[must_use]
    pub fn host_is_gone(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut
        )
    }

    /// Whether the process has no descriptor left.
    #[must_use]
    pub fn lacks_descriptors(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
    }
}

/// What an attempt came to, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialOutcome {
    /// Connected.
    Connected,
    /// Nobody listens on the port.
    Refused,
    /// No answer in time.
    TimedOut,
    /// The network says the host cannot be reached.
    Unreachable,
    /// Anything else, such as running out of descriptors or ports.
    Failed,
}

impl DialOutcome {
    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Refused => "refused",
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
            Self::Failed => "error",
        }
    }

    fn of(result: &io::Result<Socket>) -> Self {
        match result {
            Ok(_) => Self::Connected,
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Self::Refused,
                io::ErrorKind::TimedOut => Self::TimedOut,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
                _ => Self::Failed,
            },
        }
    }
}

/// Dials `endpoint`. Every error of a dial is retried, since nothing has been sent yet: a pod that starts late refuses
/// for its first moments, and a full backlog drops a SYN. Each attempt comes from a `port` of its own, where one is
/// free, and `observe` hears of it. Once such an attempt is not answered, the next come from any port: another gateway
/// that shares the ports and not the maps may have a stream without sockets there, whose pod does not answer a SYN.
///
/// # Errors
/// When every attempt failed.
pub async fn dial(
    driver: &Driver,
    endpoint: SocketAddr,
    port: impl FnMut() -> Option<u16>,
    config: &DialConfig,
    mut observe: impl FnMut(DialOutcome, Duration),
) -> Result<Socket, DialError> {
    let mut attempts = 0;
    let mut ports = std::iter::from_fn(port);
    let mut ports_tried_max = PORTS_TRIED_MAX;
    loop {
        attempts += 1;
        let begun = Instant::now();
        let result = connect(driver, endpoint, ports.by_ref().take(ports_tried_max), config.timeout).await;
        observe(DialOutcome::of(&result), begun.elapsed());
        match result.and_then(|socket| socket.set_nodelay().map(|()| socket)) {
            Ok(socket) => return Ok(socket),
            Err(source) if attempts >= config.attempts => {
                return Err(DialError { endpoint, attempts, source });
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::TimedOut {
                    ports_tried_max = 0;
                }
                tokio::time::sleep(config.wait_after(attempts)).await;
            }
        }
    }
}

/// Connects from one of `ports`, or from any where none is found free.
async fn connect(
    driver: &Driver,
    endpoint: SocketAddr,
    ports: impl Iterator<Item = u16>,
    timeout: Duration,
) -> io::Result<Socket> {
    for own in ports {
        match driver.connect(endpoint, Some(own), timeout).await {
            // A socket of somebody else's has the port, or a connection to the endpoint has it: perhaps one that is
            // gone, which TCP remembers for a minute.
            Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable) => {}
            connected => return connected,
        }
    }
    driver.connect(endpoint, None, timeout).await
}

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
    idle: RefCell<IdleTable>,
    per_sandbox_max: usize,
    idle_timeout: Duration,
}

#[derive(Default)]
struct IdleTable {
    by_key: HashMap<PoolKey, VecDeque<Idle>>,
    /// Connections in `by_key`.
    count: usize,
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
        let IdleTable { by_key, count } = &mut *idle;
        let connections = by_key.get_mut(key)?;
        while let Some(connection) = connections.pop_back_if(|connection| connection.since.elapsed() <= idle_max) {
            *count -= 1;
            if self.is_usable(&connection) {
                return Some((connection.socket, connection.lease));
            }
        }
        if connections.is_empty() {
            by_key.remove(key);
        }
        None
    }

    /// Keeps a connection whose last exchange ended in order, if there is room for it among `idle_max`.
    pub fn put(&self, key: PoolKey, socket: Socket, lease: Lease, idle_max: usize) {
        let mut idle = self.idle.borrow_mut();
        let IdleTable { by_key, count } = &mut *idle;
        if !lease.holds() || self.per_sandbox_max == 0 || *count >= idle_max.min(WORKER_IDLE_MAX) {
            return;
        }
        let connections = by_key.entry(key).or_default();
        if connections.len() >= self.per_sandbox_max {
            connections.pop_front();
            *count -= 1;
        }
        connections.push_back(Idle { socket, lease, since: Instant::now() });
        *count += 1;
    }

    /// Closes everything if there are more than `idle_max`: the descriptors are wanted by clients.
    pub fn make_room(&self, idle_max: usize) {
        if self.idle.borrow().count > idle_max {
            self.clear();
        }
    }

    /// Closes everything: idle connections give way when descriptors run out.
    pub fn clear(&self) {
        let mut idle = self.idle.borrow_mut();
        idle.by_key.clear();
        idle.count = 0;
    }

    /// Closes what was idle for too long or was closed by its pod. What is marked waits for [`Self::reset_marked`].
    pub fn sweep(&self) {
        self.retain(|connection| !connection.lease.holds() || self.is_usable(connection));
    }

    /// Resets the connections of sandboxes that have ended or moved, and says how many there were: whoever has their
    /// address now must not find them open.
    pub fn reset_marked(&self) -> u64 {
        let mut count = 0;
        self.retain(|connection| {
            let holds = connection.lease.holds();
            if !holds {
                connection.socket.reset_on_close();
                count += 1;
            }
            holds
        });
        count
    }

    fn retain(&self, mut keeps: impl FnMut(&Idle) -> bool) {
        let mut idle = self.idle.borrow_mut();
        let IdleTable { by_key, count } = &mut *idle;
        by_key.retain(|_, connections| {
            connections.retain(&mut keeps);
            !connections.is_empty()
        });
        *count = by_key.values().map(VecDeque::len).sum();
    }

    fn is_usable(&self, connection: &Idle) -> bool {
        connection.lease.holds() && connection.since.elapsed() < self.idle_timeout && connection.socket.is_quiet()
    }
}
