//! Whoever starts the suite, and removes what it leaves: processes, files, hosts.
//!
//! A suite starts dozens of programs, and some of them others, which outlive a program that is killed. So it runs as a
//! child of a process that does nothing but wait: for its end, or for Ctrl-C. Either way everything that descends from
//! the suite is killed then, for the kernel hands orphans to their nearest ancestor that asks for them
//! (`PR_SET_CHILD_SUBREAPER`), and its directory for temporary files and its network namespaces go.

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use gateway_tests::process::Process;
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{Network, ThreeHosts, remove_stale};
use crate::soaker::pen;

/// What shells add to the number of the signal that ended a program.
const SIGNALLED: u8 = 128;

/// Runs this program again, with the same arguments and `--within` the network that was built for it.
///
/// # Errors
///
/// When the network cannot be built, or something cannot be removed.
pub(crate) fn keep(is_in_namespaces: bool) -> Result<ExitCode> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD] {
        signals.add(signal);
    }
    // From here on they wait until they are asked for.
    signals.thread_block()?;
    set_child_subreaper(true)?;
    let hosts = if is_in_namespaces { Some(ThreeHosts::new("")?) } else { None };
    let directory = TempDir::with_prefix("gateway-bench-")?;
    let ended = await_end(&signals, hosts.as_ref(), &directory);
    kill_descendants()?;
    pen::remove_stale()?;
    drop(directory);
    drop(hosts);
    if is_in_namespaces {
        // The suite's own, which had no time to remove them.
        remove_stale()?;
    }
    ended
}

/// In the suite, where signals are to do again what they usually do; children inherit that.
pub(crate) fn unblock_signals() -> Result<()> {
    Ok(SigSet::empty().thread_set_mask()?)
}

fn await_end(signals: &SigSet, hosts: Option<&ThreeHosts>, directory: &TempDir) -> Result<ExitCode> {
    let network = hosts.map_or(Network::Loopback, |hosts| Network::ThreeHosts(hosts.prefix().to_owned()));
    let mut words: Vec<String> = hosts.map(ThreeHosts::at_gateway).into_iter().flatten().collect();
    words.push(std::env::current_exe()?.to_string_lossy().into_owned());
    // A process group of its own: Ctrl-C at the terminal reaches this process only.
    let mut suite = Process::spawn(&words[0], |command| {
        command.args(&words[1..]).arg(format!("--within={network}")).args(std::env::args_os().skip(1));
        command.env("TMPDIR", directory.path());
    })?;
    loop {
        if let Some(status) = suite.exited()? {
            return Ok(status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .map_or(ExitCode::FAILURE, ExitCode::from));
        }
        let signal = signals.wait()?;
        if signal != Signal::SIGCHLD {
            suite.kill()?;
            // Nobody may be left to read it, which is no reason not to go on.
            let said = writeln!(io::stderr(), "bench {signal}: what was started is removed, and nothing is written");
            let _unheard = said.is_err();
            return Ok(ExitCode::from(SIGNALLED + u8::try_from(signal as i32)?));
        }
    }
}

/// Each that is killed may leave children of its own to this process.
fn kill_descendants() -> Result<()> {
    loop {
        for child in children()? {
            // One that has ended in between is waited for all the same.
            match kill(child, Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("kill {child}")),
            }
        }
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(()),
            Err(error) => return Err(error).context("wait for what was killed"),
        }
    }
}

/// Processes whose parent is this one.
fn children() -> Result<Vec<Pid>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if parent(&stat) == Some(Pid::this()) {
            children.push(Pid::from_raw(pid));
        }
    }
    Ok(children)
}

/// The second field behind the name of proc_pid_stat(5); the name may hold anything, parentheses included.
fn parent(stat: &str) -> Option<Pid> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok().map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_past_any_name() {
        assert_eq!(parent("17 (a) b (c) S 4711 1 1 0 -1"), Some(Pid::from_raw(4711)));
        assert_eq!(parent("17 (a"), None);
    }
}
