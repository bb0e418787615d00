//! The environment layer: `GATEWAY_*` variables, and those of the agent-sandbox router.

use std::ffi::OsString;
use std::path::PathBuf;

use super::option::{Assignment, Setting, VARIABLE_PREFIX, Written};
use super::options;
use super::problem::{Origin, Problem};
use super::router;
use super::suggest::nearest;

/// Names the configuration file. It is no option: a file cannot name itself.
pub(crate) const CONFIG_VARIABLE: &str = "GATEWAY_CONFIG";

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// The value of [`CONFIG_VARIABLE`].
    pub(super) config_file: Option<PathBuf>,
    /// What it says about options.
    pub(super) assignments: Vec<Assignment>,
    /// What the router's variables say about options.
    pub(super) router: Vec<Assignment>,
}

/// Picks the `GATEWAY_*` variables out of an environment. An empty variable counts as not set, since that is what
/// templates make of a missing value.
#[must_use]
pub(super) fn read(variables: Vec<(OsString, OsString)>, problems: &mut Vec<Problem>) -> Environment {
    let mut environment = Environment::default();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        if !name.starts_with(VARIABLE_PREFIX) {
            if let Some(value) = value.to_str().filter(|value| !value.trim().is_empty()) {
                environment.router.extend(router::assignments(name, value));
            }
            continue;
        }
        if value.is_empty() || is_service_link(name) {
            continue;
        }
        let origin = Origin::Variable { name: name.to_owned() };
        if name == CONFIG_VARIABLE {
            environment.config_file = Some(value.into());
            continue;
        }
        let Some(setting) = options::all().find(|setting| setting.variable() == name) else {
            problems
                .push(Problem::Unknown { origin, suggestion: nearest(name, options::all().map(Setting::variable)) });
            continue;
        };
        match value.into_string() {
            Ok(text) => environment.assignments.push(Assignment {
                setting,
                values: vec![Written { text, origin }],
                complete: true,
            }),
            Err(_) => problems.push(Problem::BadValue { origin, reason: "expected UTF-8 text".to_owned() }),
        }
    }
    environment
}

/// Whether Kubernetes made this variable for a Service whose name begins with `gateway`: `GATEWAY_SERVICE_HOST`,
/// `GATEWAY_SERVICE_PORT`, `GATEWAY_SERVICE_PORT_HTTP`, `GATEWAY_PORT`, `GATEWAY_PORT_80_TCP`,
/// `GATEWAY_PORT_80_TCP_ADDR` and their like, also with more of the Service's name in between. Every pod of its
/// namespace gets them unless `enableServiceLinks` is off, so they must not stop the program from starting. No option
/// has such a name.
fn is_service_link(name: &str) -> bool {
    let port_link = |rest: &str| {
        let mut words = rest.split('_');
        let port = words.next().is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()));
        let protocol = words.next().is_some_and(|word| matches!(word, "TCP" | "UDP" | "SCTP"));
        let detail = words.next().is_none_or(|word| matches!(word, "PROTO" | "PORT" | "ADDR"));
        port && protocol && detail && words.next().is_none()
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.rsplit_once("_PORT_").is_some_and(|(_, rest)| port_link(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_kubernetes_makes_for_services_are_left_alone() {
        let links = [
            "GATEWAY_SERVICE_HOST",
            "GATEWAY_SERVICE_PORT",
            "GATEWAY_SERVICE_PORT_HTTP",
            "GATEWAY_PORT",
            "GATEWAY_PORT_8080_TCP",
            "GATEWAY_PORT_8080_TCP_PROTO",
            "GATEWAY_PORT_8080_TCP_PORT",
            "GATEWAY_PORT_53_UDP_ADDR",
            "GATEWAY_ADMIN_SERVICE_HOST",
            "GATEWAY_ADMIN_PORT_9090_TCP_ADDR",
        ];
        let mut problems = Vec::new();
        let environment = read(links.map(|name| (name.into(), "tcp://10.0.0.1:80".into())).to_vec(), &mut problems);
        assert!(problems.is_empty() && environment.assignments.is_empty() && environment.config_file.is_none());
        for name in
            ["GATEWAY_PORTS", "GATEWAY_PORT_X_TCP", "GATEWAY_PORT_80_HTTP", "GATEWAY_PORT_80_TCP_NAME", "GATEWAY_"]
        {
            assert!(!is_service_link(name), "{name}");
        }
    }

    #[test]
    fn no_option_hides_behind_such_a_name() {
        for setting in options::all() {
            assert!(!is_service_link(&setting.variable()), "{}", setting.name);
            assert_ne!(setting.variable(), CONFIG_VARIABLE);
        }
    }

    #[test]
    fn an_empty_variable_is_not_set_and_other_programs_variables_are_not_read() {
        let mut problems = Vec::new();
        let variables = [("GATEWAY_WORKERS", ""), ("PATH", "x"), ("gateway_workers", "x"), ("MY_GATEWAY_WORKERS", "x")];
        let environment = read(variables.map(|(name, value)| (name.into(), value.into())).to_vec(), &mut problems);
        assert!(problems.is_empty() && environment.assignments.is_empty());
    }
}
