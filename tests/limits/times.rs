//! Deadlines. Each story sets the one that it is about to a fraction of a second, and waits for what the client then
//! sees.

use std::time::{Duration, Instant};

use gateway_tests::pod::{Gate, Pod};
use gateway_tests::wire::End;

use crate::scene::{OK, Scene, assert_closed, assert_failure, get, until};

const SHORT: &str = "300ms";

#[test]
fn a_head_that_comes_byte_by_byte_gets_408() {
    let scene = Scene::with(Pod::answering(OK).unwrap(), &["--head-timeout", SHORT]);
    let mut client = scene.client();
    let begun = Instant::now();
    // Each byte comes well within the deadline, which is absolute.
    for _ in 0..4 {
        client.send_slowly(["G", "E", "T", " ", "/"], Duration::from_millis(20)).unwrap();
        if begun.elapsed() > Duration::from_secs(1) {
            break;
        }
    }
    assert_failure(&client.answer().unwrap(), 408, "header_timeout", &scene);
    assert_closed(&mut client);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(scene.received(), "");
}

#[test]
fn a_client_that_never_speaks_is_let_go_without_a_word() {
    let scene = Scene::with(Pod::answering(OK).unwrap(), &["--head-timeout", SHORT]);
    assert_closed(&mut scene.client());
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let scene = Scene::with(Pod::answering(OK).unwrap(), &["--keepalive-timeout", SHORT]);
    let mut client = scene.client();
    let answer = client.ask(get("/vnc/1/x", "")).unwrap();
    assert_eq!((answer.status(), answer.field("connection")), (200, None));
    assert_closed(&mut client);
}

#[test]
fn the_next_request_has_the_keep_alive_time_to_begin_and_not_the_time_of_a_head() {
    let scene = Scene::with(Pod::answering(OK).unwrap(), &["--head-timeout", "100ms"]);
    let mut client = scene.client();
    assert_eq!(client.ask(get("/vnc/1/x", "")).unwrap().status(), 200);
    gateway_tests::wait::pause(Duration::from_millis(400));
    assert_eq!(client.ask(get("/vnc/1/x", "")).unwrap().status(), 200);
}

#[test]
fn a_request_body_that_stops_gets_408() {
    let scene = Scene::with(Pod::answering(OK).unwrap(), &["--body-timeout", SHORT]);
    let mut client = scene.client();
    client.send("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    assert_failure(&client.answer().unwrap(), 408, "body_timeout", &scene);
    assert_closed(&mut client);
    until("the pod's connection to end", || scene.pod.open() == 0);
    assert!(scene.pod.received().ends_with(b"half"));
}

#[test]
fn a_pod_that_does_not_answer_gets_504() {
    let scene = Scene::with(silent(), &["--response-timeout", SHORT]);
    let mut client = scene.client();
    let answer = client.ask(get("/vnc/1/x", "")).unwrap();
    assert_failure(&answer, 504, "upstream_timeout", &scene);
    crate::scene::assert_open(&mut client);
    until("the pod's connection to end", || scene.pod.open() == 0);
    assert_eq!(scene.pod.requests().len(), 1, "a request that was sent is not sent again");
}

#[test]
fn a_pod_that_does_not_answer_an_upgrade_gets_504() {
    let scene = Scene::with(silent(), &["--response-timeout", SHORT]);
    let answer = scene.ask(get("/vnc/1/websockify", gateway_tests::wire::UPGRADE_FIELDS));
    assert_failure(&answer, 504, "upstream_timeout", &scene);
    until("the pod's connection to end", || scene.pod.open() == 0);
}

/// The deadline of the head begins where the request ends: a slow upload is no slow answer.
#[test]
fn the_time_of_an_upload_is_not_the_pods() {
    let scene = Scene::with(Pod::answering(OK).unwrap(), &["--response-timeout", SHORT]);
    let mut client = scene.client();
    client.send("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 10\r\n\r\n").unwrap();
    client.send_slowly(["h"; 10], Duration::from_millis(60)).unwrap();
    assert_eq!(client.answer().unwrap().status(), 200);
}

#[test]
fn a_response_body_that_stops_is_cut() {
    let pod = Pod::start(|_, connection| {
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
        connection.wait_end()
    });
    let scene = Scene::with(pod.unwrap(), &["--stream-idle-timeout", SHORT]);
    let mut client = scene.client();
    client.send(get("/vnc/1/x", "")).unwrap();
    assert_eq!(client.head().unwrap().status(), 200);
    let (body, _end) = client.end().unwrap();
    assert_eq!(body, b"half");
    until("the pod's connection to end", || scene.pod.open() == 0);
}

/// A client that takes nothing does not hold the pod's connection for longer than a body may stop.
#[test]
fn a_client_that_never_reads_is_let_go() {
    let pod = Pod::start(|_, connection| {
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
        while connection.send([b'x'; 1 << 16]).is_ok() {}
        connection.close();
        Ok(())
    });
    let scene = Scene::with(pod.unwrap(), &["--body-timeout", SHORT]);
    let mut client = scene.client();
    client.send(get("/vnc/1/x", "")).unwrap();
    until("the pod's connection to begin", || scene.pod.connections().len() == 1);
    until("the pod's connection to end", || scene.pod.open() == 0);
    let (body, end) = client.end().unwrap();
    assert!(body.len() < 1_000_000_000);
    assert_eq!(end, End::Reset, "nobody may take this for a whole response");
}

/// Trap 48: server-sent events are silent for as long as nothing happens; the body's time is the client's alone.
#[test]
fn a_silent_response_outlives_the_time_of_a_body() {
    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |_, connection| {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")?;
            gate.pass()?;
            connection.send("two")
        })
    };
    let scene = Scene::with(pod.unwrap(), &["--body-timeout", SHORT, "--response-timeout", SHORT]);
    let mut client = scene.client();
    client.send(get("/vnc/1/x", "")).unwrap();
    client.until("one").unwrap();
    gateway_tests::wait::pause(Duration::from_millis(700));
    gate.open();
    client.until("two").unwrap();
}

fn silent() -> Pod {
    Pod::start(|_, connection| connection.wait_end()).unwrap()
}
