//! What clients say about themselves and to the gateway: what of it the sandbox sees, and what of it is believed.

use std::net::IpAddr;

use super::super::*;
use super::{forwarding, request_head};

#[test]
fn what_was_meant_for_the_gateway_stays_behind_if_it_is_asked_to() {
    let fields = "Authorization: Bearer s3cret\r\nX-Sandbox-ID: a\r\nx-sandbox-port: 1\r\nX-Sandboxed: y\r\nX: z\r\n";
    let head = request_head(&format!("GET / HTTP/1.1\r\nHost: gw\r\n{fields}\r\n"));
    let hiding = Forwarding { consumes_authorization: true, hides_sandbox_headers: true, ..forwarding() };
    for (f, sent) in [(forwarding(), fields), (hiding, "X-Sandboxed: y\r\nX: z\r\n")] {
        let mut out = Vec::new();
        request(&head, false, &f, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(sent), "{text}");
        assert_eq!(text.contains("s3cret"), !f.consumes_authorization);
    }
}

#[test]
fn the_clients_address_is_the_rightmost_that_no_trusted_proxy_has() {
    let trusted = |address: IpAddr| address.to_string().starts_with("10.");
    for (fields, peer, client) in [
        ("", "10.0.0.1", "10.0.0.1"),
        ("X-Forwarded-For: 1.1.1.1\r\n", "192.0.2.1", "192.0.2.1"),
        ("X-Forwarded-For: 1.1.1.1\r\n", "10.0.0.1", "1.1.1.1"),
        ("X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.2\r\n", "10.0.0.1", "1.1.1.1"),
        ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.1.1.1\r\n", "10.0.0.1", "1.1.1.1"),
        ("X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n", "10.0.0.1", "10.0.0.3"),
        ("X-Forwarded-For: 1.1.1.1, unknown\r\n", "10.0.0.1", "10.0.0.1"),
    ] {
        let head = request_head(&format!("GET / HTTP/1.1\r\nHost: gw\r\n{fields}\r\n"));
        assert_eq!(client_address(&head, peer.parse().unwrap(), trusted).to_string(), client, "{fields}");
    }
}
