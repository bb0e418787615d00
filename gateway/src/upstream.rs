//! Connections to pods: dialling with bounded patience, and keeping what can be used again.
//!
//! A kept connection is keyed by sandbox, endpoint and directory generation, so that a recycled pod address never
//! receives another sandbox's request. It is kept for exchanges alone: a stream and a session of the broker dial for
//! themselves, so that nobody's message waits behind another's. A sandbox that ends or moves loses what is kept at once
//! ([`register`]).

mod pool;
pub mod register;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::DialConfig;
use crate::sys::{Driver, Socket};
pub use pool::{Pool, PoolKey};
pub use register::{Lease, Register};

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
/// for its first moments, and a full backlog drops a SYN. Each attempt comes from one of `ports`, of which the whole
/// dial gets a bounded number, while one is free, and `observe` hears of it. The last one comes from any port where the
/// one before was not answered: another gateway that shares the ports and not the maps may have streams without sockets
/// there, whose pod answers no SYN. The pod is told that it may send segments of `segment_max` bytes.
///
/// # Errors
/// When every attempt failed.
pub async fn dial(
    driver: &Driver,
    endpoint: SocketAddr,
    mut ports: impl Iterator<Item = u16>,
    segment_max: Option<u32>,
    config: &DialConfig,
    mut observe: impl FnMut(DialOutcome, Duration),
) -> Result<Socket, DialError> {
    let mut attempts = 0;
    let mut from_any = false;
    loop {
        attempts += 1;
        let begun = Instant::now();
        let own = if from_any { None } else { Some(&mut ports) };
        let result = connect(driver, endpoint, own.into_iter().flatten(), segment_max, config.timeout).await;
        observe(DialOutcome::of(&result), begun.elapsed());
        match result.and_then(|socket| socket.set_nodelay().map(|()| socket)) {
            Ok(socket) => return Ok(socket),
            Err(source) if attempts >= config.attempts => {
                return Err(DialError { endpoint, attempts, source });
            }
            Err(error) => {
                // Not before the last attempt: a SYN may have been lost, and a stream from any port keeps its sockets.
                from_any = error.kind() == io::ErrorKind::TimedOut && attempts + 1 >= config.attempts;
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
    segment_max: Option<u32>,
    timeout: Duration,
) -> io::Result<Socket> {
    for own in ports {
        match driver.connect(endpoint, Some(own), segment_max, timeout).await {
            // A socket of somebody else's has the port, or a connection to the endpoint has it: perhaps one that is
            // gone, which TCP remembers for a minute.
            Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable) => {}
            connected => return connected,
        }
    }
    driver.connect(endpoint, None, segment_max, timeout).await
}
