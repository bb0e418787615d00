//! What a head tells about its request.

use crate::http::parse::{self, ResponseContext};
use crate::http::{HeadLimits, Progress, RequestHead};

fn request(line: &str, fields: &str) -> RequestHead {
    let text = format!("{line}\r\nHost: h\r\n{fields}\r\n");
    match parse::request(text.as_bytes(), &HeadLimits::default()) {
        Ok(Progress::Complete { head, .. }) => head,
        other => panic!("{text:?} gives {other:?}"),
    }
}

#[test]
fn connections_are_kept_as_their_version_says() {
    for (line, fields, kept) in [
        ("GET / HTTP/1.1", "", true),
        ("GET / HTTP/1.1", "Connection: close\r\n", false),
        ("GET / HTTP/1.1", "Connection: keep-alive, CLOSE\r\n", false),
        ("GET / HTTP/1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("GET / HTTP/1.0", "", false),
        ("GET / HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ("GET / HTTP/1.0", "Connection: Keep-Alive, close\r\n", false),
    ] {
        assert_eq!(request(line, fields).wants_keep_alive(), kept, "{line} {fields}");
    }
    for (text, kept) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", false),
    ] {
        let context = ResponseContext { head: false, upgrade: true };
        let Ok(Progress::Complete { head, .. }) = parse::response(text.as_bytes(), context, &HeadLimits::default())
        else {
            panic!("{text}");
        };
        assert_eq!(head.keep_alive(), kept, "{text}");
        assert!(!head.is_interim());
    }
}

#[test]
fn navigations_are_told_from_programs() {
    for (fields, navigates) in [
        ("Sec-Fetch-Mode: navigate\r\n", true),
        ("Sec-Fetch-Mode: cors\r\nAccept: text/html\r\n", false),
        ("Sec-Fetch-Mode: websocket\r\n", false),
        ("Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n", true),
        ("Accept: application/json;q=0.5, TEXT/html\r\n", true),
        ("Accept: application/json, text/html\r\n", false),
        ("Accept: text/html;q=0.1, application/json\r\n", false),
        ("Accept: text/html;q=0\r\n", false),
        ("Accept: text/html;q=x\r\n", false),
        ("Accept: application/json, text/plain, */*\r\n", false),
        ("Accept: */*\r\n", false),
        ("Accept: text/html;level=1;q=0.7, text/css;q=0.6\r\n", true),
        ("", false),
    ] {
        assert_eq!(request("GET / HTTP/1.1", fields).navigates(), navigates, "{fields}");
    }
}

#[test]
fn a_continue_is_expected_only_in_11() {
    for (line, fields, expected) in [
        ("POST / HTTP/1.1", "Expect: 100-Continue\r\n", true),
        ("POST / HTTP/1.0", "Expect: 100-continue\r\n", false),
        ("POST / HTTP/1.1", "Expect: 200-ok\r\n", false),
        ("POST / HTTP/1.1", "", false),
    ] {
        assert_eq!(request(line, fields).expects_continue(), expected, "{line} {fields}");
    }
}

#[test]
fn connection_lists_names_in_any_case() {
    let head = request("GET / HTTP/1.1", "Connection: X-A,, x-b \r\nConnection: upgrade\r\nUpgrade: a, WebSocket\r\n");
    assert!(head.connection_names("x-a") && head.connection_names("X-B") && !head.connection_names("x"));
    assert!(head.asks_websocket());
    assert!(!request("GET / HTTP/1.1", "Upgrade: websocket\r\n").asks_websocket());
    assert!(request("HEAD / HTTP/1.1", "").is_head());
    assert!(!request("head / HTTP/1.1", "").is_head());
}

#[test]
fn heads_with_many_fields_keep_them_all() {
    let fields: String = (0..90).map(|n| format!("f{n}: {n}\r\n")).collect();
    let head = request("GET / HTTP/1.1", &fields);
    assert_eq!(head.fields().count(), 91);
    assert_eq!(head.field("F89"), Some(&b"89"[..]));
}
