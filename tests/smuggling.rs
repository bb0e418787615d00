//! Request smuggling: bytes that one parser takes for a body and another one for a request. Whatever the gateway
//! answers, the pod must never see a second request.

use crate::scene::{OK, Scene, assert_closed, assert_failure, assert_open, get};
use gateway_tests::pod::Pod;
use gateway_tests::wire::{End, UPGRADE_FIELDS};

/// What is smuggled: as a request of its own it would be found in what the pod received.
const SMUGGLED: &str = "GET /admin HTTP/1.1\r\nHost: pod\r\n\r\n";

fn post(fields: &str, body: &str) -> String {
    format!("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\n{fields}\r\n{body}")
}

/// Refused with 400, closed, and nothing of it went to the pod.
#[track_caller]
fn refused(request: impl AsRef<[u8]>, rule: &str) {
    Scene::plain().assert_refuses(request, 400, "bad_request", rule);
}

/// Trap 51.
#[test]
fn cl_te() {
    let body = format!("0\r\n\r\n{SMUGGLED}");
    let fields = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", body.len());
    refused(post(&fields, &body), "length_and_encoding");
}

#[test]
fn te_cl() {
    let body = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    refused(post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &body), "length_and_encoding");
}

#[test]
fn te_te() {
    let body = format!("0\r\n\r\n{SMUGGLED}");
    for (fields, rule) in [
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "transfer_encoding"),
        ("Transfer-Encoding: xchunked\r\n", "transfer_encoding"),
        ("Transfer-Encoding: chunked, identity\r\n", "transfer_encoding"),
        ("Transfer-Encoding: \x0bchunked\r\n", "control_byte"),
        ("Transfer-Encoding : chunked\r\n", "space_before_colon"),
        ("X: x\nTransfer-Encoding: chunked\r\n", "bare_lf"),
        ("X: x\rTransfer-Encoding: chunked\r\n", "bare_cr"),
        ("Transfer-Encoding:\r\n chunked\r\n", "obs_fold"),
        ("Transfer-Encoding\r\n: chunked\r\n", "field_colon"),
    ] {
        refused(post(&format!("Content-Length: 4\r\n{fields}"), &body), rule);
    }
}

/// Trap 51.
#[test]
fn a_length_hidden_in_a_folded_line() {
    let fields = format!("X-Note: a\r\n Content-Length: {}\r\n", SMUGGLED.len());
    refused(post(&fields, SMUGGLED), "obs_fold");
}

#[test]
fn a_request_behind_a_bare_lf_or_cr_of_a_value() {
    refused(get("/vnc/1/", &format!("X-Note: a\n\n{SMUGGLED}")), "bare_lf");
    refused(get("/vnc/1/", &format!("X-Note: a\r\r{SMUGGLED}")), "bare_cr");
}

/// Trap 51.
#[test]
fn two_lengths() {
    let fields = format!("Content-Length: 0\r\nContent-Length: {}\r\n", SMUGGLED.len());
    refused(post(&fields, SMUGGLED), "content_length_differs");
    let fields = format!("Content-Length: {}\r\nContent-Length: 0\r\n", SMUGGLED.len());
    refused(post(&fields, SMUGGLED), "content_length_differs");
}

#[test]
fn a_signed_length() {
    let length = SMUGGLED.len();
    for sign in ["+", "-", "+ ", "\u{2212}"] {
        refused(post(&format!("Content-Length: {sign}{length}\r\n"), SMUGGLED), "content_length_malformed");
    }
}

#[test]
fn a_chunk_size_that_overflows() {
    for size in ["10000000000000000", "100000000000000000005", "fffffffffffffffff"] {
        refused(post("Transfer-Encoding: chunked\r\n", &format!("{size}\r\n{SMUGGLED}")), "chunk_size_too_long");
    }
}

/// 2^64 - 1 is a size: what follows is its data, however it looks, and the pod is told the same size.
#[test]
fn the_largest_chunk_size_is_data_for_both() {
    let scene = Scene::of(Pod::start(|request, connection| connection.body(request).map(drop)).unwrap());
    let client = scene.client();
    client.send(post("Transfer-Encoding: chunked\r\n", &format!("ffffffffffffffff\r\n{SMUGGLED}"))).unwrap();
    crate::scene::until("the data to arrive", || scene.pod.received().ends_with(SMUGGLED.as_bytes()));
    let received = String::from_utf8(scene.pod.received()).unwrap();
    let (_head, body) = received.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, format!("ffffffffffffffff\r\n{SMUGGLED}"));
    assert_eq!(scene.pod.requests().len(), 1);
}

#[test]
fn a_request_inside_a_chunk_extension_or_a_trailer() {
    let extension = format!("0;\r\n\r\n{SMUGGLED}").replace("\r\n\r\nGET", "\nGET");
    refused(post("Transfer-Encoding: chunked\r\n", &extension), "chunk_extension");
    let trailer = format!("0\r\nX: \n{SMUGGLED}");
    refused(post("Transfer-Encoding: chunked\r\n", &trailer), "trailers");
}

#[test]
fn an_upgrade_with_a_body() {
    let fields = format!("{UPGRADE_FIELDS}Content-Length: {}\r\n", SMUGGLED.len());
    refused(get("/vnc/1/websockify", &fields) + SMUGGLED, "upgrade_body");
    let fields = format!("{UPGRADE_FIELDS}Transfer-Encoding: chunked\r\n");
    refused(get("/vnc/1/websockify", &fields) + "0\r\n\r\n" + SMUGGLED, "upgrade_body");
}

/// A pod that refuses the upgrade would read what follows as a request.
#[test]
fn bytes_before_the_101_of_an_upgrade_that_is_refused() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let scene = Scene::of(Pod::answering(refusal).unwrap());
    let mut client = scene.client();
    let answer = client.ask(get("/vnc/1/websockify", UPGRADE_FIELDS) + SMUGGLED).unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
    assert_closed(&mut client);
    crate::scene::until("the pod's connection to end", || scene.pod.open() == 0);
    assert_eq!(scene.pod.received(), scene.pod.requests()[0].raw());
    assert_eq!(scene.pod.connections().len(), 1);
}

/// What a request without a body is followed by is the next request, decided anew: here it has no route.
#[test]
fn a_request_behind_one_without_a_body_is_routed_by_itself() {
    let scene = Scene::plain();
    let mut client = scene.client();
    client.send(get("/vnc/1/x", "") + SMUGGLED).unwrap();
    assert_eq!(client.answer().unwrap().status(), 200);
    assert_failure(&client.answer().unwrap(), 404, "no_route", &scene);
    assert_open(&mut client);
    assert_eq!(scene.received(), String::from_utf8_lossy(scene.pod.requests()[0].raw()));
}

/// The same behind a body, and a body that looks like a request is a body.
#[test]
fn a_body_that_looks_like_a_request_stays_a_body() {
    let scene = Scene::plain();
    let mut client = scene.client();
    client.send(post(&format!("Content-Length: {}\r\n", SMUGGLED.len()), SMUGGLED) + SMUGGLED).unwrap();
    assert_eq!(client.answer().unwrap().status(), 200);
    assert_failure(&client.answer().unwrap(), 404, "no_route", &scene);
    let received = scene.received();
    assert_eq!(received.matches(SMUGGLED).count(), 1, "the body alone:\n{received}");
    assert_eq!(scene.pod.requests()[0].target(), "/x");
}

/// Connection names what must not reach the pod; it must not be able to name what keeps the two in step.
#[test]
fn connection_cannot_name_the_framing_away() {
    for named in ["Content-Length", "Host", "X-Forwarded-For", "X-Request-Id"] {
        let scene = Scene::plain();
        let body = format!("Connection: close, {named}\r\nContent-Length: {}\r\n", SMUGGLED.len());
        assert_eq!(scene.ask(post(&body, SMUGGLED)).status(), 200);
        let request = &scene.pod.requests()[0];
        assert!(request.field(named).is_some(), "{named} of {request:?}");
        assert_eq!(scene.pod.requests().len(), 1);
    }
    let scene = Scene::plain();
    let body = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let fields = "Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(scene.ask(post(fields, &body)).status(), 200);
    assert_eq!(scene.pod.requests()[0].field("transfer-encoding"), Some("chunked"));
    assert_eq!(scene.pod.requests().len(), 1);
}

/// Responses are split alike: what a pod sends behind its response answers nobody.
#[test]
fn what_follows_a_response_is_not_the_answer_to_the_next_request() {
    let poisoned = format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned");
    let scene = Scene::of(Pod::answering(poisoned).unwrap());
    let mut client = scene.client();
    for _ in 0..3 {
        assert_eq!(client.ask(get("/vnc/1/x", "")).unwrap().text(), "ok");
    }
    assert_eq!(scene.pod.connections().len(), 3, "a connection with unasked bytes is not used again");
}

#[test]
fn a_response_with_two_framings_reaches_nobody() {
    for fields in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: +2\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Content-Length : 2\r\n",
        "X-Note: a\r\n b\r\nContent-Length: 2\r\n",
        "X-Note: a\nContent-Length: 2\r\n",
        "X-Note: a\0\r\nContent-Length: 2\r\n",
    ] {
        let scene = Scene::of(Pod::answering(format!("HTTP/1.1 200 OK\r\n{fields}\r\nok")).unwrap());
        let mut client = scene.client();
        let answer = client.ask(get("/vnc/1/x", "")).unwrap();
        assert_failure(&answer, 502, "bad_upstream_response", &scene);
        assert_open(&mut client);
        crate::scene::until("the pod's connection to end", || scene.pod.open() == 0);
    }
}

/// A broken chunk in a response cuts it: the client sees that it is not whole, and nothing behind it.
#[test]
fn a_response_with_a_broken_chunk_is_cut() {
    let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n";
    let scene = Scene::of(Pod::answering(response).unwrap());
    let mut client = scene.client();
    client.send(get("/vnc/1/x", "")).unwrap();
    let (bytes, end) = client.end().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(!text.contains("0\r\n\r\n") && !text.contains("okay"), "{text}");
    assert!(end == End::Closed || end == End::Reset);
}
