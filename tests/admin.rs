//! What operators, probes and Prometheus ask of the admin listener.

use std::collections::{HashMap, HashSet};

use gateway_tests::gateway::Gateway;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::redis::RedisServer;
use gateway_tests::wait::{self, PATIENCE};
use gateway_tests::wire::Client;
use gateway_tests::{http, process};
use serde_json::Value;

use crate::program;
use crate::users::{Stream, named, until_metric, until_ready, who};

/// What the README's table promises, by name and type.
fn documented() -> Vec<(String, String)> {
    let table = program::run(&["docs", "metrics-table"]).stdout;
    let rows = table.lines().skip(2).map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    rows.map(|row| (row[1].trim_matches('`').to_owned(), row[2].to_owned())).collect()
}

#[test]
fn metrics_are_prometheus_text_with_every_documented_metric() {
    if is_missing(&[Need::Program("redis-server")]) {
        return;
    }
    // With Redis, because what says whether it is up is absent without.
    let redis = RedisServer::start().unwrap();
    let gateway = Gateway::builder().redis(redis.url()).start().unwrap();
    until_ready(&gateway, 200);
    // A rule and a code are labels that exist once they were needed.
    assert_eq!(Client::connect(gateway.addr()).unwrap().ask("GET / HTTP/1.1\r\n\r\n").unwrap().status(), 400);

    let response = http::get(gateway.admin(), "/metrics").unwrap();
    assert!(
        response.head.to_ascii_lowercase().contains("\r\ncontent-type: text/plain; version=0.0.4"),
        "{}",
        response.head
    );
    let families = parse(&response.body);
    let documented = documented();
    assert!(documented.len() > 20, "{documented:?}");
    for (name, kind) in &documented {
        let family = families.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not there"));
        assert_eq!((&family.kind, family.has_help), (kind, true), "{name}");
        assert!(!family.samples.is_empty(), "{name} has no sample");
    }
    let names: HashSet<&str> = documented.iter().map(|(name, _)| name.as_str()).collect();
    let undocumented: Vec<_> = families.keys().filter(|name| !names.contains(*name)).collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
}

#[test]
fn health_is_life_and_readiness_is_use() {
    if is_missing(&[Need::Program("redis-server")]) {
        return;
    }
    let mut redis = RedisServer::start().unwrap();
    let gateway = Gateway::builder().redis(redis.url()).start().unwrap();
    until_ready(&gateway, 200);
    redis.kill().unwrap();
    until_ready(&gateway, 503);
    let ready = http::get(gateway.admin(), "/readyz").unwrap();
    assert_eq!((ready.status, ready.body.as_str()), (503, "directory unavailable\n"));
    let healthy = http::get(gateway.admin(), "/healthz").unwrap();
    assert_eq!((healthy.status, healthy.body.as_str()), (200, "ok\n"), "a lost Redis is no reason to restart");
}

#[test]
fn a_live_stream_is_listed_with_what_it_has_carried() {
    let (blue, green) = (named("blue"), named("green"));
    let gateway = Gateway::builder().sandbox("1", blue.address()).sandbox("2", green.address()).start().unwrap();
    assert!(gateway.streams().unwrap().is_empty());
    let mut stream = Stream::open(&gateway, "1");
    let _other = Stream::open(&gateway, "2");
    stream.echo(&"x".repeat(1000));

    let client = stream.client.address().unwrap().to_string();
    let of_client =
        || -> Option<Value> { gateway.streams().unwrap().into_iter().find(|stream| stream["client"] == *client) };
    // What the client has read was counted a moment before or after.
    let carried = |stream: &Value| stream["bytes_up"] == 1006 && stream["bytes_down"] == 1006;
    let listed = wait::until("the bytes to be counted", PATIENCE, || of_client().filter(carried)).unwrap();
    assert_eq!((&listed["sandbox"], &listed["engine"]), (&"1".into(), &"copy".into()));
    assert_eq!(listed["endpoint"], blue.address().to_string());
    assert!(listed["age_seconds"].as_f64().unwrap() > 0.0 && listed["id"].is_u64(), "{listed}");
    let idle = || of_client().unwrap()["idle_seconds"].as_f64().unwrap();
    wait::until("the stream to be idle", PATIENCE, || (idle() > 0.5).then_some(())).unwrap();
    stream.echo("awake");
    wait::until("the stream to be busy", PATIENCE, || (idle() < 0.5).then_some(())).unwrap();

    let filtered =
        |query: &str| -> Value { serde_json::from_str(&http::get(gateway.admin(), query).unwrap().body).unwrap() };
    assert_eq!(filtered("/streams?sandbox=2").as_array().unwrap().len(), 1);
    assert_eq!(filtered("/streams?sandbox=3"), serde_json::json!([]));
    let limited = http::get(gateway.admin(), "/streams?limit=1").unwrap();
    assert!(limited.head.to_ascii_lowercase().contains("\r\nx-streams-total: 2\r\n"), "{}", limited.head);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&limited.body).unwrap().len(), 1);
    assert_eq!(http::get(gateway.admin(), "/streams?sandbx=1").unwrap().status, 400);
}

#[test]
fn an_operator_closes_one_stream_and_no_other() {
    let blue = named("blue");
    let gateway = Gateway::builder().sandbox("1", blue.address()).start().unwrap();
    let mut closed = Stream::open(&gateway, "1");
    let mut kept = Stream::open(&gateway, "1");
    let client = closed.client.address().unwrap().to_string();
    let streams = gateway.streams().unwrap();
    let id = &streams.iter().find(|stream| stream["client"] == *client).unwrap()["id"];

    assert_eq!(delete(&gateway, &format!("/streams/{id}")), 204);
    assert_eq!(closed.client.end().unwrap().0, b"");
    let line = gateway.logged("the closing line", PATIENCE, |record| record["message"] == "stream closed").unwrap();
    let fields = ["stream", "client", "side", "reason"].map(|field| line[field].clone());
    assert_eq!(fields, [id.clone(), client.into(), "gateway".into(), "operator".into()]);
    until_metric(&gateway, "gateway_streams_closed_total", &[("side", "gateway"), ("reason", "operator")], 1.0);
    kept.echo("alive");
    for gone in [id.to_string(), "0".to_owned(), "no-number".to_owned(), "99999999999999999999999".to_owned()] {
        assert_eq!(delete(&gateway, &format!("/streams/{gone}")), 404, "{gone}");
    }
    kept.echo("alive");
}

#[test]
fn what_the_admin_listener_does_not_have_is_404_and_no_sandbox() {
    let blue = named("blue");
    let gateway = Gateway::builder().sandbox("1", blue.address()).start().unwrap();
    for path in ["/", "/metric", "/metrics/", "/vnc/1/", "/streams/1/2", "/..", "//metrics", "/healthz?x=1/"] {
        let status = http::get(gateway.admin(), path).unwrap().status;
        assert_eq!(status, if path.starts_with("/healthz") { 200 } else { 404 }, "{path}");
    }
    let mut client = Client::connect(gateway.admin()).unwrap();
    for (method, path) in [("POST", "/streams"), ("DELETE", "/streams"), ("PUT", "/metrics"), ("POST", "/readyz")] {
        let answer = client.ask(format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).unwrap();
        assert_eq!(answer.status(), 405, "{method} {path}");
    }
    // Nor does a client's listener have what is the operator's.
    for path in ["/metrics", "/streams", "/readyz", "/healthz"] {
        assert_eq!(http::get(gateway.addr(), path).unwrap().status, 404, "{path}");
    }
    assert!(blue.connections().is_empty());
}

/// Half a head, and a reader that never reads: neither keeps anybody from anything, and the data side does not notice.
#[test]
fn a_slow_admin_client_hangs_nobody() {
    const SLOW_CLIENTS: usize = 40;
    let blue = named("blue");
    let gateway = Gateway::builder().sandbox("1", blue.address()).start().unwrap();
    let slow: Vec<Client> = (0..SLOW_CLIENTS)
        .map(|number| {
            let client = Client::connect(gateway.admin()).unwrap();
            let pipelined = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
            client.send(if number % 2 == 0 { "GET /metrics HTTP/1.1\r\nHo" } else { &pipelined }).unwrap();
            client
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(gateway.readiness().unwrap(), 200);
        assert!(gateway.metrics().unwrap().contains("gateway_build_info"));
        assert_eq!(who(&gateway, "1"), "200 blue");
    }
    drop(slow);
}

#[test]
fn scrapes_at_the_same_time_as_traffic_never_see_a_counter_go_back() {
    let blue = named("blue");
    let gateway = Gateway::builder().sandbox("1", blue.address()).start().unwrap();
    let bytes = || gateway.metric("gateway_stream_bytes_total", &[]).unwrap();
    let mut last = bytes();
    for round in 1..=20 {
        let mut stream = Stream::open(&gateway, "1");
        stream.echo("0123456789");
        let while_open = bytes();
        drop(stream);
        until_metric(&gateway, "gateway_streams_closed_total", &[], f64::from(round));
        let after = bytes();
        assert!(last <= while_open && while_open <= after, "{last} {while_open} {after}");
        last = after;
    }
    assert_eq!(last, 20.0 * 2.0 * 16.0);
    assert_eq!(gateway.metric("gateway_streams_open", &[]).unwrap(), 0.0);
}

#[test]
fn the_admin_listener_may_be_ipv6_or_on_a_port_of_its_own() {
    let address = process::free_address().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin", &address.to_string()];
    let gateway = program::Running::start(&serve, &[]);
    gateway.logged(&["listening", "admin"]);
    assert_eq!(http::get(address, "/healthz").unwrap().status, 200);
}

fn delete(gateway: &Gateway, target: &str) -> u16 {
    let mut client = Client::connect(gateway.admin()).unwrap();
    client.ask(format!("DELETE {target} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")).unwrap().status()
}

/// One metric of a scrape.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    has_help: bool,
    samples: Vec<String>,
}

/// Reads the text format strictly: comments before samples, samples only of the family that was announced, every
/// value a number.
fn parse(text: &str) -> HashMap<&str, Family> {
    assert!(text.ends_with('\n'));
    let mut families: HashMap<&str, Family> = HashMap::new();
    let mut current = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# ") {
            let (keyword, rest) = rest.split_once(' ').unwrap();
            let (name, said) = rest.split_once(' ').unwrap();
            let family = families.entry(name).or_default();
            assert!(family.samples.is_empty(), "{line} stands behind its samples");
            match keyword {
                "HELP" => family.has_help = !said.is_empty(),
                "TYPE" => said.clone_into(&mut family.kind),
                _ => panic!("{line}"),
            }
            current = name;
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        let name = sample.split('{').next().unwrap();
        let family = families.get_mut(current).unwrap_or_else(|| panic!("{line} was not announced"));
        let suffixes: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(suffixes.iter().any(|suffix| name == format!("{current}{suffix}")), "{line} under {current}");
        assert!(!family.samples.iter().any(|known| known == sample), "{sample} stands there twice");
        if let Some(labels) = sample.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            assert!(labels.starts_with('{') && labels.ends_with("\"}"), "{line}");
        }
        family.samples.push(sample.to_owned());
    }
    families
}
