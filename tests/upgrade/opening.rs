//! What a client may ask, and what the pod hears of it.

use gateway_tests::pod::{Pod, switching};
use gateway_tests::wire::{Head, UPGRADE_FIELDS, WEBSOCKET_ACCEPT, WEBSOCKET_KEY};

use crate::scene::{OK, Scene, get};

const TARGET: &str = "/vnc/1/websockify";

/// The pod's view of an upgrade with these fields, each with its line end, which is accepted.
#[track_caller]
fn opened(fields: &str) -> Head {
    let scene = Scene::of(Pod::echoing().unwrap());
    let mut client = scene.client();
    let answer = client.ask(get(TARGET, fields)).unwrap();
    assert_eq!(answer.head.start(), "HTTP/1.1 101 Switching Protocols", "{fields}");
    assert_eq!(answer.head.values("upgrade"), ["websocket"]);
    assert_eq!(answer.head.values("connection"), ["Upgrade"]);
    assert_eq!(answer.head.values("sec-websocket-accept"), [WEBSOCKET_ACCEPT]);
    client.send("ping").unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"ping");
    scene.pod.requests().remove(0)
}

/// Refused with 400 before the pod hears of it.
#[track_caller]
fn refused(request: impl AsRef<[u8]>, rule: &str) {
    Scene::plain().assert_refuses(request, 400, "bad_request", rule);
}

#[test]
fn the_pod_gets_the_whole_handshake() {
    let request = opened(UPGRADE_FIELDS);
    assert_eq!(request.start(), "GET /websockify HTTP/1.1");
    assert_eq!(request.values("upgrade"), ["websocket"]);
    assert_eq!(request.values("connection"), ["Upgrade"]);
    assert_eq!(request.values("sec-websocket-version"), ["13"]);
    assert_eq!(request.values("sec-websocket-key"), [WEBSOCKET_KEY]);
    assert_eq!(request.values("x-forwarded-for"), ["127.0.0.1"]);
}

/// Trap 10.
#[test]
fn tokens_count_in_any_case_and_among_others() {
    let rest = format!("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {WEBSOCKET_KEY}\r\n");
    for fields in [
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
        "connection: UPGRADE\r\nupgrade: WebSocket\r\n",
        "Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
        "Connection:upgrade ,\tx\r\nUpgrade: h2c, WEBSOCKET\r\nX: y\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
    ] {
        let request = opened(&format!("{fields}{rest}"));
        assert_eq!((request.values("upgrade"), request.values("connection")), (vec!["websocket"], vec!["Upgrade"]));
    }
}

/// Traps 15 and 16.
/// The offer passes as it came, and the answer to it too: the gateway has no opinion about what the stream carries.
#[test]
fn subprotocol_and_extensions_pass() {
    let pod = Pod::start(|request, connection| {
        let chosen =
            "Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Extensions: permessage-deflate\r\nX-Note: a\r\n\r\n";
        connection.send(switching(request)?.replace("\r\n\r\n", &format!("\r\n{chosen}")))?;
        connection.echo()
    });
    let scene = Scene::of(pod.unwrap());
    let offer = "Sec-WebSocket-Protocol: binary, base64\r\n\
     Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let answer =
        scene.ask(get(TARGET, &format!("{UPGRADE_FIELDS}{offer}Origin: http://gw.example\r\nCookie: a=b\r\n")));
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.field("sec-websocket-protocol"), Some("binary"));
    assert_eq!(answer.field("sec-websocket-extensions"), Some("permessage-deflate"));
    assert_eq!(answer.field("x-note"), Some("a"));
    let request = scene.pod.requests().remove(0);
    assert_eq!(request.field("sec-websocket-protocol"), Some("binary, base64"));
    assert_eq!(request.field("sec-websocket-extensions"), Some("permessage-deflate; client_max_window_bits"));
    assert_eq!((request.field("origin"), request.field("cookie")), (Some("http://gw.example"), Some("a=b")));

    let plain = opened(UPGRADE_FIELDS);
    assert_eq!((plain.field("sec-websocket-protocol"), plain.field("sec-websocket-extensions")), (None, None));
}

/// Trap 17: a desktop's own WebSocket server has room for a head of 4 KiB, and a browser sends all cookies of a site.
#[test]
fn cookies_stay_behind_where_they_are_too_much_for_the_pod() {
    let cookies = format!("Cookie: session={}\r\n", "x".repeat(8 << 10));
    for (arguments, status) in [(&[][..], 400), (&["--upgrade-cookies", "false"], 101)] {
        let pod = Pod::start(|request, connection| {
            if request.raw().len() > 4 << 10 {
                connection.close();
                return connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            }
            connection.switch(request)?;
            connection.echo()
        });
        let scene = Scene::with(pod.unwrap(), arguments);
        let answer = scene.ask(get(TARGET, &format!("{UPGRADE_FIELDS}{cookies}")));
        assert_eq!(answer.status(), status, "{arguments:?}");
        assert_eq!(answer.field("x-gateway-error"), None, "it is the pod's answer");
    }
}

#[test]
fn only_get_can_ask() {
    refused(get(TARGET, UPGRADE_FIELDS).replace("GET ", "POST "), "upgrade_method");
    refused(get(TARGET, UPGRADE_FIELDS).replace("GET ", "OPTIONS "), "upgrade_method");
}

#[test]
fn http_1_0_cannot_ask() {
    refused(get(TARGET, UPGRADE_FIELDS).replace("HTTP/1.1", "HTTP/1.0"), "upgrade_http_version");
}

#[test]
fn a_body_cannot_be_asked_with() {
    refused(get(TARGET, &format!("{UPGRADE_FIELDS}Content-Length: 1\r\n")) + "x", "upgrade_body");
    refused(get(TARGET, &format!("{UPGRADE_FIELDS}Transfer-Encoding: chunked\r\n")) + "0\r\n\r\n", "upgrade_body");
}

#[test]
fn the_key_is_one_of_16_bytes() {
    let line = format!("Sec-WebSocket-Key: {WEBSOCKET_KEY}\r\n");
    for instead in [
        String::new(),
        "Sec-WebSocket-Key:\r\n".to_owned(),
        "Sec-WebSocket-Key: short\r\n".to_owned(),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n".to_owned(),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTEyMw==\r\n".to_owned(),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!!==\r\n".to_owned(),
        format!("{line}{line}"),
    ] {
        refused(get(TARGET, &UPGRADE_FIELDS.replace(&line, &instead)), "websocket_key");
    }
}

#[test]
fn another_version_gets_426_with_the_one_that_works() {
    let line = "Sec-WebSocket-Version: 13\r\n";
    for instead in ["", "Sec-WebSocket-Version: 8\r\n", "Sec-WebSocket-Version: 13, 8\r\n", &line.repeat(2)] {
        let scene = Scene::plain();
        let request = get(TARGET, &UPGRADE_FIELDS.replace(line, instead));
        scene.assert_refuses(&request, 426, "upgrade_required", "websocket_version");
        let answer = scene.ask(&request);
        assert_eq!(answer.field("sec-websocket-version"), Some("13"));
        assert_eq!(answer.field("upgrade"), Some("websocket"), "RFC 9110 section 15.5.22");
    }
}

/// Trap 11. RFC 9110 section 7.8: an upgrade that is not understood is ignored. What the pod gets does not ask for it.
#[test]
fn an_upgrade_to_anything_else_is_an_ordinary_request() {
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket2\r\n",
        "Connection: Upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Connection: keep-alive\r\nUpgrade: websocket\r\n",
    ] {
        let scene = Scene::plain();
        let mut client = scene.client();
        assert_eq!(client.ask(get("/vnc/1/x", fields)).unwrap().text(), "ok", "{fields}");
        crate::scene::assert_open(&mut client);
        let request = scene.pod.requests().remove(0);
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(request.field(name), None, "{name} of {fields}");
        }
    }
}

#[test]
fn a_pods_interim_response_does_not_open_the_stream() {
    let pod = Pod::start(|request, connection| {
        connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
        connection.switch(request)?;
        connection.echo()
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    assert_eq!(client.ask(get(TARGET, UPGRADE_FIELDS)).unwrap().status(), 103);
    assert_eq!(client.answer().unwrap().status(), 101);
    client.send("ping").unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"ping");
}

/// Some servers write a length into their 101. The stream begins behind the head all the same (RFC 9110 section 8.6).
#[test]
fn a_length_in_a_101_means_nothing() {
    let pod = Pod::start(|request, connection| {
        connection.send(switching(request)?.replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"))?;
        connection.echo()
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    let answer = client.ask(get(TARGET, UPGRADE_FIELDS)).unwrap();
    assert_eq!((answer.status(), answer.field("content-length")), (101, None));
    client.send("ping").unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"ping");
}

/// A stream counts as one request, and its client's connection serves requests before it.
#[test]
fn a_stream_may_follow_ordinary_requests() {
    let pod = Pod::start(|request, connection| {
        if request.field("upgrade").is_none() {
            return connection.send(OK);
        }
        connection.switch(request)?;
        connection.echo()
    });
    let scene = Scene::of(pod.unwrap());
    let mut client = scene.client();
    assert_eq!(client.ask(get("/vnc/1/x", "")).unwrap().text(), "ok");
    assert_eq!(client.ask(get(TARGET, UPGRADE_FIELDS)).unwrap().status(), 101);
    client.send("ping").unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"ping");
    assert_eq!(scene.pod.connections().len(), 2, "the stream's connection is its own");
}
