//! What a process holds, as the kernel counts it.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

/// Resident memory in bytes (`VmRSS` of proc(5)).
pub fn resident(pid: Pid) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes << 10)
}

/// Memory in bytes that the machine could still give away (`MemAvailable` of proc(5)).
pub fn available() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("no MemAvailable")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes << 10)
}

/// The memory in bytes that the kernel charges to the TCP sockets of this network namespace that have one of `ports` on
/// either end: what was received and not read, waits to be sent or acknowledged, and is in the backlog (`skmem` of
/// ss(8)).
pub fn of_sockets(ports: &[u16]) -> Result<u64> {
    let output = Command::new("ss").args(["-tmnH", "state", "all"]).output().context("run ss")?;
    ensure!(output.status.success(), "ss: {}", String::from_utf8_lossy(&output.stderr).trim());
    let mut is_ours = false;
    let mut sum = 0;
    // A socket's addresses, and its memory behind them or in the next line, as ss finds it fit.
    for word in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        if let Some(fields) = word.strip_prefix("skmem:(") {
            if std::mem::take(&mut is_ours) {
                sum += fields.trim_end_matches(')').split(',').filter_map(charge).sum::<u64>();
            }
        } else if let Some((_, port)) = word.rsplit_once(':') {
            is_ours |= port.parse().is_ok_and(|port| ports.contains(&port));
        }
    }
    Ok(sum)
}

/// The bytes in a field of `skmem` such as `r1024`; none in limits, such as `rb131072`, and in counts.
fn charge(field: &str) -> Option<u64> {
    ["r", "w", "bl"].iter().find_map(|name| field.strip_prefix(name)?.parse().ok())
}

/// Open descriptors, in the tables of the process's first thread and of every worker. A socket, pipe or file that
/// several tables have counts once; what cannot be told apart (epolls, rings, kernel maps) counts in each.
pub fn descriptors(pid: Pid) -> Result<usize> {
    let tables = tables(pid)?;
    let open = || tables.iter().flatten();
    let (named, nameless): (Vec<_>, Vec<_>) = open().partition(|name| !name.starts_with("anon_inode:"));
    Ok(named.into_iter().collect::<HashSet<_>>().len() + nameless.len())
}

/// Sockets that more than one table has, as proc(5) names them: `socket:[4711]`.
pub fn shared_sockets(pid: Pid) -> Result<HashSet<String>> {
    let mut seen = HashSet::new();
    let mut shared = HashSet::new();
    for table in tables(pid)? {
        let sockets: HashSet<String> = table.into_iter().filter(|name| name.starts_with("socket:")).collect();
        shared.extend(sockets.intersection(&seen).cloned());
        seen.extend(sockets);
    }
    Ok(shared)
}

/// How many sockets each worker's table has, in no order.
pub fn sockets_by_worker(pid: Pid) -> Result<Vec<usize>> {
    let sockets = |table: &Vec<String>| table.iter().filter(|name| name.starts_with("socket:")).count();
    Ok(tables(pid)?.iter().skip(1).map(sockets).collect())
}

/// What every descriptor leads to, table by table: the first thread's, then the workers'.
fn tables(pid: Pid) -> Result<Vec<Vec<String>>> {
    let mut tables = vec![table(Path::new(&format!("/proc/{pid}")))?];
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // A thread may end meanwhile, and takes its table along.
        if fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("worker-")) {
            tables.extend(table(&task));
        }
    }
    Ok(tables)
}

fn table(task: &Path) -> Result<Vec<String>> {
    let descriptors = fs::read_dir(task.join("fd"))?;
    // One that was closed after it was listed is not there any more.
    let leads_to = |entry: DirEntry| fs::read_link(entry.path()).ok();
    let open = descriptors.filter_map(|entry| leads_to(entry.ok()?));
    Ok(open.map(|target| target.to_string_lossy().into_owned()).collect())
}

/// The pipes that any thread has open: a way to one end of each, by the pipe's own name. Those that this process has
/// too are left out, which are the log and what was inherited, and so is what is closed in the meantime.
pub fn pipes(pid: Pid) -> Result<BTreeMap<String, PathBuf>> {
    let ours: Vec<PathBuf> =
        fs::read_dir("/proc/self/fd")?.filter_map(|own| fs::read_link(own.ok()?.path()).ok()).collect();
    let mut pipes = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        for descriptor in fs::read_dir(task?.path().join("fd")).into_iter().flatten() {
            let path = descriptor?.path();
            let Ok(target) = fs::read_link(&path) else { continue };
            let name = target.to_string_lossy();
            if name.starts_with("pipe:") && !ours.contains(&target) {
                pipes.insert(name.into_owned(), path);
            }
        }
    }
    Ok(pipes)
}

/// Bytes of the maps and programs that any thread of the process has open in the kernel (`memlock` of proc(5)); each
/// counts once.
pub fn kernel_objects(pid: Pid) -> Result<u64> {
    let mut objects = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that was closed after it was listed is not there any more.
        for descriptor in fs::read_dir(task?.path().join("fdinfo")).into_iter().flatten().flatten() {
            objects.extend(kernel_object(&fs::read_to_string(descriptor.path()).unwrap_or_default()));
        }
    }
    Ok(objects.values().sum())
}

/// The line that names it, and its bytes.
fn kernel_object(description: &str) -> Option<(String, u64)> {
    let id = description.lines().find(|line| line.starts_with("map_id:") || line.starts_with("prog_id:"))?;
    let bytes = description.lines().find_map(|line| line.strip_prefix("memlock:"))?;
    Some((id.to_owned(), bytes.trim().parse().ok()?))
}

/// Lets this process have as many descriptors as it may.
pub fn raise_descriptor_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
