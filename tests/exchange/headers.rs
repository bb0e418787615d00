//! Fields: those of one hop stay behind, the gateway's own are set, all others pass.

use gateway_tests::pod::Pod;

use crate::scene::{Scene, get, ok};

/// Trap 46.
#[test]
fn what_is_for_one_hop_does_not_reach_the_pod() {
    let scene = Scene::plain();
    let request = scene.forwarded(
        "Connection: keep-alive, X-Hop, x-other-hop\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic x\r\n\
         Proxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X-Sum\r\nUpgrade: h2c\r\nX-Hop: 1\r\n\
          X-OTHER-hop: 2\r\n\
         X-Kept: 3\r\n",
    );
    for name in [
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "x-hop",
        "x-other-hop",
    ] {
        assert_eq!(request.field(name), None, "{name}");
    }
    assert_eq!(request.field("x-kept"), Some("3"));
}

/// Trap 46.
#[test]
fn what_is_for_one_hop_does_not_reach_the_client() {
    let fields = "Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
     Trailer: X-Sum\r\n\
        Upgrade: h2c\r\nX-Hop: 1\r\nX-Kept: 3\r\n";
    let scene = Scene::of(Pod::answering(ok(fields, "")).unwrap());
    let answer = scene.ask(get("/vnc/1/x", ""));
    for name in ["connection", "keep-alive", "proxy-authenticate", "trailer", "upgrade", "x-hop"] {
        assert_eq!(answer.field(name), None, "{name}");
    }
    assert_eq!(answer.field("x-kept"), Some("3"));
}

/// Trap 46: order, case and blanks inside are the sender's.
#[test]
fn all_other_fields_pass_as_they_came() {
    let fields =
        "uSeR-aGeNt: a  b\r\nAccept: */*\r\nX-Empty:\r\nAuthorization: Bearer a.b.c\r\nX-Twice: 1\r\nx-twice: 2\r\n";
    let scene = Scene::of(
        Pod::answering(ok("sErVeR: p\r\nDate: now\r\nX-Twice: b\r\nx-TWICE: a\r\nX-Empty:\r\n", "")).unwrap(),
    );
    let answer = scene.ask(get("/vnc/1/x", fields));
    let request = &scene.pod.requests()[0];
    let passed = String::from_utf8_lossy(request.raw()).into_owned();
    let expected = fields.replace("X-Empty:\r\n", "X-Empty: \r\n");
    assert!(passed.contains(&expected), "{passed}");
    let passed = String::from_utf8_lossy(answer.head.raw()).into_owned();
    let expected = "sErVeR: p\r\nDate: now\r\nX-Twice: b\r\nx-TWICE: a\r\nX-Empty: \r\n";
    assert!(passed.contains(expected), "{passed}");
    assert_eq!(answer.head.values("date"), ["now"], "nothing is doubled");
}

#[test]
fn the_host_is_the_endpoint_unless_configured() {
    let scene = Scene::plain();
    let endpoint = scene.pod.address().to_string();
    assert_eq!(scene.forwarded("").values("host"), [endpoint.as_str()]);
    for (choice, host) in
        [("endpoint", endpoint.as_str()), ("pass", "gw.example"), ("mask:localhost:8006", "localhost:8006")]
    {
        let scene = Scene::with(Pod::answering(crate::scene::OK).unwrap(), &["--host-header", choice]);
        let seen = scene.forwarded("");
        let expected = if choice == "endpoint" { scene.pod.address().to_string() } else { host.to_owned() };
        assert_eq!(seen.values("host"), [expected.as_str()], "{choice}");
        assert_eq!(seen.field("x-forwarded-host"), Some("gw.example"), "{choice}");
    }
}

#[test]
fn the_gateways_own_cookie_never_reaches_the_pod() {
    let scene = Scene::plain();
    for (cookies, left) in [
        ("vnc_session_id=1", vec![]),
        ("a=b; vnc_session_id=1; c=d", vec!["a=b; c=d"]),
        ("vnc_session_id=1; vnc_session_id=2; a=\"b c\"", vec!["a=\"b c\""]),
        ("a=b;c=d", vec!["a=b;c=d"]),
        ("vnc_session_idx=1; xvnc_session_id=2", vec!["vnc_session_idx=1; xvnc_session_id=2"]),
    ] {
        let request = scene.forwarded(&format!("Cookie: {cookies}\r\n"));
        assert_eq!(request.values("cookie"), left, "{cookies}");
    }
    let two = scene.forwarded("Cookie: a=b; vnc_session_id=1\r\nCookie: vnc_session_id=2\r\ncookie: c=d\r\n");
    assert_eq!(two.values("cookie"), ["a=b", "c=d"]);
}

#[test]
fn a_request_has_one_id_everywhere() {
    let scene = Scene::plain();
    let given = scene.forwarded("X-Request-Id: from-the-client\r\n");
    assert_eq!(given.values("x-request-id"), ["from-the-client"]);
    for bad in ["", "two words", &"x".repeat(129), "caf\u{e9}"] {
        let made = scene.forwarded(&format!("X-Request-Id: {bad}\r\n"));
        let ids = made.values("x-request-id");
        assert!(ids.len() == 1 && ids[0] != bad && ids[0].len() >= 8, "{ids:?}");
    }
    let answer = scene.ask(get("/vnc/2/x", "X-Request-Id: failed-one\r\n"));
    assert_eq!(answer.field("x-request-id"), Some("failed-one"));
}
