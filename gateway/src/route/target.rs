//! Where a request goes and how it is treated there: what every way in answers, and all that the rest of the trunk
//! knows of the way in.

use std::net::IpAddr;
use std::time::Duration;

use super::SandboxId;
use crate::config::{AddressBook, DialConfig, HostHeader, OriginPolicy};

/// The sandbox of a request, and how the request looks there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whose request it is: kept connections, caps, tokens, log lines and live streams go by it.
    pub sandbox: SandboxId,
    /// What named it.
    pub source: Source,
    /// How its endpoint is found.
    pub lookup: Lookup,
    /// The port that the request names, which takes the place of the endpoint's.
    pub port: Option<u16>,
    /// The target in origin-form for the upstream: always the tail of the one that came, byte for byte, query included,
    /// behind [`Target::agent_prefix`].
    pub upstream_target: Vec<u8>,
    /// What the client sees in front of the sandbox's paths, such as `/vnc/37579`: Location and the paths of cookies
    /// get it. It names the sandbox even where the request did not. Empty where the sandbox sees the client's paths.
    pub public_prefix: String,
    /// What a host agent between the gateway and the sandbox wants in front of the sandbox's paths, such as
    /// `/proxy/cl-abc/8080`: Location and the paths of cookies lose it. Empty where the upstream is the sandbox.
    pub agent_prefix: String,
    /// The client's path ends where the slash behind [`Target::public_prefix`] should be: whoever may come in is sent
    /// to the URL that has it, since a page's relative URLs would leave the prefix.
    pub misses_slash: bool,
    /// Values of Set-Cookie fields, one each: not empty for a first packet only.
    pub set_cookies: Vec<String>,
    /// What differs from the configured treatment.
    pub handling: Handling,
    /// What becomes of an upgrade.
    pub mode: Mode,
}

/// What named the sandbox of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The request's own path.
    Path,
    /// The path of the page behind the request. On and off with [`Source::Path`].
    Referer,
    /// The session cookie.
    Cookie,
    /// `X-Sandbox-ID` and its companions.
    Header,
    /// The first label of the Host.
    Host,
    /// The path in which another gateway asks this one, its host agent.
    Agent,
    /// The service prefix in front of the path.
    Prefix,
    /// Nothing: it goes to the default sandbox.
    Default,
    /// The path of a session of the broker.
    Broker,
}

/// How an endpoint is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Lookup {
    /// The directory is asked for the sandbox.
    #[default]
    Directory,
    /// The cluster's DNS is asked; [`Target::port`] is the port.
    Dns,
    /// The client says where its sandbox is. Such an address is checked more strictly than a directory's, and
    /// [`Target::port`] is its port.
    Address(IpAddr),
}

impl Lookup {
    /// Who says where the sandbox is, and hears first when it is no more; `None` where the client says it.
    #[must_use]
    pub fn book(&self) -> Option<AddressBook> {
        match self {
            Self::Directory => Some(AddressBook::Directory),
            Self::Dns => Some(AddressBook::Dns),
            Self::Address(_) => None,
        }
    }
}

/// How one way in treats a request differently from another. The default is what the configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handling {
    /// Another patience with dials than the configured one, for attempts that may take what is configured.
    pub dial: Option<DialConfig>,
    /// Another limit for the response head than the configured one; a longer one has no effect.
    pub response_timeout: Option<Duration>,
    /// Another Host than the configured one.
    pub host_header: Option<HostHeader>,
    /// What the sandbox sees of the Origin of an upgrade.
    pub origin: OriginPolicy,
    /// The gateway has used the Authorization field up.
    pub consumes_authorization: bool,
    /// The fields that name the sandbox stay behind.
    pub strips_sandbox_headers: bool,
    /// The sandbox knows [`Target::public_prefix`] and finds it in the path: it is not told again what was cut off.
    pub keeps_prefix: bool,
    /// The client is another gateway, and this one its host agent: Location gets the prefix as a path alone, and
    /// cookies keep their paths, for the other gateway is the one that knows the public side.
    pub client_is_edge: bool,
}

/// What becomes of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mode {
    /// The two sockets become one stream.
    #[default]
    Stream,
    /// The client's WebSocket outlives its upstream.
    Broker {
        /// A worker's frame of completion means something here; in a terminal's output it does not.
        marks_exit: bool,
        /// Which of the configured routes it is, whose numbers its sessions live by; none of them where it is not
        /// given.
        route: Option<usize>,
    },
}

impl Target {
    /// A request of `sandbox` that goes to its endpoint as `upstream_target`.
    #[must_use]
    pub fn new(sandbox: SandboxId, source: Source, upstream_target: Vec<u8>) -> Self {
        Self {
            sandbox,
            source,
            lookup: Lookup::Directory,
            port: None,
            upstream_target,
            public_prefix: String::new(),
            agent_prefix: String::new(),
            misses_slash: false,
            set_cookies: Vec::new(),
            handling: Handling::default(),
            mode: Mode::Stream,
        }
    }
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 9] = [
        Self::Path,
        Self::Referer,
        Self::Cookie,
        Self::Host,
        Self::Agent,
        Self::Prefix,
        Self::Header,
        Self::Broker,
        Self::Default,
    ];

    /// The source's name as a metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Referer => "referer",
            Self::Cookie => "cookie",
            Self::Header => "header",
            Self::Broker => "broker",
            Self::Host => "host",
            Self::Agent => "agent",
            Self::Prefix => "prefix",
            Self::Default => "default",
        }
    }
}
