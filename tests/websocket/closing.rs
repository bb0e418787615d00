//! How a conversation ends, and what either end learns about it.

use gateway_tests::websocket::{Frame, Opcode};

use super::Scene;

/// Registered codes, the ends of the two free ranges, and codes that may not be on the wire (RFC 6455 section 7.4).
const CODES: [u16; 12] = [1000, 1001, 1007, 1011, 1012, 3000, 4001, 4999, 999, 1005, 1006, 5000];

/// Trap 21.
#[test]
fn codes_and_reasons_travel_both_ways() {
    let scene = Scene::start();
    for code in CODES {
        scene.both_ways(|closing, closed| {
            closing.send(&Frame::close(code, "because")).unwrap();
            closed.expect(&Frame::close(code, "because")).unwrap();
            closed.send(&Frame::close(code, "")).unwrap();
            closing.expect(&Frame::close(code, "")).unwrap();
        });
    }
}

#[test]
fn a_close_without_a_code_and_one_with_half_a_code_are_not_completed() {
    let scene = Scene::start();
    for payload in [&[][..], &[3][..]] {
        scene.both_ways(|closing, closed| {
            let frame = Frame::new(Opcode::CLOSE, payload);
            closing.send(&frame).unwrap();
            closed.expect(&frame).unwrap();
        });
    }
}

#[test]
fn what_was_said_before_the_close_is_heard() {
    let scene = Scene::start();
    scene.both_ways(|closing, closed| {
        closing.send_all(&[Frame::text("the last word"), Frame::close(1000, "done")]).unwrap();
        closed.expect(&Frame::text("the last word")).unwrap();
        closed.expect(&Frame::close(1000, "done")).unwrap();
    });
}

/// The server ends the connection, and the client sees an end in order.
#[test]
fn the_closing_handshake_ends_both_connections() {
    let scene = Scene::start();
    let (mut client, mut worker) = scene.connect();
    client.send(&Frame::close(4001, "enough")).unwrap();
    worker.expect(&Frame::close(4001, "enough")).unwrap();
    worker.send(&Frame::close(4001, "")).unwrap();
    drop(worker);
    client.expect_close(4001, "").unwrap();
}
