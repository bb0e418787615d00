//! Where soakers are kept, so that they are idle work to everybody on the machine.
//!
//! The class `SCHED_IDLE` (sched(7)) says what a thread is to the others of its group, and no more. The kernel makes a
//! group of each session by itself (`sched_autogroup`), and its own threads are in none. So beside them a soaker is an
//! equal of theirs: it has half of a processor that a worker of the kernel wants, and that one waits until the
//! scheduler takes turns. A control group with `cpu.idle` (Linux 5.15) is idle work itself: whoever else wakes up runs
//! at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use gateway_tests::wait;
use nix::unistd::Pid;

/// What the names of our groups begin with; the process id of the suite follows.
const PREFIX: &str = "sgbench-soakers-";

/// How long the kernel may take to see that a group is empty.
const EMPTY_LIMIT: Duration = Duration::from_secs(5);

/// A control group for idle work. It has to be empty when it is dropped.
pub(crate) struct Pen(PathBuf);

impl Pen {
    /// # Errors
    ///
    /// Where this process may not make a group, or the kernel has no idle ones.
    pub(crate) fn new() -> Result<Self> {
        let root = root(&fs::read_to_string("/proc/self/mountinfo")?)
            .ok_or_else(|| anyhow!("no hierarchy of control groups has processor time"))?;
        let group = root.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&group).with_context(|| format!("make {}", group.display()))?;
        // From here on dropping it removes it.
        let pen = Self(group);
        fs::write(pen.0.join("cpu.idle"), "1").context("idle control groups (Linux 5.15)")?;
        Ok(pen)
    }

    /// Moves a process there, with all its threads.
    pub(crate) fn add(&self, pid: Pid) -> Result<()> {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).context("move a soaker to its group")
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        // What stays behind goes with `remove_stale`.
        let removed = || fs::remove_dir(&self.0).is_ok().then_some(());
        let _stays = wait::until("the soakers' group to be empty", EMPTY_LIMIT, removed).is_err();
    }
}

/// Removes the groups of suites that have ended.
pub(crate) fn remove_stale() -> Result<()> {
    let Some(root) = root(&fs::read_to_string("/proc/self/mountinfo")?) else { return Ok(()) };
    for entry in fs::read_dir(root)?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            fs::remove_dir(entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// The top of the hierarchy that shares out processor time (proc_pid_mountinfo(5)): of the first version the one with
/// `cpu` among its options, otherwise that of the second one.
fn root(mountinfo: &str) -> Option<PathBuf> {
    let mounts = || {
        mountinfo.lines().filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut words = after.split(' ');
            Some((before.split(' ').nth(4)?, words.next()?, words.nth(1)?))
        })
    };
    let first = mounts().find(|(_, kind, options)| *kind == "cgroup" && options.split(',').any(|one| one == "cpu"));
    let second = || mounts().find(|(_, kind, _)| *kind == "cgroup2");
    first.or_else(second).map(|(path, ..)| path.into())
}

#[cfg(test)]
mod tests {
    use gateway_tests::need::{Need, is_missing, skip};
    use gateway_tests::process::Process;

    use super::*;

    #[test]
    fn the_hierarchy_of_processor_time_is_found_in_both_versions() {
        let second = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(root(second), Some("/sys/fs/cgroup".into()));
        let first = "31 29 0:27 / /sys/fs/cgroup/set rw - cgroup cgroup rw,cpuset\n\
                     32 29 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
        assert_eq!(root(&format!("{second}{first}")), Some("/sys/fs/cgroup/cpu".into()));
        assert_eq!(root("21 1 8:1 / / rw - ext4 /dev/sda1 rw,cpu\n"), None);
    }

    #[test]
    fn whoever_is_penned_is_idle_work_and_the_pen_goes() {
        if is_missing(&[Need::Root]) {
            return;
        }
        let pen = match Pen::new() {
            Ok(pen) => pen,
            // A container has no hierarchy of its own; the suite says so instead of the cross-check.
            Err(error) => return skip(&format!("{error:#}")),
        };
        let process = Process::spawn("sleep", |command| {
            command.arg("60");
        })
        .unwrap();
        pen.add(process.pid()).unwrap();
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).unwrap();
        assert!(groups.contains(&format!("/{PREFIX}{}\n", std::process::id())), "{groups}");
        assert_eq!(fs::read_to_string(pen.0.join("cpu.idle")).unwrap().trim(), "1");
        drop(process);
        let path = pen.0.clone();
        drop(pen);
        assert!(!path.exists());
    }
}
