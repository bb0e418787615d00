//! What people would use instead: other programs, each configured as somebody would who wants it to win.
//!
//! The configurations are in `bench/peers`, commented, and compiled in. A run fills them in, in a directory of its own,
//! and starts the program there. All peers route as the gateway does: `/vnc/ID/` by path, otherwise by the cookie
//! `vnc_session_id`, and the pod sees the rest of the path.

mod caddy;
pub(crate) mod check;
mod configurable_http_proxy;
mod haproxy;
mod nginx;
mod program;
mod site;
mod sozu;
mod traefik;
mod websockify;

use std::any::Any;
use std::fs::{self, File};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use gateway_tests::process::Process;
use gateway_tests::{need, wait};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::subject::{Running, Scene, Started, Subject, Table};
use program::Program;
use site::{Launch, Site};

/// How long a peer may take to accept connections. Long, because a machine may be busy with other things.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A program that somebody else wrote.
pub(crate) struct Peer {
    name: &'static str,
    program: Program,
    /// What else it needs to be installed, as a file and the Debian package that has it.
    needs: &'static [(&'static str, &'static str)],
    /// Whether it can find the sandbox by the cookie; the others know paths only.
    by_cookie: bool,
    /// Whether its table takes a hundred thousand sandboxes; the others have a route each, and serve one per pod.
    has_many: bool,
    /// Where it ends WebSocket: how many streams it may have. It serves no pages then.
    frames_on: Option<usize>,
    /// Writes its files, and says how it is started on them.
    prepare: fn(&Site) -> Result<Launch>,
    /// What is to be done once it accepts connections.
    settle: fn(&Site) -> Result<()>,
    /// How its table is changed from then on; its first process has this id.
    table: fn(&Site, Pid) -> Result<Option<Table>>,
}

/// In the order of the tables: the usual ones first.
const PEERS: [Peer; 7] = [
    haproxy::PEER,
    nginx::PLAIN,
    nginx::LUA,
    caddy::PEER,
    traefik::PEER,
    configurable_http_proxy::PEER,
    websockify::PEER,
];

/// Debian packages that peers are in, or stand on.
const PACKAGES: [&str; 8] =
    ["haproxy", "nginx", "libnginx-mod-http-lua", "lua-resty-core", "redis-server", "python3-pip", "nodejs", "npm"];

/// Every peer, whether it is installed or not.
pub(crate) fn all() -> impl Iterator<Item = Box<dyn Subject>> {
    let peers = PEERS.into_iter().map(|peer| -> Box<dyn Subject> { Box::new(peer) });
    let sozu: Box<dyn Subject> = Box::new(sozu::Sozu);
    peers.chain([sozu])
}

/// Puts in place what comes from PyPI and npm, for those who run the suite: nothing is changed outside the target
/// directory. A peer that cannot be had is no error, since it is skipped by name later.
pub(crate) fn install() -> Result<()> {
    for peer in &PEERS {
        if let Err(error) = peer.program.install() {
            eprintln!("{} stays away: {error:#}", peer.name);
        }
    }
    Ok(())
}

/// The packages for `apt-get install`, in one line.
pub(crate) fn packages() -> String {
    PACKAGES.join(" ")
}

impl Subject for Peer {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn start(&self, scene: &Scene) -> Result<Started> {
        let Some(program) = self.program.find()? else {
            return Ok(Started::Skipped(format!("{} is not installed", self.program)));
        };
        let missing = self.needs.iter().find(|(file, _)| need::find_program(file).is_none() && !site::exists(file));
        if let Some((file, package)) = missing {
            return Ok(Started::Skipped(format!("{file} is missing (Debian package {package})")));
        }
        if self.frames_on.is_some() && scene.has_pages {
            return Ok(Started::Skipped("it passes on streams, and no pages".to_owned()));
        }
        if !self.has_many && scene.sandboxes > scene.pods.len() {
            return Ok(Started::Skipped(
                "its table has a route for each sandbox, and is not made for so many".to_owned(),
            ));
        }
        let site = Site::new(scene)?;
        let launch = (self.prepare)(&site).with_context(|| format!("prepare {}", self.name))?;
        let mut process = self.spawn(&site, &program.to_string_lossy(), &launch)?;
        self.await_accept(&mut process, &site)?;
        (self.settle)(&site).with_context(|| format!("settle {}", self.name))?;
        let table = (self.table)(&site, process.pid())?;
        let (addresses, leader) = (vec![site.listen], Some(process.pid()));
        let part = Part { _process: process, _parts: launch.parts, _directory: site.directory };
        let (frames_on, _parts) = (self.frames_on, Box::new(part));
        Ok(Started::Running(Running { addresses, leader, frames_on, table, engines: None, _parts }))
    }
}

impl Peer {
    fn spawn(&self, site: &Site, program: &str, launch: &Launch) -> Result<Process> {
        let log = File::create(site.path("log"))?;
        Process::spawn(program, |command| {
            command.args(&launch.arguments).envs(launch.environment.iter().cloned());
            command.current_dir(&site.directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        })
        .with_context(|| format!("start {}", self.name))
    }

    fn await_accept(&self, process: &mut Process, site: &Site) -> Result<()> {
        let come = wait::until(&format!("{} to accept", self.name), START_LIMIT, || match process.exited() {
            Ok(None) => TcpStream::connect(site.listen).is_ok().then_some(Ok(())),
            Ok(Some(status)) => Some(Err(anyhow!("{} ended with {status}", self.name))),
            Err(error) => Some(Err(error)),
        });
        come.and_then(|come| come).with_context(|| fs::read_to_string(site.path("log")).unwrap_or_default())
    }
}

/// For those whose table stays as it is while they run.
fn no_table(_: &Site, _: Pid) -> Result<Option<Table>> {
    Ok(None)
}

/// What ends with a peer, in this order.
struct Part {
    _process: Process,
    _parts: Box<dyn Any>,
    _directory: TempDir,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_peers_share_a_name() {
        let mut names: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PEERS.len());
    }
}
