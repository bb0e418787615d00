//! Where a session finds its next worker: asked for afresh each time, and together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gateway_tests::pod::{Gate, Pod};
use gateway_tests::websocket::Socket;
use gateway_tests::worker::Worker;

use super::{Fleet, PTY, assert_resumes, broker, connect};
use crate::control_plane::Said;
use crate::scene::{ok, until};

/// Sessions of one sandbox.
const SESSIONS: usize = 30;

#[test]
fn sessions_of_one_sandbox_that_redial_at_once_share_their_questions() {
    // A directory that is slow must not be taken for one that is gone.
    let Some(fleet) = Fleet::start(&["--redis-response-timeout", "1m"]) else { return };
    let worker = Worker::start().unwrap();
    fleet.place("1", worker.address());
    let target = |number: usize| format!("/api/sandboxes/1/pty/{number}");
    let (mut clients, workers): (Vec<Socket>, Vec<Socket>) =
        (0..SESSIONS).map(|number| connect(&fleet.gateway, &worker, &target(number))).unzip();
    let metric = |name: &str, labels: &[(&str, &str)]| fleet.gateway.metric(name, labels).unwrap();
    let asked = || metric("gateway_directory_questions_total", &[]);
    let answered = || metric("gateway_directory_lookups_total", &[("source", "redis"), ("outcome", "hit")]);
    let (asked_before, answered_before) = (asked(), answered());
    fleet.redis.stop().unwrap();
    workers.into_iter().for_each(|worker| worker.reset().unwrap());
    let asking = || metric("gateway_broker_redials_under_way", &[("stage", "lookup")]);
    until("all sessions to ask", || asking() == SESSIONS as f64);
    fleet.redis.cont().unwrap();

    let mut resumed = Vec::new();
    for _session in 0..SESSIONS {
        let call = worker.call().unwrap();
        let number: usize = call.head.target().rsplit('/').next().unwrap().parse().unwrap();
        let mut worker = call.accept().unwrap();
        assert_resumes(&mut clients[number], &mut worker);
        resumed.push(worker);
    }
    assert_eq!((resumed.len(), answered() - answered_before), (SESSIONS, SESSIONS as f64));
    // The one under way when the others came, the one that all of these share, and one for who was late.
    let questions = asked() - asked_before;
    assert!((2.0..=3.0).contains(&questions), "{questions} questions for {SESSIONS} sessions");
}

/// What is remembered may be from before the move.
#[test]
fn a_redial_asks_the_directory_whatever_it_remembers() {
    let said = Said::default();
    let control_plane = said.serve();
    let url = format!("http://{}/resolve/{{id}}", control_plane.address());
    let gateway = broker().args(["--directory-url", &url]).start().unwrap();
    let (first, second) = (Worker::start().unwrap(), Worker::start().unwrap());
    let place = |worker: &Worker| said.say("1", 200, format!(r#"{{"endpoint":"{}","ttl":3600}}"#, worker.address()));
    place(&first);
    let (mut client, worker) = connect(&gateway, &first, PTY);
    place(&second);
    let _new_sessions_go_by_what_is_remembered = connect(&gateway, &first, "/api/sandboxes/1/pty/two");
    worker.reset().unwrap();
    let mut worker = second.accept().unwrap();
    assert_resumes(&mut client, &mut worker);
    first.expect_no_call().unwrap();
    let by_cache = [("source", "cache"), ("outcome", "hit")];
    assert!(gateway.metric("gateway_directory_lookups_total", &by_cache).unwrap() > 0.0);
    assert_eq!(control_plane.requests().len(), 2);
}

/// More than the gateway asks a control plane at one time: the rest waits for its turn, and is not told to come back.
#[test]
fn redials_of_many_sandboxes_at_once_all_have_an_answer() {
    const SANDBOXES: usize = 80;
    const ASKS_MAX: usize = 64;
    let worker = Worker::start().unwrap();
    let (gate, is_shut) = (Gate::default(), Arc::new(AtomicBool::new(false)));
    let control_plane = {
        let (gate, is_shut, endpoint) = (gate.clone(), Arc::clone(&is_shut), worker.address());
        Pod::start(move |_, connection| {
            if is_shut.load(Ordering::SeqCst) {
                gate.pass()?;
            }
            connection.send(ok("", &format!(r#"{{"endpoint":"{endpoint}"}}"#)))
        })
        .unwrap()
    };
    let url = format!("http://{}/resolve/{{id}}", control_plane.address());
    let limits = ["--broker-dials-max", "1000", "--broker-per-client-max", "0", "--directory-timeout", "1m"];
    let gateway = broker().args(["--directory-url", &url]).args(limits).start().unwrap();
    let target = |number: usize| format!("/agent/{number}");
    let (mut clients, workers): (Vec<Socket>, Vec<Socket>) =
        (0..SANDBOXES).map(|number| connect(&gateway, &worker, &target(number))).unzip();
    let before = control_plane.requests().len();
    is_shut.store(true, Ordering::SeqCst);
    drop(workers);
    let asking = || gateway.metric("gateway_broker_redials_under_way", &[("stage", "lookup")]).unwrap();
    until("all sessions to ask", || asking() == SANDBOXES as f64);
    until("as many questions as there may be", || control_plane.requests().len() - before == ASKS_MAX);
    gate.open();
    let mut resumed = Vec::new();
    for _session in 0..SANDBOXES {
        let call = worker.call().unwrap();
        let number: usize = call.head.target().rsplit('/').next().unwrap().parse().unwrap();
        let mut worker = call.accept().unwrap();
        assert_resumes(&mut clients[number], &mut worker);
        resumed.push(worker);
    }
    assert_eq!(control_plane.requests().len() - before, SANDBOXES);
    assert_eq!(gateway.metric("gateway_broker_redials_total", &[("outcome", "failed")]).unwrap(), 0.0);
}

#[test]
fn while_nobody_can_be_asked_a_session_waits_and_dials_no_old_endpoint() {
    let Some(mut fleet) = Fleet::start(&["--broker-redial-attempts", "1000"]) else { return };
    let (first, second) = (Worker::start().unwrap(), Worker::start().unwrap());
    fleet.place("1", first.address());
    let (mut client, worker) = connect(&fleet.gateway, &first, PTY);
    fleet.redis.kill().unwrap();
    until("redis to be missed", || fleet.gateway.metric("gateway_redis_up", &[]).unwrap() == 0.0);
    worker.reset().unwrap();
    let failed = || fleet.gateway.metric("gateway_broker_redials_total", &[("outcome", "failed")]).unwrap();
    until("some attempts", || failed() >= 3.0);
    first.expect_no_call().unwrap();
    fleet.redis.restart().unwrap();
    fleet.place("1", second.address());
    let mut worker = until_placed(&first, &second);
    assert_resumes(&mut client, &mut worker);
}

/// Between the directory's return and the change, an attempt may still find the first worker.
fn until_placed(first: &Worker, second: &Worker) -> Socket {
    loop {
        match first.call_within(std::time::Duration::from_millis(10)).unwrap() {
            Some(call) => call.refuse("503 Service Unavailable", "gone").unwrap(),
            None => {
                if let Some(call) = second.call_within(std::time::Duration::from_millis(10)).unwrap() {
                    return call.accept().unwrap();
                }
            }
        }
    }
}
