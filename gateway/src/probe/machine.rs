//! What this machine offers: each fact read once, by the cheapest means that cannot be wrong.

mod mounts;

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use serde::Serialize;

use super::kernel::{KnownBug, Release};
use super::{Missing, Need};
use crate::bpf::capability::{Capabilities, Capability};
use crate::bpf::{self, LoadError};
use crate::config::Config;
use crate::sys::descriptors::{self, Capacity};
use crate::sys::raw::RawSender;
use crate::sys::{Backend, pipe, repair};

/// Everything that decides which engines run here.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The running kernel.
    pub kernel: Kernel,
    /// Those capabilities, out of the ones that an engine may need, that this process has.
    pub capabilities: Vec<String>,
    /// A seccomp filter is on; it may refuse single system calls.
    pub seccomp_filter: bool,
    /// io_uring as the workers use it.
    pub io_uring: IoUring,
    /// Why splice(2) through a pipe is refused, if it is.
    pub splice_refused: Option<String>,
    /// Why the kernel does not take the embedded programs, if it does not.
    pub programs_refused: Option<Missing>,
    /// Why no raw socket can be opened, if none can.
    pub raw_refused: Option<String>,
    /// Why membarrier(2) is refused, if it is.
    pub membarrier_refused: Option<String>,
    /// The kernel describes its own types at `/sys/kernel/btf/vmlinux`. No program of this build needs that.
    pub btf: bool,
    /// Where a BPF file system is mounted.
    pub bpffs: Option<PathBuf>,
    /// Soft RLIMIT_MEMLOCK in bytes; none means no limit.
    pub memlock_bytes: Option<u64>,
    /// RLIMIT_NOFILE and what it allows.
    pub open_files: OpenFiles,
    /// The memory limit in bytes of this process's control group, to which socket buffers and BPF maps are charged.
    pub cgroup_memory_bytes: Option<u64>,
}

/// The running kernel.
#[derive(Debug, Serialize)]
pub struct Kernel {
    /// As `uname -r` gives it.
    pub release: String,
    /// The numbers in it.
    pub version: Option<Release>,
    /// What is known to be wrong with socket maps in upstream's release of that number.
    pub known_bugs: Vec<&'static KnownBug>,
}

impl Kernel {
    pub(super) fn of(release: &str) -> Self {
        let version = Release::parse(release);
        let known_bugs = version.into_iter().flat_map(KnownBug::of).collect();
        Self { release: release.to_owned(), version, known_bugs }
    }
}

/// io_uring as the workers use it.
#[derive(Debug, Serialize)]
pub struct IoUring {
    /// Why there is none, if there is none.
    pub refused: Option<String>,
    /// `kernel.io_uring_disabled`: 0 allowed, 1 for a group only, 2 for nobody. Linux 6.6 introduced it.
    pub disabled: Option<u8>,
}

/// RLIMIT_NOFILE.
#[derive(Debug, Serialize)]
pub struct OpenFiles {
    /// What a process starts with.
    pub soft: u64,
    /// What `gateway serve` raises it to.
    pub hard: u64,
    /// How many workers `gateway serve` has by default.
    pub workers: usize,
    /// Why workers cannot have descriptor tables of their own, if they cannot.
    pub own_tables_refused: Option<String>,
    /// How many streams fit into one table under the hard limit.
    pub streams_per_table: usize,
    /// How many streams fit under the hard limit with that many workers.
    pub streams: usize,
}

impl OpenFiles {
    pub(super) fn of(soft: u64, hard: u64, workers: usize, own_tables_refused: Option<String>) -> Self {
        let capacity = Capacity::new(hard, workers, own_tables_refused.is_none());
        let (streams_per_table, streams) = (capacity.per_table, capacity.total());
        Self { soft, hard, workers, own_tables_refused, streams_per_table, streams }
    }
}

impl Machine {
    pub(super) fn read() -> Self {
        let status = read("/proc/thread-self/status");
        let mounts = read("/proc/self/mountinfo");
        let workers = Config::default().workers.get();
        let own_tables_refused = descriptors::own_table_refused().map(|error| error.to_string());
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
        let (memlock_bytes, _) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap_or((RLIM_INFINITY, RLIM_INFINITY));
        Self {
            kernel: Kernel::of(read("/proc/sys/kernel/osrelease").trim_end()),
            capabilities: Capabilities::parse(&status).map(names).unwrap_or_default(),
            seccomp_filter: seccomp_filter(&status),
            io_uring: io_uring(),
            splice_refused: pipe::check().err().map(|error| error.to_string()),
            programs_refused: bpf::check().err().map(|error| refused(&error)),
            raw_refused: RawSender::open().err().map(|error| error.to_string()),
            membarrier_refused: repair::wait_for_packets().err().map(|error| error.to_string()),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            bpffs: mounts::bpffs(&mounts).map(PathBuf::from),
            memlock_bytes: (memlock_bytes != RLIM_INFINITY).then_some(memlock_bytes),
            open_files: OpenFiles::of(soft, hard, workers, own_tables_refused),
            cgroup_memory_bytes: mounts::cgroup_memory_bytes(&mounts, &read("/proc/self/cgroup")),
        }
    }
}

/// What cannot be read counts as empty: the probe reports what it can see, on whatever machine.
fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn names(capabilities: Capabilities) -> Vec<String> {
    let asked = [Capability::Bpf, Capability::NetAdmin, Capability::NetRaw, Capability::SysAdmin];
    asked.iter().filter(|&&capability| capabilities.has(capability)).map(Capability::to_string).collect()
}

/// Mode 2 in `proc_pid_status(5)`.
fn seccomp_filter(status: &str) -> bool {
    status.lines().filter_map(|line| line.strip_prefix("Seccomp:")).any(|mode| mode.trim() == "2")
}

/// A ring with everything that the workers want of it is the only answer that counts; the sysctl only explains it.
fn io_uring() -> IoUring {
    let disabled = read("/proc/sys/kernel/io_uring_disabled").trim_end().parse().ok();
    let (_, error) = Backend::detect();
    let refused = error.map(|error| match disabled {
        Some(level @ 1..) => format!("{error} (sysctl kernel.io_uring_disabled is {level})"),
        _ => error.to_string(),
    });
    IoUring { refused, disabled }
}

fn refused(error: &LoadError) -> Missing {
    let what = match error {
        LoadError::Capability { .. } => Need::Capability,
        LoadError::Memlock { .. } => Need::Memlock,
        LoadError::NoBpf => Need::Kernel,
        LoadError::Damaged(_)
        | LoadError::Abi { .. }
        | LoadError::Forbidden
        | LoadError::Map { .. }
        | LoadError::Program { .. }
        | LoadError::Other(_) => Need::Programs,
    };
    Missing::new(what, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mode_2_of_seccomp_is_a_filter() {
        assert!(seccomp_filter("Name:\tgateway\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!seccomp_filter("Seccomp:\t0\nSeccomp_filters:\t2\n"));
    }
}
