//! A program started by the harness, with everything it starts in turn.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::wait;

/// A running program that leads a process group of its own. Dropping it kills the whole group and reaps the leader.
///
/// The kernel also kills the leader when the thread that started it ends (`PR_SET_PDEATHSIG`, through `setpriv` of
/// util-linux), so that a test runner's timeout leaves nothing behind. Start long-lived programs from a thread that
/// lives as long.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    exit: Option<ExitStatus>,
}

impl Process {
    /// Starts `program`, after `prepare` has set its arguments, environment and streams.
    /// The process id is the program's own, `setpriv` is replaced by it.
    pub fn spawn(program: &str, prepare: impl FnOnce(&mut Command)) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]).process_group(0);
        prepare(&mut command);
        let child = command.spawn().with_context(|| format!("start {program}"))?;
        Ok(Self { child, name: program.to_owned(), exit: None })
    }

    /// The program's process id, which is also the id of its process group.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("the kernel's process ids are at most 2^22"))
    }

    /// The child's streams, to be taken once each.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends `signal` to the program alone, not to what it started.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// The program's status if it has ended by now.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() && self.is_zombie()? {
            self.reap()?;
        }
        Ok(self.exit)
    }

    /// Waits for the program to end by itself; an error when it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait::until(&what, limit, || self.exited().transpose())?
    }

    /// Kills the program and all that it started, with SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        match self.exit {
            Some(status) => Ok(status),
            None => self.reap(),
        }
    }

    /// Whether the program has ended. It is left unreaped, because its id must stay taken until its group is killed.
    fn is_zombie(&self) -> Result<bool> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let status = waitid(Id::Pid(self.pid()), flags).with_context(|| format!("ask after {}", self.name))?;
        Ok(status != WaitStatus::StillAlive)
    }

    /// Only called before the leader was reaped: until then no other process or group can have got its id.
    fn reap(&mut self) -> Result<ExitStatus> {
        killpg(self.pid(), Signal::SIGKILL).with_context(|| format!("kill {}", self.name))?;
        let status = self.child.wait().with_context(|| format!("wait for {}", self.name))?;
        self.exit = Some(status);
        Ok(status)
    }
}

/// A free loopback address, for a program that cannot choose its port and report it.
pub fn free_address() -> Result<SocketAddr> {
    Ok(free_listener()?.local_addr()?)
}

/// A listener on a loopback port that was taken by its number.
///
/// The port is below the range from which the kernel takes ports for outgoing connections and for port 0
/// (`ip_local_port_range` starts at 32768), so that no connection takes it once the listener is gone.
pub fn free_listener() -> Result<TcpListener> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS_TRIED_MAX {
        // Test runners that run side by side start at different places.
        let offset = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORT_FIRST + offset % PORTS).expect("the last port is below 2^16");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener);
        }
    }
    bail!("no free port in {PORTS_TRIED_MAX} tries")
}

const PORT_FIRST: u32 = 12_000;
const PORTS: u32 = 20_000;
const PORTS_TRIED_MAX: u32 = 1000;

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}
