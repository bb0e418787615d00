//! One end on the gateway's own machine, and the other elsewhere.

use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use gateway_tests::bridge::{Bridge, Path, SANDBOX, establish};
use gateway_tests::gateway::Gateway;
use gateway_tests::hosts::{Family, Hosts};
use gateway_tests::http;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::state::StateDir;
use gateway_tests::wait::{PATIENCE, until};

use super::{converse, part};

const BYTES: usize = 1 << 20;

/// The addresses of the gateway's host that somebody on it may use: loopback, and its own.
fn addresses(hosts: &Hosts, family: Family) -> [IpAddr; 2] {
    let loopback = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    [loopback, hosts.gateway_address()]
}

/// Hosts on which the gateway's own takes packets from outside for its IPv4 addresses.
fn open_hosts(family: Family) -> Hosts {
    let hosts = Hosts::joined(family).unwrap();
    hosts.gateway().set("ipv4/conf/lo/accept_local", "1").unwrap();
    hosts
}

fn paths() -> impl Iterator<Item = (Path, Family)> {
    let paths = [Family::V4, Family::V6].map(|family| (Path::on_hosts("packet", "uring", family), family));
    paths.into_iter().filter(|(path, _)| !path.is_missing())
}

/// The pod is on the gateway's machine, and the client is not. The pod is asked for segments that get to the client.
#[test]
fn a_pod_on_this_machine_and_a_client_elsewhere_are_joined() {
    for (path, family) in paths() {
        for which in [0, 1] {
            let hosts = open_hosts(family);
            let pod = hosts.listen_at_gateway(addresses(&hosts, family)[which]).unwrap();
            let bridge = Bridge::start_before(path, hosts, pod, |gateway| gateway).unwrap();
            let ends = bridge.stream().unwrap();
            converse(&ends, 61, BYTES);
            part(ends);
            ended_by_gateway(&bridge);
        }
    }
}

/// The client is on the gateway's machine, as a TLS terminator in front may be, and the pod is not.
#[test]
fn a_client_on_this_machine_and_a_pod_elsewhere_are_joined() {
    for (path, family) in paths() {
        let hosts = open_hosts(family);
        let any: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let short = ["--packet-segment-max", "1440"];
        let everywhere = SocketAddr::new(any, 0).to_string();
        let bridge = Bridge::start_on(path, hosts, |gateway| gateway.listen(everywhere).args(short)).unwrap();
        let port = bridge.gateway.addrs().last().unwrap().port();
        for address in addresses(bridge.hosts(), family) {
            let client = bridge.hosts().connect_at_gateway((address, port).into()).unwrap();
            let ends = bridge.stream_from(client, b"", b"").unwrap();
            converse(&ends, 62, BYTES);
            part(ends);
        }
    }
}

/// The gateway's last word gets to both.
fn ended_by_gateway(bridge: &Bridge) {
    let mut ends = bridge.stream().unwrap();
    let id = until("the stream", PATIENCE, || bridge.gateway.streams().unwrap().pop()).unwrap()["id"].clone();
    let answer = http::send(bridge.gateway.admin(), "DELETE", &format!("/streams/{id}")).unwrap();
    assert_eq!(answer.status, 204);
    for end in [&mut ends.client, &mut ends.pod] {
        assert_eq!(end.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

/// One gateway behind another on the same machine: of the two streams that share a connection one keeps its sockets for
/// it, where packets would not cross an interface in between.
#[test]
fn a_gateway_behind_a_gateway_has_its_connection() {
    if is_missing(&[Need::Engine("packet"), Need::Root]) {
        return;
    }
    let state: Arc<StateDir> = Arc::default();
    let pod = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = |endpoint, path_strip| {
        let builder = Gateway::builder().sandbox(SANDBOX, endpoint).state(&state);
        builder.args(["--engine", "packet", "--workers", "1", "--path-strip", path_strip]).start().unwrap()
    };
    let inner = before(pod.local_addr().unwrap(), "true");
    let outer = before(inner.addr(), "false");
    let client = TcpStream::connect(outer.addr()).unwrap();
    let ends = establish(client, &pod, outer.addr(), SANDBOX, b"", b"").unwrap();
    let counted = |name, labels: &[(&str, &str)]| {
        [&inner, &outer].iter().map(|gateway| gateway.metric(name, labels).unwrap()).sum::<f64>()
    };
    until("both to have tried", PATIENCE, || {
        let spliced = counted("gateway_stream_promotions_total", &[("engine", "packet")]);
        let refused = counted("gateway_stream_promotions_refused_total", &[("reason", "route")]);
        (spliced + refused >= 2.0).then_some(())
    })
    .unwrap();
    assert!(counted("gateway_stream_promotions_refused_total", &[("reason", "route")]) > 0.0);
    converse(&ends, 65, BYTES);
    part(ends);
}

/// What the IP stack would not take, and what would be too long, is refused by name, and served with sockets.
#[test]
fn an_end_on_this_machine_that_takes_nothing_from_outside_keeps_its_sockets() {
    let path = Path::on_hosts("packet", "uring", Family::V4);
    if path.is_missing() {
        return;
    }
    let hosts = Hosts::joined(Family::V4).unwrap();
    let pod = hosts.listen_at_gateway(hosts.gateway_address()).unwrap();
    let bridge = Bridge::start_before(path, hosts, pod, |gateway| gateway).unwrap();
    let ends = bridge.stream_refused("martian").unwrap();
    converse(&ends, 63, BYTES);
    part(ends);

    let bridge = Bridge::start_on(path, open_hosts(Family::V4), |gateway| gateway).unwrap();
    let client = bridge.hosts().connect_at_gateway(bridge.gateway.addr()).unwrap();
    let ends = bridge.stream_refused_from(client, "mss").unwrap();
    converse(&ends, 64, BYTES);
    part(ends);
}
