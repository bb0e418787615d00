//! How many bytes messages have: all the same, or as many as updates of a screen have.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// Bytes of a kind of messages.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Size {
    Exactly(u32),
    /// Log-normal around `median`: the logarithm of a size has the standard deviation `deviation`. What falls outside
    /// of `least` to `most` becomes the one or the other.
    LogNormal {
        median: u32,
        deviation: f64,
        least: u32,
        most: u32,
    },
}

impl Default for Size {
    fn default() -> Self {
        Self::Exactly(0)
    }
}

/// Draws of a table: enough for the tail of a thousandth, few enough for the processor's cache. A power of two.
const DRAWS: usize = 4096;

/// Sizes drawn in advance by a fixed seed. Which message has which one follows from its stream and number alone, so
/// that every subject carries the same bytes.
pub(crate) struct Sizes(Vec<u32>);

impl Sizes {
    pub(crate) fn of(size: Size) -> Self {
        Self(match size {
            Size::Exactly(bytes) => vec![bytes],
            Size::LogNormal { median, deviation, least, most } => {
                let mut random = 0;
                let mut uniform = || {
                    random += 1;
                    // Never 0, of which there is no logarithm.
                    ((mixed(random) >> 11) + 1) as f64 / (1_u64 << 53) as f64
                };
                // Box and Muller's transform of two uniform numbers into a normal one.
                let mut normal = || (-2.0 * uniform().ln()).sqrt() * (TAU * uniform()).cos();
                let mut draw = || (f64::from(median) * (deviation * normal()).exp()).round();
                let within = |bytes: f64| bytes.clamp(f64::from(least), f64::from(most));
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two u32")]
                (0..DRAWS).map(|_| within(draw()) as u32).collect()
            }
        })
    }

    /// Bytes of a stream's message with that number.
    pub(crate) fn at(&self, seed: u64, number: u64) -> u32 {
        let place = mixed(seed << 32 | number) & (self.0.len() as u64 - 1);
        self.0[usize::try_from(place).expect("a place in the table")]
    }
}

/// The finalizer of `MurmurHash3`, in the variant that is called mix13: every bit of the number decides about every bit
/// of the result.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFICE: Size = Size::LogNormal { median: 2450, deviation: 1.25, least: 200, most: 30_000 };

    #[test]
    fn drawn_sizes_are_log_normal_within_their_bounds() {
        let sizes = Sizes::of(OFFICE);
        let mut drawn: Vec<u32> = (0..10_000).map(|number| sizes.at(7, number)).collect();
        drawn.sort_unstable();
        assert!(drawn[0] >= 200 && drawn[9999] <= 30_000, "{} {}", drawn[0], drawn[9999]);
        // The median, and one standard deviation to both sides: 2450 / e^1.25 and 2450 * e^1.25.
        for (rank, expected) in [(5000, 2450.0), (1587, 702.0), (8413, 8551.0)] {
            let ratio = f64::from(drawn[rank]) / expected;
            assert!((0.93..1.07).contains(&ratio), "{rank}: {} instead of {expected}", drawn[rank]);
        }
    }

    #[test]
    fn the_same_message_has_the_same_size_in_every_run() {
        let (one, other) = (Sizes::of(OFFICE), Sizes::of(OFFICE));
        assert!((0..1000).all(|number| one.at(3, number) == other.at(3, number)));
        assert!((0..1000).any(|number| one.at(3, number) != one.at(4, number)), "streams differ");
        assert_eq!(Sizes::of(Size::Exactly(17)).at(3, 4), 17);
    }
}
