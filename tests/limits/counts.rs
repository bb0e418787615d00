//! How many: connections of the process, streams of a client and of a sandbox.

use gateway_tests::gateway::Gateway;
use gateway_tests::pod::Pod;
use gateway_tests::wire::{Client, UPGRADE_FIELDS};

use crate::scene::{Scene, assert_closed, assert_failure, assert_open, builder, get, until};

#[test]
fn a_connection_too_many_is_told_so_before_it_speaks() {
    let scene = Scene::with(Pod::answering(crate::scene::OK).unwrap(), &["--connections-max", "2"]);
    let mut kept: Vec<Client> = (0..2).map(|_| scene.client()).collect();
    // The answers say that both are counted.
    kept.iter_mut().for_each(assert_open);

    let mut refused = scene.client();
    let answer = refused.answer().unwrap();
    assert_failure(&answer, 503, "overloaded", &scene);
    assert_eq!((answer.field("retry-after"), answer.field("connection")), (Some("1"), Some("close")));
    assert_closed(&mut refused);
    drop(refused);
    let reason = [("reason", "connections_max")];
    assert_eq!(scene.gateway.metric("gateway_connections_rejected_total", &reason).unwrap(), 1.0);

    kept.iter_mut().for_each(assert_open);
    drop(kept.pop());
    until("the connections to be counted out", || {
        scene.gateway.metric("gateway_connections_open", &[]).unwrap() == 1.0
    });
    assert_open(&mut scene.client());
}

#[test]
fn only_so_many_are_told_at_one_time_and_the_others_are_cut_off() {
    const TOLD: usize = 64;
    const COME: usize = 80;
    let scene = Scene::with(Pod::answering(crate::scene::OK).unwrap(), &["--connections-max", "1"]);
    let mut kept = scene.client();
    assert_open(&mut kept);
    let mut refused: Vec<Client> = (0..COME).map(|_| scene.client()).collect();
    let told = refused.iter_mut().filter_map(|client| client.answer().ok()).filter(|answer| answer.status() == 503);
    assert_eq!(told.count(), TOLD);
    let reason = [("reason", "connections_max")];
    assert_eq!(scene.gateway.metric("gateway_connections_rejected_total", &reason).unwrap(), COME as f64);
    drop(refused);
    // Whoever has heard gives its place to the next.
    until("the next to be told", || scene.client().answer().is_ok_and(|answer| answer.status() == 503));
}

#[test]
fn a_client_has_so_many_streams_and_no_more() {
    let scene = Scene::with(Pod::echoing().unwrap(), &["--streams-per-client-max", "1"]);
    assert_capped(&scene, "/vnc/1/websockify");
}

#[test]
fn a_sandbox_has_so_many_streams_and_no_more() {
    let pod = Pod::echoing().unwrap();
    let other = Pod::echoing().unwrap();
    let gateway = builder()
        .args(["--streams-per-sandbox-max", "1"])
        .sandbox("1", pod.address())
        .sandbox("2", other.address())
        .start()
        .unwrap();
    let scene = Scene { gateway, pod };
    let mut elsewhere = scene.client();
    assert_eq!(elsewhere.ask(get("/vnc/2/websockify", UPGRADE_FIELDS)).unwrap().status(), 101);
    assert_capped(&scene, "/vnc/1/websockify");
}

/// The second stream at `target` gets 429, and one is free again as soon as the first has ended.
fn assert_capped(scene: &Scene, target: &str) {
    let upgrade = get(target, UPGRADE_FIELDS);
    let mut first = scene.client();
    assert_eq!(first.ask(&upgrade).unwrap().status(), 101);

    let mut second = scene.client();
    let answer = second.ask(&upgrade).unwrap();
    assert_failure(&answer, 429, "too_many_streams", scene);
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_open(&mut second);
    assert_eq!(scene.pod.connections().len(), 1, "what is refused is not dialled");

    first.send("still here").unwrap();
    assert_eq!(first.exactly(10).unwrap(), b"still here");
    drop(first);
    until("the first stream to end", || streams_of_1(&scene.gateway) == 0);
    assert_eq!(second.ask(&upgrade).unwrap().status(), 101);
}

fn streams_of_1(gateway: &Gateway) -> usize {
    gateway.streams().unwrap().iter().filter(|stream| stream["sandbox"] == "1").count()
}
