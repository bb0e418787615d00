//! Established streams.

use std::time::Duration;

use super::TcpKeepalive;

/// Limits of established streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// How long a stream may carry nothing in both directions; 0 is for ever.
    pub idle_timeout: Duration,
    /// How long a stream may live at all; 0 is for ever.
    pub lifetime_max: Duration,
    /// How many streams one client address may have in the process; 0 is without limit, since a NAT is one address.
    pub per_client_max: u32,
    /// How many streams one sandbox may have in the process; 0 is without limit.
    pub per_sandbox_max: u32,
    /// TCP keep-alive on both sockets: what finds a peer that vanished while the stream was idle.
    pub keepalive: TcpKeepalive,
    /// TCP_USER_TIMEOUT on both sockets: what finds a peer that vanished while bytes were on their way to it.
    pub user_timeout: Duration,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(60 * 60),
            lifetime_max: Duration::ZERO,
            per_client_max: 0,
            per_sandbox_max: 0,
            keepalive: TcpKeepalive::default(),
            user_timeout: Duration::from_secs(60),
        }
    }
}
