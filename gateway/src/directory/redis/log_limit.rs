//! A bound on how often the same complaint is logged.

use std::time::{Duration, Instant};

/// Lets one line through per interval and counts the rest.
#[derive(Debug)]
pub(super) struct LogLimit {
    interval: Duration,
    last: Option<Instant>,
    withheld: u64,
}

impl LogLimit {
    /// One line per `interval`.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, last: None, withheld: 0 }
    }

    /// Whether a line may be written now; if so, how many were withheld since the one before.
    pub(super) fn permit(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < self.interval) {
            self.withheld += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_and_the_rest_is_counted() {
        let mut limit = LogLimit::new(Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!(limit.permit(start), Some(0));
        assert_eq!(limit.permit(start + Duration::from_secs(1)), None);
        assert_eq!(limit.permit(start + Duration::from_secs(9)), None);
        assert_eq!(limit.permit(start + Duration::from_secs(10)), Some(2));
        assert_eq!(limit.permit(start + Duration::from_secs(30)), Some(0));
    }
}
