//! The header source: the contract of the agent-sandbox routers, whose clients read its texts.
//!
//! ```text
//! X-Sandbox-ID         required; a DNS label of lower case letters
//! X-Sandbox-Namespace  `default`; written alike
//! X-Sandbox-Port       8888; 1 to 65535
//! X-Sandbox-Pod-IP     the address itself, instead of a name
//! X-Sandbox-UID        the router's key for a cache; here it is only refused beside a scoped token
//! X-Sandbox-Timeout    seconds until the response head; shortens the configured time and never lengthens it
//! ```
//!
//! An empty field counts as not sent. A field that is sent twice is malformed: the sandbox may believe the other one.

use std::net::IpAddr;
use std::time::Duration;

use super::target::{Handling, Lookup, Source, Target};
use super::{Decision, RouteError, SandboxId};
use crate::config::{AddressBook, DialConfig, Growth, HeaderConfig, RoutingConfig, Sources};
use crate::http::RequestHead;

const ID: &str = "x-sandbox-id";
const NAMESPACE: &str = "x-sandbox-namespace";
const PORT: &str = "x-sandbox-port";
const POD_IP: &str = "x-sandbox-pod-ip";
const UID: &str = "x-sandbox-uid";
const TIMEOUT: &str = "x-sandbox-timeout";

/// The router's patience with dials: 200, 400 and 800 ms between four attempts.
const LADDER: DialConfig = DialConfig {
    timeout: Duration::from_secs(1),
    attempts: 4,
    backoff: Duration::from_millis(200),
    growth: Growth::Doubling,
};

/// The port of a request that names none.
const PORT_DEFAULT: u16 = 8888;

/// Why the fields name no sandbox. The texts are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// There is no id.
    #[error("X-Sandbox-ID header is required.")]
    IdMissing,
    /// The id is no DNS label.
    #[error("Invalid sandbox ID format.")]
    Id,
    /// The namespace is none.
    #[error("Invalid namespace format.")]
    Namespace,
    /// The port is none.
    #[error("Invalid port format.")]
    Port,
    /// The address is none.
    #[error("Invalid target IP address format.")]
    AddressFormat,
    /// The address is one that a client may not choose.
    #[error("Invalid target IP address.")]
    Address,
}

/// Decides a request with an id. One without is this source's mistake where there is no other source.
pub(super) fn decide(head: &RequestHead, rules: &RoutingConfig) -> Option<Result<Decision, RouteError>> {
    let only = rules.sources == (Sources { header: true, ..Sources::NONE }) && rules.default_sandbox.is_none();
    let named = target(head, &rules.header).or_else(|| only.then_some(Err(HeaderError::IdMissing)))?;
    Some(named.map(Decision::Forward).map_err(RouteError::from))
}

/// The target that the fields name; `None` without an id.
fn target(head: &RequestHead, rules: &HeaderConfig) -> Option<Result<Target, HeaderError>> {
    match sent(head, ID) {
        Ok(None) => None,
        Ok(Some(id)) => Some(named(head, rules, id)),
        Err(Repeated) => Some(Err(HeaderError::Id)),
    }
}

/// Whether the client chooses where its request goes, beyond the sandbox's name. A token for a name must not open what
/// stands elsewhere.
#[must_use]
pub fn chooses_address(head: &RequestHead) -> bool {
    [POD_IP, UID].iter().any(|name| head.values(name).any(|value| !value.is_empty()))
}

fn named(head: &RequestHead, rules: &HeaderConfig, id: &[u8]) -> Result<Target, HeaderError> {
    let id = label(id).ok_or(HeaderError::Id)?;
    let namespace = sent(head, NAMESPACE).map_err(|_| HeaderError::Namespace)?;
    let namespace = namespace.map_or(Some(SandboxId::DEFAULT_NAMESPACE), label).ok_or(HeaderError::Namespace)?;
    let port = sent(head, PORT).map_err(|_| HeaderError::Port)?;
    let port = port.map(|text| port_of(text).ok_or(HeaderError::Port)).transpose()?;
    let address = sent(head, POD_IP).map_err(|_| HeaderError::AddressFormat)?;
    let address = address.map(|text| address_of(text, rules.allow_loopback_pod_ip)).transpose()?;
    let sandbox = SandboxId::in_namespace(namespace, id).map_err(|_| HeaderError::Id)?;
    let lookup = match (address, rules.lookup) {
        (Some(address), _) => Lookup::Address(address),
        (None, AddressBook::Dns) => Lookup::Dns,
        (None, AddressBook::Directory) => Lookup::Directory,
    };
    // A directory knows the port; elsewhere there is a port for whoever names none.
    let port = if lookup == Lookup::Directory { port } else { Some(port.unwrap_or(PORT_DEFAULT)) };
    let handling = Handling {
        dial: Some(LADDER),
        response_timeout: sent(head, TIMEOUT).ok().flatten().and_then(timeout_of),
        origin: rules.upgrade_origin,
        strips_sandbox_headers: rules.strip_sandbox_headers,
        ..Handling::default()
    };
    Ok(Target { lookup, port, handling, ..Target::new(sandbox, Source::Header, head.target().to_vec()) })
}

struct Repeated;

fn sent<'a>(head: &'a RequestHead, name: &'a str) -> Result<Option<&'a [u8]>, Repeated> {
    let mut values = head.values(name);
    let first = values.next();
    if values.next().is_some() { Err(Repeated) } else { Ok(first.filter(|value| !value.is_empty())) }
}

/// `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, 63 bytes at most (RFC 1123 section 2.1).
fn label(text: &[u8]) -> Option<&str> {
    let is_inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let ends = text.first()? != &b'-' && text.last()? != &b'-';
    let good = ends && text.len() <= SandboxId::NAME_BYTES_MAX && text.iter().all(is_inner);
    if good { std::str::from_utf8(text).ok() } else { None }
}

fn port_of(text: &[u8]) -> Option<u16> {
    let digits = text.iter().all(u8::is_ascii_digit).then_some(text)?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|&port| port != 0)
}

/// An IPv6 address that holds an IPv4 one is judged as that one.
fn address_of(text: &[u8], allow_loopback: bool) -> Result<IpAddr, HeaderError> {
    let text = std::str::from_utf8(text).map_err(|_| HeaderError::AddressFormat)?;
    let address = text.parse::<IpAddr>().map_err(|_| HeaderError::AddressFormat)?.to_canonical();
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast() || address.octets()[0] == 0,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let loopback = address.is_loopback() && !allow_loopback;
    if loopback || link_local || address.is_multicast() || address.is_unspecified() {
        return Err(HeaderError::Address);
    }
    Ok(address)
}

/// Seconds, with a fraction. What is no positive number of them counts as not sent, as it does with the routers.
fn timeout_of(text: &[u8]) -> Option<Duration> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero())
}

#[cfg(test)]
mod tests;
