//! Nobody in user space is woken for a message that the kernel carries.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use gateway_tests::bridge::{self, Ends};
use gateway_tests::wait::{PATIENCE, until};
use nix::unistd::Pid;

use super::{COPY, SOCKMAP, bytes_by, demotions, is_unavailable, start};

const ROUND_TRIPS: u64 = 10_000;
const MESSAGES: u64 = 2 * ROUND_TRIPS;
const MESSAGE_BYTES: usize = 256;

/// What the workers did while the messages went by.
#[derive(Debug)]
struct Work {
    /// Times that they began to run, after a wait or after they had been displaced.
    runs: u64,
    /// Nanoseconds on a core.
    nanos: u64,
    /// System calls of the whole process that read or wrote, those of its admin port included.
    calls: u64,
}

#[test]
fn a_message_in_the_kernel_wakes_no_worker() {
    if is_unavailable() {
        return;
    }
    let (copy, sockmap) = (measured(COPY), measured(SOCKMAP));
    eprintln!("{MESSAGES} messages: {copy:?} on the user path, {sockmap:?} in the kernel");
    assert!(sockmap.runs < MESSAGES / 50 && sockmap.calls < MESSAGES / 50, "{sockmap:?}");
    // That the measure shows what there is is seen on the other path.
    assert!(sockmap.nanos < copy.nanos / 4 && copy.nanos > MESSAGES * 1000, "{sockmap:?}, but {copy:?}");
}

/// What the workers did for a stream that stayed with its engine; one whose worker came too late to renew the credit
/// has not.
fn measured(path: bridge::Path) -> Work {
    const ATTEMPTS_MAX: usize = 10;
    (0..ATTEMPTS_MAX).find_map(|_| ping_pong(path)).expect("one attempt without a busy neighbour")
}

/// One message at a time, so that none can share a socket buffer with another. Nothing when the stream was brought back
/// meanwhile.
fn ping_pong(path: bridge::Path) -> Option<Work> {
    /// Less than half of the small messages that fit into a credit.
    const MESSAGES_AT_ONCE: u64 = 40;
    let bridge = start(path);
    let Ends { mut client, mut pod } = bridge.stream().unwrap();
    let before = Work::of(bridge.gateway.pid());
    let (message, mut heard) = ([7; MESSAGE_BYTES], [0; MESSAGE_BYTES]);
    for round in 0..ROUND_TRIPS {
        client.write_all(&message).unwrap();
        pod.read_exact(&mut heard).unwrap();
        pod.write_all(&heard).unwrap();
        client.read_exact(&mut heard).unwrap();
        if round % MESSAGES_AT_ONCE == 0 {
            let asleep = || workers(bridge.gateway.pid()).all(|task| is_asleep(&task)).then_some(());
            until("the workers to have done what they have to", PATIENCE, asleep).unwrap();
        }
    }
    assert_eq!(heard, message);
    let work = Work::of(bridge.gateway.pid()).since(&before);
    if demotions(&bridge, "late") + demotions(&bridge, "pressure") > 0.0 {
        return None;
    }
    let skbs = bridge.gateway.metric("gateway_sockmap_skbs_total", &[]).unwrap();
    let moved = (bytes_by(&bridge, "sockmap"), bytes_by(&bridge, "copy"), skbs);
    let all = MESSAGES as f64 * MESSAGE_BYTES as f64;
    assert_eq!(moved, if path.is_kernel() { (all, 0.0, MESSAGES as f64) } else { (0.0, all, 0.0) });
    Some(work)
}

impl Work {
    /// Since the process began.
    fn of(pid: Pid) -> Self {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let calls = ["syscr:", "syscw:"].map(|name| number_behind(&io, name)).iter().sum();
        let mut work = Self { runs: 0, nanos: 0, calls };
        for task in workers(pid) {
            let [nanos, runs] = on_core(&fs::read_to_string(task.join("schedstat")).unwrap());
            work.nanos += nanos;
            work.runs += runs;
        }
        work
    }

    fn since(&self, before: &Self) -> Self {
        Self { runs: self.runs - before.runs, nanos: self.nanos - before.nanos, calls: self.calls - before.calls }
    }
}

/// Where proc(5) tells of each worker's thread.
fn workers(pid: Pid) -> impl Iterator<Item = PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path());
    tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("worker-")))
}

/// The state stands behind the name, which is in parentheses (proc_pid_stat(5)).
fn is_asleep(task: &Path) -> bool {
    fs::read_to_string(task.join("stat")).is_ok_and(|stat| stat.contains(") S "))
}

/// The number in the line that begins with `name`.
fn number_behind(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().parse().unwrap()
}

/// Time on a core and times on a core: the first and the third number of `schedstat` (sched-stats.rst in the kernel's
/// documentation). A clock tick of `stat` is as long as hundreds of messages.
fn on_core(schedstat: &str) -> [u64; 2] {
    let numbers: Vec<u64> = schedstat.split_whitespace().map(|number| number.parse().unwrap()).collect();
    [numbers[0], numbers[2]]
}
