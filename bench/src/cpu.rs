//! What the whole machine works while something is measured.
//!
//! A process's own processor time leaves out what the kernel does on its behalf in interrupts and on other threads,
//! which for traffic on loopback is much of the work. What counts is the time in which no processor was idle.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::unistd::Pid;

/// What has been spent between two points in time.
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    /// Of all processors together; what the hypervisor gave to others is not in it.
    pub(crate) cpu: Duration,
    /// What the hypervisor gave to others meanwhile.
    pub(crate) steal: Duration,
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
        let steal = idle.steal.saturating_sub(self.idle.steal);
        let cpu = (wall * idle.processors).saturating_sub(idle.time.saturating_sub(self.idle.time) + steal);
        Ok(Spent { wall, cpu, steal })
    }
}

/// How long processors have had nothing to do since the machine was started.
#[derive(Debug, PartialEq, Eq)]
struct Idle {
    processors: u32,
    /// Of all processors together.
    time: Duration,
    steal: Duration,
}

impl Idle {
    fn now() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::parse(&text).context("/proc/stat counts no idle time")
    }

    /// `idle`, `iowait` and `steal` of proc_stat(5): the fourth, fifth and eighth number behind `cpu`.
    fn parse(stat: &str) -> Option<Self> {
        let mut counters = stat.lines().filter_map(|line| line.strip_prefix("cpu"));
        let numbers: Result<Vec<u64>, _> = counters.next()?.split_whitespace().map(str::parse).collect();
        let [_, _, _, idle, iowait, _, _, steal, ..] = numbers.ok()?[..] else { return None };
        let time = |ticks| Duration::from_millis(ticks * TICK_MILLIS);
        Some(Self { processors: counters.count().try_into().ok()?, time: time(idle + iowait), steal: time(steal) })
    }
}

/// What the threads of a process have run, as the scheduler counts it (`schedstat` of proc(5)); zero once it has ended.
pub(crate) fn of_process(pid: Pid) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.map(|task| ran(&task.path())).sum()
}

/// What the kernel's own threads for deferred work have run: those of softirqs, and the workers of its queues.
pub(crate) fn of_kernel_threads() -> Duration {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_one = |path: &Path| {
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        name.starts_with("kworker/") || name.starts_with("ksoftirqd/")
    };
    processes.map(|entry| entry.path()).filter(|path| is_one(path)).map(|path| ran(&path)).sum()
}

fn ran(task: &Path) -> Duration {
    let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0))
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
        assert_eq!(
            Idle::parse(stat),
            Some(Idle { processors: 2, time: Duration::from_millis(4050), steal: Duration::from_millis(80) })
        );
        assert_eq!(Idle::parse("intr 5\n"), None);
    }

    #[test]
    fn this_machine_can_be_measured() {
        assert!(Idle::now().unwrap().processors > 0);
    }
}
