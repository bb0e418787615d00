//! The broker's configuration.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Config;

/// How sessions of the broker live. The numbers are the contract of the brokers that clients know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerConfig {
    /// The wait before the first attempt to redial; it doubles from there.
    pub redial_wait: Duration,
    /// The longest of those waits.
    pub redial_wait_max: Duration,
    /// How often a lost upstream is dialled again, in all.
    pub redial_attempts: u32,
    /// By how much of its length a wait is lengthened at most, by chance. 0: clients measure the ladder.
    pub redial_jitter_percent: u32,
    /// The wait before each attempt while the sandbox is on its way to another host.
    pub migrating_wait: Duration,
    /// How many of those attempts there are.
    pub migrating_attempts: u32,
    /// How long a worker may take from the dial to its 101.
    pub handshake_timeout: Duration,
    /// How many redial cycles a session may begin within the window.
    pub flap_cycles_max: u32,
    /// The window.
    pub flap_window: Duration,
    /// What becomes of a client's messages while there is no upstream.
    pub on_redial: OnRedial,
    /// How many bytes of them a session holds, if it holds them; behind that the client is not read.
    pub redial_buffer_bytes_max: usize,
    /// How often both sides are asked for a sign of life; 0 is never.
    pub keepalive: Duration,
    /// How they are asked.
    pub keepalive_frame: KeepaliveFrame,
    /// How long a session may go without a frame of data; 0 is for ever.
    pub idle_timeout: Duration,
    /// How long a session may live; 0 is for ever.
    pub lifetime_max: Duration,
    /// The longest message, in bytes, either way.
    pub message_bytes_max: usize,
    /// How many sessions one client address may have; 0 is without limit.
    pub per_client_max: u32,
    /// How many dials of one worker thread may be under way: what a migration of everything at once may cost a node.
    pub dials_max: usize,
}

/// What becomes of a client's messages while its session has no upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRedial {
    /// They are dropped, as with the brokers that clients know.
    Drop,
    /// They are held, and are the first that the next upstream gets.
    Buffer,
}

/// How a peer is asked for a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepaliveFrame {
    /// A ping, which every peer answers.
    Ping,
    /// An empty binary frame, which nobody answers: for peers that know no pings.
    Empty,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            redial_wait: Duration::from_millis(250),
            redial_wait_max: Duration::from_secs(4),
            redial_attempts: 10,
            redial_jitter_percent: 0,
            migrating_wait: Duration::from_secs(2),
            migrating_attempts: 30,
            handshake_timeout: Duration::from_secs(10),
            flap_cycles_max: 3,
            flap_window: Duration::from_secs(60),
            on_redial: OnRedial::Drop,
            redial_buffer_bytes_max: 64 << 10,
            keepalive: Duration::from_secs(30),
            keepalive_frame: KeepaliveFrame::Ping,
            idle_timeout: Duration::from_secs(60 * 60),
            lifetime_max: Duration::from_secs(24 * 60 * 60),
            message_bytes_max: 16 << 20,
            per_client_max: 64,
            dials_max: 64,
        }
    }
}

impl Config {
    /// What the sessions of a route live by; without one, what all others do.
    #[must_use]
    pub fn broker_of(&self, route: Option<usize>) -> &BrokerConfig {
        route.and_then(|index| self.routing.routes.get(index)).map_or(&self.broker, |route| &route.numbers)
    }
}

/// Which paths are sessions of the broker: literal segments, `{id}` for the sandbox, `{a|b}` for one of a few, and
/// `{name}` for any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerPattern(Vec<Segment>);

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this.
    Literal(String),
    /// The sandbox's id.
    Sandbox,
    /// One of these.
    OneOf(Vec<String>),
    /// Anything but nothing.
    Any(String),
}

impl BrokerPattern {
    /// The segments, in order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The paths of the brokers that clients know.
    #[must_use]
    pub fn contract() -> Vec<Self> {
        let texts = ["/api/sandboxes/{id}/{pty|exec|agent}/{session}", "/agent/{id}"];
        texts.map(|text| text.parse().expect("the contract's patterns are well-formed")).to_vec()
    }
}

/// A text that is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatternError;

impl FromStr for BrokerPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let plain = |text: &str| {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
            !matches!(text, "" | "." | "..") && text.bytes().all(is_plain)
        };
        let segment = |text: &str| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            None if plain(text) => Ok(Segment::Literal(text.to_owned())),
            Some("id") => Ok(Segment::Sandbox),
            Some(inner) if inner.split('|').all(plain) => Ok(match inner.split_once('|') {
                Some(_) => Segment::OneOf(inner.split('|').map(str::to_owned).collect()),
                None => Segment::Any(inner.to_owned()),
            }),
            _ => Err(PatternError),
        };
        let segments: Vec<_> =
            text.strip_prefix('/').ok_or(PatternError)?.split('/').map(segment).collect::<Result<_, _>>()?;
        let sandboxes = segments.iter().filter(|segment| **segment == Segment::Sandbox).count();
        if sandboxes == 1 { Ok(Self(segments)) } else { Err(PatternError) }
    }
}

impl fmt::Display for BrokerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| match segment {
            Segment::Literal(text) => write!(f, "/{text}"),
            Segment::Sandbox => write!(f, "/{{id}}"),
            Segment::OneOf(texts) => write!(f, "/{{{}}}", texts.join("|")),
            Segment::Any(name) => write!(f, "/{{{name}}}"),
        })
    }
}
