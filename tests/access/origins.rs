//! What comes by a cookie is asked for its origin.

use gateway_tests::wire::UPGRADE_FIELDS;

use super::{Guarded, told};
use crate::scene::get;

const FOREIGN: &str = "Pages of this origin may not use the sandbox.";

/// A page elsewhere makes the browser of somebody who has a cookie open a socket.
#[test]
fn a_cross_site_websocket_is_refused() {
    let scene = Guarded::new();
    let target = format!("{}/ws", scene.prefix("mine"));
    let cookie = scene.cookie(&scene.token());
    for origin in
        ["https://evil.example", "https://gw.example", "http://gw.example:81", "null", "http://gw.example.evil"]
    {
        let answer = scene.ask(&target, &format!("{UPGRADE_FIELDS}{cookie}Origin: {origin}\r\n"));
        assert_eq!(told(&answer), (403, "foreign_origin".into(), FOREIGN.into()), "{origin}");
    }
    let without = scene.ask(&target, &format!("{UPGRADE_FIELDS}{cookie}"));
    assert_eq!(without.status(), 403, "every browser names its page here");
    let twice = "Origin: http://gw.example\r\nOrigin: http://gw.example\r\n";
    assert_eq!(scene.ask(&target, &format!("{UPGRADE_FIELDS}{cookie}{twice}")).status(), 403);
    assert!(scene.pod.requests().is_empty(), "the sandbox heard of none");
    assert_eq!(scene.ask(&target, &format!("{UPGRADE_FIELDS}{cookie}Origin: http://gw.example\r\n")).status(), 101);
}

#[test]
fn every_request_that_comes_by_a_cookie_is_asked() {
    let scene = Guarded::new();
    let target = format!("{}/x", scene.prefix("mine"));
    let cookie = scene.cookie(&scene.token());
    let ask = |method: &str, fields: &str| {
        let request = get(&target, &format!("{cookie}{fields}")).replacen("GET", method, 1);
        scene.client().ask(request).unwrap().status()
    };
    for (method, fields, status) in [
        ("GET", "", 200),
        ("GET", "Origin: http://gw.example\r\n", 200),
        ("GET", "Origin: http://evil.example\r\n", 403),
        ("GET", "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n", 200),
        ("GET", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n", 403),
        ("GET", "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n", 403),
        ("GET", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n", 200),
        ("POST", "Origin: http://gw.example\r\nContent-Length: 0\r\n", 200),
        ("POST", "Origin: http://evil.example\r\nContent-Length: 0\r\n", 403),
        ("POST", "Content-Length: 0\r\n", 403),
        ("DELETE", "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n", 403),
    ] {
        assert_eq!(ask(method, fields), status, "{method} {fields}");
    }
}

#[test]
fn other_origins_are_let_in_where_they_are_listed() {
    let scene = Guarded::with(&["--auth-origin", "https://app.example,http://localhost:3000"]);
    let target = format!("{}/ws", scene.prefix("mine"));
    let cookie = scene.cookie(&scene.token());
    for (origin, status) in [
        ("https://app.example", 101),
        ("http://localhost:3000", 101),
        ("http://gw.example", 101),
        ("http://app.example", 403),
        ("https://app.example:8443", 403),
    ] {
        let answer = scene.ask(&target, &format!("{UPGRADE_FIELDS}{cookie}Origin: {origin}\r\n"));
        assert_eq!(answer.status(), status, "{origin}");
    }
}

/// The origin is the one that the browser sees, which only a proxy that is trusted knows.
#[test]
fn behind_a_trusted_proxy_the_public_origin_counts() {
    let scene = Guarded::with(&["--trusted-proxy", "127.0.0.1"]);
    let target = format!("{}/ws", scene.prefix("mine"));
    let cookie = scene.cookie(&scene.token());
    let public = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\n";
    for (origin, status) in [("https://public.example", 101), ("http://gw.example", 403)] {
        let answer = scene.ask(&target, &format!("{UPGRADE_FIELDS}{cookie}{public}Origin: {origin}\r\n"));
        assert_eq!(answer.status(), status, "{origin}");
    }
}

/// Whoever can write the field is no browser that was tricked.
#[test]
fn a_bearer_is_not_asked_for_its_origin() {
    let scene = Guarded::new();
    let fields = format!("{UPGRADE_FIELDS}Authorization: Bearer {}\r\n", scene.token());
    let target = format!("{}/ws", scene.prefix("mine"));
    assert_eq!(scene.ask(&target, &fields).status(), 101);
    assert_eq!(scene.ask(&target, &format!("{fields}Origin: https://evil.example\r\n")).status(), 101);
}
