//! The bench suite: what the gateway costs, side by side with the same traffic without it.
//!
//! One workload so far, small exchanges that come back (`echo`), short enough to show in CI that the suite runs. It
//! asserts nothing about the numbers: of a development build they mean little, and on a busy machine nothing.

mod cpu;
mod echo;

use std::io::{self, Write};
use std::time::Duration;

use gateway_tests::bridge::Path;

use echo::{Sample, Way};

/// Rounds of each way. They take turns, so that what else the machine does falls on all of them alike.
const ROUNDS: usize = 5;

const ROUND_TIME: Duration = Duration::from_millis(500);

fn main() -> anyhow::Result<()> {
    let mut ways = vec![Way::direct()?];
    for path in [Path::on_loopback("copy", "uring"), Path::on_loopback("copy", "epoll")] {
        ways.push(Way::through(path)?);
    }
    let mut samples: Vec<Vec<Sample>> = ways.iter().map(|_| Vec::with_capacity(ROUNDS)).collect();
    for _ in 0..ROUNDS {
        for (way, samples) in ways.iter_mut().zip(&mut samples) {
            samples.push(way.round(ROUND_TIME)?);
        }
    }
    let names: Vec<&str> = ways.iter().map(Way::name).collect();
    Ok(report(&mut io::stdout(), &names, &samples)?)
}

/// Medians, and how they compare with the first way's.
fn report(out: &mut impl Write, names: &[&str], samples: &[Vec<Sample>]) -> io::Result<()> {
    let build = if cfg!(debug_assertions) { "development build" } else { "release build" };
    writeln!(
        out,
        "echo: {} streams, {} bytes each way, medians of {ROUNDS} rounds of {ROUND_TIME:?}, {build}\n",
        echo::STREAMS,
        echo::MESSAGE_BYTES
    )?;
    writeln!(
        out,
        "{:<12} {:>14} {:>10} {:>22} {:>10}",
        "way", "round trips/s", "ratio", "CPU us per round trip", "ratio"
    )?;
    let mut base = None;
    for (name, samples) in names.iter().zip(samples) {
        let rate = median(samples.iter().map(Sample::rate));
        let cost = median(samples.iter().map(Sample::cost_micros));
        let (base_rate, base_cost) = *base.get_or_insert((rate, cost));
        writeln!(out, "{name:<12} {rate:>14.0} {:>10.2} {cost:>22.1} {:>10.2}", rate / base_rate, cost / base_cost)?;
    }
    Ok(())
}

/// The value in the middle; of an even number of values the upper one of the two. NaN of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Spent;

    #[test]
    fn the_median_is_the_value_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0].into_iter()), 4.0);
        assert!(median([].into_iter()).is_nan());
    }

    #[test]
    fn ratios_are_to_the_first_way() {
        let sample = |round_trips| {
            let (wall, cpu) = (Duration::from_secs(2), Duration::from_secs(1));
            vec![Sample { round_trips, spent: Spent { wall, cpu } }]
        };
        let mut out = Vec::new();
        report(&mut out, &["direct", "copy"], &[sample(20_000), sample(10_000)]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let row = |name| -> Vec<&str> {
            let row = text.lines().find(|line| line.starts_with(name)).unwrap();
            row.split_whitespace().skip(1).collect()
        };
        assert_eq!(row("direct"), ["10000", "1.00", "50.0", "1.00"]);
        assert_eq!(row("copy"), ["5000", "0.50", "100.0", "2.00"]);
    }
}
