//! How patiently sandboxes are dialled.

use std::time::Duration;

/// With how much patience a sandbox is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialConfig {
    /// How long one TCP connect may take. Pods are a network hop away; 1 s is one lost SYN.
    pub timeout: Duration,
    /// How often a dial is tried in all.
    pub attempts: u32,
    /// The wait after the first failed attempt.
    pub backoff: Duration,
    /// How the wait grows from one failed attempt to the next.
    pub growth: Growth,
}

/// How a wait grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// By the first wait each time: 100, 200, 300 ms.
    Linear,
    /// To twice of what it was: 200, 400, 800 ms.
    Doubling,
}

impl Default for DialConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            attempts: 3,
            backoff: Duration::from_millis(100),
            growth: Growth::Linear,
        }
    }
}

impl DialConfig {
    /// The wait after failed attempt number `attempt`, which is 1 at least.
    #[must_use]
    pub fn wait_after(&self, attempt: u32) -> Duration {
        let factor = match self.growth {
            Growth::Linear => attempt,
            Growth::Doubling => 2_u32.saturating_pow(attempt - 1),
        };
        self.backoff.saturating_mul(factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_as_they_are_told() {
        let linear = DialConfig::default();
        let doubling = DialConfig { backoff: Duration::from_millis(200), growth: Growth::Doubling, ..linear };
        let waits = |dial: DialConfig| [1, 2, 3].map(|attempt| dial.wait_after(attempt).as_millis());
        assert_eq!(waits(linear), [100, 200, 300]);
        assert_eq!(waits(doubling), [200, 400, 800]);
        assert_eq!(doubling.wait_after(u32::MAX), doubling.backoff * u32::MAX);
    }
}
