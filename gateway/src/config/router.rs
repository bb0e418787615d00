//! The environment of the agent-sandbox router, so that its manifest runs with this program's image.
//!
//! The lowest layer of all: what is written for this program wins over what was written for its predecessor.

use super::option::{Assignment, Written};
use super::options;
use super::problem::Origin;

const TOKEN: &str = "ROUTER_AUTH_TOKEN";
const UNAUTHENTICATED: &str = "ALLOW_UNAUTHENTICATED_ROUTER";

/// What each variable says, and in which form.
const VARIABLES: &[(&str, &str, Form)] = &[
    ("PROXY_TIMEOUT_SECONDS", "response-timeout", Form::Seconds),
    (TOKEN, "auth-token", Form::Plain),
    (UNAUTHENTICATED, "allow-unauthenticated", Form::Switch),
    ("CLUSTER_DOMAIN", "cluster-domain", Form::Plain),
    ("MAX_KEEPALIVE_CONNECTIONS", "pool-idle-max", Form::Plain),
    ("WEBSOCKET_IDLE_TIMEOUT_SECONDS", "stream-idle-timeout", Form::Seconds),
    ("WEBSOCKET_MAX_LIFETIME_SECONDS", "stream-lifetime-max", Form::Seconds),
    ("WEBSOCKET_MAX_CONNECTIONS_PER_CLIENT", "streams-per-client-max", Form::Plain),
    ("TRUSTED_PROXY_CIDRS", "trusted-proxy", Form::Plain),
];

#[derive(Clone, Copy)]
enum Form {
    /// As the option has it.
    Plain,
    /// A number of seconds.
    Seconds,
    /// Yes in one of its spellings; everything else is no.
    Switch,
}

/// What one variable says about options: nothing if it is none of the router's.
///
/// Whoever names the router's token, or wants none, wants the router: these two switch the header source on, and the
/// other sources, which the router has not, off.
pub(super) fn assignments(name: &str, value: &str) -> Vec<Assignment> {
    let Some((name, option, form)) = VARIABLES.iter().find(|(known, ..)| *known == name) else { return Vec::new() };
    let assignment = |option: &str, text: String| {
        let origin = Origin::Variable { name: (*name).to_owned() };
        let setting = options::named(option).expect("every option of the table exists");
        Assignment { setting, values: vec![Written { text, origin }], complete: true }
    };
    let text = match form {
        Form::Plain => value.trim().to_owned(),
        Form::Seconds => seconds(value.trim()),
        Form::Switch => is_yes(value).to_string(),
    };
    let switches_on = *name == TOKEN || *name == UNAUTHENTICATED && is_yes(value);
    let source = switches_on.then(|| assignment("source", "header".to_owned()));
    [assignment(option, text)].into_iter().chain(source).collect()
}

/// Seconds as the option's own text. What is no number is left to the option to refuse.
fn seconds(text: &str) -> String {
    let milliseconds = text.parse::<f64>().ok().map(|seconds| seconds * 1000.0);
    match milliseconds.filter(|ms| ms.is_finite() && *ms >= 0.0) {
        Some(milliseconds) => format!("{milliseconds:.0}ms"),
        None => text.to_owned(),
    }
}

fn is_yes(text: &str) -> bool {
    ["1", "true", "t", "yes", "y", "on"].contains(&text.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, value: &str) -> Vec<(&'static str, String)> {
        let assignments = assignments(name, value).into_iter();
        assignments.map(|assignment| (assignment.setting.name, assignment.values[0].text.clone())).collect()
    }

    #[test]
    fn seconds_become_durations() {
        assert_eq!(said("PROXY_TIMEOUT_SECONDS", "180"), [("response-timeout", "180000ms".to_owned())]);
        assert_eq!(said("WEBSOCKET_IDLE_TIMEOUT_SECONDS", "0.5"), [("stream-idle-timeout", "500ms".to_owned())]);
        assert_eq!(said("PROXY_TIMEOUT_SECONDS", "soon"), [("response-timeout", "soon".to_owned())]);
    }

    #[test]
    fn the_token_and_its_absence_switch_the_header_source_on() {
        let on = ("source", "header".to_owned());
        assert_eq!(said(TOKEN, " t\n"), [("auth-token", "t".to_owned()), on.clone()]);
        assert_eq!(said(UNAUTHENTICATED, "Yes"), [("allow-unauthenticated", "true".to_owned()), on]);
        assert_eq!(said(UNAUTHENTICATED, "no"), [("allow-unauthenticated", "false".to_owned())]);
        assert!(said("PATH", "x").is_empty());
    }

    #[test]
    fn every_option_of_the_table_exists() {
        for (name, ..) in VARIABLES {
            assert!(!assignments(name, "1").is_empty());
        }
    }
}
