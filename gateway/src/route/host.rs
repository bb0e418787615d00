//! The Host source: `{port}-{sandbox}.{domain}`, one origin per sandbox and port.
//!
//! The browser keeps cookies, storage and sockets of two sandboxes apart by itself here, so nothing is rewritten but
//! what a host agent in between adds.

use super::{Decision, Handling, RouteError, SandboxId, Source, Target};
use crate::config::{HostHeader, RoutingConfig};
use crate::http::RequestHead;

/// The longest name of a host, in bytes: RFC 1035 section 2.3.4.
const NAME_BYTES_MAX: usize = 255;

/// What the Host names; `None` for a host that is none of this source's.
pub(super) fn decide(head: &RequestHead, rules: &RoutingConfig) -> Option<Result<Decision, RouteError>> {
    let host = std::str::from_utf8(head.host()).ok()?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let (label, domain) = name.strip_suffix('.').unwrap_or(&name).split_once('.')?;
    if domain.is_empty() || !(rules.host.domains.is_empty() || rules.host.domains.iter().any(|own| own == domain)) {
        return None;
    }
    let (port, sandbox) = rules.host.pattern.split(label)?;
    Some(named(port, sandbox).and_then(|(port, sandbox)| target(head, rules, port, sandbox)).map(Decision::Forward))
}

/// A port and a sandbox as URLs name them.
pub(super) fn named(port: &str, sandbox: &str) -> Result<(u16, SandboxId), RouteError> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or(RouteError::Port)?;
    Ok((port, SandboxId::in_namespace(SandboxId::DEFAULT_NAMESPACE, label(sandbox)?).map_err(|_| RouteError::Id)?))
}

/// `name`, if it is a DNS label in lower case (RFC 1123 section 2.1).
pub(super) fn label(name: &str) -> Result<&str, RouteError> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let whole = name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-');
    if whole && !name.is_empty() { Ok(name) } else { Err(RouteError::Id) }
}

fn target(head: &RequestHead, rules: &RoutingConfig, port: u16, sandbox: SandboxId) -> Result<Target, RouteError> {
    if !rules.host.agent {
        return Ok(Target { port: Some(port), ..Target::new(sandbox, Source::Host, head.target().to_vec()) });
    }
    if !head.target().starts_with(b"/") {
        return Err(RouteError::NoRoute);
    }
    let agent_prefix = format!("{}{sandbox}/{port}", rules.agent_prefix);
    let upstream_target = [agent_prefix.as_bytes(), head.target()].concat();
    // The agent is the one whose Host this is; it knows the sandbox by the path.
    let handling = Handling { host_header: Some(HostHeader::Endpoint), ..Handling::default() };
    Ok(Target { agent_prefix, handling, ..Target::new(sandbox, Source::Host, upstream_target) })
}
