//! The cluster's names: how long an address is believed, and what happens when nobody answers.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use gateway_tests::dns::Dns;
use gateway_tests::wire::Client;
use socket2::{Domain, Socket, Type};

use super::{ask, detail, named, open, pod};
use crate::scene::{get, until};

const NAME: &str = "box.default.svc.cluster.local";
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Traps 31 and 33.
#[test]
fn the_next_request_follows_a_name_once_its_time_to_live_is_over() {
    let dns = Dns::start().unwrap();
    let first = pod("first", 1, 0);
    let second = pod("second", 2, first.address().port());
    dns.set(NAME, FIRST, 1);
    let gateway = open(&dns).start().unwrap();
    let mut client = Client::connect(gateway.addr()).unwrap();
    let mut asked = || client.ask(get("/x", &named(first.address().port()))).unwrap().text();
    assert_eq!(asked(), "first");
    dns.set(NAME, SECOND, 600);
    until("the second pod", {
        let asked = std::cell::RefCell::new(&mut asked);
        move || (asked.borrow_mut())() == "second"
    });
    let before = dns.asked(NAME);
    assert_eq!(asked(), "second");
    assert_eq!(dns.asked(NAME), before, "within its time to live nobody is asked");
    assert_eq!(second.connections().len(), 1, "the kept connection is the second pod's own");
}

#[test]
fn an_answer_with_no_time_to_live_is_used_once() {
    let dns = Dns::start().unwrap();
    let pod = pod("here", 1, 0);
    dns.set(NAME, FIRST, 0);
    // Names of sandboxes with connections are asked for now and then.
    let gateway = open(&dns).args(["--pool-idle-max", "0"]).start().unwrap();
    for count in 1..=3 {
        assert_eq!(ask(&gateway, &named(pod.address().port())).text(), "here");
        assert_eq!(dns.asked(NAME), count);
    }
}

#[test]
fn the_namespace_and_the_domain_are_in_the_name() {
    let dns = Dns::start().unwrap();
    let pod = pod("here", 1, 0);
    dns.set("box.team.svc.corp.example", FIRST, 600);
    let gateway = open(&dns).args(["--cluster-domain", "corp.example"]).start().unwrap();
    let fields = format!("{}X-Sandbox-Namespace: team\r\n", named(pod.address().port()));
    assert_eq!(ask(&gateway, &fields).text(), "here");
    assert_eq!(ask(&gateway, &named(pod.address().port())).status(), 502, "another namespace, another sandbox");
}

#[test]
fn a_new_name_is_found_a_moment_after_it_was_missed() {
    let dns = Dns::start().unwrap();
    let pod = pod("here", 1, 0);
    let gateway = open(&dns).args(["--dns-negative-ttl", "100ms"]).start().unwrap();
    let answer = ask(&gateway, &named(pod.address().port()));
    assert_eq!(detail(&answer), (502, "Could not connect to the backend sandbox: box".to_owned()));
    dns.set(NAME, FIRST, 600);
    until("the new name", || ask(&gateway, &named(pod.address().port())).text() == "here");
    assert_eq!(
        gateway.metric("gateway_directory_lookups_total", &[("source", "dns"), ("outcome", "miss")]).unwrap(),
        1.0
    );
}

#[test]
fn many_who_miss_the_same_name_ask_once() {
    let dns = Dns::start().unwrap();
    let pod = pod("here", 1, 0);
    dns.set(NAME, FIRST, 600);
    let gateway = open(&dns).start().unwrap();
    let clients: Vec<Client> = (0..32).map(|_| Client::connect(gateway.addr()).unwrap()).collect();
    for client in &clients {
        client.send(get("/x", &named(pod.address().port()))).unwrap();
    }
    for mut client in clients {
        assert_eq!(client.answer().unwrap().text(), "here");
    }
    assert_eq!(dns.asked(NAME), 1);
}

/// Trap 34: a host that is gone is asked for afresh, within the same request.
#[test]
fn a_dead_address_is_not_kept() {
    let dns = Dns::start().unwrap();
    let alive = pod("alive", 1, 0);
    // A full backlog is a host that does not answer.
    let dead = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    dead.bind(&SocketAddr::from((SECOND, alive.address().port())).into()).unwrap();
    dead.listen(0).unwrap();
    let address = SocketAddr::from((SECOND, alive.address().port()));
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let waiting: Vec<TcpStream> = std::iter::from_fn(|| connect().ok()).take(16).collect();
    assert!(waiting.len() < 16, "the backlog is never full");

    dns.set(NAME, SECOND, 600);
    let gateway = open(&dns).args(["--dial-timeout", "100ms"]).start().unwrap();
    let mut client = Client::connect(gateway.addr()).unwrap();
    client.send(get("/x", &named(alive.address().port()))).unwrap();
    until("the first question", || dns.asked(NAME) == 1);
    dns.set(NAME, FIRST, 600);
    assert_eq!(client.answer().unwrap().text(), "alive");
    assert_eq!(dns.asked(NAME), 2);
    let evicted = [("cause", "dial_failure")];
    assert_eq!(gateway.metric("gateway_directory_invalidations_total", &evicted).unwrap(), 1.0);
}

/// Trap 37.
#[test]
fn a_server_that_is_silent_is_a_503_and_known_names_go_on() {
    let dns = Dns::start().unwrap();
    let pod = pod("here", 1, 0);
    dns.set(NAME, FIRST, 600);
    let gateway = open(&dns).args(["--dns-timeout", "200ms"]).start().unwrap();
    assert_eq!(ask(&gateway, &named(pod.address().port())).text(), "here");
    dns.silence(true);
    assert_eq!(ask(&gateway, &named(pod.address().port())).text(), "here");
    let other = format!("{}X-Sandbox-Namespace: other\r\n", named(pod.address().port()));
    let answer = ask(&gateway, &other);
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (503, Some("directory_unavailable")));
    assert_eq!(answer.field("retry-after"), Some("1"));
    dns.silence(false);
    dns.set("box.other.svc.cluster.local", FIRST, 600);
    assert_eq!(ask(&gateway, &other).text(), "here", "it recovers by itself");
}

/// Trap 39.
#[test]
fn a_proxy_in_the_environment_is_not_used() {
    let dns = Dns::start().unwrap();
    let (pod, proxy) = (pod("here", 1, 0), pod("proxied", 1, 0));
    dns.set(NAME, FIRST, 600);
    let url = format!("http://{}", proxy.address());
    let gateway = open(&dns).env("HTTP_PROXY", &url).env("http_proxy", &url).env("ALL_PROXY", &url).start().unwrap();
    assert_eq!(ask(&gateway, &named(pod.address().port())).text(), "here");
    assert!(proxy.connections().is_empty());
}
