//! Frames of every form, as the catalogue of Autobahn has them, and frames that are cut by a dying worker.

use gateway_tests::pattern::Pattern;
use gateway_tests::websocket::{Frame, Opcode, Role, Socket};

use super::{PTY, Scene, assert_resumes};

/// Around the changes of the length field, RFC 6455 section 5.2, and past every buffer.
const SIZES: [usize; 10] = [0, 1, 125, 126, 127, 65_534, 65_535, 65_536, 65_537, 1 << 20];

/// The next message, its frames joined.
fn message(socket: &mut Socket) -> Frame {
    let mut message = socket.frame().unwrap();
    while !message.fin {
        let frame = socket.frame().unwrap();
        assert_eq!(frame.opcode, Opcode::CONTINUATION, "{frame:?} within a message");
        message.payload.extend(frame.payload);
        message.fin = frame.fin;
    }
    message
}

#[test]
fn messages_of_every_size_arrive_whole() {
    let scene = Scene::start();
    let (mut client, mut worker) = scene.connect(PTY);
    for size in SIZES {
        let frame = Frame::binary(Pattern::new(size as u64).take(size));
        client.send(&frame).unwrap();
        assert!(message(&mut worker) == frame, "{size} bytes up");
        worker.send(&frame).unwrap();
        assert!(message(&mut client) == frame, "{size} bytes down");
    }
}

#[test]
fn a_message_in_pieces_stays_in_pieces_and_pings_between_are_answered() {
    let scene = Scene::start();
    let (client, worker) = scene.connect(PTY);
    for (mut sender, mut receiver) in [(client, worker)].into_iter().flat_map(|(client, worker)| {
        let (other_client, other_worker) = scene.connect(PTY);
        [(client, worker), (other_worker, other_client)]
    }) {
        let pieces = [
            Frame::text("κό").and_more(),
            Frame::continuation([0xCF]).and_more(),
            Frame::continuation([]).and_more(),
            Frame::continuation([0x83]),
        ];
        for piece in &pieces {
            sender.send(piece).unwrap();
            sender.send(&Frame::ping("between")).unwrap();
            sender.expect(&Frame::pong("between")).unwrap();
        }
        receiver.expect_all(&pieces).unwrap();
    }
}

/// What RFC 6455 forbids either side, and the code that says so.
fn violations() -> Vec<(Vec<Frame>, u16)> {
    vec![
        (vec![Frame::text("compressed").with_reserved(0b100)], 1002),
        (vec![Frame::binary("extended").with_reserved(0b010)], 1002),
        (vec![Frame::binary("extended").with_reserved(0b001)], 1002),
        (vec![Frame::new(0x3, "undefined")], 1002),
        (vec![Frame::new(0xB, "undefined")], 1002),
        (vec![Frame::continuation("of nothing")], 1002),
        (vec![Frame::text("begun").and_more(), Frame::text("another")], 1002),
        (vec![Frame::ping("in pieces").and_more()], 1002),
        (vec![Frame::ping(vec![0; 126])], 1002),
        (vec![Frame::close(1005, "")], 1002),
        (vec![Frame::close(1006, "")], 1002),
        (vec![Frame::close(999, "")], 1002),
        (vec![Frame::new(Opcode::CLOSE, [3])], 1002),
        (vec![Frame::new(Opcode::CLOSE, [0x03, 0xE8, 0xFF])], 1007),
        (vec![Frame::new(Opcode::TEXT, [0xC0, 0xAF])], 1007),
        (vec![Frame::new(Opcode::TEXT, [0xED, 0xA0, 0x80])], 1007),
        (vec![Frame::new(Opcode::TEXT, [0xCE]).and_more(), Frame::continuation("x")], 1007),
        (vec![Frame::new(Opcode::TEXT, [0xCE])], 1007),
    ]
}

/// The close frame with `code`, behind what the other side sent before it broke a rule; nothing of that is a whole
/// message that was refused.
#[track_caller]
fn assert_told(socket: &mut Socket, code: u16, why: &dyn std::fmt::Debug) {
    let mut frame = socket.frame().unwrap();
    while frame.opcode != Opcode::CLOSE {
        assert!(!frame.fin && frame.reserved == 0, "{why:?}: {frame:?} got through");
        frame = socket.frame().unwrap();
    }
    assert_eq!(frame.payload[..2], code.to_be_bytes(), "{why:?}: {frame:?}");
}

#[test]
fn a_client_that_breaks_the_rules_is_told_so() {
    let scene = Scene::start();
    for (frames, code) in violations() {
        let (mut client, mut worker) = scene.connect(PTY);
        client.send_all(&frames).unwrap();
        assert_told(&mut client, code, &frames);
        // Whatever the worker was given of it before, nothing of the client stays there.
        assert_told(&mut worker, code, &frames);
        drop(client);
        worker.end().unwrap();
    }
    scene.worker.expect_no_call().unwrap();
}

/// Another worker would say the same: the session ends with the rule that was broken, for both, and without a redial.
#[test]
fn a_worker_that_breaks_the_rules_ends_the_session() {
    let scene = Scene::start();
    for (frames, code) in violations() {
        let (mut client, mut worker) = scene.connect(PTY);
        worker.send_all(&frames).unwrap();
        assert_told(&mut client, code, &frames);
        assert_told(&mut worker, code, &frames);
    }
    scene.worker.expect_no_call().unwrap();
    assert_eq!(scene.metric("gateway_broker_redials_total", &[]), 0.0);
}

/// The mask is the client's duty and forbidden to the worker, and a length is written in the shortest way.
#[test]
fn bytes_that_are_no_frame_are_refused_from_both_sides() {
    let scene = Scene::start();
    // A length of 1 in the field for 126 and more.
    let padded_and_masked = vec![0x82, 0xFE, 0, 1, 0, 0, 0, 0, 0];
    for bytes in [Frame::text("bare").encode(Role::Server), padded_and_masked] {
        let (mut client, mut worker) = scene.connect(PTY);
        client.send_raw(&bytes).unwrap();
        assert_told(&mut client, 1002, &bytes);
        assert_told(&mut worker, 1002, &bytes);
    }
    let endless = [&[0x82, 0x7F][..], &u64::MAX.to_be_bytes()].concat();
    for bytes in [Frame::text("veiled").encode(Role::Client), vec![0x82, 0x7E, 0, 1, 0], endless] {
        let (mut client, mut worker) = scene.connect(PTY);
        worker.send_raw(&bytes).unwrap();
        assert_told(&mut client, 1002, &bytes);
        assert_told(&mut worker, 1002, &bytes);
    }
    scene.worker.expect_no_call().unwrap();
}

/// Small frames wait until they are whole, so nobody sees half of one.
#[test]
fn a_small_frame_that_is_cut_reaches_nobody() {
    let scene = Scene::with(&["--broker-flap-cycles-max", "100"]);
    let whole = Frame::binary(Pattern::new(1).take(1000)).encode(Role::Server);
    let (mut client, mut worker) = scene.connect(PTY);
    for cut in [1, 2, 3, 4, 5, 500, 1003] {
        worker.send_raw(&whole[..cut]).unwrap();
        drop(worker);
        worker = scene.worker.accept().unwrap();
        assert_resumes(&mut client, &mut worker);
    }
}

/// A large one has begun to arrive: the session cannot go on, and what the client gets is in frames all the same.
#[test]
fn a_large_frame_that_is_cut_ends_the_session_in_order() {
    let mut cuts = Pattern::new(7);
    let scene = Scene::start();
    let whole = Frame::binary(Pattern::new(2).take(1 << 20)).encode(Role::Server);
    for _round in 0..8 {
        let cut = 300_000 + cuts.below(whole.len() - 300_000);
        let (mut client, worker) = scene.connect(PTY);
        std::thread::scope(|threads| {
            let sent = threads.spawn(|| {
                worker.send_raw(&whole[..cut]).unwrap();
                drop(worker);
            });
            let mut received = Vec::new();
            let close = loop {
                let frame = client.frame().unwrap();
                if frame.opcode == Opcode::CLOSE {
                    break frame;
                }
                assert!(!frame.fin, "a message that was cut has no end");
                received.extend(frame.payload);
            };
            assert_eq!(close.payload[..2], 1012_u16.to_be_bytes(), "{close:?}");
            assert!(whole[10..].starts_with(&received), "another message");
            sent.join().unwrap();
        });
        scene.worker.expect_no_call().unwrap();
    }
}
