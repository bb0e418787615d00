//! Handshakes, good and broken.

use super::*;
use crate::http::parse::{self, ResponseContext};
use crate::http::{HeadLimits, Progress};

const GOOD: &str = "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn requested_by(line: &str, fields: &str) -> Result<Option<Upgrade>, UpgradeError> {
    let text = format!("{line}\r\n{fields}\r\n");
    match parse::request(text.as_bytes(), &HeadLimits::default()) {
        Ok(Progress::Complete { head, .. }) => requested(&head),
        other => panic!("{text:?} gives {other:?}"),
    }
}

fn accepted(text: &str) -> Result<(), UpgradeError> {
    let upgrade = requested_by("GET / HTTP/1.1", GOOD).unwrap().unwrap();
    let context = ResponseContext { head: false, upgrade: true };
    match parse::response(format!("{text}\r\n").as_bytes(), context, &HeadLimits::default()) {
        Ok(Progress::Complete { head, .. }) => upgrade.accepted_by(&head),
        other => panic!("{text:?} gives {other:?}"),
    }
}

#[test]
fn the_example_of_the_rfc_is_understood() {
    let upgrade = requested_by("GET /chat HTTP/1.1", GOOD).unwrap().unwrap();
    assert_eq!(&upgrade.accept(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn spellings_that_are_upgrades() {
    for (from, to) in [
        ("Connection: Upgrade", "connection: keep-alive, UPGRADE"),
        ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade"),
        ("Upgrade: websocket", "upgrade: WebSocket"),
        ("Upgrade: websocket", "Upgrade: h2c, websocket"),
        ("Host: h\r\n", "Host: h\r\nContent-Length: 0\r\n"),
        ("Host: h\r\n", "Host: h\r\nSec-WebSocket-Protocol: binary\r\n"),
    ] {
        let fields = GOOD.replace(from, to);
        assert!(matches!(requested_by("GET / HTTP/1.1", &fields), Ok(Some(_))), "{fields}");
    }
}

#[test]
fn what_is_no_upgrade_to_websocket_is_an_ordinary_request() {
    for (from, to) in [
        ("Connection: Upgrade", "Connection: keep-alive"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Upgrade: websocket", "Upgrade: TLS/1.0"),
        ("Upgrade: websocket", "Upgrade: websockets"),
        ("Upgrade: websocket\r\n", ""),
    ] {
        assert_eq!(requested_by("POST / HTTP/1.1", &GOOD.replace(from, to)), Ok(None), "{to}");
    }
}

#[test]
fn upgrades_that_are_refused() {
    for (line, error) in [("POST / HTTP/1.1", UpgradeError::Method), ("GET / HTTP/1.0", UpgradeError::HttpVersion)] {
        assert_eq!(requested_by(line, GOOD), Err(error));
    }
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (from, to, error) in [
        ("Host: h\r\n", "Host: h\r\nContent-Length: 1\r\n".to_owned(), UpgradeError::Body),
        ("Host: h\r\n", "Host: h\r\nTransfer-Encoding: chunked\r\n".to_owned(), UpgradeError::Body),
        ("Version: 13", "Version: 8".to_owned(), UpgradeError::WebsocketVersion),
        ("Version: 13", "Version: 13, 8".to_owned(), UpgradeError::WebsocketVersion),
        ("Sec-WebSocket-Version: 13\r\n", String::new(), UpgradeError::WebsocketVersion),
        (key, String::new(), UpgradeError::Key),
        (key, format!("{key}{key}"), UpgradeError::Key),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ".to_owned(), UpgradeError::Key),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWE=".to_owned(), UpgradeError::Key),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25-ZQ==".to_owned(), UpgradeError::Key),
        ("dGhlIHNhbXBsZSBub25jZQ==", String::new(), UpgradeError::Key),
    ] {
        assert_eq!(requested_by("GET / HTTP/1.1", &GOOD.replace(from, &to)), Err(error), "{to}");
    }
}

#[test]
fn keys_with_surplus_bits_are_taken() {
    let fields = GOOD.replace("ZQ==", "ZR==");
    assert!(matches!(requested_by("GET / HTTP/1.1", &fields), Ok(Some(_))));
}

#[test]
fn only_the_right_101_opens_a_stream() {
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert_eq!(accepted(SWITCH), Ok(()));
    for (from, to, error) in [
        ("101 Switching Protocols", "200 OK", UpgradeError::Status { status: 200 }),
        ("101 Switching Protocols", "403 Forbidden", UpgradeError::Status { status: 403 }),
        ("Upgrade: WebSocket", "Upgrade: h2c", UpgradeError::ResponseUpgrade),
        ("Upgrade: WebSocket\r\n", "", UpgradeError::ResponseUpgrade),
        ("Connection: upgrade", "Connection: close", UpgradeError::ResponseConnection),
        ("Connection: upgrade\r\n", "", UpgradeError::ResponseConnection),
        ("s3pPLM", "S3pPLM", UpgradeError::Accept),
        ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "", UpgradeError::Accept),
        ("Sec-WebSocket-Accept:", "X:", UpgradeError::Accept),
        ("Connection:", "Sec-WebSocket-Accept: x\r\nConnection:", UpgradeError::Accept),
    ] {
        assert_eq!(accepted(&SWITCH.replace(from, to)), Err(error), "{to}");
    }
}
