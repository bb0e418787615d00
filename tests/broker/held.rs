//! What a client sends while it has no worker, where that is held for the next one.

use std::thread;

use gateway_tests::websocket::{Frame, Opcode, Socket};
use gateway_tests::worker::Worker;

use super::{PTY, Scene, assert_resumes};
use crate::scene::until;

/// Messages that are far more than a session and the kernel hold together.
const FLOOD: u32 = 4000;
const MESSAGE_BYTES: usize = 4 << 10;

fn scene(more: &[&str]) -> Scene {
    Scene::with(&[&["--broker-on-redial", "buffer"], more].concat())
}

/// The gateway has read everything that `client` has sent.
fn until_read(client: &mut Socket) {
    client.send(&Frame::ping("read?")).unwrap();
    client.expect(&Frame::pong("read?")).unwrap();
}

#[test]
fn what_is_typed_while_nobody_is_there_comes_first_and_in_order() {
    let scene = scene(&[]);
    let (mut client, worker) = scene.connect(PTY);
    client.send(&Frame::text("before")).unwrap();
    until_read(&mut client);
    worker.reset().unwrap();
    let call = scene.worker.call().unwrap();
    let typed = ["one", "two", "three"].map(Frame::text);
    client.send_all(&typed[..2]).unwrap();
    client.send_all(&[typed[2].clone(), Frame::binary("a part ").and_more()]).unwrap();
    until_read(&mut client);
    let mut worker = call.accept().unwrap();
    worker.expect_all(&typed).unwrap();
    worker.expect(&Frame::binary("a part ").and_more()).unwrap();
    client.send_all(&[Frame::continuation("and the rest"), Frame::text("after")]).unwrap();
    worker.expect_all(&[Frame::continuation("and the rest"), Frame::text("after")]).unwrap();
    assert_resumes(&mut client, &mut worker);
    assert_eq!(scene.metric("gateway_broker_frames_held_total", &[]), 4.0);
    assert_eq!(scene.metric("gateway_broker_frames_dropped_total", &[]), 0.0);
}

#[test]
fn a_message_whose_beginning_went_to_another_worker_is_not_finished_at_the_next() {
    let scene = scene(&[]);
    let (mut client, mut worker) = scene.connect(PTY);
    client.send(&Frame::text("begun ").and_more()).unwrap();
    worker.expect(&Frame::text("begun ").and_more()).unwrap();
    worker.reset().unwrap();
    let call = scene.worker.call().unwrap();
    client.send_all(&[Frame::continuation("and ended"), Frame::text("whole")]).unwrap();
    until_read(&mut client);
    let mut worker = call.accept().unwrap();
    worker.expect(&Frame::text("whole")).unwrap();
    assert_resumes(&mut client, &mut worker);
    assert_eq!(scene.metric("gateway_broker_frames_dropped_total", &[]), 1.0);
}

/// A worker that wants to be heard before it listens, and one that dies at once, lose nobody the order.
#[test]
fn a_client_that_sends_more_than_is_held_is_not_read_and_loses_nothing() {
    let scene = scene(&["--broker-redial-buffer-bytes-max", "64KiB", "--broker-keepalive", "300ms"]);
    let (mut client, worker) = scene.connect(PTY);
    worker.reset().unwrap();
    let call = scene.worker.call().unwrap();
    let sender = client.sender();
    let message = |number: u32| {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(MESSAGE_BYTES, 7);
        Frame::binary(payload)
    };
    let flood = thread::spawn(move || (0..FLOOD).try_for_each(|number| sender.send(&message(number))));
    let held = || scene.metric("gateway_broker_frames_held_total", &[]);
    until("the room to be used up", || held() * MESSAGE_BYTES as f64 >= 65536.0);
    // Pings go on, and the silence of a client that is not read is not held against it.
    for _round in 0..4 {
        client.expect(&Frame::ping([])).unwrap();
    }
    let mut worker = call.accept().unwrap();
    worker.send(&Frame::text("hello")).unwrap();
    // Behind its last message the client is silent, which is held against it.
    while client.frame().unwrap() != Frame::text("hello") {}
    for number in 0..FLOOD {
        let frame = next_data(&mut worker);
        assert_eq!(frame.payload[..4], number.to_be_bytes());
        assert_eq!(frame.payload.len(), MESSAGE_BYTES);
    }
    flood.join().unwrap().unwrap();
    // 64 KiB, and what one receive brought beyond them.
    assert!(held() * MESSAGE_BYTES as f64 <= 3.0 * 65536.0, "{} messages were held", held());
    assert_eq!(scene.metric("gateway_broker_frames_dropped_total", &[]), 0.0);
}

fn next_data(worker: &mut Socket) -> Frame {
    loop {
        let frame = worker.frame().unwrap();
        if frame.opcode == Opcode::PING {
            worker.send(&Frame::pong(frame.payload)).unwrap();
        } else {
            return frame;
        }
    }
}

#[test]
fn a_client_that_leaves_while_it_is_not_read_leaves_nothing_behind() {
    let wait = ["--broker-redial-wait", "1h", "--broker-redial-wait-max", "1h"];
    let scene = scene(&[&wait[..], &["--broker-redial-buffer-bytes-max", "1KiB"]].concat());
    let (client, worker) = scene.connect(PTY);
    worker.reset().unwrap();
    until("the loss to be seen", || {
        client.send(&Frame::binary(vec![0; 2 << 10])).unwrap();
        scene.metric("gateway_broker_frames_held_total", &[]) >= 1.0
    });
    (0..8).for_each(|_| client.send(&Frame::binary(vec![0; 16 << 10])).unwrap());
    drop(client);
    until("the session to be gone", || scene.metric("gateway_connections_open", &[]) == 0.0);
    scene.worker.expect_no_call().unwrap();
}

/// An upstream that takes what was held and dies has had it: the next one gets what came behind, and nothing twice.
#[test]
fn nothing_is_sent_twice() {
    let scene = scene(&[]);
    let (mut client, worker) = scene.connect(PTY);
    worker.reset().unwrap();
    let call = scene.worker.call().unwrap();
    client.send(&Frame::text("once")).unwrap();
    until_read(&mut client);
    let mut worker = call.accept().unwrap();
    worker.expect(&Frame::text("once")).unwrap();
    worker.reset().unwrap();
    let call = scene.worker.call().unwrap();
    client.send(&Frame::text("behind")).unwrap();
    until_read(&mut client);
    let mut worker = call.accept().unwrap();
    worker.expect(&Frame::text("behind")).unwrap();
    assert_resumes(&mut client, &mut worker);
}

#[test]
fn what_is_held_is_lost_with_a_session_that_is_given_up() {
    let scene = scene(&["--broker-redial-attempts", "2"]);
    let (mut client, worker) = scene.connect(PTY);
    drop(worker);
    let refuse = |worker: &Worker| worker.call().unwrap().refuse("500 Internal Server Error", "").unwrap();
    let call = scene.worker.call().unwrap();
    client.send(&Frame::text("to nobody")).unwrap();
    until_read(&mut client);
    call.refuse("500 Internal Server Error", "").unwrap();
    refuse(&scene.worker);
    client.expect_close(1011, "upstream unrecoverable").unwrap();
    assert_eq!(scene.metric("gateway_broker_frames_held_total", &[]), 1.0);
}
