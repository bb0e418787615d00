//! The router's own manifest with another image: its variables are understood.

use gateway_tests::dns::Dns;
use gateway_tests::pod::Pod;
use gateway_tests::wire::{Client, UPGRADE_FIELDS};

use super::{ask, detail};
use crate::program;
use crate::scene::get;

#[test]
fn its_variables_are_a_layer_that_is_shown() {
    let said = program::run_with(
        &["print-config"],
        &[
            ("ROUTER_AUTH_TOKEN", "s3cret"),
            ("PROXY_TIMEOUT_SECONDS", "90"),
            ("CLUSTER_DOMAIN", "corp.example"),
            ("MAX_KEEPALIVE_CONNECTIONS", "0"),
            ("WEBSOCKET_IDLE_TIMEOUT_SECONDS", "60"),
            ("WEBSOCKET_MAX_LIFETIME_SECONDS", "0"),
            ("WEBSOCKET_MAX_CONNECTIONS_PER_CLIENT", "64"),
            ("TRUSTED_PROXY_CIDRS", "10.0.0.0/8,fd00::/8"),
            ("GATEWAY_RESPONSE_TIMEOUT", "30s"),
        ],
    );
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    for line in [
        r#"auth_token = "***" # ROUTER_AUTH_TOKEN"#,
        r#"source = ["header"] # ROUTER_AUTH_TOKEN"#,
        r#"cluster_domain = "corp.example" # CLUSTER_DOMAIN"#,
        "pool_idle_max = 0 # MAX_KEEPALIVE_CONNECTIONS",
        r#"stream_idle_timeout = "1m" # WEBSOCKET_IDLE_TIMEOUT_SECONDS"#,
        "streams_per_client_max = 64 # WEBSOCKET_MAX_CONNECTIONS_PER_CLIENT",
        r#"trusted_proxy = ["10.0.0.0/8", "fd00::/8"] # TRUSTED_PROXY_CIDRS"#,
        r#"response_timeout = "30s" # GATEWAY_RESPONSE_TIMEOUT"#,
    ] {
        assert!(said.stdout.lines().any(|shown| shown == line), "{line} in:\n{}", said.stdout);
    }
    assert!(!said.stdout.contains("s3cret"));
    let wrong = program::run_with(&["print-config"], &[("PROXY_TIMEOUT_SECONDS", "soon")]);
    assert_eq!(wrong.code, Some(78));
    assert!(wrong.stderr.starts_with("PROXY_TIMEOUT_SECONDS: "), "{}", wrong.stderr);
}

/// A manifest of the router, as it is: no flag of ours but those that a test needs.
#[test]
fn its_manifest_needs_another_image_only() {
    let dns = Dns::start().unwrap();
    let pod = Pod::echoing().unwrap();
    dns.set("box.default.svc.corp.example", std::net::Ipv4Addr::LOCALHOST, 600);
    let gateway = crate::scene::builder()
        .args(["--dns-server", &dns.address().to_string()])
        .env("ROUTER_AUTH_TOKEN", "s3cret")
        .env("CLUSTER_DOMAIN", "corp.example")
        .env("WEBSOCKET_MAX_CONNECTIONS_PER_CLIENT", "1")
        .env("TRUSTED_PROXY_CIDRS", "127.0.0.0/8")
        .start()
        .unwrap();
    assert_eq!(detail(&ask(&gateway, "")), (400, "X-Sandbox-ID header is required.".to_owned()));
    let named = super::named(pod.address().port());
    assert_eq!(ask(&gateway, &named).status(), 401);
    let fields = format!("{named}Authorization: Bearer s3cret\r\n{UPGRADE_FIELDS}");
    let upgrade = |client: &str| {
        let mut connection = Client::connect(gateway.addr()).unwrap();
        let answer = connection.ask(get("/ws", &format!("{fields}X-Forwarded-For: {client}\r\n"))).unwrap();
        (answer.status(), connection)
    };
    let (first, _kept) = upgrade("192.0.2.1");
    let (second, _) = upgrade("6.6.6.6, 192.0.2.1");
    let (other, _other) = upgrade("192.0.2.2");
    assert_eq!((first, second, other), (101, 429, 101), "the place is the client's behind the proxy that is trusted");
}

#[test]
fn allowing_everybody_switches_the_source_on() {
    let gateway = crate::scene::builder().env("ALLOW_UNAUTHENTICATED_ROUTER", "true").start().unwrap();
    assert_eq!(detail(&ask(&gateway, "")), (400, "X-Sandbox-ID header is required.".to_owned()));
}
