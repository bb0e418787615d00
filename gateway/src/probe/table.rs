//! The report for people.

use std::fmt;

use super::{EngineReport, KnownBug, Machine, OpenFiles, Report};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for engine in &self.engines {
            write_engine(f, engine)?;
        }
        writeln!(f)?;
        write_machine(f, &self.machine)
    }
}

/// The verdict, then what is missing or how it would run, one to a line.
fn write_engine(f: &mut fmt::Formatter<'_>, report: &EngineReport) -> fmt::Result {
    let EngineReport { engine, available, missing, note } = report;
    let details: Vec<&str> = missing.iter().map(|missing| missing.detail.as_str()).chain(note.as_deref()).collect();
    let verdict = if *available { "yes" } else { "no" };
    writeln!(f, "{}", format!("{engine:<9}{verdict:<5}{}", details.join("\n              ")).trim_end())
}

fn write_machine(f: &mut fmt::Formatter<'_>, machine: &Machine) -> fmt::Result {
    let Machine {
        kernel,
        capabilities,
        seccomp_filter,
        io_uring,
        splice_refused,
        programs_refused,
        raw_refused,
        membarrier_refused,
        btf,
        bpffs,
        memlock_bytes,
        open_files,
        cgroup_memory_bytes,
    } = machine;
    row(f, "kernel", &kernel.release)?;
    for bug in &kernel.known_bugs {
        row(f, "known bug", known_bug(bug))?;
    }
    row(f, "capabilities", if capabilities.is_empty() { "none".to_owned() } else { capabilities.join(" ") })?;
    row(f, "seccomp filter", yes_no(*seccomp_filter))?;
    row(f, "io_uring", io_uring.refused.as_deref().unwrap_or("yes"))?;
    row(f, "splice(2)", splice_refused.as_deref().unwrap_or("yes"))?;
    row(f, "kernel programs", programs_refused.as_ref().map_or("accepted", |missing| missing.detail.as_str()))?;
    row(f, "raw sockets", raw_refused.as_deref().unwrap_or("yes"))?;
    row(f, "membarrier(2)", membarrier_refused.as_deref().unwrap_or("yes"))?;
    row(f, "kernel BTF", yes_no(*btf))?;
    match bpffs {
        Some(path) => row(f, "BPF file system", path.display())?,
        None => row(f, "BPF file system", "not mounted")?,
    }
    row(f, "RLIMIT_MEMLOCK", limit(*memlock_bytes))?;
    row(f, "RLIMIT_NOFILE", streams(open_files))?;
    row(f, "cgroup memory", limit(*cgroup_memory_bytes))
}

fn streams(open_files: &OpenFiles) -> String {
    let OpenFiles { soft, hard, workers, own_tables_refused, streams_per_table, streams } = open_files;
    let room = match own_tables_refused {
        None => format!("{streams_per_table} streams per worker, {streams} with {workers}"),
        Some(why) => format!("{streams} streams, since workers cannot have descriptor tables of their own: {why}"),
    };
    format!("{hard} (soft limit {soft}), room for {room}")
}

fn known_bug(bug: &KnownBug) -> String {
    let KnownBug { reference, effect, needs, .. } = bug;
    let reach = needs.map_or_else(String::new, |needs| format!(" (with {needs}, which the gateway does not use)"));
    format!("{reference}: {effect}{reach}")
}

fn limit(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "no limit".to_owned(), |bytes| format!("{bytes} bytes"))
}

const fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn row(f: &mut fmt::Formatter<'_>, label: &str, text: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{label:<17}{text}")
}
