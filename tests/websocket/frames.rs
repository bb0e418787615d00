//! Frames of every form, as the catalogue of Autobahn has them: what is sent is what arrives.

use gateway_tests::pattern::Pattern;
use gateway_tests::websocket::{Frame, Opcode};

use super::Scene;

/// Around the changes of the length field, RFC 6455 section 5.2, and past every buffer.
const SIZES: [usize; 11] = [0, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 65_537, 1 << 20];

#[test]
fn messages_of_every_size_arrive_whole() {
    let scene = Scene::start();
    scene.both_ways(|sender, receiver| {
        for size in SIZES {
            let frame = Frame::binary(Pattern::new(size as u64).take(size));
            sender.send(&frame).unwrap();
            receiver.expect(&frame).unwrap();
        }
    });
}

#[test]
fn text_arrives_as_it_is() {
    let scene = Scene::start();
    scene.both_ways(|sender, receiver| {
        // One to four bytes for a character, a noncharacter, and the longest code point.
        for text in ["", "plain", "κόσμε", "🦀 and \u{10FFFF}", "\u{FFFE}", "\0"] {
            sender.send(&Frame::text(text)).unwrap();
            receiver.expect(&Frame::text(text)).unwrap();
        }
    });
}

#[test]
fn a_message_in_pieces_stays_in_pieces_with_control_frames_between() {
    let frames = [
        Frame::text("κό").and_more(),
        Frame::ping("in between"),
        // Half a character: only the message is text, not its frames (section 5.6).
        Frame::continuation([0xCF]).and_more(),
        Frame::pong("nobody asked"),
        Frame::continuation([]).and_more(),
        Frame::ping([b'x'; 125]),
        Frame::continuation([0x83]),
        Frame::binary([1]).and_more(),
        Frame::continuation([2]),
    ];
    let scene = Scene::start();
    scene.both_ways(|sender, receiver| {
        sender.send_all(&frames).unwrap();
        receiver.expect_all(&frames).unwrap();
        for frame in &frames {
            sender.send(frame).unwrap();
        }
        receiver.expect_all(&frames).unwrap();
    });
}

/// A stream is no judge: what its ends have agreed upon, or get wrong, is between them.
#[test]
fn a_stream_passes_what_it_does_not_know() {
    let frames = [
        Frame::text("compressed").with_reserved(0b100),
        Frame::binary("extended").with_reserved(0b011),
        Frame::new(0x3, "undefined"),
        Frame::new(0xB, "undefined"),
        Frame::continuation("of nothing"),
        Frame::text([0xFF, 0xFE].map(char::from).iter().collect::<String>()),
        Frame::new(Opcode::TEXT, [0xC0, 0xAF]),
    ];
    let scene = Scene::start();
    scene.both_ways(|sender, receiver| {
        sender.send_all(&frames).unwrap();
        receiver.expect_all(&frames).unwrap();
    });
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let scene = Scene::start();
    scene.both_ways(|sender, receiver| {
        let frame = Frame::binary(Pattern::new(1).take(130));
        sender.send_slowly(&frame).unwrap();
        receiver.expect(&frame).unwrap();
    });
}

/// Two connections of one client into one sandbox are two conversations.
#[test]
fn two_connections_never_see_each_others_frames() {
    let scene = Scene::start();
    let (mut one, mut one_worker) = scene.connect();
    let (mut two, mut two_worker) = scene.connect();
    for round in 0..20 {
        one.send(&Frame::text(format!("one {round}"))).unwrap();
        two.send(&Frame::text(format!("two {round}"))).unwrap();
        two_worker.expect(&Frame::text(format!("two {round}"))).unwrap();
        one_worker.expect(&Frame::text(format!("one {round}"))).unwrap();
    }
    one_worker.reset().unwrap();
    one.end().unwrap();
    two.exchange(&mut two_worker, "undisturbed").unwrap();
    assert!(two.is_silent().unwrap() && two_worker.is_silent().unwrap());
}
