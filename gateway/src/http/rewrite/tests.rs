//! Heads on their way through, byte by byte.

mod ways;

use proptest::prelude::*;

use super::*;
use crate::http::parse::{self, ResponseContext};
use crate::http::{HeadLimits, Progress};

const ENDPOINT: HostHeader = HostHeader::Endpoint;

fn forwarding() -> Forwarding<'static> {
    Forwarding {
        client: "192.0.2.7".parse().unwrap(),
        client_trusted: false,
        tls: false,
        endpoint: "10.0.0.1:6080".parse().unwrap(),
        host_header: &ENDPOINT,
        upstream_target: b"/x?y",
        public_prefix: "/vnc/7",
        keeps_prefix: false,
        agent_prefix: "",
        client_is_edge: false,
        origin: OriginPolicy::Pass,
        consumes_authorization: false,
        own_cookies: ["vnc_session_id", "gateway_access"],
        upgrade_cookies: true,
        token_parameter: "gateway_token",
        hides_sandbox_headers: false,
        request_id: "id-1",
    }
}

fn request_head(text: &str) -> RequestHead {
    match parse::request(text.as_bytes(), &HeadLimits::default()) {
        Ok(Progress::Complete { head, .. }) => head,
        other => panic!("{text:?} gives {other:?}"),
    }
}

fn response_head(text: &str, context: ResponseContext) -> ResponseHead {
    match parse::response(text.as_bytes(), context, &HeadLimits::default()) {
        Ok(Progress::Complete { head, .. }) => head,
        other => panic!("{text:?} gives {other:?}"),
    }
}

fn forwarded(fields: &str, f: &Forwarding<'_>) -> String {
    let head = request_head(&format!("GET /vnc/7/x?y HTTP/1.1\r\nHost: gw:8080\r\n{fields}\r\n"));
    let mut out = Vec::new();
    request(&head, false, f, &mut out);
    String::from_utf8(out).unwrap()
}

/// The fields that a request with `fields` is forwarded with, without those that the gateway always adds.
fn kept(fields: &str) -> String {
    let text = forwarded(fields, &forwarding());
    let start = "GET /x?y HTTP/1.1\r\nHost: 10.0.0.1:6080\r\n";
    let end = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: gw:8080\r\n\
     X-Forwarded-Prefix: /vnc/7\r\nX-Request-Id: id-1\r\n\r\n";
    let kept = text.strip_prefix(start).and_then(|text| text.strip_suffix(end));
    kept.unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// The response that `request_line` gets for `fields`.
fn answered(request_line: &str, head: &str, f: &Forwarding<'_>) -> (String, Outgoing) {
    let request = request_head(&format!("{request_line}\r\nHost: gw:8080\r\n\r\n"));
    let context = ResponseContext { head: request.is_head(), upgrade: head.starts_with("HTTP/1.1 101") };
    let head = response_head(&format!("{head}\r\n"), context);
    let rewrite = ResponseRewrite { request: &request, set_cookies: &[], close: false, upgrade: context.upgrade };
    let mut out = Vec::new();
    let outgoing = response(&head, f, &rewrite, &mut out);
    (String::from_utf8(out).unwrap(), outgoing)
}

#[test]
fn unrelated_fields_pass_as_they_came() {
    let fields = "accept: */*\r\nX-Odd_Name.1: \u{e9} \t \"x\"\r\nAuthorization: Basic x\r\nOrigin: http://gw:8080\r\n\
                  A: 1\r\nA: 2\r\nExpect: 100-continue\r\nSec-Fetch-Mode: cors\r\nA:\r\n";
    assert_eq!(kept(fields), fields.replace("A:\r\n", "A: \r\n"));
}

#[test]
fn fields_of_one_hop_stay_behind() {
    for fields in [
        "Connection: close\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Connection: keep-alive\r\n",
        "proxy-authorization: x\r\n",
        "TE: trailers\r\n",
        "Trailer: X-Sum\r\n",
        "Upgrade: h2c\r\nConnection: upgrade\r\n",
        "Connection: X-Mine, x-other\r\nx-mine: 1\r\nX-Other: 2\r\n",
        "X-Mine: 1\r\nConnection: keep-alive\r\nConnection: x-mine\r\n",
        "Connection: accept\r\nAccept: text/html\r\n",
    ] {
        assert_eq!(kept(fields), "", "{fields}");
    }
}

#[test]
fn connection_cannot_take_away_what_the_gateway_sets() {
    let fields = "Connection: Host, Cookie, X-Forwarded-For, X-Request-Id, Content-Length\r\nCookie: a=1\r\n\
     Content-Length: 3\r\n";
    assert_eq!(kept(fields), "Cookie: a=1\r\nContent-Length: 3\r\n");
}

#[test]
fn framing_is_written_once() {
    assert_eq!(kept("Content-Length: 5\r\nContent-Length: 5, 05\r\n"), "Content-Length: 5\r\n");
    assert_eq!(kept("Content-Length: 0\r\n"), "Content-Length: 0\r\n");
    assert_eq!(kept("transfer-encoding: Chunked\r\n"), "Transfer-Encoding: chunked\r\n");
}

#[test]
fn the_own_cookie_stays_with_the_gateway() {
    assert_eq!(kept("Cookie: vnc_session_id=7\r\n"), "");
    assert_eq!(kept("Cookie: a=1; vnc_session_id=7; b=2\r\nCookie: c=3\r\n"), "Cookie: a=1; b=2\r\nCookie: c=3\r\n");
}

#[test]
fn claims_of_strangers_are_replaced() {
    for name in [
        "X-Forwarded-For",
        "x_forwarded_for",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X_Forwarded-Host",
        "X-Forwarded-Port",
        "Forwarded",
        "X-Real-IP",
        "X-Real_Ip",
        "X-Forwarded-Prefix",
    ] {
        assert_eq!(kept(&format!("{name}: 1.2.3.4\r\n")), "", "{name}");
    }
}

/// A proxy adds to the fields that it knows, and may pass on what a stranger wrote beside them.
#[test]
fn underscores_are_never_a_proxys() {
    let f = Forwarding { client_trusted: true, ..forwarding() };
    let fields = "X_Forwarded_For: 203.0.113.9\r\nX-Forwarded_Host: evil.example\r\nX_Real_IP: 203.0.113.9\r\n\
     X_Request_Id: x\r\n";
    assert_eq!(forwarded(fields, &f), forwarded("", &f));
}

#[test]
fn claims_of_trusted_proxies_are_passed_on() {
    let f = Forwarding { client_trusted: true, ..forwarding() };
    let fields = "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 198.51.100.2\r\nX-Forwarded-Proto: https\r\n\
                  X-Forwarded-Host: public.example\r\nForwarded: for=x\r\n";
    let text = forwarded(fields, &f);
    let end = "Forwarded: for=x\r\nX-Forwarded-For: 198.51.100.1, 198.51.100.2, 192.0.2.7\r\n\
     X-Forwarded-Proto: https\r\n\
               X-Forwarded-Host: public.example\r\nX-Forwarded-Prefix: /vnc/7\r\nX-Request-Id: id-1\r\n\r\n";
    assert!(text.ends_with(end), "{text}");
    let text = forwarded("X-Forwarded-Proto: h<\r\nX-Forwarded-Host: a/b\r\n", &f);
    assert!(text.contains("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: gw:8080\r\n"));
}

#[test]
fn addresses_are_written_plainly() {
    let f = Forwarding {
        client: "::ffff:192.0.2.7".parse().unwrap(),
        endpoint: "[2001:db8::1]:80".parse().unwrap(),
        ..forwarding()
    };
    let text = forwarded("", &f);
    assert!(
        text.contains("\r\nHost: [2001:db8::1]:80\r\n") && text.contains("X-Forwarded-For: 192.0.2.7\r\n"),
        "{text}"
    );
}

#[test]
fn host_follows_the_configuration() {
    for (host_header, expected) in [
        (HostHeader::Endpoint, "10.0.0.1:6080"),
        (HostHeader::Pass, "gw:8080"),
        (HostHeader::Mask("desk.local:1".to_owned()), "desk.local:1"),
    ] {
        let text = forwarded("", &Forwarding { host_header: &host_header, ..forwarding() });
        assert!(text.contains(&format!("\r\nHost: {expected}\r\n")), "{text}");
        assert_eq!(text.matches("Host: ").count(), 2, "Host and X-Forwarded-Host");
    }
    let head = request_head("GET / HTTP/1.0\r\n\r\n");
    let mut out = Vec::new();
    request(&head, false, &Forwarding { host_header: &HostHeader::Pass, ..forwarding() }, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("Host: 10.0.0.1:6080\r\n") && !text.contains("X-Forwarded-Host"), "{text}");
}

#[test]
fn good_request_ids_are_kept() {
    let long = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
    for (id, good) in
        [("abc-1.2/3", true), (&long[1..], true), (&long[..], false), ("", false), ("a b", false), ("\u{e9}", false)]
    {
        let text = forwarded(&format!("X-Request-ID: {id}\r\n"), &forwarding());
        let expected = if good { id } else { "id-1" };
        assert!(text.ends_with(&format!("\r\nX-Request-Id: {expected}\r\n\r\n")), "{text}");
        assert_eq!(text.to_lowercase().matches("x-request-id").count(), 1);
    }
}

#[test]
fn upgrades_are_asked_for_in_one_way() {
    let head = request_head(
        "GET / HTTP/1.1\r\nHost: h\r\nconnection: keep-alive, Upgrade, x-a\r\nupgrade: h2c, WebSocket\r\nX-A: 1\r\n\
         Sec-WebSocket-Key: k\r\nSec-WebSocket-Protocol: binary\r\n\r\n",
    );
    let mut out = Vec::new();
    request(&head, true, &forwarding(), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), "{text}");
    assert_eq!(text.to_lowercase().matches("upgrade: ").count(), 1);
    assert!(text.contains("Sec-WebSocket-Key: k\r\nSec-WebSocket-Protocol: binary\r\n") && !text.contains("X-A"));
}

#[test]
fn http_10_requests_go_out_as_11() {
    let head = request_head("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let mut out = Vec::new();
    request(&head, false, &forwarding(), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("POST /x?y HTTP/1.1\r\n") && !text.contains("Expect"), "{text}");
}

#[test]
fn responses_are_translated() {
    let (text, outgoing) = answered(
        "GET / HTTP/1.1",
        "HTTP/1.0 302 Moved \u{e9}\r\nServer: pod\r\nDate: x\r\nLocation: /login\r\nset-cookie: a=1; Path=/\r\n\
         Set-Cookie: b=2; Path=/vnc/7/b\r\nContent-Encoding: gzip\r\nConnection: keep-alive, X-Hop\r\n\
          Keep-Alive: timeout=5\r\n\
         X-Hop: 1\r\nTrailer: x\r\nUpgrade: h2c\r\nContent-Length: 3\r\n",
        &forwarding(),
    );
    assert_eq!(
        text,
        "HTTP/1.1 302 Moved \u{e9}\r\nServer: pod\r\nDate: x\r\nLocation: /vnc/7/login\r\n\
         set-cookie: a=1; Path=/vnc/7/\r\n\
         Set-Cookie: b=2; Path=/vnc/7/b\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"
    );
    assert!(!outgoing.close);
    assert_eq!(outgoing.body.plain(), 3);
}

#[test]
fn a_slash_behind_the_prefix_makes_no_difference() {
    let f = Forwarding { public_prefix: "/vnc/7/", ..forwarding() };
    let (text, _) = answered("GET / HTTP/1.1", "HTTP/1.1 302 Found\r\nLocation: /a\r\nContent-Length: 0\r\n", &f);
    assert!(text.contains("Location: /vnc/7/a\r\n"), "{text}");
}

#[test]
fn locations_of_the_sandbox_name_the_public_origin() {
    let head = "HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1:6080/a\r\nContent-Length: 0\r\n";
    let (text, _) = answered("GET / HTTP/1.1", head, &forwarding());
    assert!(text.contains("Location: http://gw:8080/vnc/7/a\r\n"), "{text}");
    let (text, _) = answered("GET / HTTP/1.1", head, &Forwarding { tls: true, ..forwarding() });
    assert!(text.contains("Location: https://gw:8080/vnc/7/a\r\n"), "{text}");
}

#[test]
fn the_gateways_cookie_is_added_and_not_to_interim_responses() {
    let request = request_head("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let rewrite = ResponseRewrite {
        request: &request,
        set_cookies: &["vnc_session_id=7; Path=/vnc/".to_owned()],
        close: true,
        upgrade: false,
    };
    for (text, expected) in [
        (
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\
             Set-Cookie: vnc_session_id=7; Path=/vnc/\r\nConnection: close\r\n\r\n",
        ),
        ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    ] {
        let mut out = Vec::new();
        response(&response_head(text, ResponseContext::default()), &forwarding(), &rewrite, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn bodies_go_out_in_a_form_the_client_knows() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
    let (text, outgoing) = answered("GET / HTTP/1.1", chunked, &forwarding());
    assert_eq!((text.as_str(), outgoing.close), ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false));

    let (text, mut outgoing) = answered("GET / HTTP/1.0", chunked, &forwarding());
    assert_eq!((text.as_str(), outgoing.close), ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", true));
    let mut data = Vec::new();
    outgoing.body.advance(b"2\r\nab\r\n0\r\n\r\n", &mut data).unwrap();
    assert_eq!(data, b"ab");

    let (text, outgoing) = answered("GET / HTTP/1.1", "HTTP/1.1 200 OK\r\n", &forwarding());
    assert_eq!((text.as_str(), outgoing.close), ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", true));

    let (text, outgoing) = answered("GET / HTTP/1.0", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n", &forwarding());
    assert_eq!(
        (text.as_str(), outgoing.close),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n", false)
    );
}

#[test]
fn responses_without_a_body_announce_none_they_must_not() {
    for (line, head, expected) in [
        ("HEAD / HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        ("HEAD / HTTP/1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
        (
            "GET / HTTP/1.1",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        ),
        ("GET / HTTP/1.1", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET / HTTP/1.1", "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n", "HTTP/1.1 100 Continue\r\n\r\n"),
    ] {
        let (text, outgoing) = answered(line, head, &forwarding());
        assert_eq!(text, expected);
        assert!(outgoing.body.is_done() && !outgoing.close);
    }
}

#[test]
fn a_switch_says_so_and_a_426_names_the_protocol() {
    let (text, _) = answered(
        "GET / HTTP/1.1",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: upgrade\r\n\
         Sec-WebSocket-Accept: x\r\nContent-Length: 0\r\n",
        &forwarding(),
    );
    assert_eq!(
        text,
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\n\r\n"
    );
    let (text, _) = answered(
        "GET / HTTP/1.1",
        "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nUpgrade: websocket\r\n",
        &forwarding(),
    );
    assert_eq!(
        text,
        "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    );
}

proptest! {
    #[test]
    fn unrelated_response_fields_keep_every_byte(fields in proptest::collection::vec(("Z[A-Za-z-]{1,12}",
        "[!-~]([ -~]{0,20}[!-~])?"), 0..9)) {
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (text, _) = answered("GET / HTTP/1.1", &format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\
         "), &forwarding());
        prop_assert_eq!(text, format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n"));
    }

    #[test]
    fn what_goes_out_is_a_head_again(lines in proptest::collection::vec(
        prop_oneof![
            Just("Connection: a, close\r\n"), Just("Connection: Upgrade\r\n"), Just("A: 1\r\n"),
                Just("Cookie: vnc_session_id=1\r\n"),
            Just("Content-Length: 4\r\n"), Just("Upgrade: websocket\r\n"), Just("X-Forwarded-Host: a b\r\n"),
                Just("X-Request-Id: a\tb\r\n"),
            Just("Expect: 100-continue\r\n"), Just("TE: x\r\n"), Just("Cookie: a; ;b\r\n"),
                Just("X-Forwarded-For:\r\n"),
        ], 0..9), trusted in any::<bool>(), upgrade in any::<bool>())
    {
        let head = request_head(&format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", lines.concat()));
        let mut out = Vec::new();
        request(&head, upgrade, &Forwarding { client_trusted: trusted, ..forwarding() }, &mut out);
        let again = request_head(str::from_utf8(&out).unwrap());
        prop_assert_eq!(again.body(), head.body());
        prop_assert_eq!(again.asks_websocket(), upgrade);
        prop_assert!(again.wants_keep_alive());
    }
}

mod clients_words;
