//! `gateway probe`: which engines this machine can run, and what exactly is missing where it cannot.
//!
//! Runs without privileges and changes nothing: what it tries (a ring, the kernel programs) is gone when it returns.

mod kernel;
mod machine;
mod table;

use serde::Serialize;

use crate::bpf::capability::Capability;
use crate::sys::Backend;
use crate::tunnel::Engine;

pub use kernel::{KnownBug, Release};
pub use machine::{IoUring, Kernel, Machine, OpenFiles};

/// What [`probe`] found. `Display` gives the table for people, `Serialize` the one for programs.
#[derive(Debug, Serialize)]
pub struct Report {
    /// In the order in which they were invented; `copy` comes first and always runs.
    pub engines: Vec<EngineReport>,
    /// What the verdicts rest on.
    pub machine: Machine,
}

/// One engine's verdict.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct EngineReport {
    /// Its name in configuration, logs and metrics.
    pub engine: &'static str,
    /// Nothing is missing.
    pub available: bool,
    /// Everything that is, not just the first thing.
    pub missing: Vec<Missing>,
    /// How it would run here, where that is not always the same.
    pub note: Option<String>,
}

/// Something that an engine needs and this machine or build does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// For programs.
    pub what: Need,
    /// For people: a clause that says what to do, as far as that is clear.
    pub detail: String,
}

impl Missing {
    fn new(what: Need, detail: impl Into<String>) -> Self {
        Self { what, detail: detail.into() }
    }
}

/// The kinds of things that engines need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The engine's code.
    Build,
    /// A newer kernel, or one without a known bug.
    Kernel,
    /// `CAP_BPF` or `CAP_NET_ADMIN`.
    Capability,
    /// A higher RLIMIT_MEMLOCK.
    Memlock,
    /// A kernel that takes our programs.
    Programs,
    /// `io_uring_setup(2)`.
    IoUring,
    /// `splice(2)`, on sockets.
    Splice,
    /// A socket that sends whole packets.
    RawSocket,
    /// `membarrier(2)`.
    Membarrier,
    /// A BPF file system.
    BpfFs,
}

/// Looks at this machine.
#[must_use]
pub fn probe() -> Report {
    let machine = Machine::read();
    Report { engines: engines(&machine, &Engine::ALL.map(Engine::label)), machine }
}

/// What `engine` lacks here, in the words of the probe, for workers that wait with `backend`.
#[must_use]
pub fn missing(engine: Engine, backend: Backend) -> Vec<String> {
    let machine = Machine::read();
    let mut missing: Vec<_> = engines(&machine, &Engine::ALL.map(Engine::label))
        .into_iter()
        .filter(|report| report.engine == engine.label())
        .flat_map(|report| report.missing)
        .map(|missing| missing.detail)
        .collect();
    if engine == Engine::Sockmap && backend != Backend::Uring && missing.is_empty() {
        missing.push(WITHOUT_IO_URING.to_owned());
    }
    missing
}

/// The verdicts for `machine`, in a build that has the engines `built`.
fn engines(machine: &Machine, built: &[&str]) -> Vec<EngineReport> {
    let report = |engine: &'static str, missing: Vec<Missing>, note: Option<String>| {
        let in_build = built.contains(&engine);
        let build = (!in_build).then(|| Missing::new(Need::Build, "not in this build"));
        let missing: Vec<Missing> = build.into_iter().chain(missing).collect();
        EngineReport { engine, available: missing.is_empty(), missing, note }
    };
    vec![
        report("copy", Vec::new(), Some(copy_note(&machine.io_uring))),
        report("splice", splice(machine), None),
        report("sockmap", sockmap(machine), None),
        report("packet", packet(machine), None),
    ]
}

/// `copy` runs everywhere: without io_uring the workers wait with epoll.
fn copy_note(io_uring: &IoUring) -> String {
    match &io_uring.refused {
        None => format!("moves bytes with {}", Backend::Uring.label()),
        Some(why) => format!("moves bytes with {}, since there is no io_uring: {why}", Backend::Epoll.label()),
    }
}

fn splice(machine: &Machine) -> Vec<Missing> {
    let refused = machine.splice_refused.as_ref();
    refused.map(|why| Missing::new(Need::Splice, format!("splice(2): {why}"))).into_iter().collect()
}

fn without_io_uring(machine: &Machine) -> Option<Missing> {
    let refused = machine.io_uring.refused.as_ref();
    refused.map(|why| Missing::new(Need::IoUring, format!("io_uring: {why}")))
}

/// `SK_SKB_STREAM_VERDICT` without a parser program: Linux 5.10 (`sock_map_link` in net/core/sock_map.c);
/// `bpf_ktime_get_coarse_ns`: Linux 5.11.
const SOCKMAP_SINCE: Release = Release(5, 11, 0);

/// epoll through the runtime reports every message that the program redirects; a poll on a ring asks for ends alone.
const WITHOUT_IO_URING: &str =
    "the workers wait with epoll, which would wake them for every message: io_uring is needed";

fn sockmap(machine: &Machine) -> Vec<Missing> {
    let mut missing = Vec::from_iter(too_old(&machine.kernel, SOCKMAP_SINCE));
    let bugs = machine.kernel.known_bugs.iter().filter(|bug| bug.needs.is_none());
    missing.extend(bugs.map(|bug| {
        let release = &machine.kernel.release;
        Missing::new(Need::Kernel, format!("Linux {release} without a fix for {}: {}", bug.reference, bug.effect))
    }));
    missing.extend(machine.programs_refused.clone());
    missing.extend(without_io_uring(machine));
    missing
}

/// `BPF_LINK_TYPE_TCX`: Linux 6.6. The older way leaves the program on the interfaces when the process is killed, and
/// streams in the hands of nobody.
const PACKET_SINCE: Release = Release(6, 6, 0);

fn packet(machine: &Machine) -> Vec<Missing> {
    let mut missing = Vec::from_iter(too_old(&machine.kernel, PACKET_SINCE));
    missing.extend(machine.programs_refused.clone());
    let refused =
        |what, why: &Option<String>, name: &str| why.as_ref().map(|why| Missing::new(what, format!("{name}: {why}")));
    missing.extend(refused(Need::RawSocket, &machine.raw_refused, "a raw socket (CAP_NET_RAW)"));
    missing.extend(refused(Need::Membarrier, &machine.membarrier_refused, "membarrier(2)"));
    let may_mount = machine.capabilities.iter().any(|name| *name == Capability::SysAdmin.to_string());
    if machine.bpffs.is_none() && !may_mount {
        missing.push(Missing::new(Need::BpfFs, WITHOUT_BPFFS));
    }
    missing
}

/// It is mounted at the start where this process may do that.
const WITHOUT_BPFFS: &str = "no BPF file system is mounted, and CAP_SYS_ADMIN is missing to mount one; \
                             as root: mount -t bpf bpf /sys/fs/bpf";

/// A release that cannot be read counts as new: the kernel's own answers decide then.
fn too_old(kernel: &Kernel, since: Release) -> Option<Missing> {
    let old = kernel.version.is_some_and(|version| version < since);
    old.then(|| Missing::new(Need::Kernel, format!("Linux {since} or newer; this is {}", kernel.release)))
}

#[cfg(test)]
mod tests;
