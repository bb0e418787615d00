//! The check of the CPU figure: whoever takes only what nobody else wants gets just the idle time.
//!
//! The kernel says how long processors were idle; whether to believe it, a soaker tells. It runs in the scheduler's
//! class for idle work (`SCHED_IDLE`, sched(7)) and in a control group that is idle work, too ([`pen`]), one on each
//! processor, and spins. What it got is what was left.

pub(crate) mod pen;

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use gateway_tests::process::Process;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use pen::Pen;

/// Soakers on all processors. They end when this is dropped.
pub(crate) struct Soaker(Vec<Process>);

impl Soaker {
    /// # Errors
    ///
    /// Without chrt(1), which is part of util-linux.
    pub(crate) fn start(processors: usize, pen: &Pen) -> Result<Self> {
        let program = std::env::current_exe()?.to_string_lossy().into_owned();
        let one = |processor: usize| {
            let process = Process::spawn("chrt", |command: &mut Command| {
                command.args(["--idle", "0", &program, "soaker", &processor.to_string()]);
            })?;
            pen.add(process.pid())?;
            anyhow::Ok(process)
        };
        Ok(Self((0..processors).map(one).collect::<Result<_>>()?))
    }

    pub(crate) fn pids(&self) -> Vec<Pid> {
        self.0.iter().map(Process::pid).collect()
    }
}

/// A soaker process: spins on the processor that it is told, until it is killed.
pub(crate) fn soak() -> Result<()> {
    let processor = std::env::args().nth(2).context("a soaker is told its processor")?.parse()?;
    let mut only = CpuSet::new();
    only.set(processor)?;
    // Where this one may not run, another is as good.
    let _elsewhere = sched_setaffinity(Pid::this(), &only);
    let policy = policy("/proc/self/stat")?;
    ensure!(policy == SCHED_IDLE, "a soaker has the policy {policy}, and would take what others need");
    loop {
        std::hint::spin_loop();
    }
}

const SCHED_IDLE: u32 = 5;

/// The 41st field of proc_pid_stat(5), counted from behind the name, which is the second.
fn policy(stat: &str) -> Result<u32> {
    let text = std::fs::read_to_string(stat)?;
    let fields = text.rsplit_once(") ").context("a stat without a name")?.1;
    Ok(fields.split(' ').nth(41 - 3).context("a stat without a policy")?.trim().parse()?)
}
