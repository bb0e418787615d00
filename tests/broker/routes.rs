//! Routes of the configuration file: numbers of their own, or no sessions at all.

use std::io::Write;

use gateway_tests::websocket::{Frame, Socket};
use gateway_tests::worker::Worker;

use super::{EXEC, PTY, Scene, assert_resumes, broker, connect};
use crate::scene::until;

const ROUTES: &str = r#"
[[route]]
path = "/api/sandboxes/{id}/exec/{session}"
redial_attempts = 2
on_redial = "buffer"
per_client_max = 1

[[route]]
path = "/agent/{id}"
mode = "stream"
"#;

#[test]
fn each_route_has_its_own_numbers_and_the_others_the_processs() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(ROUTES.as_bytes()).unwrap();
    let worker = Worker::start().unwrap();
    let gateway = broker().arg("--config").arg(file.path()).args(["--broker-redial-attempts", "4"]);
    let scene = Scene { gateway: gateway.sandbox("1", worker.address()).start().unwrap(), worker };
    for (target, attempts) in [(EXEC, 2), (PTY, 4)] {
        let (mut client, worker) = scene.connect(target);
        drop(worker);
        for _attempt in 0..attempts {
            scene.worker.call().unwrap().refuse("500 Internal Server Error", "").unwrap();
        }
        client.expect_close(1011, "upstream unrecoverable").unwrap();
        scene.worker.expect_no_call().unwrap();
    }
    let (first, _worker) = scene.connect(EXEC);
    let mut surplus = Socket::connect(scene.gateway.addr(), "/api/sandboxes/1/exec/two").unwrap();
    surplus.expect_close(1008, "Too many concurrent WebSocket connections (limit: 1).").unwrap();
    // Places of one route are not those of another.
    let (other, _other_worker) = scene.connect(PTY);
    drop((first, other));
    until("the places to be free", || scene.gateway.streams().unwrap().is_empty());

    // What is typed is held on the one route, and dropped on the other.
    let typed = |target: &str| {
        let (mut client, worker) = scene.connect(target);
        drop(worker);
        let call = scene.worker.call().unwrap();
        client.send_all(&[Frame::text("typed"), Frame::ping("read?")]).unwrap();
        client.expect(&Frame::pong("read?")).unwrap();
        (client, call.accept().unwrap())
    };
    let (mut client, mut worker) = typed(PTY);
    assert_resumes(&mut client, &mut worker);
    let (mut client, mut worker) = typed(EXEC);
    worker.expect(&Frame::text("typed")).unwrap();
    assert_resumes(&mut client, &mut worker);
}

#[test]
fn a_route_may_be_a_stream_that_ends_with_its_upstream() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(ROUTES.as_bytes()).unwrap();
    let worker = Worker::start().unwrap();
    let gateway = broker().arg("--config").arg(file.path()).sandbox("1", worker.address()).start().unwrap();
    let (mut client, mut upstream) = connect(&gateway, &worker, "/agent/1");
    client.exchange(&mut upstream, "through").unwrap();
    assert_eq!(gateway.metric("gateway_broker_sessions_opened_total", &[]).unwrap(), 0.0);
    drop(upstream);
    client.expect_end().unwrap();
    worker.expect_no_call().unwrap();
}
