//! Routes of the file: paths whose sessions have numbers of their own, or are no sessions.
//!
//! ```toml
//! [[route]]
//! path = "/api/sandboxes/{id}/exec/{session}"
//! mode = "broker"          # or "stream"
//! on_redial = "buffer"     # any option of the broker's sessions, without the `broker_` in front
//! ```

use super::option::{Setting, Written};
use super::problem::{Origin, Problem};
use super::raw::Raw;
use super::suggest::nearest;
use super::{BrokerConfig, BrokerPattern, choice, kind, options};

/// What the names of the options begin with whose values a route may have for itself.
const FAMILY: &str = "broker-";

/// Options of that family that belong to the process or to the list of paths, not to a session.
const NOT_A_SESSIONS: [&str; 3] = ["broker-route", "broker-prefix", "broker-dials-max"];

/// The keys that are no options.
const PATH: &str = "path";
const MODE: &str = "mode";
const PREFIX: &str = "prefix";

/// A path, and what becomes of its upgrades.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which paths.
    pub pattern: BrokerPattern,
    /// What is cut off them for the worker, if they begin with it.
    pub prefix: String,
    /// What becomes of their upgrades.
    pub mode: RouteMode,
    /// How their sessions live.
    pub numbers: BrokerConfig,
}

/// What becomes of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteMode {
    /// The client's WebSocket outlives its upstream.
    Broker,
    /// The two sockets become one stream.
    Stream,
}

/// A route as it is written.
#[derive(Debug, Clone)]
pub(super) struct RouteLines {
    /// Where it begins.
    pub(super) origin: Origin,
    /// Its lines, in their order.
    pub(super) lines: Vec<(String, Written)>,
}

impl RouteLines {
    /// The route, whose numbers are those of `raw` where it says nothing else; `None` where it cannot be used.
    pub(super) fn read(&self, raw: &Raw, problems: &mut Vec<Problem>) -> Option<Route> {
        let found_before = problems.len();
        let (mut pattern, mut mode, mut prefix) = (None, RouteMode::Broker, raw.routing.broker_prefix.clone());
        let mut own = raw.clone();
        let mut numbers = Vec::new();
        for (key, written) in &self.lines {
            let bad = |reason| Problem::BadValue { origin: written.origin.clone(), reason };
            let parsed = match key.as_str() {
                PATH => (kind::BROKER_PATTERN.parse)(&written.text).map(|parsed| pattern = Some(parsed)),
                MODE => choice::parse(&written.text).map(|parsed| mode = parsed),
                PREFIX => (kind::PATH_PREFIX.parse)(&written.text).map(|parsed| prefix = parsed),
                _ => {
                    numbers.push(&written.origin);
                    let Some(setting) = setting(key) else {
                        let suggestion = nearest(key, keys());
                        problems.push(Problem::Unknown { origin: written.origin.clone(), suggestion });
                        continue;
                    };
                    if let Err(found) = setting.field.write(&mut own, std::slice::from_ref(written)) {
                        problems.extend(found);
                    }
                    continue;
                }
            };
            problems.extend(parsed.err().map(bad));
        }
        if mode == RouteMode::Stream {
            let reason = "a route whose mode is 'stream' has no sessions".to_owned();
            let surplus =
                numbers.into_iter().map(|origin| Problem::BadValue { origin: origin.clone(), reason: reason.clone() });
            problems.extend(surplus);
        }
        if pattern.is_none() && problems.len() == found_before {
            let reason = "expected a path such as path = \"/agent/{id}\"".to_owned();
            problems.push(Problem::BadValue { origin: self.origin.clone(), reason });
        }
        let numbers = own.broker;
        pattern.filter(|_| problems.len() == found_before).map(|pattern| Route { pattern, prefix, mode, numbers })
    }
}

/// The option that a key of a route stands for.
fn setting(key: &str) -> Option<&'static Setting> {
    sessions().find(|setting| own_key(setting) == key)
}

/// Every key that a route may have.
fn keys() -> impl Iterator<Item = String> {
    sessions().map(own_key).chain([PATH, MODE, PREFIX].map(str::to_owned))
}

fn sessions() -> impl Iterator<Item = &'static Setting> {
    options::all().filter(|setting| setting.name.starts_with(FAMILY) && !NOT_A_SESSIONS.contains(&setting.name))
}

fn own_key(setting: &'static Setting) -> String {
    setting.name[FAMILY.len()..].replace('-', "_")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    fn lines(pairs: &[(&str, &str)]) -> RouteLines {
        let origin =
            |line: usize, key: &str| Origin::File { path: PathBuf::from("f"), line, key: format!("route.{key}") };
        let line = |(at, (key, text)): (usize, &(&str, &str))| {
            ((*key).to_owned(), Written { text: (*text).to_owned(), origin: origin(at + 2, key) })
        };
        RouteLines { origin: origin(1, ""), lines: pairs.iter().enumerate().map(line).collect() }
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Route, Vec<String>> {
        let mut problems = Vec::new();
        let mut raw = Raw::default();
        raw.broker.redial_attempts = 7;
        let route = lines(pairs).read(&raw, &mut problems);
        route.ok_or_else(|| problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn a_route_has_the_processs_numbers_but_for_its_own() {
        let route = read(&[("path", "/x/{id}"), ("redial_wait", "1s"), ("on_redial", "buffer")]).unwrap();
        assert_eq!((route.mode, route.pattern.to_string()), (RouteMode::Broker, "/x/{id}".to_owned()));
        assert_eq!(route.prefix, "/api/");
        let numbers = route.numbers;
        assert_eq!((numbers.redial_wait, numbers.redial_attempts), (Duration::from_secs(1), 7));
        assert_eq!(numbers.on_redial, crate::config::OnRedial::Buffer);
        let stream = read(&[("path", "/x/{id}"), ("mode", "stream"), ("prefix", "/x/")]).unwrap();
        assert_eq!((stream.mode, stream.prefix.as_str()), (RouteMode::Stream, "/x/"));
    }

    #[test]
    fn every_number_of_a_session_is_a_routes_and_no_other() {
        let keys: Vec<String> = keys().collect();
        for key in ["redial_wait", "migrating_attempts", "keepalive_frame", "per_client_max", "redial_buffer_bytes_max"]
        {
            assert!(keys.iter().any(|known| known == key), "{key}");
        }
        for key in ["route", "dials_max", "workers"] {
            assert!(!keys.iter().any(|known| known == key), "{key}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let path = ("path", "/x/{id}");
        assert_eq!(
            read(&[path, ("redial_wiat", "1s")]).unwrap_err(),
            ["f:3: route.redial_wiat: unknown option; did you mean 'redial_wait'?"]
        );
        assert_eq!(
            read(&[path, ("mode", "stream"), ("keepalive", "1s")]).unwrap_err(),
            ["f:4: route.keepalive: a route whose mode is 'stream' has no sessions"]
        );
        assert_eq!(
            read(&[("mode", "broker")]).unwrap_err(),
            ["f:1: route.: expected a path such as path = \"/agent/{id}\""]
        );
        assert_eq!(read(&[path, ("redial_attempts", "0")]).unwrap_err().len(), 1);
        assert_eq!(read(&[("path", "/x"), ("mode", "tunnel")]).unwrap_err().len(), 2);
    }
}
