//! What the program runs with: resolved, complete and checked.
//!
//! Every default stands here, in a `Default` impl, and nowhere else; the option table reads them back for `--help` and
//! the README. What the operator wrote, and where, is `raw`'s business: nothing behind this file knows flags or files.

pub mod choice;
mod control_plane;
mod dial;
mod host_pattern;
pub mod kind;
pub mod option;
pub mod options;
pub mod packet;
pub mod peer;
pub mod problem;
pub mod raw;
mod redis;
pub mod resolve;
mod stream;
pub mod table;
mod tcp;
mod web_origin;

mod broker;
mod check;
pub(crate) mod environment;
mod header;
mod route;
mod router;
mod file;
mod suggest;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;

use crate::route::SandboxId;

pub use broker::{BrokerConfig, BrokerPattern, KeepaliveFrame, OnRedial, PatternError, Segment};
pub use control_plane::ControlPlaneConfig;
pub use dial::{DialConfig, Growth};
pub use header::{AddressBook, AuthConfig, DnsConfig, HeaderConfig, SecretText};
pub use host_pattern::HostPattern;
pub use packet::{PacketConfig, PortRange};
pub use redis::RedisConfig;
pub use route::{Route, RouteMode};
pub use stream::StreamConfig;
pub use tcp::TcpKeepalive;

const KIBIBYTE: usize = 1024;

/// The whole configuration of one gateway process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect: one SO_REUSEPORT listener per address and worker. Never empty. Port 0 lets the kernel
    /// choose.
    pub listen: Vec<SocketAddr>,
    /// Where metrics, health and the list of streams are served. Loopback by default, since it has no authentication.
    pub admin: SocketAddr,
    /// Worker threads: one per core the process may use, because a worker shares nothing with its neighbours.
    pub workers: NonZeroUsize,
    /// What moves the bytes of an established stream.
    pub engine: EngineChoice,
    /// What the workers wait with. io_uring costs less CPU; epoll is for machines that forbid it, and for comparisons.
    pub io: IoChoice,
    /// How a request names its sandbox.
    pub routing: RoutingConfig,
    /// Who knows where a sandbox listens.
    pub directory: DirectoryConfig,
    /// The names that the header source looks up.
    pub dns: DnsConfig,
    /// Which tokens open the sandboxes of the header, host and prefix sources.
    pub auth: AuthConfig,
    /// Limits and deadlines of the client side.
    pub http: HttpConfig,
    /// Dialling sandboxes, and keeping their connections.
    pub upstream: UpstreamConfig,
    /// Limits of established streams.
    pub stream: StreamConfig,
    /// The packet engine.
    pub packet: PacketConfig,
    /// Sessions of the broker.
    pub broker: BrokerConfig,
    /// How long live streams may go on after SIGTERM. 30 s fits under Kubernetes' default grace period of the same
    /// length.
    pub drain_timeout: Duration,
    /// How long connections are still accepted after SIGTERM, with readiness already red: the time that load balancers
    /// need to notice. 0 by default, since only a deployment behind one needs it.
    pub drain_delay: Duration,
    /// What log lines look like.
    pub log: LogFormat,
    /// Which log lines are written: a `tracing` filter such as `info` or `info,gateway::directory=debug`.
    pub log_level: String,
    /// From which addresses inbound `X-Forwarded-*` fields are believed. Empty by default: anybody can write them.
    pub trusted_proxies: Vec<IpNet>,
}

/// What moves the bytes of an established stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// The cheapest one that this machine can run.
    Auto,
    /// recv and send in user space.
    Copy,
    /// splice(2) through pipes.
    Splice,
    /// A sk_skb verdict program that redirects between sockets.
    Sockmap,
    /// A tc program that joins the two TCP connections.
    Packet,
}

/// What the workers wait with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring where the kernel allows it, epoll otherwise.
    Auto,
    /// io_uring, or no start.
    Uring,
    /// epoll and ordinary system calls.
    Epoll,
}

/// How a request names its sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingConfig {
    /// Which ways in exist. What is off does not exist for a client.
    pub sources: Sources,
    /// Below which path the path and cookie sources work. Begins and ends with a slash.
    pub path_prefix: String,
    /// Whether prefix and id are cut from the path that the sandbox sees. On by default: a pod serves noVNC at its
    /// root.
    pub strip: bool,
    /// The cookie that remembers the sandbox of a tab whose assets and WebSocket carry no id in their path.
    pub cookie_name: String,
    /// How noVNC is told to open its WebSocket under its own sandbox's path.
    pub websocket_hint: WebsocketHint,
    /// Paths with numbers of their own, asked in this order and before all others.
    pub routes: Vec<Route>,
    /// Which other paths are sessions of the broker.
    pub broker_routes: Vec<BrokerPattern>,
    /// What is cut off those paths for the worker, if they begin with it.
    pub broker_prefix: String,
    /// The header source.
    pub header: HeaderConfig,
    /// How host names name sandboxes.
    pub host: HostRules,
    /// What a host agent wants in front of a sandbox's id, its port and its paths: the Host source writes it, the agent
    /// source reads it. Begins and ends with a slash.
    pub agent_prefix: String,
    /// Below which path the prefix source works. Begins and ends with a slash.
    pub service_prefix: String,
    /// Ports whose applications know their public prefix, and get their paths whole.
    pub service_prefix_keep: Vec<u16>,
    /// The sandbox of requests that no source covers.
    pub default_sandbox: Option<SandboxId>,
}

/// How host names name sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRules {
    /// The first label.
    pub pattern: HostPattern,
    /// What follows it, in lower case. Empty: anything.
    pub domains: Vec<String>,
    /// Whether a sandbox's endpoint is that of a host agent, instead of the pod's own address.
    pub agent: bool,
}

/// Which ways in exist, in order of precedence: header, host, agent, prefix, path, cookie. `broker` stands beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sources {
    /// `/vnc/37579/...`
    pub path: bool,
    /// The `vnc_session_id` cookie.
    pub cookie: bool,
    /// `49999-cl-abc.example.com`
    pub host: bool,
    /// `/proxy/cl-abc/49999/...`, from another gateway.
    pub agent: bool,
    /// `X-Sandbox-ID` and its companions.
    pub header: bool,
    /// A service prefix in front of the path.
    pub prefix: bool,
    /// WebSockets whose client side outlives its upstream.
    pub broker: bool,
}

/// How two tabs on two sandboxes in one browser each keep their own WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebsocketHint {
    /// The first page is redirected once to a URL whose `path` parameter names the sandbox's own WebSocket path.
    Redirect,
    /// The cookie alone decides: the tab that was opened last wins for clients that ask for `/websockify`.
    Cookie,
    /// Nothing is added to what the sandbox answers.
    Off,
}

/// Who knows where a sandbox listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryConfig {
    /// A fixed table, no server needed.
    Embedded(BTreeMap<SandboxId, SocketAddr>),
    /// A Redis hash that other programs write.
    Redis(RedisConfig),
    /// A control plane, asked over HTTP.
    ControlPlane(ControlPlaneConfig),
}

/// Limits and deadlines of the client side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The longest request line, in bytes. More is answered with 414.
    pub request_line_bytes_max: usize,
    /// The longest head, in bytes, request line included. More is answered with 431.
    pub head_bytes_max: usize,
    /// How many header fields a head may have. More is answered with 431.
    pub fields_max: usize,
    /// From a request's first byte to the end of its head. Absolute, so that a slow sender cannot renew it byte by
    /// byte.
    pub head_timeout: Duration,
    /// How long a connection without a request stays open. 75 s outlives the 60 s of most load balancers' idle
    /// timeouts.
    pub keepalive_timeout: Duration,
    /// How long a body may make no progress: a request's on either side, a response's towards the client. For how long
    /// the sandbox may be silent within a response, [`StreamConfig::idle_timeout`] says: server-sent events wait.
    pub body_timeout: Duration,
    /// From the end of a request to the end of the sandbox's response head. Long, since sandboxes run their users'
    /// work.
    pub response_timeout: Duration,
    /// What the sandbox sees as Host.
    pub host_header: HostHeader,
    /// Whether the sandbox sees the cookies of an upgrade: the servers of some desktops take heads of 4 KiB at most.
    pub upgrade_cookies: bool,
    /// How many client connections the process keeps open; 0 derives the limit from RLIMIT_NOFILE and the workers.
    pub connections_max: usize,
}

/// What the sandbox sees as Host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// The endpoint's `ip:port`.
    Endpoint,
    /// What the client sent.
    Pass,
    /// Always this text, with the endpoint's port where it says `{port}`.
    Mask(String),
}

/// Dialling sandboxes, and keeping their connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// With how much patience a sandbox is dialled.
    pub dial: DialConfig,
    /// How many idle connections are kept per sandbox and worker.
    pub pool_idle_max: usize,
    /// How long an idle connection is kept. Shorter than the servers' own timeouts, so that they rarely close under a
    /// request.
    pub pool_idle_timeout: Duration,
    /// Where endpoints may lie. Empty: anywhere.
    pub allow: Vec<IpNet>,
}

/// What a sandbox sees of the Origin of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OriginPolicy {
    /// What the client sent.
    #[default]
    Pass,
    /// Nothing.
    Strip,
    /// An origin that names the Host that the sandbox is sent, for servers that compare the two.
    Rewrite,
}

/// What log lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people if stderr is a terminal, JSON lines otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080)],
            admin: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090),
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            engine: EngineChoice::Auto,
            io: IoChoice::Auto,
            routing: RoutingConfig::default(),
            directory: DirectoryConfig::Embedded(BTreeMap::new()),
            dns: DnsConfig::default(),
            auth: AuthConfig::default(),
            http: HttpConfig::default(),
            upstream: UpstreamConfig::default(),
            stream: StreamConfig::default(),
            packet: PacketConfig::default(),
            broker: BrokerConfig::default(),
            drain_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            log: LogFormat::Auto,
            log_level: "info".to_owned(),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for RoutingConfig {
    fn default() -> Self {
        Self {
            sources: Sources { path: true, cookie: true, ..Sources::NONE },
            path_prefix: "/vnc/".to_owned(),
            strip: true,
            cookie_name: "vnc_session_id".to_owned(),
            websocket_hint: WebsocketHint::Redirect,
            routes: Vec::new(),
            broker_routes: BrokerPattern::contract(),
            broker_prefix: "/api/".to_owned(),
            header: HeaderConfig::default(),
            host: HostRules::default(),
            agent_prefix: "/proxy/".to_owned(),
            service_prefix: "/sandboxes/".to_owned(),
            service_prefix_keep: Vec::new(),
            default_sandbox: None,
        }
    }
}

impl Default for HostRules {
    fn default() -> Self {
        let pattern = HostPattern::parse("{port}-{sandbox}").expect("the default is a pattern");
        Self { pattern, domains: Vec::new(), agent: false }
    }
}

impl Sources {
    /// No way in at all.
    pub const NONE: Self =
        Self { path: false, cookie: false, host: false, agent: false, header: false, prefix: false, broker: false };
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            request_line_bytes_max: 8 * KIBIBYTE,
            head_bytes_max: 16 * KIBIBYTE,
            fields_max: 100,
            head_timeout: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(180),
            host_header: HostHeader::Endpoint,
            upgrade_cookies: true,
            connections_max: 0,
        }
    }
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            dial: DialConfig::default(),
            pool_idle_max: 16,
            pool_idle_timeout: Duration::from_secs(60),
            allow: Vec::new(),
        }
    }
}
