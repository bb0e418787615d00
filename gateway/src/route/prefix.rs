//! The path prefix source: `/sandboxes/{namespace}/{sandbox}/{port}/...`, for any application where host names of its
//! own are not to be had.
//!
//! All sandboxes share one origin here. What keeps them apart is that their Location and the paths of their cookies are
//! moved below their prefix, so that the browser sends no cookie of one to another. That holds as well for applications
//! that know their prefix and get it: what they put below it themselves is left alone.

use super::{Decision, Handling, RouteError, SandboxId, Source, Target, agent, host, path};
use crate::config::RoutingConfig;
use crate::http::RequestHead;

/// What the path names; `None` for one beside the prefix. Below it every malformed path is an error.
pub(super) fn decide(head: &RequestHead, rules: &RoutingConfig) -> Option<Result<Decision, RouteError>> {
    let below = path::below(head.path(), &rules.service_prefix)?;
    Some(inside(head, rules, below))
}

fn inside(head: &RequestHead, rules: &RoutingConfig, below: &[u8]) -> Result<Decision, RouteError> {
    let ([namespace, sandbox, port], rest) = agent::segments(below)?;
    let (port, _) = host::named(port, sandbox)?;
    let id = SandboxId::in_namespace(host::label(namespace)?, sandbox).map_err(|_| RouteError::Id)?;
    let public_prefix = format!("{}{namespace}/{sandbox}/{port}", rules.service_prefix);
    let keeps_prefix = rules.service_prefix_keep.contains(&port);
    let cut = if keeps_prefix { 0 } else { head.path().len() - rest.len() };
    let upstream_target = head.target()[cut..].to_vec();
    Ok(Decision::Forward(Target {
        port: Some(port),
        public_prefix,
        misses_slash: rest.is_empty(),
        handling: Handling { keeps_prefix, ..Handling::default() },
        ..Target::new(id, Source::Prefix, upstream_target)
    }))
}

/// The path below which everything of a sandbox lies, whatever its port.
#[must_use]
pub fn root(sandbox: &SandboxId, rules: &RoutingConfig) -> String {
    format!("{}{}/{}/", rules.service_prefix, sandbox.namespace(), sandbox.name())
}
