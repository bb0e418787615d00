//! 1xx: who waits for whom.

use gateway_tests::pod::{Gate, Pod};

use crate::scene::{OK, Scene, assert_closed, assert_open, get, until};

const EXPECTING: &str =
    "POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

#[test]
fn a_client_that_waits_for_100_sends_its_body_behind_it() {
    let pod = Pod::start(|request, connection| {
        connection.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        let body = connection.body(request)?;
        connection.send(crate::scene::ok("", &String::from_utf8(body)?))
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    for _ in 0..2 {
        let interim = client.ask(EXPECTING).unwrap();
        assert_eq!(interim.head.start(), "HTTP/1.1 100 Continue");
        assert_eq!(interim.field("connection"), None);
        client.send("hello").unwrap();
        assert_eq!(client.answer().unwrap().text(), "hello");
    }
    assert_open(&mut client);
    assert_eq!(scene.pod.requests()[0].field("expect"), Some("100-continue"));
}

#[test]
fn a_pod_may_refuse_the_body_that_a_client_announced() {
    let pod = Pod::start(|_, connection| {
        connection.close();
        connection.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    let answer = client.ask(EXPECTING).unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (417, "no"));
    // Nobody can say whether the body will come, so nothing can follow it.
    assert_closed(&mut client);
}

#[test]
fn other_interim_responses_pass() {
    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |_, connection| {
            connection.send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")?;
            gate.pass()?;
            connection.send(OK)
        })
    };
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    assert_eq!(client.ask(get("/vnc/1/", "")).unwrap().status(), 102);
    let hints = client.answer().unwrap();
    assert_eq!((hints.status(), hints.field("link"), hints.field("set-cookie")), (103, Some("</a.css>"), None));
    // Both have arrived before the pod is allowed to answer.
    gate.open();
    let answer = client.answer().unwrap();
    assert_eq!((answer.status(), answer.head.values("set-cookie").len()), (200, 1));
}

#[test]
fn a_client_of_http_1_0_is_spared_them() {
    let scene = Scene::of(Pod::answering(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}")).unwrap());
    let mut client = scene.client();
    let answer = client.ask("GET /vnc/1/x HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(scene.pod.requests()[0].field("expect"), None);
}

/// Trap 14.
#[test]
fn a_101_that_nobody_asked_for_gets_502() {
    for fields in ["", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "Upgrade: websocket\r\n"] {
        let response = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let scene = Scene::of(Pod::answering(response).unwrap());
        let mut client = scene.client();
        let answer = client.ask(get("/vnc/1/x", fields)).unwrap();
        crate::scene::assert_failure(&answer, 502, "bad_upstream_response", &scene);
        assert_open(&mut client);
        until("the pod's connection to end", || scene.pod.open() == 0);
    }
}
