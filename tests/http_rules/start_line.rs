//! The request line and the Host: RFC 9112 sections 2.2, 3 and 3.2.

use crate::scene::{OK, Scene, assert_open, get};
use gateway_tests::pod::Pod;

#[track_caller]
fn refused(request: impl AsRef<[u8]>, rule: &str) {
    Scene::plain().assert_refuses(request, 400, "bad_request", rule);
}

/// The pod gets the request, and the connection stays open.
#[track_caller]
fn served(request: &str) -> Scene {
    let scene = Scene::plain();
    let mut client = scene.client();
    assert_eq!(client.ask(request).unwrap().status(), 200);
    assert_open(&mut client);
    assert_eq!(scene.pod.requests().len(), 1);
    scene
}

#[test]
fn a_request_without_a_version_is_refused_at_once() {
    refused("GET /vnc/1/\r\n", "version");
}

#[test]
fn a_later_minor_version_is_refused() {
    refused("GET /vnc/1/ HTTP/1.2\r\nHost: gw.example\r\n\r\n", "version");
}

#[test]
fn a_version_of_three_digits_is_refused() {
    refused("GET /vnc/1/ HTTP/1.10\r\nHost: gw.example\r\n\r\n", "version");
}

#[test]
fn the_preface_of_http_2_is_refused() {
    refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version");
}

#[test]
fn a_version_in_small_letters_is_refused() {
    refused("GET /vnc/1/ http/1.1\r\nHost: gw.example\r\n\r\n", "version");
}

#[test]
fn a_version_with_a_blank_behind_it_is_refused() {
    refused("GET /vnc/1/ HTTP/1.1 \r\nHost: gw.example\r\n\r\n", "version");
}

#[test]
fn a_tls_handshake_is_refused() {
    refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "control_byte");
}

#[test]
fn connect_is_refused_with_405() {
    let scene = Scene::plain();
    scene.assert_refuses("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: gw.example\r\n\r\n", 405, "bad_request", "connect");
    let answer = scene.ask("CONNECT gw.example:443 HTTP/1.1\r\nHost: gw.example\r\n\r\n");
    assert!(answer.field("allow").is_some_and(|methods| methods.contains("GET")), "RFC 9110 section 15.5.6");
}

#[test]
fn a_method_that_is_no_token_is_refused() {
    refused("G(T /vnc/1/ HTTP/1.1\r\nHost: gw.example\r\n\r\n", "method");
}

#[test]
fn a_method_of_33_bytes_is_refused_and_one_of_32_is_forwarded() {
    let request = |method: &str| format!("{method} /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\n\r\n");
    refused(request(&"M".repeat(33)), "method");
    let scene = served(&request(&"M".repeat(32)));
    assert_eq!(scene.pod.requests()[0].method(), "M".repeat(32));
}

#[test]
fn a_target_with_a_fragment_is_refused() {
    refused(get("/vnc/1/#top", ""), "target");
}

#[test]
fn a_target_with_a_blank_is_refused() {
    refused(get("/vnc/1/a b", ""), "target");
}

#[test]
fn a_target_beyond_ascii_is_refused() {
    refused(get("/vnc/\u{ff11}/", "Cookie: vnc_session_id=1\r\n"), "target");
}

#[test]
fn a_relative_target_is_refused() {
    refused(get("vnc/1/", ""), "target");
}

#[test]
fn an_asterisk_belongs_to_options() {
    refused(get("*", ""), "target");
    let scene = Scene::plain();
    let mut client = scene.client();
    let answer = client.ask("OPTIONS * HTTP/1.1\r\nHost: gw.example\r\n\r\n").unwrap();
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (404, Some("no_route")));
    assert_open(&mut client);
}

#[test]
fn two_empty_lines_before_a_request_are_tolerated_and_three_are_not() {
    served(&format!("\r\n\r\n{}", get("/vnc/1/x", "")));
    refused(format!("\r\n\r\n\r\n{}", get("/vnc/1/x", "")), "empty_lines");
}

#[test]
fn a_request_of_http_1_1_without_host_is_refused() {
    refused("GET /vnc/1/ HTTP/1.1\r\n\r\n", "host_missing");
}

#[test]
fn a_request_of_http_1_0_needs_no_host() {
    let scene = Scene::of(Pod::answering(OK).unwrap());
    assert_eq!(scene.ask("GET /vnc/1/x HTTP/1.0\r\n\r\n").status(), 200);
    assert_eq!(scene.pod.requests()[0].field("host"), Some(scene.pod.address().to_string().as_str()));
}

#[test]
fn two_hosts_are_refused_even_if_they_are_the_same() {
    refused(get("/vnc/1/", "Host: gw.example\r\n"), "host_repeated");
    refused(get("/vnc/1/", "host: other.example\r\n"), "host_repeated");
}

#[test]
fn a_host_that_is_no_authority_is_refused() {
    for host in ["", "a,b", "a b", "a/b", "user@a", "a:b", "a:123456", "[::1", "\"a\""] {
        refused(format!("GET /vnc/1/ HTTP/1.1\r\nHost: {host}\r\n\r\n"), "host_malformed");
    }
}

#[test]
fn an_absolute_target_must_name_the_host() {
    refused(get("http://other.example/vnc/1/", ""), "host_mismatch");
    let scene = served(&get("http://GW.example/vnc/1/x?y", ""));
    assert_eq!(scene.pod.requests()[0].start(), "GET /x?y HTTP/1.1");
}
