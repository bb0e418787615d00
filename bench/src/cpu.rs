//! What the whole machine works while something is measured, and who does it.
//!
//! A process's own processor time leaves out what the kernel does on its behalf in interrupts and on other threads,
//! which for traffic on loopback is much of the work. What counts is the time in which no processor was idle. Whose it
//! was is told beside it: by threads, as the scheduler counts their time, and, as a share of all of it, what softirqs
//! took, which the kernel samples at every tick. A softirq runs on whatever thread it interrupts, so its time is part
//! of the threads' too.

mod idle;

use std::collections::HashMap;
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
    /// In interrupts and softirqs, on whatever thread.
    pub(crate) softirq: Duration,
    pub(crate) threads: Shares,
    /// Of all processors together: what could have been spent.
    pub(crate) available: Duration,
}

/// Processor time by whose threads it was.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// The subject's, without those of io-wq.
    pub(crate) subject: Duration,
    /// The kernel's threads inside the subject that wait in its place (`iou-wrk-*` and `iou-sqp-*`).
    pub(crate) io_wq: Duration,
    /// The kernel's own for deferred work.
    pub(crate) kworker: Duration,
    /// Clients and pods.
    pub(crate) load: Duration,
    /// Those of [`Soaker`](crate::soaker::Soaker)s.
    pub(crate) soaker: Duration,
}

/// Processes whose threads are told apart.
#[derive(Debug, Default, Clone)]
pub(crate) struct Parties {
    pub(crate) subject: Vec<Pid>,
    pub(crate) load: Vec<Pid>,
    pub(crate) soaker: Vec<Pid>,
}

/// A running measurement.
pub(crate) struct Meter<'a> {
    parties: &'a Parties,
    threads: HashMap<String, (Party, Duration)>,
    begun: Instant,
    processors: Processors,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(parties: &'a Parties) -> anyhow::Result<Self> {
        let threads = threads(parties);
        // Last, since looking after threads takes time itself.
        Ok(Self { parties, threads, processors: Processors::now()?, begun: Instant::now() })
    }

    pub(crate) fn stop(self) -> anyhow::Result<Spent> {
        let wall = self.begun.elapsed();
        let now = Processors::now()?;
        let grown = |of: fn(&Processors) -> Duration| of(&now).saturating_sub(of(&self.processors));
        let (steal, available) = (grown(|p| p.steal), wall * now.count);
        let threads = ran(&threads(self.parties), &self.threads);
        let precise = self.processors.clocks.as_ref().zip(now.clocks.as_ref());
        let idle = precise.map_or_else(|| grown(|p| p.idle), |(before, now)| idle::between(before, now, wall));
        let cpu = available.saturating_sub(idle + steal);
        Ok(Spent { wall, cpu, steal, softirq: grown(|p| p.softirq), threads, available })
    }
}

/// What processors have done since the machine was started.
#[derive(Debug, PartialEq, Eq)]
struct Processors {
    count: u32,
    /// Of all processors together, in whole ticks.
    idle: Duration,
    softirq: Duration,
    steal: Duration,
    /// Idle time as it is, where the kernel tells it.
    clocks: Option<Vec<idle::Clock>>,
}

impl Processors {
    fn now() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let rounded = Self::parse(&text).context("/proc/stat counts no idle time")?;
        Ok(Self { clocks: idle::clocks(usize::try_from(rounded.count)?), ..rounded })
    }

    /// The numbers behind `cpu` of proc_stat(5): `idle` and `iowait`, `irq` and `softirq`, `steal` are the fourth to
    /// eighth.
    fn parse(stat: &str) -> Option<Self> {
        let mut counters = stat.lines().filter_map(|line| line.strip_prefix("cpu"));
        let numbers: Result<Vec<u64>, _> = counters.next()?.split_whitespace().map(str::parse).collect();
        let [_, _, _, idle, iowait, irq, softirq, steal, ..] = numbers.ok()?[..] else { return None };
        let time = |ticks| Duration::from_millis(ticks * TICK_MILLIS);
        let count = counters.count().try_into().ok()?;
        let (idle, softirq, steal) = (time(idle + iowait), time(irq + softirq), time(steal));
        Some(Self { count, idle, softirq, steal, clocks: None })
    }
}

/// Whose a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Party {
    Subject,
    IoWq,
    Kworker,
    Load,
    Soaker,
}

/// Every thread of the parties by its directory, and what it has run so far.
fn threads(parties: &Parties) -> HashMap<String, (Party, Duration)> {
    let mut all = HashMap::new();
    let processes =
        [(Party::Subject, &parties.subject), (Party::Load, &parties.load), (Party::Soaker, &parties.soaker)];
    for (party, pid) in processes.into_iter().flat_map(|(party, pids)| pids.iter().map(move |pid| (party, pid))) {
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let task = task.path();
            let party = if party == Party::Subject && is_io_wq(&name(&task)) { Party::IoWq } else { party };
            all.insert(task.to_string_lossy().into_owned(), (party, time_of(&task)));
        }
    }
    for process in fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path()) {
        if name(&process).starts_with("kworker/") {
            all.insert(process.to_string_lossy().into_owned(), (Party::Kworker, time_of(&process)));
        }
    }
    all
}

/// Of a thread that has begun in between, everything; one that has ended took along what it ran since then.
fn ran(now: &HashMap<String, (Party, Duration)>, before: &HashMap<String, (Party, Duration)>) -> Shares {
    let mut shares = Shares::default();
    for (thread, (party, time)) in now {
        let earlier = before.get(thread).map_or(Duration::ZERO, |(_, time)| *time);
        let share = match party {
            Party::Subject => &mut shares.subject,
            Party::IoWq => &mut shares.io_wq,
            Party::Kworker => &mut shares.kworker,
            Party::Load => &mut shares.load,
            Party::Soaker => &mut shares.soaker,
        };
        *share += time.saturating_sub(earlier);
    }
    shares
}

/// `create_io_thread()` of io_uring/io-wq.c and io_uring/sqpoll.c names them.
fn is_io_wq(name: &str) -> bool {
    name.starts_with("iou-")
}

fn name(task: &Path) -> String {
    fs::read_to_string(task.join("comm")).unwrap_or_default()
}

/// What a thread has run, as the scheduler counts it (`schedstat` of proc(5)); zero once it has ended.
fn time_of(task: &Path) -> Duration {
    let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0))
}

/// `USER_HZ` is 100 on all architectures on which the gateway runs (include/uapi/asm-generic/param.h).
const TICK_MILLIS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read_as_the_kernel_counts_them() {
        let stat =
            "cpu  10 20 30 400 5 6 7 8 0 0\ncpu0 5 10 15 200 1 3 3 4 0 0\ncpu1 5 10 15 200 4 3 4 4 0 0\nctxt 9\n";
        let millis = Duration::from_millis;
        let (idle, softirq, steal) = (millis(4050), millis(130), millis(80));
        assert_eq!(Processors::parse(stat), Some(Processors { count: 2, idle, softirq, steal, clocks: None }));
        assert_eq!(Processors::parse("intr 5\n"), None);
    }

    #[test]
    fn threads_count_for_whose_they_are() {
        let all = |entries: &[(&str, Party, u64)]| -> HashMap<String, (Party, Duration)> {
            entries.iter().map(|(name, party, ms)| ((*name).to_owned(), (*party, Duration::from_millis(*ms)))).collect()
        };
        let before = all(&[("a", Party::Subject, 10), ("k", Party::Kworker, 5), ("gone", Party::IoWq, 70)]);
        let now = all(&[("a", Party::Subject, 14), ("new", Party::IoWq, 3), ("k", Party::Kworker, 5)]);
        let shares = ran(&now, &before);
        let (subject, io_wq) = (Duration::from_millis(4), Duration::from_millis(3));
        assert_eq!(shares, Shares { subject, io_wq, ..Shares::default() });
        assert!(is_io_wq("iou-wrk-4711\n") && !is_io_wq("worker-0\n"));
    }

    #[test]
    fn what_this_process_works_is_found() {
        let parties = Parties { load: vec![Pid::this()], ..Parties::default() };
        let meter = Meter::start(&parties).unwrap();
        let begun = Instant::now();
        let mut worked = 0_u64;
        // As long as it takes to be on a processor for a while, however many others want it.
        while begun.elapsed() < Duration::from_secs(60) {
            worked = std::hint::black_box(worked + 1);
            if worked.is_multiple_of(1 << 20) && ran(&threads(&parties), &meter.threads).load.as_millis() > 20 {
                break;
            }
        }
        let spent = meter.stop().unwrap();
        assert!(spent.threads.load > Duration::from_millis(20) && spent.threads.subject.is_zero());
        // Rounded to ticks on both sides.
        assert!(spent.cpu + Duration::from_millis(40) >= spent.threads.load, "{:?}", spent.cpu);
        assert!(spent.cpu <= spent.available, "{:?} of {:?}", spent.cpu, spent.available);
    }
}
