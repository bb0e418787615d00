//! Who may know whom. The tables are the dependency rules of ARCHITECTURE.md.
//!
//! ```text
//! main -> worker -> connection -> { http, route, directory, upstream, tunnel, broker }
//!                                 tunnel -> bpf, sys        upstream, worker -> sys
//! all -> error, metrics, config   manager -> directory::record
//! ```

use super::Finding;
use super::paths::{self, NamedPath};
use super::source::Source;

/// What a module of the gateway, everything below it included, must not name.
struct ModuleRule {
    module: &'static str,
    must_not: &'static [&'static str],
    /// What it may name although it lies in a forbidden module.
    except: &'static [&'static str],
}

/// The sandbox's name is everybody's word; the module that parses it is not.
const SANDBOX_ID: &[&str] = &["route::SandboxId", "route::sandbox_id"];

const MODULE_RULES: &[ModuleRule] = &[
    ModuleRule {
        module: "config",
        must_not: &[
            "admin",
            "bpf",
            "broker",
            "connection",
            "directory",
            "drain",
            "http",
            "manager",
            "metrics",
            "route",
            "sys",
            "tunnel",
            "upstream",
            "worker",
        ],
        except: SANDBOX_ID,
    },
    ModuleRule {
        // A verdict is reached from bytes and the time alone.
        module: "auth",
        must_not: &[
            "admin",
            "bpf",
            "broker",
            "config",
            "connection",
            "directory",
            "drain",
            "http",
            "manager",
            "metrics",
            "route",
            "sys",
            "tunnel",
            "upstream",
            "worker",
        ],
        except: &[],
    },
    ModuleRule {
        module: "http",
        must_not: &[
            "admin",
            "bpf",
            "broker",
            "connection",
            "directory",
            "drain",
            "manager",
            "metrics",
            "route",
            "sys",
            "tunnel",
            "upstream",
            "worker",
        ],
        except: &[],
    },
    ModuleRule {
        // It reads heads, and neither writes nor answers any.
        module: "route",
        must_not: &[
            "admin",
            "bpf",
            "broker",
            "connection",
            "directory",
            "drain",
            "http::answer",
            "http::body",
            "http::rewrite",
            "http::upgrade",
            "manager",
            "metrics",
            "sys",
            "tunnel",
            "upstream",
            "worker",
        ],
        except: &[],
    },
    ModuleRule {
        module: "directory",
        must_not: &[
            "admin",
            "bpf",
            "broker",
            "connection",
            "drain",
            "http",
            "manager",
            "route",
            "sys",
            "tunnel",
            "upstream",
            "worker",
        ],
        except: SANDBOX_ID,
    },
    ModuleRule {
        module: "upstream",
        must_not: &[
            "admin",
            "bpf",
            "broker",
            "connection",
            "directory",
            "drain",
            "http",
            "manager",
            "route",
            "tunnel",
            "worker",
        ],
        except: &["directory::Endpoint", "directory::Located", "route::SandboxId", "route::sandbox_id"],
    },
    ModuleRule {
        module: "tunnel",
        must_not: &[
            "admin",
            "broker",
            "connection",
            "directory",
            "drain",
            "http",
            "manager",
            "route",
            "upstream",
            "worker",
        ],
        except: SANDBOX_ID,
    },
    ModuleRule {
        module: "broker",
        must_not: &["admin", "bpf", "connection", "directory", "drain", "manager", "route", "tunnel", "worker"],
        except: SANDBOX_ID,
    },
    ModuleRule {
        module: "bpf",
        must_not: &[
            "admin",
            "broker",
            "connection",
            "directory",
            "drain",
            "http",
            "manager",
            "route",
            "tunnel",
            "upstream",
            "worker",
        ],
        except: &[],
    },
    ModuleRule {
        module: "sys",
        must_not: &[
            "admin",
            "bpf",
            "broker",
            "config",
            "connection",
            "directory",
            "drain",
            "error",
            "http",
            "manager",
            "metrics",
            "route",
            "tunnel",
            "upstream",
            "worker",
        ],
        except: &[],
    },
    ModuleRule {
        module: "error",
        must_not: &["admin", "bpf", "broker", "connection", "drain", "manager", "metrics", "sys", "worker"],
        except: &[],
    },
    ModuleRule {
        module: "metrics",
        must_not: &[
            "admin",
            "broker",
            "config",
            "connection",
            "directory",
            "drain",
            "error",
            "http",
            "manager",
            "route",
            "sys",
            "tunnel",
            "upstream",
            "worker",
        ],
        except: &[],
    },
    ModuleRule {
        module: "admin",
        must_not: &[
            "bpf",
            "broker",
            "config",
            "connection",
            "directory",
            "drain",
            "http",
            "manager",
            "sys",
            "upstream",
            "worker",
        ],
        except: &[],
    },
    ModuleRule { module: "connection", must_not: &["admin", "bpf", "manager", "worker"], except: &[] },
    ModuleRule { module: "worker", must_not: &["admin", "manager"], except: &[] },
    ModuleRule { module: "drain", must_not: &["connection", "http", "manager", "route", "upstream"], except: &[] },
    ModuleRule {
        module: "manager",
        must_not: &["bpf", "broker", "connection", "directory", "http", "route", "sys", "tunnel", "upstream", "worker"],
        except: &["directory::record", "route::SandboxId", "route::sandbox_id"],
    },
];

/// Where in `gateway/src/` an external crate may be named: files, or folders with a slash at the end.
const CRATE_RULES: &[(&str, &[&str])] = &[
    ("aya", &["bpf.rs", "bpf/", "tunnel/"]),
    ("hickory_resolver", &["directory/dns.rs"]),
    ("httparse", &["http/parse.rs", "http/parse/"]),
    ("io_uring", &["probe.rs", "sys/"]),
    ("kube", &["manager/watch.rs"]),
    ("redis", &["directory/redis.rs", "directory/redis/", "routes_command.rs", "routes_command/"]),
    ("tokio_uring", &["sys.rs", "sys/", "worker.rs"]),
];

/// Modules that name what they must not know.
pub(super) fn modules(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in paths_in_gateway(source) {
        let Some(rule) = source.in_gateway().and_then(rule_for) else { continue };
        let is = |modules: &[&str]| modules.iter().any(|module| path.is_within(&format!("crate::{module}")));
        if is(rule.must_not) && !is(rule.except) {
            let message = format!("`{}` must not know `{}`", rule.module, path.text());
            findings.push(source.finding(path.line, message));
        }
    }
    findings
}

/// Files that name a crate that belongs to others.
pub(super) fn crates(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in paths_in_gateway(source) {
        for (name, places) in CRATE_RULES {
            if path.is_within(name) && !source.in_gateway().is_some_and(|file| is_at(file, places)) {
                let message = format!("`{name}` is named only in {} (in gateway/src/)", places.join(", "));
                findings.push(source.finding(path.line, message));
            }
        }
    }
    findings
}

/// The paths that a file of the gateway names outside of tests.
pub(super) fn paths_in_gateway(source: &Source) -> Vec<NamedPath> {
    match (&source.syntax, source.in_gateway()) {
        (Some(syntax), Some(file)) if !source.is_test() => paths::named(syntax, "gateway", &module_of(file)),
        _ => Vec::new(),
    }
}

/// Whether a file is one of these places.
pub(super) fn is_at(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| if place.ends_with('/') { file.starts_with(place) } else { file == *place })
}

fn rule_for(file: &str) -> Option<&'static ModuleRule> {
    let module = module_of(file);
    MODULE_RULES.iter().find(|rule| module.first() == Some(&rule.module))
}

/// `http/parse.rs` is the module `["http", "parse"]`; the roots of crates are `[]`.
fn module_of(file: &str) -> Vec<&str> {
    match file.strip_suffix(".rs").unwrap_or(file) {
        "lib" | "main" => Vec::new(),
        binary if binary.starts_with("bin/") => Vec::new(),
        module => module.split('/').collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(check: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text)).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn siblings_do_not_know_each_other() {
        let text = "use crate::error::Failure;\nuse crate::directory::Directory;\n";
        let found = messages(modules, "gateway/src/route/path.rs", text);
        assert_eq!(found, ["gateway/src/route/path.rs:2: `route` must not know `crate::directory::Directory`"]);
        assert_eq!(messages(modules, "gateway/src/connection.rs", text), [""; 0]);
    }

    #[test]
    fn a_full_path_is_as_good_as_an_import() {
        let text = "fn f() -> crate::http::RequestHead { super::super::tunnel::run() }";
        assert_eq!(messages(modules, "gateway/src/directory/cache.rs", text).len(), 2);
    }

    #[test]
    fn exceptions_are_exact() {
        let text = "use crate::route::SandboxId;\nuse crate::route::{decide, sandbox_id::SandboxIdError};\n";
        let found = messages(modules, "gateway/src/tunnel.rs", text);
        assert_eq!(found, ["gateway/src/tunnel.rs:2: `tunnel` must not know `crate::route::decide`"]);
    }

    #[test]
    fn route_reads_heads_and_nothing_else_of_http() {
        assert!(messages(modules, "gateway/src/route.rs", "use crate::http::RequestHead;").is_empty());
        assert_eq!(messages(modules, "gateway/src/route.rs", "use crate::http::answer;").len(), 1);
    }

    #[test]
    fn a_crate_is_named_where_it_belongs() {
        let text = "use redis::Client;";
        assert!(messages(crates, "gateway/src/directory/redis/wire.rs", text).is_empty());
        assert_eq!(messages(crates, "gateway/src/directory.rs", text).len(), 1);
        assert!(messages(crates, "gateway/src/directory.rs", "mod redis;\nuse redis::Client;").is_empty());
        assert!(messages(crates, "tests/lookup.rs", text).is_empty());
        assert!(messages(crates, "gateway/src/http/tests.rs", text).is_empty());
    }

    #[test]
    fn each_module_has_one_rule_and_no_exception_without_a_rule() {
        for rule in MODULE_RULES {
            assert_eq!(MODULE_RULES.iter().filter(|other| other.module == rule.module).count(), 1, "{}", rule.module);
            assert!(!rule.must_not.contains(&rule.module), "{} must not know itself", rule.module);
            for exception in rule.except {
                assert!(rule.must_not.iter().any(|module| exception.starts_with(module)), "{exception}");
            }
        }
    }
}
