//! The broker source: `/api/sandboxes/{id}/pty/{session}` and what else is configured.
//!
//! As in the path source, the raw bytes are compared and nothing is decoded.

use super::{Decision, Mode, RouteError, SandboxId, Source, Target};
use crate::config::{BrokerPattern, RoutingConfig, Segment};
use crate::http::RequestHead;

/// The kind of session whose output may look like a worker's mark that the process has exited.
const PTY: &str = "pty";

/// A source of its own, as [`super::decide`] asks it.
pub(super) fn decide(head: &RequestHead, rules: &RoutingConfig) -> Option<Result<Decision, RouteError>> {
    target(head, rules).map(|target| Ok(Decision::Forward(target)))
}

/// The session that a path names; `None` where no pattern covers it.
fn target(head: &RequestHead, rules: &RoutingConfig) -> Option<Target> {
    let path = std::str::from_utf8(head.path()).ok()?;
    let (sandbox, marks_exit) = rules.broker_routes.iter().find_map(|pattern| matched(pattern, path))?;
    // The prefix's last slash stays, as the first of what is left.
    let prefix = rules.broker_prefix.trim_end_matches('/');
    let cut = if path.starts_with(&rules.broker_prefix) { prefix.len() } else { 0 };
    Some(Target {
        public_prefix: path[..cut].to_owned(),
        mode: Mode::Broker { marks_exit },
        ..Target::new(sandbox, Source::Broker, head.target()[cut..].to_vec())
    })
}

/// The sandbox of a path that the pattern covers, and whether the exit mark means something there.
fn matched(pattern: &BrokerPattern, path: &str) -> Option<(SandboxId, bool)> {
    let mut sandbox = None;
    let mut marks_exit = true;
    let mut parts = path.strip_prefix('/')?.split('/');
    for segment in pattern.segments() {
        let part = parts.next()?;
        let fits = match segment {
            Segment::Literal(text) => text == part,
            Segment::OneOf(texts) => texts.iter().any(|text| text == part),
            Segment::Any(_) => !part.is_empty(),
            Segment::Sandbox => {
                sandbox = part.parse().ok();
                sandbox.is_some()
            }
        };
        if !fits {
            return None;
        }
        marks_exit &= part != PTY || matches!(segment, Segment::Any(_) | Segment::Sandbox);
    }
    sandbox.filter(|_| parts.next().is_none()).map(|sandbox| (sandbox, marks_exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> Option<(String, bool)> {
        let contract = BrokerPattern::contract();
        let matched = contract.iter().find_map(|pattern| matched(pattern, path));
        matched.map(|(sandbox, marks_exit)| (sandbox.to_string(), marks_exit))
    }

    #[test]
    fn the_contracts_paths_name_their_sandbox() {
        let found = |id: &str, marks_exit| Some((id.to_owned(), marks_exit));
        assert_eq!(named("/api/sandboxes/sb-1/pty/s1"), found("sb-1", false));
        assert_eq!(named("/api/sandboxes/sb-1/exec/s1"), found("sb-1", true));
        assert_eq!(named("/api/sandboxes/sb-1/agent/pty"), found("sb-1", true));
        assert_eq!(named("/agent/sb-1"), found("sb-1", true));
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "/api/sandboxes/sb-1/pty",
            "/api/sandboxes/sb-1/pty/",
            "/api/sandboxes/sb-1/pty/s1/x",
            "/api/sandboxes/sb-1/files/s1",
            "/api/sandboxes/sb%2F1/pty/s1",
            "/api/sandboxes//pty/s1",
            "/agent/",
            "/agent",
            "/",
        ] {
            assert_eq!(named(path), None, "{path}");
        }
    }
}
