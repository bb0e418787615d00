//! When a lost upstream is dialled again, how often, and when that is given up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::BrokerConfig;

/// The waits of one redial cycle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ladder {
    waits: u32,
    migrating: bool,
}

impl Ladder {
    /// The sandbox is on its way to another host: the steady cadence holds for the rest of the cycle, counted anew.
    pub fn migrates(&mut self) {
        if !self.migrating {
            *self = Self { waits: 0, migrating: true };
        }
    }

    /// The wait before the next attempt; `None` where there is none left. `luck` is from 0 up to 1 and spreads the
    /// waits by the configured jitter, in percent of their length, upwards.
    pub fn next(&mut self, config: &BrokerConfig, luck: f64) -> Option<Duration> {
        let (attempts, wait) = if self.migrating {
            (config.migrating_attempts, config.migrating_wait)
        } else {
            // 2^20 times any wait is beyond every maximum.
            let doubled = config.redial_wait.saturating_mul(1 << self.waits.min(20));
            (config.redial_attempts, doubled.min(config.redial_wait_max))
        };
        if self.waits >= attempts {
            return None;
        }
        self.waits += 1;
        Some(wait.mul_f64(1.0 + f64::from(config.redial_jitter_percent) / 100.0 * luck.clamp(0.0, 1.0)))
    }

    /// How many attempts it has allowed, in the present cadence.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.waits
    }
}

/// Counts redial cycles in a sliding window.
#[derive(Debug, Clone, Default)]
pub struct Breaker(VecDeque<Instant>);

impl Breaker {
    /// Whether another cycle may begin. Cycles that succeeded count too: an upstream that accepts and closes at once
    /// is the case that this is for.
    pub fn permits(&mut self, config: &BrokerConfig, now: Instant) -> bool {
        let Self(cycles) = self;
        while cycles.front().is_some_and(|begun| now.saturating_duration_since(*begun) >= config.flap_window) {
            cycles.pop_front();
        }
        let max = usize::try_from(config.flap_cycles_max).unwrap_or(usize::MAX);
        if cycles.len() >= max {
            return false;
        }
        cycles.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(ladder: &mut Ladder) -> Vec<u64> {
        let config = BrokerConfig::default();
        std::iter::from_fn(|| ladder.next(&config, 0.5)).map(|wait| u64::try_from(wait.as_millis()).unwrap()).collect()
    }

    #[test]
    fn the_ladder_is_the_contracts() {
        let expected = [250, 500, 1000, 2000, 4000, 4000, 4000, 4000, 4000, 4000];
        assert_eq!(waits(&mut Ladder::default()), expected);
    }

    #[test]
    fn a_migration_begins_a_count_of_its_own_and_only_once() {
        let config = BrokerConfig::default();
        let mut ladder = Ladder::default();
        (0..7).for_each(|_| assert!(ladder.next(&config, 0.0).is_some()));
        ladder.migrates();
        assert!(ladder.next(&config, 0.0).is_some());
        ladder.migrates();
        assert_eq!(waits(&mut ladder), [2000; 29]);
    }

    #[test]
    fn jitter_only_lengthens_and_by_its_share_at_most() {
        let config = BrokerConfig { redial_jitter_percent: 20, ..BrokerConfig::default() };
        for (luck, expected) in [(0.0, 250), (0.5, 275), (1.0, 300)] {
            let wait = Ladder::default().next(&config, luck);
            assert_eq!(wait, Some(Duration::from_millis(expected)));
        }
    }

    #[test]
    fn the_fourth_cycle_within_the_window_is_refused() {
        let config = BrokerConfig::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut breaker = Breaker::default();
        assert_eq!([0, 20, 40, 59].map(|now| breaker.permits(&config, at(now))), [true, true, true, false]);
        assert!(breaker.permits(&config, at(60)), "the first has left the window");
        assert!(!breaker.permits(&config, at(61)));
    }
}
