//! What a pod may answer instead of a good 101.

use gateway_tests::pod::{Pod, switching};
use gateway_tests::wire::UPGRADE_FIELDS;

use crate::scene::{OK, Scene, assert_closed, assert_failure, assert_open, get, until};

const TARGET: &str = "/vnc/1/websockify";
/// What a client has sent by mistake or on purpose: it must reach nobody.
const EARLY: &str = "GET /admin HTTP/1.1\r\nHost: pod\r\n\r\n";

/// The answer that RFC 6455 section 4.2.2 asks for, with `from` replaced.
#[track_caller]
fn assert_bad_101(from: &'static str, to: &'static str, rule: &str) {
    let pod = Pod::start(move |request, connection| {
        let response = switching(request)?;
        assert!(response.contains(from), "{response}");
        connection.send(response.replace(from, to))?;
        connection.echo()
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    let answer = client.ask(get(TARGET, UPGRADE_FIELDS)).unwrap();
    assert_failure(&answer, 502, "bad_upstream_response", &scene);
    assert_open(&mut client);
    assert_eq!(scene.rejected(rule), 1.0, "{rule}:\n{}", scene.gateway.metrics().unwrap());
    until("the pod's connection to end", || scene.pod.open() == 0);
    assert_eq!(scene.pod.received(), scene.pod.requests()[0].raw());
    assert_eq!(scene.gateway.streams().unwrap().len(), 0);
}

#[test]
fn a_101_with_a_wrong_accept_opens_nothing() {
    assert_bad_101("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=", "websocket_accept");
    assert_bad_101("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "S3PPLMBITXAQ9KYGZZHZRBK+XOO=", "websocket_accept");
}

#[test]
fn a_101_without_an_accept_opens_nothing() {
    assert_bad_101("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "", "websocket_accept");
    let two = "Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert_bad_101("Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", two, "websocket_accept");
}

#[test]
fn a_101_to_something_else_opens_nothing() {
    assert_bad_101("Upgrade: websocket", "Upgrade: h2c", "upgrade_response_upgrade");
    assert_bad_101("Upgrade: websocket\r\n", "", "upgrade_response_upgrade");
    assert_bad_101("Connection: Upgrade\r\n", "", "upgrade_response_connection");
    assert_bad_101("Connection: Upgrade\r\n", "Connection: keep-alive\r\n", "upgrade_response_connection");
}

/// Trap 13.
#[test]
fn any_other_status_is_relayed_with_its_body() {
    for (response, status, body) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-Note: a\r\n\r\nno", 403, "no"),
        ("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nX-Note: a\r\n\r\n2\r\nno\r\n0\r\n\r\n", 404, "no"),
        ("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\nX-Note: a\r\n\r\n", 302, ""),
        ("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nX-Note: a\r\n\r\noops", 500, "oops"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Note: a\r\n\r\nhello", 200, "hello"),
        ("HTTP/1.1 204 No Content\r\nX-Note: a\r\n\r\n", 204, ""),
        ("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\nX-Note: a\r\n\r\n", 401, ""),
        ("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\nX-Note: a\r\n\r\n", 426, ""),
    ] {
        let scene = Scene::of(Pod::answering(response).unwrap());
        let mut client = scene.client();
        let answer = client.ask(get(TARGET, UPGRADE_FIELDS) + EARLY).unwrap();
        assert_eq!((answer.status(), answer.text().as_str()), (status, body));
        assert_eq!(answer.field("x-note"), Some("a"));
        assert_eq!(answer.field("x-gateway-error"), None, "it is the pod's answer");
        assert!(answer.field("connection").is_some_and(|options| options.contains("close")));
        assert_closed(&mut client);
        until("the pod's connection to end", || scene.pod.open() == 0);
        assert_eq!(scene.pod.received(), scene.pod.requests()[0].raw());
    }
}

#[test]
fn the_location_of_a_refusal_is_mapped_too() {
    let scene =
        Scene::of(Pod::answering("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n").unwrap());
    assert_eq!(scene.ask(get(TARGET, UPGRADE_FIELDS)).field("location"), Some("/vnc/1/login"));
}

#[test]
fn a_refusal_that_ends_with_its_connection_is_relayed_to_its_end() {
    let pod = Pod::start(|_, connection| {
        connection.close();
        connection.send("HTTP/1.0 400 Bad Request\r\n\r\nold style")
    });
    let scene = Scene::of(pod.unwrap());
    let answer = scene.ask(get(TARGET, UPGRADE_FIELDS));
    assert_eq!((answer.status(), answer.text().as_str()), (400, "old style"));
}

/// A connection on which an upgrade was refused is not used again, though the pod would keep it.
#[test]
fn a_refused_upgrades_connection_is_not_pooled() {
    let scene = Scene::of(Pod::answering(OK).unwrap());
    assert_eq!(scene.ask(get(TARGET, UPGRADE_FIELDS)).status(), 200);
    assert_eq!(scene.ask(get("/vnc/1/x", "")).status(), 200);
    assert_eq!(scene.pod.connections().len(), 2);
}

/// An upgrade never takes a kept connection either.
#[test]
fn an_upgrade_dials_for_itself() {
    let scene = Scene::of(Pod::answering(OK).unwrap());
    assert_eq!(scene.ask(get("/vnc/1/x", "")).status(), 200);
    assert_eq!(scene.ask(get(TARGET, UPGRADE_FIELDS)).status(), 200);
    assert_eq!(scene.pod.connections().len(), 2);
    assert_eq!(scene.ask(get("/vnc/1/x", "")).status(), 200);
    assert_eq!(scene.pod.connections().len(), 2, "the first one was kept");
}

#[test]
fn a_malformed_answer_gets_502() {
    for response in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "RFB 003.008\n",
        "HTTP/1.1 101\nUpgrade: websocket\n\n",
        "HTTP/1.1 101 X\r\nA\r\n\r\n",
    ] {
        let scene = Scene::of(Pod::answering(response).unwrap());
        let answer = scene.ask(get(TARGET, UPGRADE_FIELDS));
        assert_failure(&answer, 502, "bad_upstream_response", &scene);
        until("the pod's connection to end", || scene.pod.open() == 0);
    }
}

#[test]
fn a_pod_that_ends_before_it_answers_gets_502() {
    let pod = Pod::start(|_, connection| {
        connection.close();
        Ok(())
    });
    let scene = Scene::of(pod.unwrap());
    let answer = scene.ask(get(TARGET, UPGRADE_FIELDS));
    assert_failure(&answer, 502, "bad_upstream_response", &scene);
    assert_eq!(scene.pod.requests().len(), 1, "a handshake is not sent again");
}
