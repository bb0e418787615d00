//! Which sandbox a request goes to, over the wire: paths, cookies, Referer, the redirects.

use gateway_tests::gateway::Gateway;
use gateway_tests::pod::Pod;
use gateway_tests::wire::{Answer, Client, UPGRADE_FIELDS};

use crate::scene::{Scene, assert_failure, assert_open, builder, get, ok};

const COOKIE: &str = "vnc_session_id=1; Path=/vnc/; HttpOnly";
const NAVIGATION: &str = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";

/// Sandboxes 1 and 2, whose pods answer with their number and the target that they were asked for.
struct Two {
    gateway: Gateway,
    _pods: [Pod; 2],
}

impl Two {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(arguments: &[&str]) -> Self {
        let pods = ["1", "2"].map(|number| {
            Pod::start(move |request, connection| {
                if request.field("upgrade").is_some() {
                    connection.switch(request)?;
                    connection.send(format!("{number} {}\n", request.target()))?;
                    return connection.echo();
                }
                connection.body(request)?;
                connection.send(ok("", &format!("{number} {}", request.target())))
            })
            .unwrap()
        });
        let [first, second] = &pods;
        let gateway =
            builder().args(arguments).sandbox("1", first.address()).sandbox("2", second.address()).start().unwrap();
        Self { gateway, _pods: pods }
    }

    #[track_caller]
    fn ask(&self, request: &str) -> Answer {
        Client::connect(self.gateway.addr()).unwrap().ask(request).unwrap()
    }

    /// The number of the pod that a GET reached, and the target there; or the status and the code of a failure.
    #[track_caller]
    fn reached(&self, target: &str, fields: &str) -> String {
        let answer = self.ask(&get(target, fields));
        match answer.field("x-gateway-error") {
            Some(code) => format!("{} {code}", answer.status()),
            None => answer.text(),
        }
    }

    /// The same of a WebSocket.
    #[track_caller]
    fn connected(&self, target: &str, fields: &str) -> String {
        let mut client = Client::connect(self.gateway.addr()).unwrap();
        let head = client.ask(get(target, &format!("{UPGRADE_FIELDS}{fields}"))).unwrap();
        assert_eq!(head.status(), 101, "{}", head.text());
        let line = client.until("\n").unwrap();
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }
}

#[test]
fn a_path_names_its_sandbox_and_the_pod_sees_the_rest() {
    let two = Two::start();
    assert_eq!(two.reached("/vnc/1/", ""), "1 /");
    assert_eq!(two.reached("/vnc/2/app/ui.js?v=1", ""), "2 /app/ui.js?v=1");
    assert_eq!(two.connected("/vnc/2/websockify?token=a", ""), "2 /websockify?token=a");
}

#[test]
fn a_first_packet_sets_the_cookie_in_exactly_these_words() {
    let two = Two::start();
    let answer = two.ask(&get("/vnc/1/", ""));
    assert_eq!(answer.head.values("set-cookie"), [COOKIE]);
    let page =
        two.ask(&get("/vnc/1/vnc.html", "Sec-Fetch-Mode: navigate\r\n").replace("/vnc.html", "/vnc.html?path=x"));
    assert_eq!(page.head.values("set-cookie"), [COOKIE]);
}

#[test]
fn the_cookie_stands_beside_those_of_the_pod() {
    let pod = Pod::answering(ok("Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n", ""));
    let scene = Scene::of(pod.unwrap());
    let answer = scene.ask(get("/vnc/1/", ""));
    assert_eq!(answer.head.values("set-cookie"), ["a=1; Path=/vnc/1/", "b=2", COOKIE]);
}

#[test]
fn assets_upgrades_and_other_methods_never_set_the_cookie() {
    let two = Two::start();
    for (target, fields) in [
        ("/vnc/1/app/ui.js", ""),
        ("/vnc/1/desk", ""),
        ("/vnc/1/", "Sec-Fetch-Dest: empty\r\n"),
        ("/vnc/1/vnc.html", "Sec-Fetch-Dest: script\r\n"),
        ("/vnc/app/ui.js", "Cookie: vnc_session_id=1\r\n"),
        ("/vnc/app/ui.js", "Referer: http://gw.example/vnc/1/\r\n"),
        ("/vnc/1/", UPGRADE_FIELDS),
    ] {
        let answer = two.ask(&get(target, fields));
        assert_eq!(answer.head.values("set-cookie"), Vec::<&str>::new(), "{target} {fields}");
    }
    let posted = two.ask("POST /vnc/1/ HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((posted.text().as_str(), posted.field("set-cookie")), ("1 /", None));
}

#[test]
fn a_path_without_its_slash_is_redirected_with_its_query() {
    let two = Two::start();
    for (target, location) in [
        ("/vnc/1", "/vnc/1/"),
        ("/vnc/1?a=b&c=%2F", "/vnc/1/?a=b&c=%2F"),
        ("/vnc/1?", "/vnc/1/?"),
        ("/vnc/99", "/vnc/99/"),
    ] {
        let mut client = Client::connect(two.gateway.addr()).unwrap();
        let answer = client.ask(get(target, "")).unwrap();
        assert_eq!((answer.status(), answer.field("location")), (308, Some(location)), "{target}");
        assert_eq!(answer.field("set-cookie"), None, "no session begins here");
        assert_open(&mut client);
    }
    // 308 keeps the method; the body of what is redirected is not read, so the connection ends.
    let answer = two.ask("POST /vnc/1 HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!((answer.status(), answer.field("connection")), (308, Some("close")));
}

#[test]
fn a_path_without_a_number_falls_back_to_the_cookie() {
    let two = Two::start();
    let cookie = "Cookie: a=b; vnc_session_id=2; c=d\r\n";
    assert_eq!(two.reached("/vnc/app/ui.js?v=1", cookie), "2 /app/ui.js?v=1");
    assert_eq!(two.reached("/vnc/", cookie), "2 /");
    assert_eq!(two.connected("/vnc/websockify", cookie), "2 /websockify");
    assert_eq!(two.reached("/vnc/app/ui.js", ""), "404 no_route");
    assert_eq!(two.reached("/vnc/app/ui.js", "Cookie: vnc_session_id=99\r\n"), "404 sandbox_not_found");
    assert_eq!(two.reached("/vnc/app/ui.js", "Cookie: vnc_session_id=../1\r\n"), "404 no_route");
}

#[test]
fn a_cookie_that_is_no_number_does_not_hide_one_that_is() {
    let two = Two::start();
    assert_eq!(two.reached("/vnc/x", "Cookie: vnc_session_id=evil; vnc_session_id=2\r\n"), "2 /x");
    assert_eq!(two.reached("/vnc/x", "Cookie: vnc_session_id=evil\r\nCookie: vnc_session_id=2\r\n"), "2 /x");
}

#[test]
fn the_url_wins_over_the_referer_and_the_referer_over_the_cookie() {
    let two = Two::start();
    let cookie = "Cookie: vnc_session_id=2\r\n";
    let referer = format!("Referer: http://gw.example/vnc/1/vnc.html\r\n{cookie}");
    assert_eq!(two.reached("/vnc/1/x", cookie), "1 /x");
    assert_eq!(two.reached("/vnc/2/x", &referer), "2 /x");
    assert_eq!(two.reached("/vnc/app/ui.js", &referer), "1 /app/ui.js");
    let foreign = format!("Referer: http://evil.example/vnc/1/\r\n{cookie}");
    assert_eq!(two.reached("/vnc/app/ui.js", &foreign), "2 /app/ui.js");
}

#[test]
fn a_websocket_at_the_root_goes_where_the_cookie_says() {
    let two = Two::start();
    assert_eq!(two.connected("/websockify", "Cookie: vnc_session_id=2\r\n"), "2 /websockify");
    assert_eq!(two.connected("/websockify?a=b", "Cookie: vnc_session_id=1\r\n"), "1 /websockify?a=b");
    assert_eq!(two.reached("/websockify", UPGRADE_FIELDS), "404 no_route");
    assert_eq!(two.reached("/websockify/", "Cookie: vnc_session_id=1\r\n"), "404 no_route");
}

#[test]
fn a_navigation_is_redirected_once_to_a_url_that_names_its_websocket() {
    let two = Two::start();
    let answer = two.ask(&get("/vnc/1/vnc.html?autoconnect=true", NAVIGATION));
    let location = "/vnc/1/vnc.html?autoconnect=true&path=../../vnc/1/websockify";
    assert_eq!((answer.status(), answer.field("location")), (302, Some(location)));
    assert_eq!(answer.head.values("set-cookie"), [COOKIE]);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let page = two.ask(&get(location, NAVIGATION));
    assert_eq!(page.text(), "1 /vnc.html?autoconnect=true&path=../../vnc/1/websockify");
    assert_eq!(page.head.values("set-cookie"), [COOKIE]);
    // Where no Sec-Fetch fields are sent, what is accepted tells a browser from a tool.
    assert_eq!(two.ask(&get("/vnc/1/", "Accept: text/html,*/*;q=0.8\r\n")).status(), 302);
    assert_eq!(two.ask(&get("/vnc/1/", "Accept: */*\r\n")).status(), 200);
    assert_eq!(two.ask(&get("/vnc/1/app/ui.js", "Sec-Fetch-Mode: cors\r\n")).status(), 200);
}

#[test]
fn the_hint_can_be_a_cookie_or_nothing() {
    let by_cookie = Two::with(&["--websocket-hint", "cookie"]);
    let answer = by_cookie.ask(&get("/vnc/1/", NAVIGATION));
    let cookies = [COOKIE, "vnc_session_id=1; Path=/websockify; HttpOnly"];
    assert_eq!((answer.status(), answer.head.values("set-cookie")), (200, cookies.to_vec()));
    let off = Two::with(&["--websocket-hint", "off"]);
    let answer = off.ask(&get("/vnc/1/", NAVIGATION));
    assert_eq!((answer.status(), answer.head.values("set-cookie")), (200, vec![COOKIE]));
}

#[test]
fn what_is_no_number_of_up_to_20_digits_names_nobody() {
    let two = Two::start();
    let digits = "1".repeat(21);
    for segment in ["1abc", "1%2F..%2F1", "/1", "%31", "+1", "-1", "1.0", "0x1", "%EF%BC%91", "..", &digits] {
        assert_eq!(two.reached(&format!("/vnc/{segment}/x"), ""), "404 no_route", "{segment}");
    }
    // The directory compares text.
    assert_eq!(two.reached("/vnc/01/x", ""), "404 sandbox_not_found");
    assert_eq!(two.reached(&format!("/vnc/{}/x", "1".repeat(20)), ""), "404 sandbox_not_found");
}

#[test]
fn what_lies_beside_the_prefix_has_no_route() {
    let two = Two::start();
    let cookie = "Cookie: vnc_session_id=1\r\n";
    for target in ["/", "/vnc", "/vncs/1/", "//vnc/1/", "/VNC/1/", "/%76nc/1/", "/x/../vnc/1/", "/app/ui.js"] {
        assert_eq!(two.reached(target, cookie), "404 no_route", "{target}");
    }
}

#[test]
fn an_unknown_sandbox_is_not_found() {
    let scene = Scene::plain();
    let mut client = scene.client();
    let answer = client.ask(get("/vnc/2/", "")).unwrap();
    assert_failure(&answer, 404, "sandbox_not_found", &scene);
    assert_open(&mut client);
}

#[test]
fn prefix_cookie_and_strip_are_options() {
    let two = Two::with(&["--path-prefix", "/desk/", "--cookie-name", "desk", "--path-strip", "false"]);
    let answer = two.ask(&get("/desk/1/", ""));
    assert_eq!(answer.text(), "1 /desk/1/");
    assert_eq!(answer.head.values("set-cookie"), ["desk=1; Path=/desk/; HttpOnly"]);
    assert_eq!(two.reached("/desk/x", "Cookie: desk=2\r\n"), "2 /desk/x");
    assert_eq!(two.reached("/vnc/1/", ""), "404 no_route");
}

#[test]
fn every_request_of_a_connection_is_routed_by_itself() {
    let two = Two::start();
    let mut client = Client::connect(two.gateway.addr()).unwrap();
    for (target, expected) in [("/vnc/1/a", "1 /a"), ("/vnc/2/b", "2 /b"), ("/vnc/1/c", "1 /c"), ("/vnc/2/d", "2 /d")] {
        assert_eq!(client.ask(get(target, "")).unwrap().text(), expected);
    }
}
