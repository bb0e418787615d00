//! The bytes of a stream, from the first one behind the head to its end.

use gateway_tests::pod::{Gate, Pod, switching};
use gateway_tests::wire::{End, UPGRADE_FIELDS};

use crate::scene::{Scene, get, until};

const TARGET: &str = "/vnc/1/websockify";

/// A gateway that is tricked into sending on what follows an upgrade makes the pod read it as a request.
#[test]
fn nothing_behind_the_head_reaches_the_pod_before_its_101() {
    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |request, connection| {
            if request.field("upgrade").is_none() {
                return connection.send(crate::scene::OK);
            }
            gate.pass()?;
            connection.switch(request)?;
            connection.echo()
        })
    };
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    let early = get("/vnc/1/smuggled", "");
    client.send(get(TARGET, UPGRADE_FIELDS) + &early).unwrap();
    until("the upgrade to arrive", || scene.pod.requests().len() == 1);
    client.send("more").unwrap();
    // By the end of another exchange the gateway has had every opportunity.
    assert_eq!(scene.ask(get("/vnc/1/x", "")).text(), "ok");
    let [stream, _other] = &scene.pod.connections()[..] else { panic!("one connection for each") };
    let head = stream.requests().remove(0);
    assert_eq!(stream.bytes(), head.raw());

    gate.open();
    assert_eq!(client.answer().unwrap().status(), 101);
    let expected = early + "more";
    assert_eq!(String::from_utf8(client.exactly(expected.len()).unwrap()).unwrap(), expected);
    assert_eq!(stream.bytes(), [head.raw(), expected.as_bytes()].concat(), "in order, once");
    assert_eq!(stream.requests().len(), 1);
}

#[test]
fn what_is_glued_to_the_101_comes_first() {
    let pod = Pod::start(|request, connection| {
        connection.send(switching(request)? + "RFB 003.008\n")?;
        connection.send("then more")?;
        connection.echo()
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    client.send(get(TARGET, UPGRADE_FIELDS) + "glued to the head").unwrap();
    assert_eq!(client.answer().unwrap().status(), 101);
    assert_eq!(client.until("then more").unwrap(), b"RFB 003.008\nthen more");
    client.until("glued to the head").unwrap();
}

/// The 101 may come in any pieces, and the stream's first bytes with its last one.
#[test]
fn a_101_in_pieces_opens_the_stream() {
    let pod = Pod::start(|request, connection| {
        let response = switching(request)? + "first";
        for byte in response.as_bytes() {
            connection.send([*byte])?;
        }
        connection.echo()
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    assert_eq!(client.ask(get(TARGET, UPGRADE_FIELDS)).unwrap().status(), 101);
    assert_eq!(client.exactly(5).unwrap(), b"first");
}

/// Every byte value, in sizes around those of buffers, both ways.
#[test]
fn bytes_are_only_bytes() {
    let scene = Scene::of(Pod::echoing().unwrap());
    let mut client = scene.client();
    assert_eq!(client.ask(get(TARGET, UPGRADE_FIELDS)).unwrap().status(), 101);
    for size in [1, 2, 125, 126, 4095, 4096, 4097, 65_535, 65_536, 65_537, 300_001] {
        let bytes: Vec<u8> = (0..=255_u8).cycle().skip(size % 251).take(size).collect();
        client.send(&bytes).unwrap();
        assert!(client.exactly(size).unwrap() == bytes, "{size} bytes");
    }
}

/// Trap 22.
#[test]
fn the_clients_end_reaches_the_pod_and_the_pods_last_bytes_the_client() {
    let pod = Pod::start(|request, connection| {
        connection.switch(request)?;
        let mut all = Vec::new();
        while let Some(bytes) = connection.some()? {
            all.extend(bytes);
        }
        connection.close();
        connection.send([b"got ".to_vec(), all].concat())
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    assert_eq!(client.ask(get(TARGET, UPGRADE_FIELDS)).unwrap().status(), 101);
    client.send("all of this").unwrap();
    client.finish().unwrap();
    let (rest, end) = client.end().unwrap();
    assert_eq!((String::from_utf8(rest).unwrap().as_str(), end), ("got all of this", End::Closed));
    assert_ended(&scene, "client", "fin");
}

#[test]
fn the_pods_end_reaches_the_client() {
    let pod = Pod::start(|request, connection| {
        connection.close();
        connection.send(switching(request)? + "bye")
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    assert_eq!(client.ask(get(TARGET, UPGRADE_FIELDS)).unwrap().status(), 101);
    let (rest, end) = client.end().unwrap();
    assert_eq!((rest.as_slice(), end), (&b"bye"[..], End::Closed));
    drop(client);
    assert_ended(&scene, "upstream", "fin");
}

#[test]
fn a_clients_reset_ends_the_pods_connection() {
    let scene = Scene::of(Pod::echoing().unwrap());
    let mut client = scene.client();
    assert_eq!(client.ask(get(TARGET, UPGRADE_FIELDS)).unwrap().status(), 101);
    client.reset().unwrap();
    until("the pod's connection to end", || scene.pod.open() == 0);
    assert_ended(&scene, "client", "rst");
}

/// Trap 21.
#[test]
fn a_pods_reset_is_a_reset_for_the_client() {
    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |request, connection| {
            connection.switch(request)?;
            gate.pass()?;
            connection.reset()
        })
    };
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    assert_eq!(client.ask(get(TARGET, UPGRADE_FIELDS)).unwrap().status(), 101);
    gate.open();
    assert_eq!(client.end().unwrap().1, End::Reset);
    assert_ended(&scene, "upstream", "rst");
}

#[test]
fn a_client_that_leaves_before_the_101_frees_the_pod() {
    let scene = Scene::of(Pod::start(|_, connection| connection.wait_end()).unwrap());
    let client = scene.client();
    client.send(get(TARGET, UPGRADE_FIELDS)).unwrap();
    until("the upgrade to arrive", || scene.pod.requests().len() == 1);
    client.reset().unwrap();
    until("the pod's connection to end", || scene.pod.open() == 0);
}

/// A stream is listed with what it has carried while it lives.
#[test]
fn a_stream_is_listed_while_it_lives() {
    let scene = Scene::of(Pod::echoing().unwrap());
    let mut client = scene.client();
    assert_eq!(client.ask(get(TARGET, UPGRADE_FIELDS) + "12345").unwrap().status(), 101);
    assert_eq!(client.exactly(5).unwrap(), b"12345");
    until("both directions to be counted", || {
        let streams = scene.gateway.streams().unwrap();
        streams.len() == 1 && streams[0]["bytes_up"] == 5 && streams[0]["bytes_down"] == 5
    });
    let stream = &scene.gateway.streams().unwrap()[0];
    assert_eq!(stream["sandbox"], "1");
    assert_eq!(stream["client"], client.address().unwrap().to_string());
    drop(client);
    until("the stream to end", || scene.gateway.streams().unwrap().is_empty());
}

/// One stream has ended, by `side` for `reason`, and nothing is left of it.
#[track_caller]
fn assert_ended(scene: &Scene, side: &str, reason: &str) {
    let labels = [("side", side), ("reason", reason)];
    until(&format!("a stream to be ended by {labels:?}"), || {
        scene.gateway.metric("gateway_streams_closed_total", &labels).unwrap() == 1.0
    });
    until("the connections to end", || scene.gateway.metric("gateway_connections_open", &[]).unwrap() == 0.0);
    assert_eq!(scene.gateway.streams().unwrap().len(), 0);
}
