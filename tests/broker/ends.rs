//! Who ends a session, and with which words.

use gateway_tests::websocket::{Frame, Opcode, Opened, Socket};
use gateway_tests::worker::Worker;
use nix::sys::signal::Signal;

use super::{Fleet, PTY, Scene, connect};

#[test]
fn the_clients_code_and_reason_reach_the_worker() {
    let scene = Scene::start();
    for (code, reason) in [(1000, "bye"), (1001, ""), (4001, "enough")] {
        let (mut client, mut worker) = scene.connect(PTY);
        client.send(&Frame::close(code, reason)).unwrap();
        worker.expect_close(code, reason).unwrap();
        let close = client.frame().unwrap();
        assert_eq!((close.opcode, &close.payload[..2]), (Opcode::CLOSE, &code.to_be_bytes()[..]), "{close:?}");
        client.expect_end().unwrap();
    }
    scene.worker.expect_no_call().unwrap();
}

#[test]
fn a_sandbox_that_leaves_the_directory_closes_its_clients_at_once() {
    let Some(fleet) = Fleet::start(&[]) else { return };
    let worker = Worker::start().unwrap();
    fleet.place("1", worker.address());
    fleet.place("2", worker.address());
    let (mut gone, _gone_worker) = connect(&fleet.gateway, &worker, PTY);
    let (mut stays, mut stays_worker) = connect(&fleet.gateway, &worker, "/api/sandboxes/2/pty/one");
    fleet.remove("1");
    gone.expect_close(1000, "sandbox stopped").unwrap();
    stays.exchange(&mut stays_worker, "still here").unwrap();
    worker.expect_no_call().unwrap();
}

#[test]
fn a_session_ends_when_nothing_was_said_for_too_long_and_when_it_is_too_old() {
    let scene = Scene::with(&["--broker-idle-timeout", "1s"]);
    let (mut client, _worker) = scene.connect(PTY);
    client.expect_close(1001, "idle timeout exceeded").unwrap();
    let scene = Scene::with(&["--broker-lifetime-max", "1s"]);
    let (mut client, _worker) = scene.connect(PTY);
    client.expect_close(1001, "max lifetime exceeded").unwrap();
}

#[test]
fn a_message_that_is_too_long_ends_the_session() {
    let scene = Scene::with(&["--broker-message-bytes-max", "100KiB"]);
    let fits = Frame::binary(vec![1; 100 << 10]);
    let (mut client, mut worker) = scene.connect(PTY);
    client.send(&fits).unwrap();
    assert_eq!(worker.frame().unwrap().opcode, Opcode::BINARY);
    client.send_all(&[Frame::binary(vec![1; 60 << 10]).and_more(), Frame::continuation(vec![1; 60 << 10])]).unwrap();
    client.expect_close(1009, "message too big").unwrap();
}

#[test]
fn a_client_has_only_so_many_sessions() {
    let scene = Scene::with(&["--broker-per-client-max", "1"]);
    let (mut first, mut worker) = scene.connect(PTY);
    match Socket::open(scene.gateway.addr(), PTY, "").unwrap() {
        Opened::Switched(mut socket, _) => {
            socket.expect_close(1008, "Too many concurrent WebSocket connections (limit: 1).").unwrap();
        }
        Opened::Refused(answer) => assert_eq!(answer.status(), 429, "{}", answer.text()),
    }
    first.exchange(&mut worker, "undisturbed").unwrap();
}

#[test]
fn a_gateway_that_stops_says_so() {
    let mut scene = Scene::with(&["--drain-timeout", "1s"]);
    let (mut client, _worker) = scene.connect(PTY);
    scene.gateway.signal(Signal::SIGTERM).unwrap();
    let close = client.frame().unwrap();
    assert_eq!((close.opcode, &close.payload[..2]), (Opcode::CLOSE, &1012_u16.to_be_bytes()[..]), "{close:?}");
    drop(client);
    scene.gateway.wait(gateway_tests::wait::PATIENCE).unwrap();
}
