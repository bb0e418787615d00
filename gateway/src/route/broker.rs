//! The broker source: `/api/sandboxes/{id}/pty/{session}` and what else is configured.
//!
//! As in the path source, the raw bytes are compared and nothing is decoded.

use super::{Decision, Mode, RouteError, SandboxId, Source, Target};
use crate::config::{BrokerPattern, Route, RouteMode, RoutingConfig, Segment};
use crate::http::RequestHead;

/// The kind of session whose output may look like a worker's mark that the process has exited.
const PTY: &str = "pty";

/// A source of its own, as [`super::decide`] asks it. `None` where no pattern covers the path.
pub(super) fn decide(head: &RequestHead, rules: &RoutingConfig) -> Option<Result<Decision, RouteError>> {
    let path = std::str::from_utf8(head.path()).ok()?;
    let own = rules.routes.iter().enumerate().find_map(|(index, route)| {
        let Route { pattern, prefix, mode, numbers: _ } = route;
        matched(pattern, path).map(|found| (found, prefix, *mode, Some(index)))
    });
    let (found, prefix, mode, route) = own.or_else(|| {
        let found = rules.broker_routes.iter().find_map(|pattern| matched(pattern, path))?;
        Some((found, &rules.broker_prefix, RouteMode::Broker, None))
    })?;
    let forward = |Named { sandbox, marks_exit }| {
        let mode = match mode {
            RouteMode::Broker => Mode::Broker { marks_exit, route },
            RouteMode::Stream => Mode::Stream,
        };
        Decision::Forward(target(head, path, sandbox, prefix, mode))
    };
    Some(found.map(forward))
}

fn target(head: &RequestHead, path: &str, sandbox: SandboxId, prefix: &str, mode: Mode) -> Target {
    // The prefix's last slash stays, as the first of what is left.
    let cut = if path.starts_with(prefix) { prefix.trim_end_matches('/').len() } else { 0 };
    Target {
        public_prefix: path[..cut].to_owned(),
        mode,
        ..Target::new(sandbox, Source::Broker, head.target()[cut..].to_vec())
    }
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    sandbox: SandboxId,
    /// The exit mark means something there.
    marks_exit: bool,
}

/// What a path names that the pattern covers. An error where it is covered, but for a sandbox that cannot be called so.
fn matched(pattern: &BrokerPattern, path: &str) -> Option<Result<Named, RouteError>> {
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
                sandbox = Some(part);
                true
            }
        };
        if !fits {
            return None;
        }
        marks_exit &= part != PTY || matches!(segment, Segment::Any(_) | Segment::Sandbox);
    }
    let sandbox = sandbox.filter(|_| parts.next().is_none())?;
    Some(sandbox.parse().map(|sandbox| Named { sandbox, marks_exit }).map_err(|_| RouteError::Id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerConfig;
    use crate::http::{HeadLimits, Progress, parse};

    fn named(path: &str) -> Option<Result<(String, bool), RouteError>> {
        let contract = BrokerPattern::contract();
        let matched = contract.iter().find_map(|pattern| matched(pattern, path));
        matched.map(|named| named.map(|Named { sandbox, marks_exit }| (sandbox.to_string(), marks_exit)))
    }

    #[test]
    fn the_contracts_paths_name_their_sandbox() {
        let found = |id: &str, marks_exit| Some(Ok((id.to_owned(), marks_exit)));
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
            "/agent",
            "/",
        ] {
            assert_eq!(named(path), None, "{path}");
        }
    }

    #[test]
    fn a_path_without_a_sandbox_that_can_be_called_so_is_refused() {
        for path in ["/api/sandboxes/sb%2F1/pty/s1", "/api/sandboxes//pty/s1", "/agent/", "/agent/%00"] {
            assert_eq!(named(path), Some(Err(RouteError::Id)), "{path}");
        }
    }

    #[test]
    fn a_route_of_the_file_comes_before_the_other_paths() {
        let route = |path: &str, mode, prefix: &str| Route {
            pattern: path.parse().unwrap(),
            prefix: prefix.to_owned(),
            mode,
            numbers: BrokerConfig::default(),
        };
        let rules = RoutingConfig {
            routes: vec![
                route("/raw/{id}", RouteMode::Stream, "/raw/"),
                route("/api/sandboxes/{id}/exec/{session}", RouteMode::Broker, "/api/"),
            ],
            ..RoutingConfig::default()
        };
        let decided = |path: &str| {
            let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            let Ok(Progress::Complete { head, .. }) = parse::request(head.as_bytes(), &HeadLimits::default()) else {
                panic!("a good head")
            };
            match decide(&head, &rules) {
                Some(Ok(Decision::Forward(target))) => {
                    (target.mode, String::from_utf8(target.upstream_target).unwrap())
                }
                other => panic!("{path}: {other:?}"),
            }
        };
        let broker = |route| Mode::Broker { marks_exit: true, route };
        let exec = decided("/api/sandboxes/1/exec/s");
        assert_eq!(exec, (broker(Some(1)), "/sandboxes/1/exec/s".to_owned()));
        assert_eq!(decided("/agent/1"), (broker(None), "/agent/1".to_owned()));
        assert_eq!(decided("/raw/1"), (Mode::Stream, "/1".to_owned()));
    }
}
