//! What is not whole must not look whole, and who has left must not hold the other side.

use gateway_tests::pod::{Gate, Pod};
use gateway_tests::wire::{Client, End};

use crate::scene::{Scene, assert_failure, assert_open, get, until};

/// A pod that sends `response` and then ends its connection, with a reset if it `resets`.
fn ending(response: &'static str, resets: bool) -> Pod {
    Pod::start(move |_, connection| {
        connection.close();
        connection.send(response)?;
        if resets { connection.reset() } else { Ok(()) }
    })
    .unwrap()
}

/// Asks, and reads to the end of the connection.
#[track_caller]
fn read_all(client: &mut Client, request: &str) -> (String, End) {
    client.send(request).unwrap();
    let (bytes, end) = client.end().unwrap();
    (String::from_utf8(bytes).unwrap(), end)
}

#[test]
fn a_body_of_known_length_that_ends_early_is_short() {
    let scene = Scene::of(ending("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", false));
    let (answer, _end) = read_all(&mut scene.client(), &get("/vnc/1/x", ""));
    assert!(answer.contains("Content-Length: 10\r\n") && answer.ends_with("\r\n\r\nhalf"), "{answer}");
}

#[test]
fn a_chunked_body_that_ends_early_has_no_last_chunk() {
    let scene = Scene::of(ending("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false));
    let (answer, _end) = read_all(&mut scene.client(), &get("/vnc/1/x", ""));
    assert!(answer.ends_with("\r\n\r\n4\r\nhalf\r\n"), "{answer}");
}

/// Where the end of the connection is the end of the body, only a reset can say that the body is not whole.
#[test]
fn a_body_that_ends_with_its_connection_is_cut_by_a_reset() {
    let whole = Scene::of(ending("HTTP/1.1 200 OK\r\n\r\nwhole", false));
    let (answer, end) = read_all(&mut whole.client(), &get("/vnc/1/x", ""));
    assert!(answer.ends_with("whole"), "{answer}");
    assert_eq!(end, End::Closed);

    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |_, connection| {
            connection.send("HTTP/1.1 200 OK\r\n\r\nhalf")?;
            gate.pass()?;
            connection.reset()
        })
    };
    let cut = Scene::of(pod.unwrap());
    let mut client = cut.client();
    client.send(get("/vnc/1/x", "")).unwrap();
    client.until("half").unwrap();
    gate.open();
    assert_eq!(client.end().unwrap().1, End::Reset);
}

#[test]
fn chunks_that_end_early_are_cut_by_a_reset_for_http_1_0() {
    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |_, connection| {
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")?;
            gate.pass()?;
            connection.close();
            Ok(())
        })
    };
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    client.send("GET /vnc/1/x HTTP/1.0\r\n\r\n").unwrap();
    client.until("half").unwrap();
    gate.open();
    assert_eq!(client.end().unwrap().1, End::Reset);
}

#[test]
fn a_pod_that_ends_before_its_answer_gets_502() {
    for (response, resets) in
        [("", false), ("", true), ("HTTP/1.1 200 OK\r\nContent-Le", false), ("garbage\r\n\r\n", false)]
    {
        let scene = Scene::of(ending(response, resets));
        let mut client = scene.client();
        let answer = client.ask(get("/vnc/1/x", "")).unwrap();
        assert_failure(&answer, 502, "bad_upstream_response", &scene);
        assert_open(&mut client);
        assert_eq!(scene.pod.requests().len(), 1, "a new connection's request is not sent again");
    }
}

/// Trap 48.
#[test]
fn a_client_that_leaves_frees_the_pod() {
    let pod = Pod::start(|_, connection| {
        connection.close();
        connection.send("HTTP/1.1 200 OK\r\n\r\n")?;
        while connection.send([b'x'; 1 << 14]).is_ok() {}
        Ok(())
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    client.send(get("/vnc/1/x", "")).unwrap();
    client.exactly(100_000).unwrap();
    drop(client);
    until("the pod's connection to end", || scene.pod.open() == 0);
    assert_settled(&scene);
}

#[test]
fn a_client_that_resets_while_the_pod_is_silent_frees_the_pod() {
    let silent = |response: &'static str| {
        Pod::start(move |_, connection| {
            connection.send(response)?;
            connection.wait_end()
        })
        .unwrap()
    };
    for response in ["", "HTTP/1.1 200 OK\r\n\r\nevent", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
        let scene = Scene::of(silent(response));
        let client = scene.client();
        client.send(get("/vnc/1/x", "")).unwrap();
        until("the request to arrive", || scene.pod.requests().len() == 1);
        client.reset().unwrap();
        until("the pod's connection to end", || scene.pod.open() == 0);
        assert_settled(&scene);
    }
}

#[test]
fn a_client_that_leaves_in_its_body_frees_the_pod() {
    let scene = Scene::plain();
    for resets in [false, true] {
        let client = scene.client();
        client.send("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
        until("the half to arrive", || scene.pod.received().ends_with(b"half"));
        if resets {
            client.reset().unwrap();
        } else {
            drop(client);
        }
        until("the pod's connection to end", || scene.pod.open() == 0);
    }
    assert_settled(&scene);
}

/// No connection is left in the gateway.
#[track_caller]
fn assert_settled(scene: &Scene) {
    until("the gateway's connections to end", || scene.gateway.metric("gateway_connections_open", &[]).unwrap() == 0.0);
}
