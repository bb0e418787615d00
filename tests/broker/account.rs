//! What an operator sees of sessions.

use gateway_tests::wait::PATIENCE;
use gateway_tests::websocket::Frame;

use super::{EXEC, Scene, assert_resumes};
use crate::scene::until;

#[test]
fn a_session_its_redial_and_its_end_are_counted_and_logged() {
    let scene = Scene::start();
    let (mut client, worker) = scene.connect(EXEC);
    // The client has its 101 before the session is counted.
    until("the session to be counted", || scene.metric("gateway_broker_sessions_open", &[]) == 1.0);
    drop(worker);
    let mut worker = scene.worker.accept().unwrap();
    assert_resumes(&mut client, &mut worker);
    let redial = scene.gateway.logged("a redial", PATIENCE, |line| line["message"] == "redial").unwrap();
    assert_eq!(
        (&redial["sandbox"], &redial["outcome"], &redial["attempts"]),
        (&"1".into(), &"resumed".into(), &1.into())
    );
    assert_eq!(scene.metric("gateway_broker_redials_total", &[("outcome", "resumed")]), 1.0);

    worker.send(&Frame::binary([3, 0, 0, 0, 7])).unwrap();
    drop(worker);
    client.expect(&Frame::binary([3, 0, 0, 0, 7])).unwrap();
    client.expect_close(1000, "exec completed").unwrap();
    drop(client);
    let closed = scene.gateway.logged("the end", PATIENCE, |line| line["message"] == "session closed").unwrap();
    assert_eq!((&closed["sandbox"], &closed["redials"], &closed["code"]), (&"1".into(), &1.into(), &1000.into()));
    assert_eq!((&closed["end"], &closed["reason"]), (&"exec_completed".into(), &"exec completed".into()));
    until("no session to be open", || scene.metric("gateway_broker_sessions_open", &[]) == 0.0);
    assert_eq!(scene.metric("gateway_broker_frames_total", &[("direction", "up")]), 1.0);
    assert_eq!(scene.metric("gateway_broker_frames_total", &[("direction", "down")]), 3.0);
}

/// Both sides are asked, and a client that does not answer is gone.
#[test]
fn keepalives_come_on_time_to_both_sides_and_are_answered_or_else() {
    let scene = Scene::with(&["--broker-keepalive", "1500ms"]);
    let (mut client, mut worker) = scene.connect(EXEC);
    for _round in 0..3 {
        client.expect(&Frame::ping([])).unwrap();
        worker.expect(&Frame::ping([])).unwrap();
        client.send(&Frame::pong([])).unwrap();
        worker.send(&Frame::pong([])).unwrap();
    }
    // From now on the client says nothing.
    loop {
        match worker.frame().unwrap() {
            ping if ping == Frame::ping([]) => worker.send(&Frame::pong([])).unwrap(),
            end => break assert_eq!(end.opcode, gateway_tests::websocket::Opcode::CLOSE, "{end:?}"),
        }
    }
    scene.worker.expect_no_call().unwrap();
}

#[test]
fn keepalives_may_be_empty_messages() {
    let scene = Scene::with(&["--broker-keepalive", "200ms", "--broker-keepalive-frame", "empty"]);
    let (mut client, mut worker) = scene.connect(EXEC);
    for _round in 0..3 {
        client.expect(&Frame::binary([])).unwrap();
        worker.expect(&Frame::binary([])).unwrap();
    }
}
