//! The ways in beside the session paths: Host, host agent, service prefix, and what is left.

use super::{head_of, summary};
use crate::config::{HostHeader, RoutingConfig, Sources};
use crate::route::{Decision, RouteError, Target, decide};

fn rules() -> RoutingConfig {
    let sources = Sources { path: true, cookie: true, host: true, agent: true, prefix: true, ..Sources::NONE };
    RoutingConfig { sources, ..RoutingConfig::default() }
}

fn asked(host: &str, target: &str, rules: &RoutingConfig) -> Result<Decision, RouteError> {
    let head = head_of(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).expect("a good head");
    decide(&head, rules)
}

fn target(host: &str, path: &str, rules: &RoutingConfig) -> Target {
    super::forwarded(asked(host, path, rules))
}

#[test]
fn a_host_names_port_and_sandbox() {
    for (host, expected) in [
        ("49999-cl-abcd1234.localhost", "host cl-abcd1234 /a//b%2F?x"),
        ("49999-cl-abcd1234.localhost:8080", "host cl-abcd1234 /a//b%2F?x"),
        ("49999-CL-ABCD1234.Example.COM.", "host cl-abcd1234 /a//b%2F?x"),
        ("1-a.x", "host a /a//b%2F?x"),
        ("0-a.x", "port"),
        ("65536-a.x", "port"),
        ("99999999999999999999-a.x", "port"),
        ("80-a_b.x", "id"),
        ("80-a-.x", "id"),
        ("80--a.x", "id"),
        ("80-a", "no_route"),
        ("80-.x", "no_route"),
        ("gw.example", "no_route"),
        ("127.0.0.1:8080", "no_route"),
        ("[::1]:8080", "no_route"),
    ] {
        assert_eq!(summary(asked(host, "/a//b%2F?x", &rules())), expected, "{host}");
    }
    assert_eq!(target("65535-a.x", "/", &rules()).port, Some(65535));
}

#[test]
fn only_configured_domains_count_and_other_hosts_go_to_the_other_sources() {
    let mut rules = rules();
    rules.host.domains = vec!["sandbox.example".to_owned()];
    assert_eq!(summary(asked("80-a.sandbox.example", "/", &rules)), "host a /");
    assert_eq!(summary(asked("80-a.evil.sandbox.example", "/vnc/1/x", &rules)), "path 1 /x");
    assert_eq!(summary(asked("80-a.localhost", "/", &rules)), "no_route");
}

#[test]
fn a_host_agent_gets_its_prefix_in_front_of_untouched_bytes() {
    let mut rules = rules();
    rules.host.agent = true;
    for path in ["/", "/a/", "//a", "/a%2F..%2Fb/;c?d&&", "/?"] {
        let target = target("80-a.x", path, &rules);
        assert_eq!(target.upstream_target, format!("/proxy/a/80{path}").as_bytes());
        assert_eq!((&*target.agent_prefix, target.port), ("/proxy/a/80", None));
        assert_eq!(target.handling.host_header, Some(HostHeader::Endpoint));
    }
}

#[test]
fn as_a_host_agent_it_takes_the_prefix_off() {
    for (path, expected) in [
        ("/proxy/a/80/x//y/?z", "agent a /x//y/?z"),
        ("/proxy/a/80", "agent a /"),
        ("/proxy/a/80?q", "agent a /?q"),
        ("/proxy/a/8080/", "agent a /"),
        ("/proxy/a/0/", "port"),
        ("/proxy/a/x/", "port"),
        ("/proxy/a/+80/", "port"),
        ("/proxy/a", "id"),
        ("/proxy//80/", "id"),
        ("/proxy/a%2Fb/80/", "id"),
        ("/proxy/", "id"),
        ("/proxy", "no_route"),
    ] {
        assert_eq!(summary(asked("agent", path, &rules())), expected, "{path}");
    }
    let target = target("agent", "/proxy/a/80/x", &rules());
    assert!(target.handling.client_is_edge);
    assert_eq!((&*target.public_prefix, target.port), ("/proxy/a/80", Some(80)));
}

#[test]
fn a_service_prefix_names_namespace_sandbox_and_port() {
    for (path, expected) in [
        ("/sandboxes/team/a/80/x?y", "prefix team/a /x?y"),
        ("/sandboxes/default/a/80/", "prefix a /"),
        ("/sandboxes/team/a/80?x", "prefix team/a ?x"),
        ("/sandboxes/team/a/0/", "port"),
        ("/sandboxes/team/a", "id"),
        ("/sandboxes/Team/a/80/", "id"),
        ("/sandboxes/team/../80/", "id"),
        ("/sandboxes//a/80/", "id"),
    ] {
        assert_eq!(summary(asked("gw", path, &rules())), expected, "{path}");
    }
    assert_eq!(target("gw", "/sandboxes/default/a/80/", &rules()).public_prefix, "/sandboxes/default/a/80");
    for (path, misses) in [("/sandboxes/team/a/80", true), ("/sandboxes/team/a/80/", false)] {
        assert_eq!(target("gw", path, &rules()).misses_slash, misses, "{path}");
    }
    let root = super::super::prefix::root(&"a".parse().unwrap(), &rules());
    assert_eq!(root, "/sandboxes/default/a/", "a cookie's path has the namespace that the URL must name");
}

#[test]
fn an_application_that_knows_its_prefix_gets_it() {
    let rules = RoutingConfig { service_prefix_keep: vec![80], ..rules() };
    for (path, expected) in [
        ("/sandboxes/team/a/80/x//%2F?y", "prefix team/a /sandboxes/team/a/80/x//%2F?y"),
        ("/sandboxes/team/a/80?x", "prefix team/a /sandboxes/team/a/80?x"),
        ("/sandboxes/team/a/8080/x", "prefix team/a /x"),
    ] {
        assert_eq!(summary(asked("gw", path, &rules)), expected, "{path}");
    }
    let target = target("gw", "/sandboxes/team/a/80/x", &rules);
    assert_eq!((&*target.public_prefix, target.handling.keeps_prefix), ("/sandboxes/team/a/80", true));
}

#[test]
fn what_is_off_does_not_exist_and_a_default_sandbox_takes_the_rest() {
    let off = RoutingConfig::default();
    for (host, path) in [("80-a.x", "/"), ("gw", "/proxy/a/80/"), ("gw", "/sandboxes/team/a/80/")] {
        assert_eq!(asked(host, path, &off), Err(RouteError::NoRoute));
    }
    let rules = RoutingConfig { default_sandbox: Some("portal".parse().unwrap()), ..rules() };
    assert_eq!(summary(asked("gw", "/x?y", &rules)), "default portal /x?y");
    assert_eq!(summary(asked("gw", "/vnc/x", &rules)), "unnamed");
    assert_eq!(summary(asked("0-a.x", "/", &rules)), "port");
}
