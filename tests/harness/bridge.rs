//! A gateway with one pod behind it, and streams through it of which a story holds both ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sha1::{Digest, Sha1};

use crate::gateway::{Gateway, GatewayBuilder};
use crate::hosts::{Family, Hosts};
use crate::need::{Need, is_missing};
use crate::wait::{PATIENCE, until};

/// How long one step of a stream may take before the story fails instead of hanging.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// The key of RFC 6455 section 1.3; every handshake of ours may use the same one.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The sandbox of the pod.
pub const SANDBOX: &str = "37579";

/// One way to move bytes: an engine, what the workers wait with, and where client, gateway and pod are.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// `--engine`
    pub engine: &'static str,
    /// `--io`
    pub io: &'static str,
    /// On three hosts; all on the loopback of this one otherwise.
    pub hosts: Option<Family>,
}

impl Path {
    /// All of it on the loopback of this host.
    #[must_use]
    pub const fn on_loopback(engine: &'static str, io: &'static str) -> Self {
        Self { engine, io, hosts: None }
    }

    /// Client, gateway and pod are three hosts.
    #[must_use]
    pub const fn on_hosts(engine: &'static str, io: &'static str, family: Family) -> Self {
        Self { engine, io, hosts: Some(family) }
    }

    /// Whether this machine cannot go it; the story says so then, and returns.
    pub fn is_missing(self) -> bool {
        is_missing(&[Need::Engine(self.engine)]) || (self.hosts.is_some() && Hosts::are_missing())
    }

    /// Whether the bytes stay in the kernel.
    #[must_use]
    pub fn is_kernel(self) -> bool {
        matches!(self.engine, "sockmap" | "packet")
    }
}

/// A gateway and its pod.
pub struct Bridge {
    /// The gateway.
    pub gateway: Gateway,
    path: Path,
    pod: Mutex<TcpListener>,
    /// Those that are to go into the kernel.
    streams: AtomicU32,
    /// Behind the gateway, which ends before its host does.
    hosts: Option<Hosts>,
}

/// Both ends of an established stream.
pub struct Ends {
    /// The client's.
    pub client: TcpStream,
    /// The pod's.
    pub pod: TcpStream,
}

impl Bridge {
    /// Starts both; `with` adds arguments.
    pub fn start(path: Path, with: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Result<Self> {
        match path.hosts {
            None => Self::start_at(path, TcpListener::bind("127.0.0.1:0")?, with),
            Some(family) => Self::start_on(path, Hosts::joined(family)?, with),
        }
    }

    /// Starts both on hosts that were prepared for it.
    pub fn start_on(path: Path, hosts: Hosts, with: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Result<Self> {
        let pod = hosts.listen()?;
        Self::start_before(path, hosts, pod, with)
    }

    /// Starts a gateway on its host, before a pod that listens on one of them already.
    pub fn start_before(
        path: Path,
        hosts: Hosts,
        pod: TcpListener,
        with: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
    ) -> Result<Self> {
        let any_port = |address| SocketAddr::new(address, 0).to_string();
        let (listen, admin) = (any_port(hosts.gateway_address()), any_port(hosts.admin_address()));
        let placed = |gateway: GatewayBuilder| with(gateway.through(hosts.at_gateway()).listen(listen).admin(admin));
        let bridge = Self::start_at(path, pod, placed)?;
        Ok(Self { hosts: Some(hosts), ..bridge })
    }

    /// Starts a gateway before a pod that listens already.
    pub fn start_at(path: Path, pod: TcpListener, with: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Result<Self> {
        let builder = Gateway::builder().sandbox(SANDBOX, pod.local_addr()?).args([
            "--engine",
            path.engine,
            "--io",
            path.io,
            "--workers",
            "2",
        ]);
        let gateway = with(builder).start()?;
        Ok(Self { gateway, path, pod: Mutex::new(pod), streams: AtomicU32::new(0), hosts: None })
    }

    /// Establishes a stream with nothing glued to its heads.
    pub fn stream(&self) -> Result<Ends> {
        self.stream_with(b"", b"")
    }

    /// Establishes a stream; `behind_request` travels in one segment with the request head, `behind_101` with the
    /// response's.
    pub fn stream_with(&self, behind_request: &[u8], behind_101: &[u8]) -> Result<Ends> {
        self.stream_from(self.connect()?, behind_request, behind_101)
    }

    /// A client's connection on which nothing was sent yet.
    pub fn connect(&self) -> Result<TcpStream> {
        let gateway = self.gateway.addr();
        self.hosts.as_ref().map_or_else(|| Ok(TcpStream::connect(gateway)?), |hosts| hosts.connect(gateway))
    }

    /// The way that its streams take.
    pub fn path(&self) -> Path {
        self.path
    }

    /// The hosts, where the path has some.
    pub fn hosts(&self) -> &Hosts {
        self.hosts.as_ref().expect("the story's path is one on hosts")
    }

    /// Establishes a stream on a connection that was made elsewhere, such as in another network namespace.
    pub fn stream_from(&self, client: TcpStream, behind_request: &[u8], behind_101: &[u8]) -> Result<Ends> {
        let ends = self.establish(client, behind_request, behind_101)?;
        self.await_promotions()?;
        Ok(ends)
    }

    /// Establishes a stream with nothing glued to its heads, and does not wait for it to go into the kernel: it may do
    /// so at any moment, or never.
    pub fn stream_at_once(&self) -> Result<Ends> {
        self.establish(self.connect()?, b"", b"")
    }

    /// How many streams have gone into the kernel.
    pub fn promoted(&self) -> Result<f64> {
        self.gateway.metric("gateway_stream_promotions_total", &[("engine", self.path.engine)])
    }

    /// Establishes many streams with nothing glued to their heads. They go into the kernel side by side.
    pub fn streams(&self, count: usize) -> Result<Vec<Ends>> {
        let streams = (0..count).map(|_| self.establish(self.connect()?, b"", b"")).collect::<Result<_>>()?;
        self.await_promotions()?;
        Ok(streams)
    }

    /// Establishes a stream that cannot go into the kernel, and waits until the gateway says that this is the reason.
    pub fn stream_refused(&self, reason: &str) -> Result<Ends> {
        self.stream_refused_from(self.connect()?, reason)
    }

    /// The same on a connection that was made elsewhere.
    pub fn stream_refused_from(&self, client: TcpStream, reason: &str) -> Result<Ends> {
        let refused = || self.gateway.metric("gateway_stream_promotions_refused_total", &[("reason", reason)]);
        let before = refused()?;
        let ends = self.establish(client, b"", b"")?;
        self.streams.fetch_sub(1, Ordering::Relaxed);
        until("the refusal", PATIENCE, || refused().is_ok_and(|now| now > before).then_some(()))?;
        Ok(ends)
    }

    fn establish(&self, client: TcpStream, behind_request: &[u8], behind_101: &[u8]) -> Result<Ends> {
        // One at a time: the next connection that the pod accepts is this client's.
        let pod = self.pod.lock().expect("no story panics while it holds the pod");
        let ends = establish(client, &pod, self.gateway.addr(), SANDBOX, behind_request, behind_101)?;
        self.streams.fetch_add(1, Ordering::Relaxed);
        Ok(ends)
    }
}

/// Establishes a stream to `sandbox` on a connection to `gateway`; the next connection that `pod` accepts must be this
/// one's.
pub fn establish(
    mut client: TcpStream,
    pod: &TcpListener,
    gateway: SocketAddr,
    sandbox: &str,
    behind_request: &[u8],
    behind_101: &[u8],
) -> Result<Ends> {
    client.set_read_timeout(Some(STEP_LIMIT))?;
    client.set_nodelay(true)?;
    client.write_all(&[request(gateway, sandbox).as_bytes(), behind_request].concat())?;
    let step_limit = PollTimeout::try_from(STEP_LIMIT).expect("half a minute is little");
    let dialled = poll(&mut [PollFd::new(pod.as_fd(), PollFlags::POLLIN)], step_limit)?;
    ensure!(dialled > 0, "the gateway has not dialled the pod");
    let (mut upstream, _) = pod.accept()?;
    upstream.set_read_timeout(Some(STEP_LIMIT))?;
    upstream.set_nodelay(true)?;
    let head = read_head(&mut upstream)?;
    ensure!(head.starts_with("GET /websockify HTTP/1.1\r\n"), "the pod got {head}");
    upstream.write_all(&[answer().as_bytes(), behind_101].concat())?;
    let head = read_head(&mut client)?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "the client got {head}");
    Ok(Ends { client, pod: upstream })
}

impl Bridge {
    /// Waits until all streams so far have gone into the kernel, where the path leads there.
    pub fn await_promotions(&self) -> Result<()> {
        if !self.path.is_kernel() {
            return Ok(());
        }
        let streams = f64::from(self.streams.load(Ordering::Relaxed));
        until("the stream to go into the kernel", PATIENCE, || {
            let promoted = self.gateway.metric("gateway_stream_promotions_total", &[("engine", self.path.engine)]);
            promoted.is_ok_and(|promoted| promoted >= streams).then_some(())
        })
    }
}

impl Ends {
    /// Both ends with the two swapped, for what holds in either direction.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self { client: self.pod, pod: self.client }
    }
}

fn request(host: SocketAddr, sandbox: &str) -> String {
    format!(
        "GET /vnc/{sandbox}/websockify HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

fn answer() -> String {
    /// RFC 6455 section 1.3.
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let accept = STANDARD.encode(Sha1::digest(format!("{KEY}{GUID}")));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Reads exactly a head, byte by byte, so that nothing behind it is taken.
pub fn read_head(stream: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(stream.read(&mut byte).context("read a head")? == 1, "the connection ended after {head:?}");
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head)?)
}
