//! How sessions end when the gateway does.

use std::thread;

use gateway_tests::wait::{PATIENCE, until};
use gateway_tests::websocket::{Frame, Opcode, Socket};
use gateway_tests::worker::Worker;
use nix::sys::signal::Signal;

use super::{Fleet, PTY, Scene, connect};

const SESSIONS: usize = 60;

/// What a session is told, whichever frames come before it.
fn told(client: &mut Socket) -> Frame {
    loop {
        let frame = client.frame().unwrap();
        if frame.opcode == Opcode::CLOSE {
            return frame;
        }
    }
}

fn close_by_deadline(scene: &gateway_tests::gateway::Gateway) -> serde_json::Value {
    let stopped = scene.logged("the last line", PATIENCE, |line| line["message"] == "stopped").unwrap();
    stopped["closed_by_deadline"].clone()
}

/// All at once would come back at once.
#[test]
fn sessions_are_ended_one_by_one_before_the_deadline() {
    let mut scene = Scene::with(&["--drain-timeout", "4s"]);
    let target = |number: usize| format!("/api/sandboxes/1/pty/{number}");
    let (clients, _workers): (Vec<Socket>, Vec<Socket>) =
        (0..SESSIONS).map(|number| scene.connect(&target(number))).unzip();
    scene.gateway.signal(Signal::SIGTERM).unwrap();
    // A browser leaves when it is told.
    let leaving = thread::spawn(move || {
        thread::scope(|threads| {
            let told = clients.into_iter().map(|mut client| threads.spawn(move || told(&mut client)));
            told.collect::<Vec<_>>().into_iter().map(|told| told.join().unwrap()).collect::<Vec<_>>()
        })
    });
    let mut seen: Vec<f64> = Vec::new();
    let open = || scene.gateway.metric("gateway_broker_sessions_open", &[]);
    until("the sessions to end", PATIENCE, || match open() {
        // The gateway has ended with the last of them.
        Err(_) => Some(()),
        Ok(open) => {
            seen.extend((seen.last() != Some(&open)).then_some(open));
            (open == 0.0).then_some(())
        }
    })
    .unwrap();
    let between = seen.iter().filter(|open| **open > 0.0 && **open < SESSIONS as f64).count();
    assert!(between >= 3, "the sessions ended in {between} steps: {seen:?}");
    assert_eq!(leaving.join().unwrap(), vec![Frame::close(1012, "gateway restarting"); SESSIONS]);
    scene.gateway.wait(PATIENCE).unwrap();
    assert_eq!(close_by_deadline(&scene.gateway), 0);
}

/// Those would find no worker to go on with, whatever instance they come to.
#[test]
fn sessions_of_a_sandbox_that_is_migrating_are_waited_for() {
    let Some(mut fleet) = Fleet::start(&["--drain-timeout", "3s", "--broker-migrating-attempts", "1000"]) else {
        return;
    };
    let (worker, other) = (Worker::start().unwrap(), Worker::start().unwrap());
    for sandbox in ["1", "2", "3"] {
        fleet.place(sandbox, worker.address());
    }
    // One whose upstream is still there, one that is on its way already, and one that arrives in time.
    let (mut stays, _stays_worker) = connect(&fleet.gateway, &worker, PTY);
    let (mut away, away_worker) = connect(&fleet.gateway, &worker, "/api/sandboxes/2/pty/one");
    let (mut arrives, arrives_worker) = connect(&fleet.gateway, &worker, "/api/sandboxes/3/pty/one");
    ["1", "2", "3"].iter().for_each(|sandbox| fleet.state(sandbox, "migrating"));
    drop((away_worker, arrives_worker));
    let redials = || fleet.gateway.metric("gateway_broker_redials_total", &[("outcome", "migrating")]).unwrap();
    crate::scene::until("both to wait", || redials() >= 2.0);
    fleet.gateway.signal(Signal::SIGTERM).unwrap();
    crate::scene::until("the drain", || fleet.gateway.metric("gateway_drain_state", &[]).unwrap() == 1.0);
    fleet.place("3", other.address());
    fleet.state("3", "running");
    let _arrived = other.accept().unwrap();
    for client in [&mut arrives, &mut stays, &mut away] {
        assert_eq!(told(client), Frame::close(1012, "gateway restarting"));
        client.sender().end().unwrap();
    }
    fleet.gateway.wait(PATIENCE).unwrap();
    assert_eq!(close_by_deadline(&fleet.gateway), 2);
}
