//! Dials: what is tried again, how often, and what the client hears.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use gateway_tests::gateway::Gateway;
use gateway_tests::pod::{Absent, Pod};
use gateway_tests::wait::PATIENCE;
use gateway_tests::wire::{Client, UPGRADE_FIELDS};
use socket2::{Domain, Socket, Type};

use crate::scene::{OK, Scene, assert_failure, assert_open, builder, get, until};

/// A sandbox behind whose address nobody listens yet.
fn absent(arguments: &[&str]) -> (Gateway, Absent) {
    let absent = Absent::new().unwrap();
    let gateway = builder().args(arguments).sandbox("1", absent.address()).start().unwrap();
    (gateway, absent)
}

fn refused(gateway: &Gateway) -> f64 {
    gateway.metric("gateway_upstream_dials_total", &[("outcome", "refused")]).unwrap()
}

#[test]
fn a_pod_that_listens_late_is_reached() {
    let (gateway, absent) = absent(&["--dial-attempts", "10", "--dial-backoff", "100ms"]);
    let mut client = Client::connect(gateway.addr()).unwrap();
    client.send("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    until("the first refusal", || refused(&gateway) >= 1.0);
    let pod = absent
        .listen(|request, connection| {
            connection.body(request)?;
            connection.send(OK)
        })
        .unwrap();
    assert_eq!(client.answer().unwrap().text(), "ok");
    assert_eq!(pod.requests().len(), 1, "the body is sent once");
    assert!(pod.received().ends_with(b"\r\n\r\nhi"));
}

#[test]
fn a_stream_to_a_pod_that_listens_late_is_opened() {
    let (gateway, absent) = absent(&["--dial-attempts", "10", "--dial-backoff", "100ms"]);
    let mut client = Client::connect(gateway.addr()).unwrap();
    client.send(get("/vnc/1/websockify", UPGRADE_FIELDS) + "early").unwrap();
    until("the first refusal", || refused(&gateway) >= 1.0);
    let _pod = absent
        .listen(|request, connection| {
            connection.switch(request)?;
            connection.echo()
        })
        .unwrap();
    assert_eq!(client.answer().unwrap().status(), 101);
    assert_eq!(client.exactly(5).unwrap(), b"early");
}

#[test]
fn a_pod_that_refuses_is_dialled_three_times() {
    let (gateway, absent) = absent(&["--dial-backoff", "10ms"]);
    let address = absent.address();
    let mut client = Client::connect(gateway.addr()).unwrap();
    let answer = client.ask(get("/vnc/1/x", "")).unwrap();
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (502, Some("upstream_unreachable")));
    assert!(!answer.text().contains(&address.to_string()) && !answer.text().contains("127.0.0.1"), "{}", answer.text());
    assert_open(&mut client);
    assert_eq!(refused(&gateway), 3.0);
    assert_eq!(gateway.metric("gateway_upstream_dial_retries_total", &[]).unwrap(), 2.0);
}

/// A pod whose backlog is full drops what asks to connect, and may have room again a moment later.
#[test]
fn a_pod_that_is_silent_is_dialled_three_times() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    // Nobody accepts: once the backlog is full, the kernel drops what asks to connect.
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let waiting: Vec<TcpStream> = std::iter::from_fn(|| connect().ok()).take(16).collect();
    assert!(waiting.len() < 16, "the backlog is never full");

    let gateway =
        builder().args(["--dial-timeout", "200ms", "--dial-backoff", "10ms"]).sandbox("1", address).start().unwrap();
    let mut client = Client::connect(gateway.addr()).unwrap();
    let answer = client.ask(get("/vnc/1/x", "")).unwrap();
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (502, Some("upstream_unreachable")));
    assert_open(&mut client);
    assert_eq!(gateway.metric("gateway_upstream_dials_total", &[]).unwrap(), 3.0);
    assert_eq!(gateway.metric("gateway_upstream_dials_total", &[("outcome", "timeout")]).unwrap(), 3.0);
}

#[test]
fn how_often_is_an_option() {
    let (gateway, _absent) = absent(&["--dial-attempts", "1"]);
    let answer = Client::connect(gateway.addr()).unwrap().ask(get("/vnc/1/websockify", UPGRADE_FIELDS)).unwrap();
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (502, Some("upstream_unreachable")));
    assert_eq!(refused(&gateway), 1.0);
}

/// A refusal says that the host is alive: the entry stays, and the next request tries again.
#[test]
fn a_refusal_is_not_remembered() {
    let (gateway, absent) = absent(&["--dial-attempts", "1"]);
    let mut client = Client::connect(gateway.addr()).unwrap();
    assert_eq!(client.ask(get("/vnc/1/x", "")).unwrap().status(), 502);
    let pod = absent.listen(|_, connection| connection.send(OK)).unwrap();
    assert_eq!(client.ask(get("/vnc/1/x", "")).unwrap().text(), "ok");
    assert_eq!(pod.requests().len(), 1);
}

/// The variables that proxies of other programs are configured with mean nothing to a gateway.
#[test]
fn proxies_in_the_environment_are_ignored() {
    let pod = Pod::answering(OK).unwrap();
    let proxy = Pod::answering(OK).unwrap();
    let url = format!("http://{}", proxy.address());
    let mut builder = builder().sandbox("1", pod.address());
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        builder = builder.env(name, &url);
    }
    let scene = Scene { gateway: builder.start().unwrap(), pod };
    assert_eq!(scene.ask(get("/vnc/1/x", "")).text(), "ok");
    assert_eq!((scene.pod.requests().len(), proxy.connections().len()), (1, 0));
}

#[test]
fn an_endpoint_beside_the_allowed_networks_is_refused_at_start() {
    let pod = Pod::answering(OK).unwrap();
    let started = builder().args(["--upstream-allow", "10.0.0.0/8"]).sandbox("1", pod.address()).start();
    // The port may be open for a moment before the table is looked at.
    assert!(started.map_or(true, |mut gateway| !gateway.wait(PATIENCE).unwrap().success()));
    let scene = Scene::with(pod, &["--upstream-allow", "127.0.0.0/8"]);
    assert_eq!(scene.ask(get("/vnc/1/x", "")).text(), "ok");
    assert_failure(&scene.ask(get("/vnc/2/x", "")), 404, "sandbox_not_found", &scene);
}
