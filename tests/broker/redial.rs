//! What happens to a session when its upstream is gone.

use gateway_tests::websocket::{Frame, Socket};
use gateway_tests::worker::Worker;

use super::{Fleet, PTY, Scene, assert_resumes, connect};
use crate::scene::until;

/// The gateway has read everything that `client` has sent.
fn until_read(client: &mut Socket) {
    client.send(&Frame::ping("read?")).unwrap();
    client.expect(&Frame::pong("read?")).unwrap();
}

#[test]
fn a_worker_that_restarts_is_found_again() {
    let scene = Scene::start();
    let (mut client, mut worker) = scene.connect(PTY);
    client.exchange(&mut worker, "before").unwrap();
    scene.worker.stop().unwrap();
    worker.reset().unwrap();
    scene.worker.restart().unwrap();
    let mut worker = scene.worker.accept().unwrap();
    assert_resumes(&mut client, &mut worker);
    scene.worker.expect_no_call().unwrap();
}

#[test]
fn a_migration_in_the_middle_of_output_and_typing_loses_no_session() {
    let Some(fleet) = Fleet::start(&[]) else { return };
    let (first, second) = (Worker::start().unwrap(), Worker::start().unwrap());
    fleet.place("1", first.address());
    let (mut client, mut worker) = connect(&fleet.gateway, &first, PTY);
    client.exchange(&mut worker, "typed").unwrap();
    worker.send_all(&[Frame::binary("output 1"), Frame::binary("output 2")]).unwrap();
    fleet.place("1", second.address());
    worker.send_all(&[Frame::binary("output 3"), Frame::close(1012, "migrating")]).unwrap();

    let call = second.call().unwrap();
    assert_eq!(call.head.target(), "/sandboxes/1/pty/one");
    let mut worker =
        call.accept_with("", &Frame::binary("output 4").encode(gateway_tests::websocket::Role::Server)).unwrap();
    client.expect_all(&[1, 2, 3, 4].map(|number| Frame::binary(format!("output {number}")))).unwrap();
    client.exchange(&mut worker, "typed on").unwrap();
    first.expect_no_call().unwrap();
}

#[test]
fn what_is_typed_while_nobody_is_there_is_dropped() {
    let scene = Scene::start();
    let (mut client, worker) = scene.connect(PTY);
    worker.reset().unwrap();
    let call = scene.worker.call().unwrap();
    client.send(&Frame::text("to nobody")).unwrap();
    until_read(&mut client);
    let mut worker = call.accept().unwrap();
    assert_resumes(&mut client, &mut worker);
}

#[test]
fn a_worker_that_accepts_and_closes_is_given_up_in_the_fourth_cycle() {
    let scene = Scene::start();
    let (mut client, worker) = scene.connect(PTY);
    drop(worker);
    for _cycle in 0..3 {
        drop(scene.worker.accept().unwrap());
    }
    client.expect_close(1011, "upstream flapping").unwrap();
    scene.worker.expect_no_call().unwrap();
}

#[test]
fn a_worker_that_hangs_in_the_handshake_is_dialled_again() {
    let scene = Scene::with(&["--broker-handshake-timeout", "1s"]);
    let (mut client, worker) = scene.connect(PTY);
    drop(worker);
    let hanging = scene.worker.call().unwrap();
    let mut worker = scene.worker.accept().unwrap();
    hanging.expect_abandoned().unwrap();
    assert_resumes(&mut client, &mut worker);
}

#[test]
fn a_worker_that_stays_away_is_given_up_after_the_last_attempt() {
    let scene = Scene::with(&["--broker-redial-attempts", "3"]);
    let (mut client, worker) = scene.connect(PTY);
    drop(worker);
    for _attempt in 0..3 {
        scene.worker.call().unwrap().refuse("500 Internal Server Error", "").unwrap();
    }
    client.expect_close(1011, "upstream unrecoverable").unwrap();
    scene.worker.expect_no_call().unwrap();
}

/// More often than a worker that is only away: 503 with a word about migrating has a ladder of its own.
#[test]
fn a_sandbox_that_is_migrating_is_waited_for() {
    let scene = Scene::with(&["--broker-redial-attempts", "2"]);
    let (mut client, worker) = scene.connect(PTY);
    drop(worker);
    for _attempt in 0..20 {
        scene.worker.call().unwrap().refuse("503 Service Unavailable", "Sandbox 1 is Migrating").unwrap();
    }
    let mut worker = scene.worker.accept().unwrap();
    assert_resumes(&mut client, &mut worker);
}

#[test]
fn a_migration_without_an_end_is_given_up() {
    let scene = Scene::with(&["--broker-migrating-attempts", "4"]);
    let (mut client, worker) = scene.connect(PTY);
    drop(worker);
    // The first one is what starts the other ladder.
    for _attempt in 0..5 {
        scene.worker.call().unwrap().refuse("503 Service Unavailable", "migrating").unwrap();
    }
    client.expect_close(1011, "upstream unrecoverable").unwrap();
    scene.worker.expect_no_call().unwrap();
}

#[test]
fn a_sandbox_that_is_gone_ends_the_session_at_once() {
    for (status, body, reason) in [
        ("404 Not Found", "no such session", "sandbox not found"),
        ("410 Gone", "sandbox 1 has been stopped", "sandbox stopped"),
    ] {
        let scene = Scene::start();
        let (mut client, worker) = scene.connect(PTY);
        drop(worker);
        scene.worker.call().unwrap().refuse(status, body).unwrap();
        client.expect_close(1000, reason).unwrap();
        scene.worker.expect_no_call().unwrap();
    }
}

#[test]
fn a_client_that_leaves_while_nobody_is_there_leaves_nothing_behind() {
    let scene = Scene::with(&["--broker-redial-wait", "1h", "--broker-redial-wait-max", "1h"]);
    let (mut client, worker) = scene.connect(PTY);
    drop(worker);
    until_read(&mut client);
    drop(client);
    until("the session to be gone", || scene.metric("gateway_connections_open", &[]) == 0.0);
    scene.worker.expect_no_call().unwrap();
}
