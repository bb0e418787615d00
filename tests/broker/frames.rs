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

#[test]
fn a_client_that_breaks_the_rules_is_told_so() {
    let scene = Scene::start();
    let long_ping = Frame::ping(vec![0; 126]);
    let broken = [
        (vec![Frame::text("compressed").with_reserved(0b100)], 1002),
        (vec![Frame::binary("extended").with_reserved(0b010)], 1002),
        (vec![Frame::new(0x3, "undefined")], 1002),
        (vec![Frame::new(0xB, "undefined")], 1002),
        (vec![Frame::continuation("of nothing")], 1002),
        (vec![Frame::text("begun").and_more(), Frame::text("another")], 1002),
        (vec![Frame::ping("in pieces").and_more()], 1002),
        (vec![long_ping], 1002),
        (vec![Frame::close(1005, "")], 1002),
        (vec![Frame::close(999, "")], 1002),
        (vec![Frame::new(Opcode::CLOSE, [3])], 1002),
        (vec![Frame::new(Opcode::TEXT, [0xC0, 0xAF])], 1007),
        (vec![Frame::new(Opcode::TEXT, [0xCE]).and_more(), Frame::continuation("x")], 1007),
    ];
    for (frames, code) in broken {
        let (mut client, mut worker) = scene.connect(PTY);
        client.send_all(&frames).unwrap();
        let close = client.frame().unwrap();
        assert_eq!(
            (close.opcode, &close.payload[..2]),
            (Opcode::CLOSE, &u16::to_be_bytes(code)[..]),
            "{frames:?}: {close:?}"
        );
        // Whatever the worker was given of it before, nothing of the client stays there.
        drop(client);
        worker.end().unwrap();
    }
    scene.worker.expect_no_call().unwrap();
}

#[test]
fn an_unmasked_client_is_refused() {
    let scene = Scene::start();
    let (mut client, _worker) = scene.connect(PTY);
    client.send_raw(&Frame::text("bare").encode(Role::Server)).unwrap();
    let close = client.frame().unwrap();
    assert_eq!((close.opcode, &close.payload[..2]), (Opcode::CLOSE, &1002_u16.to_be_bytes()[..]), "{close:?}");
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
