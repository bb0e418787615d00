//! What a number is worth: medians, intervals that need no assumption about the noise, and verdicts.

use serde::Serialize;

/// The chance that an interval of [`spread`] leaves the true median out, at most, where there are samples enough.
const ERROR_MAX: f64 = 0.07;

/// The value in the middle; of an even number of values the mean of the two. NaN of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// Between which samples the true median lies, by the sign test: each sample is above it or below with the same chance,
/// so that ranks alone say how sure the interval is, whatever the noise looks like. Of five samples, the least and the
/// greatest (94 %); of ten, the second and the ninth (98 %).
pub(crate) fn spread(values: &[f64]) -> (f64, f64) {
    let sorted = sorted(values);
    let count = sorted.len();
    if count == 0 {
        return (f64::NAN, f64::NAN);
    }
    // How likely at most `cut` samples are on one side of the median, times two for both sides.
    let mut cut = 0;
    let mut term = 0.5_f64.powf(count as f64);
    let mut tail = term;
    loop {
        term *= (count - cut) as f64 / (cut + 1) as f64;
        tail += term;
        if 2.0 * tail > ERROR_MAX || 2 * (cut + 1) >= count {
            return (sorted[cut], sorted[count - 1 - cut]);
        }
        cut += 1;
    }
}

/// A subject beside another, of the same rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Ratio {
    /// Round by round, so that what the machine did to a round falls on both sides of its ratio.
    pub(crate) fn of(values: &[f64], base: &[f64]) -> Self {
        let ratios: Vec<f64> = values.iter().zip(base).map(|(value, base)| value / base).collect();
        let (low, high) = spread(&ratios);
        Self { median: median(&ratios), low, high }
    }

    /// Whether the noise leaves no doubt that the two differ.
    pub(crate) fn is_seen(self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }

    pub(crate) fn text(self) -> String {
        let Self { median, low, high } = self;
        let verdict = if self.is_seen() { "" } else { ", no difference seen" };
        format!("{median:.3} ({low:.3} to {high:.3}{verdict})")
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten rounds in which the machine is up to 30 % faster or slower, and each measurement has up to 3 % of its own.
    fn rounds(factor: f64, own: [f64; 10]) -> Vec<f64> {
        let machine = [1.0, 1.3, 0.8, 1.1, 0.7, 1.2, 0.9, 1.0, 1.25, 0.75];
        machine.iter().zip(own).map(|(machine, own)| 40.0 * machine * factor * (1.0 + own)).collect()
    }

    const A: [f64; 10] = [0.01, -0.02, 0.03, 0.0, -0.01, 0.02, -0.03, 0.01, 0.0, -0.01];
    const B: [f64; 10] = [-0.01, 0.01, 0.02, -0.02, 0.0, 0.01, -0.01, 0.0, 0.02, -0.02];

    #[test]
    fn five_percent_are_seen_through_noise_that_is_larger() {
        let slower = Ratio::of(&rounds(1.05, A), &rounds(1.0, B));
        assert!(slower.is_seen() && slower.low > 1.0, "{slower:?}");
        assert!((slower.median - 1.05).abs() < 0.02, "{slower:?}");
    }

    #[test]
    fn where_there_is_no_difference_none_is_seen() {
        let same = Ratio::of(&rounds(1.0, A), &rounds(1.0, B));
        assert!(!same.is_seen(), "{same:?}");
        assert!(same.text().ends_with("no difference seen)"));
    }

    /// How many of a thousand comparisons see a difference where one side needs `factor` times what the other does, of
    /// which each measurement has up to `noise` of its own, and of all rounds the machine up to 30 %.
    fn seen(rounds: usize, factor: f64, noise: f64) -> usize {
        let mut state = 0;
        // From -1 to 1.
        let mut random = move || {
            state += 1;
            (crate::load::size::mixed(state) >> 11) as f64 / f64::from(1 << 26) / f64::from(1 << 26) - 1.0
        };
        let mut round = |factor: f64, machine: f64| 40.0 * factor * machine * (1.0 + noise * random());
        let mut machine = (1..).map(|number| 1.0 + 0.3 * f64::from(number % 7 - 3) / 3.0);
        let mut comparison = || {
            let pair = |_| machine.next().map(|machine| (round(factor, machine), round(1.0, machine)));
            let (costs, base): (Vec<f64>, Vec<f64>) = (0..rounds).filter_map(pair).unzip();
            Ratio::of(&costs, &base)
        };
        (0..1000).filter(|_| comparison().is_seen()).count()
    }

    #[test]
    fn five_percent_are_nearly_always_seen_and_nothing_is_seldom_seen() {
        for rounds in [5, 10] {
            let (difference, nothing) = (seen(rounds, 1.05, 0.03), seen(rounds, 1.0, 0.03));
            assert!(difference >= 900, "{difference} of 1000 with {rounds} rounds");
            assert!(nothing <= 80, "{nothing} of 1000 with {rounds} rounds");
        }
    }

    #[test]
    fn the_interval_is_the_sign_tests() {
        assert_eq!(spread(&[5.0, 1.0, 4.0, 2.0, 3.0]), (1.0, 5.0));
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(spread(&ten), (2.0, 9.0));
        assert_eq!(spread(&[7.0]), (7.0, 7.0));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
