//! The host agent's role: another gateway, at the edge, asks for `/proxy/{sandbox}/{port}/...`.

use super::{Decision, Handling, RouteError, Source, Target, host, path};
use crate::config::RoutingConfig;
use crate::http::RequestHead;

/// What the path names; `None` for one beside the prefix. Below it every malformed path is an error: what an edge sends
/// wrongly must not be taken for something else.
pub(super) fn decide(head: &RequestHead, rules: &RoutingConfig) -> Option<Result<Decision, RouteError>> {
    let below = path::below(head.path(), &rules.agent_prefix)?;
    Some(target(head, rules, below).map(Decision::Forward))
}

fn target(head: &RequestHead, rules: &RoutingConfig, below: &[u8]) -> Result<Target, RouteError> {
    let ([sandbox, port], rest) = segments(below)?;
    let (port, sandbox) = host::named(port, sandbox)?;
    let public_prefix = format!("{}{sandbox}/{port}", rules.agent_prefix);
    let handling = Handling { client_is_edge: true, ..Handling::default() };
    let upstream_target = rooted(head, rest);
    Ok(Target { port: Some(port), public_prefix, handling, ..Target::new(sandbox, Source::Agent, upstream_target) })
}

/// The first `N` segments of what stands below a prefix, and the rest, which is empty or begins with a slash.
pub(super) fn segments<const N: usize>(below: &[u8]) -> Result<([&str; N], &[u8]), RouteError> {
    let mut named = [""; N];
    let mut rest = below;
    for segment in &mut named {
        let behind_slash = rest.strip_prefix(b"/").ok_or(RouteError::Id)?;
        let end = behind_slash.iter().position(|&byte| byte == b'/').unwrap_or(behind_slash.len());
        let (text, behind) = behind_slash.split_at(end);
        *segment = std::str::from_utf8(text).map_err(|_| RouteError::Id)?;
        rest = behind;
    }
    Ok((named, rest))
}

/// The target whose path is `rest`, the tail of the request's own: `/` where nothing is left of it.
fn rooted(head: &RequestHead, rest: &[u8]) -> Vec<u8> {
    let tail = &head.target()[head.path().len() - rest.len()..];
    if rest.is_empty() { [b"/", tail].concat() } else { tail.to_vec() }
}
