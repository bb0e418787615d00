//! How long each processor has been idle, to the nanosecond.
//!
//! `/proc/stat` rounds the kernel's figure down to hundredths of a second, which is one part in seven of what clients,
//! subject and pods work in half a second at a moderate rate. What is rounded there stands in `/proc/timer_list` as the
//! kernel has it, for root alone; but it is added up only when a processor stops to be idle, and does not say whether
//! one is. So whoever reads it goes to each processor first.

use std::fs;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// On a machine with more, going to all takes longer than what it tells is worth.
const PROCESSORS_MAX: usize = 8;

/// A processor at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    /// Since the machine was started.
    now: Duration,
    /// Of it idle, waits for disks included.
    idle: Duration,
}

/// All processors; `None` where the kernel does not tell, or this process may not go to all of them.
pub(super) fn clocks(processors: usize) -> Option<Vec<Clock>> {
    if processors > PROCESSORS_MAX {
        return None;
    }
    let mine = sched_getaffinity(Pid::this()).ok()?;
    let clocks = (0..processors).map(clock_of).collect();
    // It was this thread's before.
    let _back = sched_setaffinity(Pid::this(), &mine).is_ok();
    clocks
}

fn clock_of(processor: usize) -> Option<Clock> {
    let mut only = CpuSet::new();
    only.set(processor).ok()?;
    sched_setaffinity(Pid::this(), &only).ok()?;
    clock(&fs::read_to_string("/proc/timer_list").ok()?, processor)
}

/// The fields of `struct tick_sched` as `print_cpu()` of kernel/time/timer_list.c has them. Without a tickless kernel
/// (`nohz` 0) nobody counts.
fn clock(timer_list: &str, processor: usize) -> Option<Clock> {
    let first = |text: &str| text.split(' ').next()?.parse::<u64>().ok();
    let now = timer_list.lines().find_map(|line| line.strip_prefix("now at "))?;
    let (_, section) = timer_list.split_once(&format!("\ncpu: {processor}\n"))?;
    let section = section.split("\ncpu: ").next()?;
    let field = |name: &str| {
        let value = section.lines().find_map(|line| line.trim_start().strip_prefix(name))?;
        first(value.trim_start_matches([' ', ':']))
    };
    let idle = (field(".nohz")? > 0).then_some(field(".idle_sleeptime")? + field(".iowait_sleeptime")?)?;
    Some(Clock { now: Duration::from_nanos(first(now)?), idle: Duration::from_nanos(idle) })
}

/// How much of `wall` the processors were idle, all together: each has a window of its own, which is nearly that.
pub(super) fn between(before: &[Clock], now: &[Clock], wall: Duration) -> Duration {
    let idle = |(before, now): (&Clock, &Clock)| {
        let window = now.now.saturating_sub(before.now).as_secs_f64();
        let part = now.idle.saturating_sub(before.idle).as_secs_f64() / window.max(f64::MIN_POSITIVE);
        wall.mul_f64(part.min(1.0))
    };
    before.iter().zip(now).map(idle).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Timer List Version: v0.10\nHRTIMER_MAX_CLOCK_BASES: 8\nnow at 1000 nsecs\n\n\
        cpu: 0\n clock 0:\n  .nohz           : 1\n  .idle_waketime  : 650 nsecs\n  .idle_sleeptime : 400 nsecs\n  \
        .iowait_sleeptime: 30 nsecs\njiffies: 4300703256\n\n\
        cpu: 1\n clock 0:\n  .nohz           : 1\n  .idle_sleeptime : 500 nsecs\n  .iowait_sleeptime: 0 nsecs\n\
        jiffies: 4300703256\n\nTick Device: mode:     1\n";

    fn at(now: u64, idle: u64) -> Clock {
        Clock { now: Duration::from_nanos(now), idle: Duration::from_nanos(idle) }
    }

    #[test]
    fn a_clock_is_that_of_its_processor() {
        assert_eq!(clock(TEXT, 0), Some(at(1000, 430)));
        assert_eq!(clock(TEXT, 1), Some(at(1000, 500)));
        assert_eq!(clock(TEXT, 2), None);
        assert_eq!(clock(&TEXT.replace(".nohz           : 1", ".nohz           : 0"), 1), None);
        assert_eq!(clock("", 0), None);
    }

    #[test]
    fn each_processor_has_a_window_of_its_own() {
        let (before, now) = ([at(0, 0), at(100, 50)], [at(1000, 500), at(1300, 350)]);
        // A half of the one, a quarter of the other.
        assert_eq!(between(&before, &now, Duration::from_nanos(1200)), Duration::from_nanos(600 + 300));
    }

    #[test]
    fn it_is_what_the_kernel_rounds_down() {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let Some(first) = clocks(count) else { return };
        let mine = sched_getaffinity(Pid::this()).unwrap();
        assert!((0..count).all(|processor| mine.is_set(processor).unwrap()), "this thread is held on a processor");
        let text = fs::read_to_string("/proc/stat").unwrap();
        let rounded = super::super::Processors::parse(&text).unwrap().idle;
        let second = clocks(count).unwrap();
        let sum = |clocks: &[Clock]| clocks.iter().map(|clock| clock.idle).sum::<Duration>();
        let tick = Duration::from_millis(super::super::TICK_MILLIS);
        let (first, second) = (sum(&first), sum(&second));
        assert!(first <= rounded + 4 * tick && rounded <= second + 4 * tick, "{first:?} {rounded:?} {second:?}");
    }
}
