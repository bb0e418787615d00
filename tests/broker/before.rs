//! Before the upgrade every failure is plain HTTP.

use gateway_tests::websocket::{Opened, Socket};
use gateway_tests::wire::{Answer, Client};

use super::{PTY, Scene};

fn refused(scene: &Scene, target: &str) -> Answer {
    match Socket::open(scene.gateway.addr(), target, "").unwrap() {
        Opened::Refused(answer) => answer,
        Opened::Switched(..) => panic!("{target} was accepted"),
    }
}

#[test]
fn what_cannot_be_reached_is_not_upgraded() {
    let scene = Scene::start();
    let answer = refused(&scene, "/api/sandboxes/2/pty/one");
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (404, Some("sandbox_not_found")));
    scene.worker.stop().unwrap();
    let answer = refused(&scene, PTY);
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (502, Some("upstream_unreachable")));
}

/// The worker sees the path without its prefix, with all of its query.
#[test]
fn the_worker_is_asked_for_the_session() {
    let scene = Scene::start();
    for (target, asked) in [
        (PTY, "/sandboxes/1/pty/one"),
        ("/api/sandboxes/1/exec/two?api_key=a;b&x", "/sandboxes/1/exec/two?api_key=a;b&x"),
        ("/api/sandboxes/1/agent/three", "/sandboxes/1/agent/three"),
    ] {
        std::thread::scope(|threads| {
            let client = threads.spawn(|| Socket::connect(scene.gateway.addr(), target).unwrap());
            let call = scene.worker.call().unwrap();
            assert_eq!(call.head.target(), asked);
            let _worker = call.accept().unwrap();
            client.join().unwrap();
        });
    }
}

#[test]
fn the_choice_of_subprotocol_is_the_workers_and_compression_is_not_negotiated() {
    let scene = Scene::start();
    let offer = "Sec-WebSocket-Protocol: tty, binary\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    std::thread::scope(|threads| {
        let client = threads.spawn(|| Socket::open(scene.gateway.addr(), PTY, offer).unwrap());
        let call = scene.worker.call().unwrap();
        assert_eq!(call.head.field("sec-websocket-protocol"), Some("tty, binary"));
        assert_eq!(call.head.field("sec-websocket-extensions"), None);
        let _worker = call.accept_with("Sec-WebSocket-Protocol: tty\r\n", b"").unwrap();
        let Opened::Switched(_, head) = client.join().unwrap() else { panic!("the worker has accepted") };
        assert_eq!(head.values("sec-websocket-protocol"), ["tty"]);
        assert_eq!(head.field("sec-websocket-extensions"), None);
    });
}

#[test]
fn what_is_not_listed_as_a_source_does_not_exist() {
    let scene = crate::scene::Scene::plain();
    let mut client = Client::connect(scene.gateway.addr()).unwrap();
    let answer = client.ask(crate::scene::get(PTY, gateway_tests::wire::UPGRADE_FIELDS)).unwrap();
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (404, Some("no_route")));
}
