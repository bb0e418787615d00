//! Targets, methods, statuses and versions.

use gateway_tests::pod::Pod;
use gateway_tests::wire::{Client, End};

use crate::scene::{OK, Scene, assert_closed, assert_open, get, ok};

/// Traps 41 and 42.
#[test]
fn path_and_query_reach_the_pod_exactly_as_they_came() {
    let scene = Scene::plain();
    let mut client = scene.client();
    let targets = [
        "/",
        "/?",
        "//",
        "//evil.example/x",
        "/a//b///c/",
        "/./a/../b/..",
        "/%2F%2e%2E%2f/%00%zz%",
        "/a;b=c;d/e,f@g:h!$&'()*+=~",
        "/x?a=b&a=c&&=&?;?d=%26%zz%",
        "/x??/vnc/2/",
        "/vnc/2/",
        "/2/",
        "/\"<>\\^`{|}",
    ];
    for target in targets {
        assert_eq!(client.ask(get(&format!("/vnc/1{target}"), "")).unwrap().status(), 200, "{target}");
    }
    let reached: Vec<String> = scene.pod.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(reached, targets);
}

/// Trap 45.
#[test]
fn every_method_passes_with_its_body() {
    let scene = Scene::plain();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "get"] {
        let mut client = scene.client();
        let request = format!("{method} /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.ask(request).unwrap().text(), "ok", "{method}");
        assert_open(&mut client);
    }
    assert_eq!(String::from_utf8(scene.pod.received()).unwrap().matches("\r\n\r\nhello").count(), 8);
}

/// Trap 44.
#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let scene = Scene::of(Pod::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Note: a\r\n\r\n").unwrap());
    let mut client = scene.client();
    for _ in 0..2 {
        let answer = client.ask(get("/vnc/1/x", "").replace("GET", "HEAD")).unwrap();
        assert_eq!((answer.status(), answer.field("content-length")), (200, Some("5")));
        assert_eq!(answer.field("x-note"), Some("a"));
    }
    assert_open(&mut client);
    assert_eq!(scene.pod.requests()[0].method(), "HEAD");
    assert_eq!(scene.pod.connections().len(), 1, "the pod's connection is used again");
}

#[test]
fn a_failure_of_head_has_no_body_either() {
    let scene = Scene::plain();
    let mut client = scene.client();
    let answer = client.ask(get("/vnc/2/x", "").replace("GET", "HEAD")).unwrap();
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (404, Some("sandbox_not_found")));
    assert!(answer.field("content-length").is_some_and(|length| length != "0"));
    assert_open(&mut client);
}

/// Trap 44.
#[test]
fn statuses_without_a_body_end_with_their_head() {
    for (response, length) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", None),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", None),
        ("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", None),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", Some("500")),
    ] {
        let scene = Scene::of(Pod::answering(response).unwrap());
        let mut client = scene.client();
        for _ in 0..2 {
            let answer = client.ask(get("/vnc/1/x", "")).unwrap();
            assert_eq!(answer.head.start(), response.lines().next().unwrap());
            assert_eq!(answer.field("content-length"), length, "{response}");
            assert_eq!(answer.field("transfer-encoding"), None);
        }
        assert_open(&mut client);
        assert_eq!(scene.pod.connections().len(), 1);
    }
}

#[test]
fn a_status_line_passes_as_it_came() {
    for start in ["HTTP/1.1 299 A Status Of Its Own", "HTTP/1.1 404 ", "HTTP/1.1 500 \u{e9}", "HTTP/1.1 999 x"] {
        let scene = Scene::of(Pod::answering(format!("{start}\r\nContent-Length: 2\r\n\r\nok")).unwrap());
        let answer = scene.ask(get("/vnc/1/x", ""));
        assert_eq!((answer.head.start(), answer.text().as_str()), (start, "ok"));
        assert_eq!(answer.field("x-gateway-error"), None, "what the pod says is not the gateway's");
    }
}

#[test]
fn a_client_of_http_1_0_gets_its_answer_and_the_end() {
    let scene = Scene::plain();
    let mut client = scene.client();
    let answer = client.ask("GET /vnc/1/x HTTP/1.0\r\nHost: gw.example\r\n\r\n").unwrap();
    assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    assert_closed(&mut client);
    assert_eq!(scene.pod.requests()[0].start(), "GET /x HTTP/1.1");
}

#[test]
fn a_client_of_http_1_0_may_ask_to_stay() {
    let scene = Scene::plain();
    let mut client = scene.client();
    for _ in 0..2 {
        let answer = client.ask("GET /vnc/1/x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap();
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("ok", Some("keep-alive")));
    }
    assert_open(&mut client);
}

/// HTTP/1.0 knows no chunks: their data goes out bare, and ends with the connection.
#[test]
fn a_client_of_http_1_0_gets_chunks_joined() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3;x\r\ntwo\r\n0\r\nX: y\r\n\r\n";
    let scene = Scene::of(Pod::answering(chunked).unwrap());
    let mut client = scene.client();
    let answer = client.ask("GET /vnc/1/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    assert_eq!((answer.text().as_str(), answer.field("transfer-encoding")), ("onetwo", None));
    assert_eq!(answer.field("connection"), Some("close"));
}

#[test]
fn a_pod_of_http_1_0_ends_its_response_with_its_connection() {
    let scene = Scene::of(closing("HTTP/1.0 200 OK\r\nServer: old\r\n\r\nold style"));
    let mut client = scene.client();
    let answer = client.ask(get("/vnc/1/x", "")).unwrap();
    assert_eq!((answer.head.start(), answer.text().as_str()), ("HTTP/1.1 200 OK", "old style"));
    assert_eq!(answer.field("connection"), Some("close"));
}

#[test]
fn a_pod_of_http_1_0_that_knows_its_length_does_not_end_the_clients_connection() {
    let scene = Scene::of(closing("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold"));
    let mut client = scene.client();
    for _ in 0..2 {
        assert_eq!(client.ask(get("/vnc/1/x", "")).unwrap().text(), "old");
    }
    assert_open(&mut client);
    assert_eq!(scene.pod.connections().len(), 2);
}

#[test]
fn a_client_that_asks_to_close_gets_the_end() {
    let scene = Scene::plain();
    for connection in ["close", "Close", "keep-alive, CLOSE", "x,close"] {
        let mut client = scene.client();
        let answer = client.ask(get("/vnc/1/x", &format!("Connection: {connection}\r\n"))).unwrap();
        assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")), "{connection}");
        assert_closed(&mut client);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let pod = Pod::start(|request, connection| {
        connection.body(request)?;
        connection.send(ok("", request.target()))
    });
    let other = Pod::answering(ok("", "other")).unwrap();
    let pod = pod.unwrap();
    let gateway = crate::scene::builder().sandbox("1", pod.address()).sandbox("2", other.address()).start().unwrap();
    let mut client = Client::connect(gateway.addr()).unwrap();
    let post = "POST /vnc/1/b HTTP/1.1\r\nHost: gw.example\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let requests = [
        get("/vnc/1/a", ""),
        post.to_owned(),
        get("/vnc/2/c", ""),
        get("/nowhere", ""),
        get("/vnc/1/d", "Connection: close\r\n"),
        get("/vnc/1/never", ""),
    ];
    client.send(requests.concat()).unwrap();
    let answers: Vec<(u16, String)> =
        (0..5).map(|_| client.answer().unwrap()).map(|answer| (answer.status(), answer.text())).collect();
    assert_eq!(answers[0], (200, "/a".to_owned()));
    assert_eq!(answers[1], (200, "/b".to_owned()));
    assert_eq!(answers[2], (200, "other".to_owned()));
    assert_eq!(answers[3].0, 404);
    assert_eq!(answers[4], (200, "/d".to_owned()));
    assert_closed(&mut client);
    assert_eq!(pod.requests().len(), 3, "what stands behind a close is not served");
}

/// `nc -N` and old clients say by a FIN that they have no further request. They still read.
#[test]
fn a_client_that_has_finished_sending_gets_its_answer() {
    let scene = Scene::plain();
    let mut client = scene.client();
    client.send(get("/vnc/1/x", "")).unwrap();
    client.finish().unwrap();
    assert_eq!(client.answer().unwrap().text(), "ok");
    assert_closed(&mut client);
}

#[test]
fn a_client_that_leaves_inside_a_head_is_no_request() {
    let scene = Scene::plain();
    let mut client = scene.client();
    client.send("GET /vnc/1/x HTTP/1.1\r\nHo").unwrap();
    client.finish().unwrap();
    let (bytes, end) = client.end().unwrap();
    assert_eq!((bytes.as_slice(), end), (&b""[..], End::Closed));
    assert_eq!(scene.received(), "");
}

/// A pod that closes behind each response.
fn closing(response: &'static str) -> Pod {
    Pod::start(move |request, connection| {
        connection.body(request)?;
        connection.close();
        connection.send(response)
    })
    .unwrap()
}

#[test]
fn a_pods_close_is_not_the_clients() {
    let scene = Scene::of(Pod::answering(OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).unwrap());
    let mut client = scene.client();
    for _ in 0..2 {
        let answer = client.ask(get("/vnc/1/x", "")).unwrap();
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("ok", None));
    }
    assert_eq!(scene.pod.connections().len(), 2, "a connection that the pod wants to end is not used again");
}
