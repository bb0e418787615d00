//! What client and worker have agreed to speak, across workers.

use gateway_tests::websocket::{Opened, Socket};

use super::{PTY, Scene, assert_resumes};

#[test]
fn another_choice_of_subprotocol_ends_the_session() {
    let offer = "Sec-WebSocket-Protocol: tty, binary\r\n";
    for (first, second) in [
        ("Sec-WebSocket-Protocol: tty\r\n", "Sec-WebSocket-Protocol: binary\r\n"),
        ("Sec-WebSocket-Protocol: tty\r\n", ""),
        ("", "Sec-WebSocket-Protocol: tty\r\n"),
        ("Sec-WebSocket-Protocol: tty\r\n", "Sec-WebSocket-Protocol: smoke\r\n"),
    ] {
        let scene = Scene::start();
        let mut client = opened(&scene, offer, first);
        let call = scene.worker.call().unwrap();
        assert_eq!(call.head.field("sec-websocket-protocol"), Some("tty, binary"), "the same offer");
        let _worker = call.accept_with(second, b"").unwrap();
        client.expect_close(1011, "subprotocol changed").unwrap();
        scene.worker.expect_no_call().unwrap();
        let outcome = [("outcome", "subprotocol")];
        assert_eq!(scene.metric("gateway_broker_redials_total", &outcome), 1.0);
    }
}

#[test]
fn the_same_choice_of_subprotocol_resumes_it() {
    let scene = Scene::start();
    let chosen = "Sec-WebSocket-Protocol: tty\r\n";
    let mut client = opened(&scene, "Sec-WebSocket-Protocol: tty, binary\r\n", chosen);
    let mut worker = scene.worker.call().unwrap().accept_with(chosen, b"").unwrap();
    assert_resumes(&mut client, &mut worker);
}

/// A session with an offer and its worker's choice, whose worker is gone.
fn opened(scene: &Scene, offer: &str, chosen: &str) -> Socket {
    std::thread::scope(|threads| {
        let client = threads.spawn(|| Socket::open(scene.gateway.addr(), PTY, offer).unwrap());
        let worker = scene.worker.call().unwrap().accept_with(chosen, b"").unwrap();
        let Opened::Switched(client, _) = client.join().unwrap() else { panic!("the worker has accepted") };
        drop(worker);
        client
    })
}
