//! What the two heads of an opening handshake carry through.

use gateway_tests::websocket::{Opened, Socket};

use super::{Scene, TARGET};

/// The worker answers `offered` with `chosen`; each with its line end. What the worker was asked, and the client told.
fn negotiate(scene: &Scene, offered: &str, chosen: &str, name: &str) -> (Vec<String>, Vec<String>) {
    std::thread::scope(|threads| {
        let client = threads.spawn(|| Socket::open(scene.gateway.addr(), TARGET, offered).unwrap());
        let call = scene.worker.call().unwrap();
        let asked = call.head.values(name).into_iter().map(str::to_owned).collect();
        let _worker = call.accept_with(chosen, b"").unwrap();
        let Opened::Switched(_, head) = client.join().unwrap() else { panic!("the worker has accepted") };
        (asked, head.values(name).into_iter().map(str::to_owned).collect())
    })
}

/// Trap 15.
#[test]
fn subprotocols_are_offered_and_the_choice_is_told() {
    const NAME: &str = "Sec-WebSocket-Protocol";
    let scene = Scene::start();
    let offered = format!("{NAME}: binary, base64\r\n");
    let (asked, told) = negotiate(&scene, &offered, &format!("{NAME}: binary\r\n"), NAME);
    assert_eq!((asked, told), (vec!["binary, base64".to_owned()], vec!["binary".to_owned()]));
    assert_eq!(negotiate(&scene, &offered, "", NAME).1, Vec::<String>::new(), "none was chosen");
    assert_eq!(negotiate(&scene, "", "", NAME), (Vec::new(), Vec::new()), "none was offered");
}

/// Trap 16: a stream keeps what its two ends agree upon, compression included.
#[test]
fn extensions_are_between_the_two_ends() {
    const NAME: &str = "Sec-WebSocket-Extensions";
    let scene = Scene::start();
    let field = format!("{NAME}: permessage-deflate\r\n");
    let agreed = vec!["permessage-deflate".to_owned()];
    assert_eq!(negotiate(&scene, &field, &field, NAME), (agreed.clone(), agreed));
}

#[test]
fn a_refusal_of_the_worker_is_the_clients() {
    let scene = Scene::start();
    for (status, body) in
        [("403 Forbidden", "not you"), ("404 Not Found", "gone"), ("503 Service Unavailable", "later")]
    {
        std::thread::scope(|threads| {
            let client = threads.spawn(|| Socket::open(scene.gateway.addr(), TARGET, "").unwrap());
            scene.worker.call().unwrap().refuse(status, body).unwrap();
            let Opened::Refused(answer) = client.join().unwrap() else { panic!("it was refused") };
            assert_eq!(answer.head.start(), format!("HTTP/1.1 {status}"));
            assert_eq!(answer.text(), body);
        });
    }
}
