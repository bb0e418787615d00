//! When a stream that was brought back under pressure may go into the kernel again.
//!
//! Each switch costs some system calls, and a stream that was too much for its reader once will often be so again. So
//! it has to be quiet first, each time for twice as long.

use std::time::Duration;

/// Silence in both directions that is asked of a stream after its first demotion.
const QUIET_FIRST: Duration = Duration::from_secs(2);

/// The most that is asked of it.
const QUIET_MAX: Duration = Duration::from_secs(300);

/// A stream that stayed in the kernel this long has shown that it belongs there: what was before is forgotten.
const PROVEN_AFTER: Duration = Duration::from_secs(60);

/// A stream's record of demotions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damping {
    /// Demotions in a row.
    demotions: u32,
}

impl Damping {
    /// Notes that the stream came back after `stayed` in the kernel.
    pub fn demoted(&mut self, stayed: Duration) {
        self.demotions = if stayed >= PROVEN_AFTER { 1 } else { self.demotions.saturating_add(1) };
    }

    /// How long the stream has to be quiet before its next promotion.
    #[must_use]
    pub fn quiet_needed(self) -> Duration {
        match self.demotions {
            0 => Duration::ZERO,
            demotions => {
                let doubled = 2_u32.saturating_pow(demotions.saturating_sub(1).min(16));
                QUIET_FIRST.saturating_mul(doubled).min(QUIET_MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fresh_stream_needs_no_silence() {
        assert_eq!(Damping::default().quiet_needed(), Duration::ZERO);
    }

    #[test]
    fn each_demotion_in_a_row_doubles_the_silence() {
        let mut damping = Damping::default();
        let needed: Vec<u64> = std::iter::repeat_with(|| {
            damping.demoted(Duration::ZERO);
            damping.quiet_needed().as_secs()
        })
        .take(9)
        .collect();
        assert_eq!(needed, [2, 4, 8, 16, 32, 64, 128, 256, 300]);
    }

    #[test]
    fn a_long_stay_begins_anew() {
        let mut damping = Damping { demotions: 7 };
        damping.demoted(PROVEN_AFTER);
        assert_eq!(damping.quiet_needed(), QUIET_FIRST);
    }

    proptest! {
        #[test]
        fn the_silence_is_bounded(stays in prop::collection::vec(0..120_u64, 1..200)) {
            let mut damping = Damping::default();
            for stay in stays {
                damping.demoted(Duration::from_secs(stay));
                prop_assert!((QUIET_FIRST..=QUIET_MAX).contains(&damping.quiet_needed()));
            }
        }
    }
}
