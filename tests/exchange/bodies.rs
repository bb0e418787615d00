//! Bodies move as they come, in both directions at once, and their bytes are nobody's business.

use gateway_tests::pod::{Gate, Pod};
use gateway_tests::wire::Body;

use crate::scene::{Scene, assert_closed, assert_open, get, ok, until};

/// Trap 48: each server-sent event arrives while the response is still open.
#[test]
fn an_event_arrives_before_the_next_one_exists() {
    for (fields, events) in [
        ("Transfer-Encoding: chunked\r\n", ["9\r\ndata: 1\n\n\r\n", "9\r\ndata: 2\n\n\r\n"]),
        ("", ["data: 1\n\n", "data: 2\n\n"]),
    ] {
        let gate = Gate::default();
        let pod = {
            let gate = gate.clone();
            Pod::start(move |_, connection| {
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{fields}\r\n"))?;
                connection.send(events[0])?;
                gate.pass()?;
                connection.send(events[1])?;
                connection.wait_end()
            })
        };
        let scene = Scene::of(pod.unwrap());
        let mut client = scene.client();
        client.send(get("/vnc/1/events", "Accept: text/event-stream\r\n")).unwrap();
        assert_eq!(client.head().unwrap().field("content-type"), Some("text/event-stream"));
        client.until(events[0]).unwrap();
        gate.open();
        client.until(events[1]).unwrap();
    }
}

/// The head alone says that the page is on its way, though its body takes its time.
#[test]
fn a_head_arrives_before_its_body() {
    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |_, connection| {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")?;
            gate.pass()?;
            connection.send("ok")
        })
    };
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    client.send(get("/vnc/1/x", "")).unwrap();
    assert_eq!(client.head().unwrap().status(), 200);
    gate.open();
    assert_eq!(client.exactly(2).unwrap(), b"ok");
    assert_open(&mut client);
}

#[test]
fn a_request_body_arrives_piece_by_piece() {
    let scene = Scene::plain();
    let mut client = scene.client();
    client.send("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for piece in ["3\r\none\r\n", "3\r\ntwo\r\n"] {
        client.send(piece).unwrap();
        until("the piece to arrive", || scene.pod.received().ends_with(piece.as_bytes()));
    }
    client.send("0\r\n\r\n").unwrap();
    assert_eq!(client.answer().unwrap().text(), "ok");
    assert_open(&mut client);
}

/// A pod that answers while it reads, line by line.
#[test]
fn both_bodies_move_at_once() {
    let pod = Pod::start(|_, connection| {
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n")?;
        for _ in 0..5 {
            let piece = connection.exactly(3)?;
            connection.send(piece)?;
        }
        Ok(())
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    client.send("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 15\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status(), 200);
    for piece in ["one", "two", "3.3", "444", "end"] {
        client.send(piece).unwrap();
        assert_eq!(client.exactly(3).unwrap(), piece.as_bytes());
    }
}

/// Trap 44.
#[test]
fn compressed_bytes_are_not_touched() {
    // What gzip writes for "hi", and bytes that mean something to HTTP and to text.
    let mut body = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\xc8\x04\x00\xac*\x93\xd8\x02\x00\x00\x00".to_vec();
    body.extend((0..=255).chain(*b"\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n"));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    let scene = Scene::of(Pod::answering([head.as_bytes(), &body].concat()).unwrap());
    let mut client = scene.client();
    let answer = client.ask(get("/vnc/1/x", "Accept-Encoding: gzip, br\r\n")).unwrap();
    assert_eq!(answer.field("content-encoding"), Some("gzip"));
    assert_eq!(answer.body, body);
    assert_open(&mut client);
    assert_eq!(scene.pod.requests()[0].field("accept-encoding"), Some("gzip, br"));
}

#[test]
fn chunks_of_a_response_lose_extensions_and_trailers_only() {
    let chunked = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
        003;a=b\r\none\r\nA\r\ntwo34567\r\n\r\n0;z\r\nX-Sum: 1\r\n\r\n";
    let scene = Scene::of(Pod::answering(chunked).unwrap());
    let mut client = scene.client();
    client.send(get("/vnc/1/x", "")).unwrap();
    let head = client.head().unwrap();
    assert_eq!((head.response_body(), head.field("trailer")), (Body::Chunked, None));
    assert_eq!(client.until("0\r\n\r\n").unwrap(), b"3\r\none\r\na\r\ntwo34567\r\n\r\n0\r\n\r\n");
    assert_open(&mut client);
    assert_eq!(client.ask(get("/vnc/1/x", "")).unwrap().text(), "onetwo34567\r\n");
    assert_eq!(scene.pod.connections().len(), 1);
}

/// The pod answers before it has read the body, and reads on: the answer is not held back.
#[test]
fn an_early_answer_overtakes_the_body() {
    let pod = Pod::start(|request, connection| {
        connection.send(ok("", "enough"))?;
        connection.body(request).map(drop)
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    client.send("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 1000000\r\n\r\nbegun").unwrap();
    assert_eq!(client.answer().unwrap().text(), "enough");
    // What is left of the body cannot be told from a request, so nothing may follow.
    client.send([b'x'; 1000]).unwrap();
    assert_closed(&mut client);
    until("the pod's connection to end", || scene.pod.open() == 0);
    assert_eq!(scene.pod.requests().len(), 1);
}

/// The pod answers and closes without reading: what the client still sends must not destroy the answer.
#[test]
fn the_answer_of_a_pod_that_stops_reading_arrives() {
    let pod = Pod::start(|_, connection| {
        connection.close();
        connection.send("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
    });
    let scene = Scene::of(pod.unwrap());
    for _ in 0..10 {
        let mut client = scene.client();
        client.send("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 500000\r\n\r\n").unwrap();
        client.send(vec![b'x'; 500_000]).unwrap();
        let answer = client.answer().unwrap();
        assert_eq!((answer.status(), answer.text().as_str()), (413, "big"));
    }
}
