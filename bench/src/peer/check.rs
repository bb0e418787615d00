//! `gateway-bench check-peers`: every installed peer routes as it should, and leaves nothing behind.
//!
//! No test of cargo's, since the peers are installed for the bench alone.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use gateway_tests::pod::Pod;
use gateway_tests::wait;
use gateway_tests::wire::{Answer, Client};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::{PEERS, Peer, nginx};
use crate::load::size::Size;
use crate::load::{self, Run};
use crate::subject::{Running, Scene, Started, Subject, Table, sandbox_id};
use crate::topology;

/// How long a killed process may take to leave the process table.
const END_LIMIT: Duration = Duration::from_secs(10);

/// More than fits into one buffer of any peer.
const MESSAGE_BYTES: usize = 200_000;

/// A line for each peer and topology.
///
/// # Errors
///
/// When one that is installed does not do what the bench counts on.
pub(crate) fn run() -> Result<()> {
    let mut out = io::stdout();
    let mut failures = 0;
    for peer in &PEERS {
        match check(peer) {
            Ok(verdict) => writeln!(out, "{}: {verdict}", peer.name)?,
            Err(error) => {
                failures += 1;
                writeln!(out, "{}: FAILED: {error:#}", peer.name)?;
            }
        }
    }
    match topology::check() {
        Ok(verdict) => writeln!(out, "three hosts: {verdict}")?,
        Err(error) => {
            failures += 1;
            writeln!(out, "three hosts: FAILED: {error:#}")?;
        }
    }
    if failures > 0 {
        bail!("{failures} of the bench's parts do not work");
    }
    Ok(())
}

fn check(peer: &Peer) -> Result<String> {
    if peer.frames_on.is_some() {
        return check_frames(peer);
    }
    let pods = [pod("first")?, pod("second")?];
    let addresses = pods.each_ref().map(Pod::address);
    let running = match peer.start(&scene(&addresses))? {
        Started::Skipped(reason) => return Ok(format!("skipped: {reason}")),
        Started::Running(running) => running,
    };
    let address = running.addresses[0];
    for (index, name) in ["first", "second"].into_iter().enumerate() {
        let id = sandbox_id(index);
        by(address, &format!("/vnc/{id}"), "", name).with_context(|| format!("sandbox {id} by path"))?;
        if peer.by_cookie {
            let cookie = format!("Cookie: a=b; vnc_session_id={id}; c=d\r\n");
            by(address, "/vnc", &cookie, name).with_context(|| format!("sandbox {id} by cookie"))?;
        }
    }
    let unknown = ask(&mut Client::connect(address)?, "/vnc/1/", "")?.status();
    ensure!(unknown == 404, "an unknown sandbox gets {unknown}");
    let kept = connections_for(&pods[0], address, 20)?;
    if let Some(table) = &running.table {
        changed(table, address, pods[1].address()).context("a change of the table")?;
    }
    let pids = running.pids()?;
    let processes = pids.len();
    drop::<Running>(running);
    gone(&pids)?;
    ensure!(std::net::TcpStream::connect(address).is_err(), "somebody still listens on its port");
    let cookie = if peer.by_cookie { "path and cookie" } else { "path only" };
    Ok(format!("works by {cookie}; {processes} processes; 20 requests took {kept} connections to the pod"))
}

fn scene(pods: &[SocketAddr]) -> Scene<'_> {
    let listen = Ipv4Addr::LOCALHOST.into();
    Scene { listen, pods, workers: 2, has_pages: false, sandboxes: pods.len(), redis: None }
}

/// One that ends WebSocket: our own clients and pods talk through it, and every byte is looked at.
fn check_frames(peer: &Peer) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let pods = [listener.local_addr()?];
    std::thread::spawn(move || load::pod::serve(&listener));
    let running = match peer.start(&scene(&pods))? {
        Started::Skipped(reason) => return Ok(format!("skipped: {reason}")),
        Started::Running(running) => running,
    };
    let mut client = load::client::Client::new()?;
    for seed in 1..=4 {
        client.open_framed(running.addresses[0], &sandbox_id(0), seed)?;
    }
    for (up, down) in [(16, 16), (200, 70_000), (70_000, 200)] {
        let run = Run { up, down: Size::Exactly(down), millis: 100, ..Run::default() };
        let tally = client.run(&run)?;
        ensure!(tally.messages > 0, "no message of {up} bytes was answered");
    }
    let pids = running.pids()?;
    drop((client, running));
    gone(&pids)?;
    Ok(format!("works by token; {} processes with 4 streams", pids.len()))
}

/// A page that says which pod it is of and what was asked for, and an echo behind an upgrade.
fn pod(name: &'static str) -> Result<Pod> {
    Pod::start(move |request, connection| {
        if request.field("upgrade").is_some() {
            connection.switch(request)?;
            return connection.echo();
        }
        let body = format!("{name} {}", request.target());
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    })
}

fn ask(client: &mut Client, target: &str, fields: &str) -> Result<Answer> {
    client.ask(format!("GET {target} HTTP/1.1\r\nHost: sandboxes\r\n{fields}\r\n"))
}

/// One request and one stream below `prefix` reach the pod called `name`.
fn by(address: SocketAddr, prefix: &str, cookie: &str, name: &str) -> Result<()> {
    let answer = ask(&mut Client::connect(address)?, &format!("{prefix}/app/ui.js?a=%2F"), cookie)?;
    ensure!(answer.status() == 200, "the answer is {}", answer.status());
    ensure!(answer.text() == format!("{name} /app/ui.js?a=%2F"), "the page is {}", answer.text());
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut client = Client::connect(address)?;
    client.send(format!("GET {prefix}/websockify HTTP/1.1\r\nHost: sandboxes\r\n{cookie}{upgrade}\r\n"))?;
    let status = client.head()?.status();
    ensure!(status == 101, "the upgrade got {status}");
    let message: Vec<u8> = (0..251).cycle().take(MESSAGE_BYTES).collect();
    client.send(&message)?;
    ensure!(client.exactly(message.len())? == message, "the stream changed its bytes");
    Ok(())
}

/// How many connections to `pod` that many requests of one client take: one, where idle ones are kept.
fn connections_for(pod: &Pod, address: SocketAddr, requests: usize) -> Result<usize> {
    let before = pod.connections().len();
    let mut client = Client::connect(address)?;
    for _ in 0..requests {
        let status = ask(&mut client, &format!("/vnc/{}/small", sandbox_id(0)), "")?.status();
        ensure!(status == 200, "a small request got {status}");
    }
    Ok(pod.connections().len() - before)
}

/// What the first sandbox gets from its new pod, the second one, after as many changes as the slowest needs for one.
fn changed(table: &Table, address: SocketAddr, second: SocketAddr) -> Result<()> {
    let id = sandbox_id(0);
    (0..nginx::CHANGES_PER_RELOAD).try_for_each(|_| table(&id, second))?;
    wait::until("the new endpoint to be known", END_LIMIT, || {
        by(address, &format!("/vnc/{id}"), "", "second").is_ok().then_some(())
    })
}

fn gone(pids: &[Pid]) -> Result<()> {
    wait::until("its processes to end", END_LIMIT, || {
        pids.iter().all(|pid| kill(*pid, None) == Err(Errno::ESRCH)).then_some(())
    })
}
