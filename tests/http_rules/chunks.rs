//! Chunked request bodies: RFC 9112 section 7.1. What breaks a rule reaches no pod, and neither does what stands behind
//! it.

use crate::scene::{Scene, assert_closed, assert_failure, assert_open, get, until};

const HEAD: &str = "POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nTransfer-Encoding: chunked\r\n\r\n";

/// `chunks` in one piece with the head.
#[track_caller]
fn refused(chunks: &str, rule: &str) {
    Scene::plain().assert_refuses(format!("{HEAD}{chunks}"), 400, "bad_request", rule);
}

/// The pod gets `expected` as the body.
#[track_caller]
fn forwarded(chunks: &str, expected: &str) {
    let scene = Scene::plain();
    let mut client = scene.client();
    assert_eq!(client.ask(format!("{HEAD}{chunks}")).unwrap().status(), 200);
    assert_open(&mut client);
    let received = scene.pod.received();
    let received = String::from_utf8(received).unwrap();
    let (_head, body) = received.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, expected);
}

#[test]
fn a_size_that_is_no_hex_number_is_refused() {
    for size in ["", "g", "0x5", "-5", "+5", " 5", "5 ", "5_0", "\"5\""] {
        refused(&format!("{size}\r\nhello\r\n0\r\n\r\n"), "chunk_size");
    }
}

#[test]
fn a_size_of_17_digits_is_refused() {
    refused("10000000000000005\r\nhello\r\n0\r\n\r\n", "chunk_size_too_long");
    refused("00000000000000005\r\nhello\r\n0\r\n\r\n", "chunk_size_too_long");
}

#[test]
fn a_size_line_that_ends_in_lf_alone_is_refused() {
    refused("5\nhello\r\n0\r\n\r\n", "chunk_size");
}

#[test]
fn a_size_of_16_digits_in_any_case_is_written_plainly() {
    forwarded("000000000000000A\r\nhellohello\r\n00\r\n\r\n", "a\r\nhellohello\r\n0\r\n\r\n");
}

#[test]
fn an_extension_is_dropped() {
    forwarded("5;name=\"a value\"\r\nhello\r\n0;end\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n");
}

#[test]
fn an_extension_beyond_256_bytes_is_refused() {
    forwarded(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(256)), "5\r\nhello\r\n0\r\n\r\n");
    refused(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(257)), "chunk_extension_too_long");
}

#[test]
fn an_extension_with_a_control_byte_is_refused() {
    for extension in ["a\nb", "a\0b", "a\rb"] {
        refused(&format!("5;{extension}\r\nhello\r\n0\r\n\r\n"), "chunk_extension");
    }
}

#[test]
fn a_chunk_longer_than_its_size_is_refused() {
    refused("5\r\nhello!\r\n0\r\n\r\n", "chunk_end");
    refused("5\r\nhello\n0\r\n\r\n", "chunk_end");
}

#[test]
fn trailers_are_dropped() {
    forwarded("5\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n");
}

#[test]
fn trailers_with_a_control_byte_are_refused() {
    refused("5\r\nhello\r\n0\r\nX: a\nb\r\n\r\n", "trailers");
    refused("5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n", "trailers");
}

#[test]
fn trailers_beyond_8_kib_are_refused() {
    forwarded(&format!("5\r\nhello\r\n0\r\nX: {}\r\n\r\n", "x".repeat(8189)), "5\r\nhello\r\n0\r\n\r\n");
    let trailers = format!("X: {}\r\n\r\n{}", "x".repeat(8190), get("/vnc/1/second", ""));
    refused_after("5\r\nhello\r\n", &format!("0\r\n{trailers}"), "trailers_too_long");
}

#[test]
fn a_rule_that_is_broken_later_ends_both_connections() {
    refused_after("5\r\nhello\r\n", &format!("zz\r\n{}", get("/vnc/1/second", "")), "chunk_size");
}

/// `good` chunks reach the pod, and nothing of what is `bad` does.
#[track_caller]
fn refused_after(good: &str, bad: &str, rule: &str) {
    let scene = Scene::plain();
    let mut client = scene.client();
    client.send(format!("{HEAD}{good}")).unwrap();
    until("the good chunks to arrive", || scene.pod.received().ends_with(good.as_bytes()));
    client.send(bad).unwrap();
    assert_failure(&client.answer().unwrap(), 400, "bad_request", &scene);
    assert_closed(&mut client);
    assert_eq!(scene.rejected(rule), 1.0);
    let received = scene.received();
    let (_head, body) = received.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, good);
}
