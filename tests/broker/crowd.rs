//! Thousands of idle sessions: what they cost, that each is asked for a sign of life, and all of them on the move.

use std::collections::VecDeque;
use std::process::Command;
use std::time::{Duration, Instant};

use gateway_tests::memory;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::wait::until;
use gateway_tests::websocket::{Frame, Opcode, Socket};
use gateway_tests::worker::{Call, Worker};

use super::{Fleet, connect};

const SESSIONS: usize = 5_000;

/// 50 sessions each.
const SANDBOXES: usize = 100;

/// What the gateway may use per idle session, everything in its memory counted, in bytes.
const SESSION_BYTES_MAX: u64 = 16 << 10;

/// Redials that the one worker thread has under way at a time.
const DIALS_MAX: usize = 32;

/// Long enough for the story to come round to every session before the second sign of life is missed.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// For what thousands of sessions need on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// How long the worker looks for a dial too many, once; and for those that are still to come.
const SILENCE: Duration = Duration::from_millis(300);

/// Both ends of all sessions take half of the descriptors that a process may have, so they get one of their own.
#[test]
fn five_thousand_idle_sessions_move_to_another_worker() {
    if is_missing(&[Need::Program("redis-server")]) {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args(["--ignored", "--exact", "broker::crowd::five_thousand_idle_sessions", "--nocapture"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[ignore = "the process of five_thousand_idle_sessions_move_to_another_worker"]
fn five_thousand_idle_sessions() {
    memory::raise_descriptor_limit().unwrap();
    let keepalive = format!("{}s", KEEPALIVE.as_secs());
    let dials_max = DIALS_MAX.to_string();
    let fleet = Fleet::start(&[
        "--log-level",
        "warn,gateway::serve=info",
        "--broker-per-client-max=0",
        &format!("--broker-keepalive={keepalive}"),
        &format!("--broker-dials-max={dials_max}"),
    ])
    .expect("the other process has looked for redis-server");
    let (first, second) = (Worker::start().unwrap(), Worker::start().unwrap());
    place_all(&fleet, &first);
    let began = Instant::now();
    let (clients, workers) = open(&fleet, &first);
    let (mut clients, workers) = each_is_asked_once(&fleet, clients, workers, began);

    place_all(&fleet, &second);
    drop(workers);
    let workers = take_over(&second);
    for (number, client) in clients.iter_mut().enumerate() {
        workers[number].send(&Frame::text(number.to_string())).unwrap();
        assert_eq!(next_data(client), Frame::text(number.to_string()));
    }
    let metric = |name, labels: &[(&str, &str)]| fleet.gateway.metric(name, labels).unwrap();
    assert_eq!(metric("gateway_broker_sessions_open", &[]), SESSIONS as f64);
    assert_eq!(metric("gateway_broker_redials_total", &[("outcome", "resumed")]), SESSIONS as f64);
    first.expect_no_call().unwrap();

    drop(clients);
    let open = || metric("gateway_broker_sessions_open", &[]);
    until("every session to be gone", LIMIT, || (open() == 0.0).then_some(())).unwrap();
}

fn place_all(fleet: &Fleet, worker: &Worker) {
    for sandbox in 1..=SANDBOXES {
        fleet.place(&sandbox.to_string(), worker.address());
    }
}

/// Opens all sessions, and holds what they cost against the bound.
fn open(fleet: &Fleet, worker: &Worker) -> (Vec<Socket>, Vec<Socket>) {
    let session = |number: usize| {
        let target = format!("/api/sandboxes/{}/pty/{number}", number % SANDBOXES + 1);
        connect(&fleet.gateway, worker, &target)
    };
    // What is allocated once is not a session's.
    drop(session(0));
    let open = || fleet.gateway.metric("gateway_broker_sessions_open", &[]).unwrap();
    until("the first session to be gone", LIMIT, || (open() == 0.0).then_some(())).unwrap();
    let resident = || memory::resident(fleet.gateway.pid()).unwrap();
    let before = resident();
    let sessions = (0..SESSIONS).map(session).unzip();
    let each = (resident() - before) / SESSIONS as u64;
    println!("{each} bytes of the gateway's memory for each of {SESSIONS} idle sessions");
    assert!(each < SESSION_BYTES_MAX, "{each} bytes for each session");
    sessions
}

/// Both ends of every session get a ping and answer it, and no session is asked before its time.
fn each_is_asked_once(
    fleet: &Fleet,
    mut clients: Vec<Socket>,
    mut workers: Vec<Socket>,
    began: Instant,
) -> (Vec<Socket>, Vec<Socket>) {
    for socket in clients.iter_mut().chain(&mut workers) {
        socket.expect(&Frame::ping("")).unwrap();
        socket.send(&Frame::pong("")).unwrap();
    }
    let asked = fleet.gateway.metric("gateway_broker_keepalives_total", &[]).unwrap();
    let rounds = (began.elapsed().as_secs_f64() / KEEPALIVE.as_secs_f64()).ceil();
    let of_a_round = (2 * SESSIONS) as f64;
    assert!((of_a_round..=rounds * of_a_round).contains(&asked), "{asked} in {rounds} rounds");
    (clients, workers)
}

/// Accepts all sessions, never answering before as many as may be are under way, or nobody else comes.
fn take_over(worker: &Worker) -> Vec<Socket> {
    let mut taken: Vec<Option<Socket>> = (0..SESSIONS).map(|_| None).collect();
    let mut under_way = VecDeque::<Call>::new();
    let (mut most, mut count) = (0, 0);
    while count < SESSIONS {
        let full = under_way.len() == DIALS_MAX;
        if full && most < DIALS_MAX {
            assert!(worker.call_within(SILENCE).unwrap().is_none(), "more than {DIALS_MAX} redials at once");
        }
        most = most.max(under_way.len());
        if full {
            worker.expect_no_call().unwrap();
        } else if let Some(call) = worker.call_within(SILENCE).unwrap() {
            under_way.push_back(call);
            continue;
        }
        for call in under_way.drain(..) {
            let number: usize = call.head.target().rsplit('/').next().unwrap().parse().unwrap();
            let before = taken[number].replace(call.accept().unwrap());
            assert!(before.is_none(), "session {number} has two upstreams");
            count += 1;
        }
    }
    assert_eq!(most, DIALS_MAX, "they came one after another");
    taken.into_iter().map(|socket| socket.expect("all are counted")).collect()
}

/// The next frame that is no ping.
fn next_data(socket: &mut Socket) -> Frame {
    loop {
        let frame = socket.frame().unwrap();
        if frame.opcode != Opcode::PING {
            return frame;
        }
        socket.send(&Frame::pong("")).unwrap();
    }
}
