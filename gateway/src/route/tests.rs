//! Whole decisions: tables of requests, and what becomes of them.

mod two_tabs;
mod ways;

use super::*;
use crate::config::Sources;
use crate::http::{HeadLimits, Progress, parse};

const CURL: &[(&str, &str)] = &[("Accept", "*/*")];
const NAVIGATION: &[(&str, &str)] =
    &[("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Mode", "navigate"), ("Accept", "text/html,*/*;q=0.8")];
const SCRIPT: &[(&str, &str)] = &[("Sec-Fetch-Dest", "script"), ("Sec-Fetch-Mode", "cors"), ("Accept", "*/*")];
const HANDSHAKE: &[(&str, &str)] = &[("Connection", "Upgrade"), ("Upgrade", "websocket")];

fn head_of(bytes: &[u8]) -> Option<RequestHead> {
    match parse::request(bytes, &HeadLimits::default()) {
        Ok(Progress::Complete { head, .. }) => Some(head),
        Ok(Progress::Partial) | Err(_) => None,
    }
}

fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> RequestHead {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    head_of(format!("{method} {target} HTTP/1.1\r\nHost: gw.example\r\n{fields}\r\n").as_bytes()).expect("a good head")
}

fn get(target: &str, fields: &[(&str, &str)]) -> Result<Decision, RouteError> {
    decide(&request("GET", target, fields), &RoutingConfig::default())
}

#[track_caller]
fn forwarded(decision: Result<Decision, RouteError>) -> Target {
    match decision {
        Ok(Decision::Forward(target)) => target,
        other => panic!("not forwarded: {other:?}"),
    }
}

/// What is decided, short: where it goes and as what, or the rule that it breaks.
fn summary(decision: Result<Decision, RouteError>) -> String {
    match decision {
        Ok(Decision::Forward(target)) => {
            format!(
                "{} {} {}",
                target.source.label(),
                target.sandbox,
                String::from_utf8(target.upstream_target).unwrap()
            )
        }
        Ok(Decision::Redirect { status, location, .. }) => format!("{status} {}", String::from_utf8(location).unwrap()),
        Err(error) => error.rule().to_owned(),
    }
}

#[test]
fn ids_at_the_edge_of_the_syntax_are_defined() {
    let wide = "1".repeat(30);
    for (target, without_cookie, with_cookie) in [
        ("/vnc/37579/", "path 37579 /", "path 37579 /"),
        ("/vnc/37579/app/ui.js?v=1", "path 37579 /app/ui.js?v=1", "path 37579 /app/ui.js?v=1"),
        ("/vnc/37579/a%2Fb//c;d%zz?", "path 37579 /a%2Fb//c;d%zz?", "path 37579 /a%2Fb//c;d%zz?"),
        ("/vnc/00037579/", "path 00037579 /", "path 00037579 /"),
        ("/vnc/37579", "308 /vnc/37579/", "308 /vnc/37579/"),
        ("/vnc/37579?a=1&b", "308 /vnc/37579/?a=1&b", "308 /vnc/37579/?a=1&b"),
        ("/vnc/37579?", "308 /vnc/37579/?", "308 /vnc/37579/?"),
        ("http://gw.example/vnc/37579/x?y", "path 37579 /x?y", "path 37579 /x?y"),
        ("/vnc/37579abc", "unnamed", "cookie 9 /37579abc"),
        ("/vnc/37579%2F..%2F1", "unnamed", "cookie 9 /37579%2F..%2F1"),
        ("/vnc//1", "unnamed", "cookie 9 //1"),
        ("/vnc/%EF%BC%91/", "unnamed", "cookie 9 /%EF%BC%91/"),
        (&format!("/vnc/{wide}/"), "unnamed", &format!("cookie 9 /{wide}/")),
        ("/vnc/", "unnamed", "cookie 9 /"),
        ("/vnc/app/ui.js?v=1", "unnamed", "cookie 9 /app/ui.js?v=1"),
        ("/vnc/websockify", "unnamed", "cookie 9 /websockify"),
        ("/websockify", "unnamed", "cookie 9 /websockify"),
        ("/websockify?token=a", "unnamed", "cookie 9 /websockify?token=a"),
        ("/websockify/", "no_route", "no_route"),
        ("//websockify", "no_route", "no_route"),
        ("/vnc", "no_route", "no_route"),
        ("/", "no_route", "no_route"),
        ("/x/../vnc/1/", "no_route", "no_route"),
    ] {
        assert_eq!(summary(get(target, CURL)), without_cookie, "{target}");
        let cookie = [("Cookie", "vnc_session_id=9")];
        assert_eq!(summary(get(target, &cookie)), with_cookie, "{target} with a cookie");
    }
    assert_eq!(decide(&request("OPTIONS", "*", CURL), &RoutingConfig::default()), Err(RouteError::NoRoute));
    assert_eq!(get("/vnc/x", &[("Cookie", "vnc_session_id=x")]), Err(RouteError::CookieMalformed));
}

#[test]
fn a_digit_outside_ascii_never_reaches_a_sandbox() {
    let bytes = "GET /vnc/\u{ff11}/ HTTP/1.1\r\nHost: gw.example\r\nCookie: vnc_session_id=9\r\n\r\n".as_bytes();
    assert!(head_of(bytes).is_none(), "the parser refuses it; if it ever does not, the syntax of ids does");
}

#[test]
fn the_path_wins_over_the_referer_and_the_referer_over_the_cookie() {
    let fields = [("Referer", "http://gw.example/vnc/2/"), ("Cookie", "vnc_session_id=3")];
    assert_eq!(summary(get("/vnc/1/app/ui.js", &fields)), "path 1 /app/ui.js");
    assert_eq!(summary(get("/vnc/app/ui.js", &fields)), "referer 2 /app/ui.js");
    assert_eq!(summary(get("/vnc/app/ui.js", &fields[1..])), "cookie 3 /app/ui.js");
    let foreign = [("Referer", "http://evil.example/vnc/2/"), ("Cookie", "vnc_session_id=3")];
    assert_eq!(summary(get("/vnc/app/ui.js", &foreign)), "cookie 3 /app/ui.js");
    // Beside the prefix no Referer counts: nothing there is a sandbox's but the root WebSocket, which never has one.
    assert_eq!(summary(get("/websockify", &fields)), "cookie 3 /websockify");
    assert_eq!(summary(get("/app/ui.js", &fields)), "no_route");
}

#[test]
fn the_public_prefix_always_names_the_sandbox() {
    let fields = [("Referer", "http://gw.example/vnc/2/"), ("Cookie", "vnc_session_id=3")];
    let prefix = |target, fields: &[(&str, &str)]| forwarded(get(target, fields)).public_prefix;
    assert_eq!(prefix("/vnc/1/x", &fields), "/vnc/1");
    assert_eq!(prefix("/vnc/x", &fields), "/vnc/2");
    assert_eq!(prefix("/vnc/x", &fields[1..]), "/vnc/3");
    assert_eq!(prefix("/websockify", &fields), "");
}

#[test]
fn a_first_packet_sets_the_cookie_in_exactly_these_words() {
    let target = forwarded(get("/vnc/37579/", CURL));
    assert_eq!(target.set_cookies, ["vnc_session_id=37579; Path=/vnc/; HttpOnly"]);
}

#[test]
fn only_pages_are_first_packets() {
    let purpose = |value| vec![("Sec-Fetch-Dest", value)];
    let cookie = || vec![("Cookie", "vnc_session_id=9")];
    for (method, target, fields, first) in [
        ("GET", "/vnc/1/", vec![], true),
        ("GET", "/vnc/1/", cookie(), true),
        ("GET", "/vnc/1/?path=x", vec![], true),
        ("GET", "/vnc/1/vnc.html", vec![], true),
        ("GET", "/vnc/1/desk", purpose("document"), true),
        ("GET", "/vnc/1/desk", purpose("iframe"), true),
        ("GET", "/vnc/1/desk", purpose("frame"), true),
        ("GET", "/vnc/1/desk", vec![], false),
        ("GET", "/vnc/1/", purpose("empty"), false),
        ("GET", "/vnc/1/vnc.html", purpose("script"), false),
        ("GET", "/vnc/1/app/ui.js", vec![], false),
        ("GET", "/vnc/1/app/", vec![], false),
        ("GET", "/vnc/1/x?y.html", vec![], false),
        ("GET", "/vnc/1/", HANDSHAKE.to_vec(), false),
        ("POST", "/vnc/1/", vec![], false),
        ("HEAD", "/vnc/1/", vec![], false),
        ("GET", "/vnc/vnc.html", cookie(), false),
    ] {
        let target = forwarded(decide(&request(method, target, &fields), &RoutingConfig::default()));
        assert_eq!(!target.set_cookies.is_empty(), first, "{method} {target:?} {fields:?}");
    }
}

#[test]
fn a_navigation_is_told_once_where_its_websocket_is() {
    let Ok(Decision::Redirect { status: 302, location, set_cookies }) = get("/vnc/37579/vnc.html?a=1", NAVIGATION)
    else {
        panic!("no redirect");
    };
    assert_eq!(location, b"/vnc/37579/vnc.html?a=1&path=../../vnc/37579/websockify");
    assert_eq!(set_cookies, ["vnc_session_id=37579; Path=/vnc/; HttpOnly"], "the redirect answers a first packet");
    let target = forwarded(get(std::str::from_utf8(&location).unwrap(), NAVIGATION));
    assert_eq!(target.upstream_target, b"/vnc.html?a=1&path=../../vnc/37579/websockify");
    assert_eq!(target.set_cookies, ["vnc_session_id=37579; Path=/vnc/; HttpOnly"]);
    // No secure origin, no Sec-Fetch fields: the Accept field tells the browser from the tool.
    assert!(matches!(get("/vnc/1/", &[("Accept", "text/html,*/*;q=0.8")]), Ok(Decision::Redirect { .. })));
    for (target, fields) in [("/vnc/1/", CURL), ("/vnc/1/app/ui.js", SCRIPT), ("/vnc/1/desk", NAVIGATION)] {
        forwarded(get(target, fields));
    }
}

#[test]
fn the_hint_is_an_option() {
    let hint = |websocket_hint| RoutingConfig { websocket_hint, ..RoutingConfig::default() };
    let head = request("GET", "/vnc/37579/", NAVIGATION);
    let off = forwarded(decide(&head, &hint(WebsocketHint::Off)));
    assert_eq!(off.set_cookies, ["vnc_session_id=37579; Path=/vnc/; HttpOnly"]);
    let cookie = forwarded(decide(&head, &hint(WebsocketHint::Cookie)));
    assert_eq!(
        cookie.set_cookies,
        ["vnc_session_id=37579; Path=/vnc/; HttpOnly", "vnc_session_id=37579; Path=/websockify; HttpOnly"]
    );
}

#[test]
fn a_source_that_is_off_does_not_exist() {
    let with =
        |path, cookie| RoutingConfig { sources: Sources { path, cookie, ..Sources::NONE }, ..RoutingConfig::default() };
    let fields = [("Referer", "http://gw.example/vnc/2/"), ("Cookie", "vnc_session_id=3")];
    for (path, cookie, target, expected) in [
        (true, false, "/vnc/1/x", "path 1 /x"),
        (true, false, "/vnc/x", "referer 2 /x"),
        (true, false, "/vnc/1", "308 /vnc/1/"),
        (true, false, "/websockify", "no_route"),
        (false, true, "/vnc/1/x", "cookie 3 /1/x"),
        (false, true, "/vnc/1", "cookie 3 /1"),
        (false, true, "/vnc/x", "cookie 3 /x"),
        (false, false, "/vnc/1/x", "unnamed"),
    ] {
        let decision = decide(&request("GET", target, &fields), &with(path, cookie));
        assert_eq!(summary(decision), expected, "path {path}, cookie {cookie}: {target}");
    }
    assert_eq!(summary(decide(&request("GET", "/vnc/x", CURL), &with(true, false))), "unnamed");
    let first = forwarded(decide(&request("GET", "/vnc/1/", CURL), &with(true, false)));
    assert!(first.set_cookies.is_empty(), "nobody would read the cookie");
}

#[test]
fn without_strip_the_sandbox_sees_the_clients_path() {
    let rules = RoutingConfig { strip: false, ..RoutingConfig::default() };
    let target = forwarded(decide(&request("GET", "/vnc/1/x?", CURL), &rules));
    assert_eq!((target.upstream_target.as_slice(), target.public_prefix.as_str()), (&b"/vnc/1/x?"[..], ""));
    let cookie = [("Cookie", "vnc_session_id=3")];
    let target = forwarded(decide(&request("GET", "/vnc/x", &cookie), &rules));
    assert_eq!((target.upstream_target.as_slice(), target.public_prefix.as_str()), (&b"/vnc/x"[..], ""));
}
