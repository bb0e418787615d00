//! HAProxy: one process with threads, the routing table in a map file.

use std::io::{Read, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gateway_tests::wait;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Pid;

use super::program::Program;
use super::site::{Launch, Site};
use super::{Peer, START_LIMIT};
use crate::subject::Table;

pub(super) const PEER: Peer = Peer {
    name: "haproxy",
    program: Program::Debian("haproxy"),
    needs: &[],
    by_cookie: true,
    has_many: true,
    frames_on: None,
    prepare,
    settle: |_| Ok(()),
    table,
};

/// Descriptors that HAProxy needs beside those of its connections: two for each of `maxpipes`, listeners, pollers.
const DESCRIPTORS_KEPT: u64 = 2 * 512 + 200;

fn prepare(site: &Site) -> Result<Launch> {
    let (_, descriptors) = getrlimit(Resource::RLIMIT_NOFILE).context("ask for the limit of descriptors")?;
    // It refuses to start where two for each connection would not fit.
    let connections = descriptors.min(1 << 20).saturating_sub(DESCRIPTORS_KEPT) / 2;
    site.write("haproxy.cfg", include_str!("../../peers/haproxy.cfg"), &[("connections", connections.to_string())])?;
    site.write("sandboxes.map", &site.lines(|_, sandbox, pod| format!("{sandbox} {pod}\n")), &[])?;
    // In the foreground, without a master process.
    Ok(Launch::new(["-db", "-f", &site.path("haproxy.cfg")]))
}

/// By its command line on a socket, which changes the map in memory, at once and without a reload.
fn table(site: &Site, _: Pid) -> Result<Option<Table>> {
    let map = site.path("sandboxes.map");
    // It gets its name after those for clients are open.
    let connect = || UnixStream::connect(site.path("haproxy.sock")).ok();
    let mut socket = wait::until("HAProxy's socket for commands", START_LIMIT, connect)?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    // One connection for all commands; each answer ends with the next prompt.
    ask(&mut socket, "prompt")?;
    let socket = Mutex::new(socket);
    Ok(Some(Arc::new(move |sandbox: &str, endpoint: SocketAddr| {
        let answer =
            ask(&mut socket.lock().expect("nobody panics with it"), &format!("set map {map} {sandbox} {endpoint}"))?;
        ensure!(answer.trim().is_empty(), "HAProxy answered {answer}");
        Ok(())
    })))
}

const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What comes before the prompt.
fn ask(socket: &mut UnixStream, command: &str) -> Result<String> {
    const PROMPT: &str = "\n> ";
    socket.write_all(format!("{command}\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(PROMPT.as_bytes()) {
        socket.read_exact(&mut byte).context("an answer of HAProxy")?;
        answer.push(byte[0]);
    }
    answer.truncate(answer.len() - PROMPT.len());
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
