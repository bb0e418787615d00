//! What the whole machine works while something is measured.
//!
//! A process's own processor time leaves out what the kernel does on its behalf in interrupts and on other threads,
//! which for traffic on loopback is much of the work. What counts is the time in which no processor was idle.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// What has been spent between two points in time.
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    /// Of all processors together.
    pub(crate) cpu: Duration,
}

/// A running measurement.
pub(crate) struct Meter {
    begun: Instant,
    idle: Idle,
}

impl Meter {
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self { idle: Idle::now()?, begun: Instant::now() })
    }

    pub(crate) fn stop(self) -> anyhow::Result<Spent> {
        let wall = self.begun.elapsed();
        let idle = Idle::now()?;
        let cpu = (wall * idle.processors).saturating_sub(idle.time.saturating_sub(self.idle.time));
        Ok(Spent { wall, cpu })
    }
}

/// How long processors have had nothing to do since the machine was started.
#[derive(Debug, PartialEq, Eq)]
struct Idle {
    processors: u32,
    /// Of all processors together.
    time: Duration,
}

impl Idle {
    fn now() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::parse(&text).context("/proc/stat counts no idle time")
    }

    /// `idle` and `iowait` of proc_stat(5): the fourth and the fifth number behind `cpu`.
    fn parse(stat: &str) -> Option<Self> {
        let mut counters = stat.lines().filter_map(|line| line.strip_prefix("cpu"));
        let ticks = counters.next()?.split_whitespace().skip(3).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>();
        let processors = counters.count().try_into().ok()?;
        Some(Self { processors, time: Duration::from_millis(ticks.ok()? * TICK_MILLIS) })
    }
}

/// `USER_HZ` is 100 on all architectures on which the gateway runs (include/uapi/asm-generic/param.h).
const TICK_MILLIS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_that_of_all_processors() {
        let stat =
            "cpu  10 20 30 400 5 6 7 8 0 0\ncpu0 5 10 15 200 1 3 3 4 0 0\ncpu1 5 10 15 200 4 3 4 4 0 0\nctxt 9\n";
        assert_eq!(Idle::parse(stat), Some(Idle { processors: 2, time: Duration::from_millis(4050) }));
        assert_eq!(Idle::parse("intr 5\n"), None);
    }

    #[test]
    fn this_machine_can_be_measured() {
        assert!(Idle::now().unwrap().processors > 0);
    }
}
