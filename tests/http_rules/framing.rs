//! Field lines and the length of bodies: RFC 9112 sections 2.2, 5 and 6.

use crate::scene::{Scene, assert_open, get};

#[track_caller]
fn refused(request: impl AsRef<[u8]>, rule: &str) {
    Scene::plain().assert_refuses(request, 400, "bad_request", rule);
}

/// A POST with these fields, each with its line end, and `body`.
fn post(fields: &str, body: &str) -> String {
    format!("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\n{fields}\r\n{body}")
}

#[test]
fn a_length_beside_an_encoding_is_refused() {
    refused(post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "length_and_encoding");
    refused(post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), "length_and_encoding");
}

#[test]
fn lengths_that_differ_are_refused() {
    refused(post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), "content_length_differs");
    refused(post("Content-Length: 5, 6\r\n", "hello"), "content_length_differs");
}

#[test]
fn a_repeated_length_reaches_the_pod_once() {
    for fields in ["Content-Length: 5\r\ncontent-length: 5\r\n", "Content-Length: 5, 5\r\n"] {
        let scene = Scene::plain();
        let mut client = scene.client();
        assert_eq!(client.ask(post(fields, "hello")).unwrap().status(), 200);
        assert_open(&mut client);
        assert_eq!(scene.pod.requests()[0].values("content-length"), ["5"]);
        assert!(scene.pod.received().ends_with(b"\r\n\r\nhello"));
    }
}

#[test]
fn a_signed_length_is_refused() {
    refused(post("Content-Length: +5\r\n", "hello"), "content_length_malformed");
    refused(post("Content-Length: -5\r\n", "hello"), "content_length_malformed");
}

#[test]
fn a_length_that_is_no_decimal_number_is_refused() {
    for length in ["", "0x5", "5x", "5 5", "5_0", "5.0", "5,", ",5", "five"] {
        refused(post(&format!("Content-Length: {length}\r\n"), "hello"), "content_length_malformed");
    }
}

#[test]
fn a_length_beyond_64_bits_is_refused() {
    refused(post("Content-Length: 18446744073709551616\r\n", "hello"), "content_length_malformed");
}

#[test]
fn an_encoding_other_than_one_chunked_is_refused() {
    for encoding in [
        "",
        "xchunked",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked;q=1",
        "\"chunked\"",
    ] {
        refused(post(&format!("Transfer-Encoding: {encoding}\r\n"), "0\r\n\r\n"), "transfer_encoding");
    }
}

#[test]
fn a_second_encoding_line_is_refused() {
    for second in ["chunked", "identity", "x"] {
        let fields = format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: {second}\r\n");
        refused(post(&fields, "0\r\n\r\n"), "transfer_encoding");
    }
}

#[test]
fn chunked_in_any_case_reaches_the_pod_as_chunked() {
    let scene = Scene::plain();
    let answer = scene.ask(post("transfer-ENCODING:\t CHUNKED \r\n", "5\r\nhello\r\n0\r\n\r\n"));
    assert_eq!(answer.status(), 200);
    assert_eq!(scene.pod.requests()[0].values("transfer-encoding"), ["chunked"]);
    assert!(scene.pod.received().ends_with(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
}

#[test]
fn an_encoding_in_http_1_0_is_refused() {
    let request = "POST /vnc/1/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(request, "transfer_encoding_http10");
}

#[test]
fn a_folded_field_is_refused() {
    refused(get("/vnc/1/", "X-Note: a\r\n b\r\n"), "obs_fold");
    refused(get("/vnc/1/", "X-Note: a\r\n\tb\r\n"), "obs_fold");
}

#[test]
fn a_blank_before_the_first_field_is_refused() {
    refused("GET /vnc/1/ HTTP/1.1\r\n Host: gw.example\r\n\r\n", "obs_fold");
}

#[test]
fn a_line_that_ends_in_lf_alone_is_refused() {
    refused("GET /vnc/1/ HTTP/1.1\nHost: gw.example\n\n", "bare_lf");
    refused("GET /vnc/1/ HTTP/1.1\r\nHost: gw.example\n\r\n", "bare_lf");
    refused("GET /vnc/1/ HTTP/1.1\r\nHost: gw.example\r\n\n", "bare_lf");
}

#[test]
fn a_cr_without_lf_is_refused() {
    refused(get("/vnc/1/", "X-Note: a\rb\r\n"), "bare_cr");
    refused("GET /vnc/1/\r HTTP/1.1\r\nHost: gw.example\r\n\r\n", "bare_cr");
    refused(get("/vnc/1/", "X-Note: a\r\r\n"), "bare_cr");
}

#[test]
fn a_control_byte_in_a_value_is_refused() {
    for byte in ["\0", "\x01", "\x0b", "\x1f", "\x7f"] {
        refused(get("/vnc/1/", &format!("X-Note: a{byte}b\r\n")), "control_byte");
    }
}

#[test]
fn a_control_byte_in_a_name_or_a_target_is_refused() {
    refused(get("/vnc/1/", "X\0Note: a\r\n"), "control_byte");
    refused(get("/vnc/1/\0", ""), "control_byte");
}

#[test]
fn a_blank_before_the_colon_is_refused() {
    refused(get("/vnc/1/", "X-Note : a\r\n"), "space_before_colon");
    refused(get("/vnc/1/", "X-Note\t: a\r\n"), "space_before_colon");
    refused(post("Content-Length : 5\r\n", "hello"), "space_before_colon");
}

#[test]
fn a_field_without_a_colon_is_refused() {
    refused(get("/vnc/1/", "X-Note\r\n"), "field_colon");
}

#[test]
fn a_field_name_that_is_no_token_is_refused() {
    for name in ["", "X Note", "X(Note)", "\"X\"", "X\u{e9}"] {
        refused(get("/vnc/1/", &format!("{name}: a\r\n")), "field_name");
    }
}

#[test]
fn a_value_beyond_ascii_passes_as_it_came() {
    let scene = Scene::plain();
    assert_eq!(scene.forwarded("X-Note: a\u{e9}\tb\r\n").field("x-note"), Some("a\u{e9}\tb"));
}
