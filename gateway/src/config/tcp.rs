//! TCP options.

use std::time::Duration;

/// The TCP keep-alive of one socket, as in tcp(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Silence before the first probe (TCP_KEEPIDLE). Whole seconds, 1 at least.
    pub idle: Duration,
    /// Time between two probes (TCP_KEEPINTVL). Whole seconds, 1 at least.
    pub interval: Duration,
    /// How many unanswered probes end the connection (TCP_KEEPCNT).
    pub probes: u32,
}

impl Default for TcpKeepalive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(30), interval: Duration::from_secs(10), probes: 3 }
    }
}
