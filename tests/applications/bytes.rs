//! What these applications rely on, byte by byte: by host name over one gateway and over two, and below a prefix.

use gateway_tests::gateway::Gateway;
use gateway_tests::pod::Pod;
use gateway_tests::wire::{Answer, Client, UPGRADE_FIELDS};

use super::{PREFIX, gateway, two_hops};
use crate::scene::ok;

/// How a client asks for something of one pod: whom, as which host, and what stands before the path.
struct Way<'a> {
    entrance: &'a Gateway,
    host: String,
    prefix: String,
}

impl Way<'_> {
    /// The answer to a request, with further `fields`, each with its line end.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, fields: &str) -> Answer {
        let Self { host, prefix, .. } = self;
        let request = format!("{method} {prefix}{path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        Client::connect(self.entrance.addr()).unwrap().ask(request).unwrap()
    }
}

/// Tells a story by each way to the same pod; all gateways have further `arguments`.
fn by_each_way(pod: &Pod, arguments: &[&str], story: impl Fn(&Way<'_>)) {
    let port = pod.address().port();
    let gateway = gateway(arguments);
    let (edge, _agent) = two_hops(arguments);
    for entrance in [&gateway, &edge] {
        let host = format!("{port}-a.localhost:{}", entrance.addr().port());
        story(&Way { entrance, host, prefix: String::new() });
    }
    story(&Way { entrance: &gateway, host: gateway.addr().to_string(), prefix: format!("{PREFIX}/{port}") });
}

/// Trap 18: Jupyter, Django and many a WebSocket library refuse an Origin that is not their own Host.
#[test]
fn a_pod_that_compares_origin_with_host_accepts_its_own_pages_and_no_others() {
    let pod = Pod::start(|request, connection| {
        let own = format!("http://{}", request.field("host").unwrap_or_default());
        if request.field("origin") != Some(&*own) {
            return connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        }
        connection.switch(request)?;
        connection.echo()
    });
    let pod = pod.unwrap();
    by_each_way(&pod, &["--host-header", "pass"], |way| {
        let upgrade = |origin: &str| way.ask("GET", "/ws", &format!("Origin: {origin}\r\n{UPGRADE_FIELDS}")).status();
        assert_eq!(upgrade(&format!("http://{}", way.host)), 101, "{}", way.host);
        assert_eq!(upgrade("http://evil.example"), 403);
    });
}

/// Chromium's DevTools and the like answer to the names of their own machine alone.
#[test]
fn a_pod_that_knows_itself_as_localhost_is_told_so() {
    let pod = Pod::answering(ok("", "")).unwrap();
    let own = format!("localhost:{}", pod.address().port());
    by_each_way(&pod, &["--host-header", "mask:localhost:{port}"], |way| {
        assert_eq!(way.ask("GET", "/json/version", "").status(), 200);
        let request = pod.requests().pop().unwrap();
        assert_eq!((request.field("host"), request.field("x-forwarded-host")), (Some(&*own), Some(&*way.host)));
    });
}

/// Who may read what of another origin is between the page and the application.
#[test]
fn cross_origin_calls_pass_untouched() {
    let answers = "Access-Control-Allow-Origin: https://app.example\r\nAccess-Control-Allow-Credentials: true\r\n\
        Access-Control-Allow-Methods: PUT\r\nVary: Origin\r\n";
    let pod = Pod::answering(ok(answers, "")).unwrap();
    by_each_way(&pod, &[], |way| {
        let asked = "Origin: https://app.example\r\nAccess-Control-Request-Method: PUT\r\n\
            Access-Control-Request-Headers: x-a\r\n";
        let answer = way.ask("OPTIONS", "/api", asked);
        assert_eq!(answer.status(), 200);
        for line in answers.split_terminator("\r\n") {
            let (name, value) = line.split_once(": ").unwrap();
            assert_eq!(answer.head.values(name), [value]);
        }
        let request = pod.requests().pop().unwrap();
        assert_eq!((request.method(), request.target()), ("OPTIONS", "/api"));
        for line in asked.split_terminator("\r\n") {
            let (name, value) = line.split_once(": ").unwrap();
            assert_eq!(request.values(name), [value]);
        }
    });
}

/// A script that may have its whole sandbox for its scope, as code-server's may, has no other sandbox.
#[test]
fn a_service_workers_widest_scope_is_its_sandbox() {
    let pod = Pod::answering(ok("Service-Worker-Allowed: /\r\n", "")).unwrap();
    by_each_way(&pod, &[], |way| {
        let scope = format!("{}/", way.prefix);
        assert_eq!(way.ask("GET", "/worker.js", "").head.values("service-worker-allowed"), [scope]);
    });
}

/// A body that is compressed and chunked arrives as the application made it, and so do its validators.
#[test]
fn a_compressed_body_stays_as_it_is() {
    let fields = "Content-Encoding: gzip\r\nETag: W/\"1-a\"\r\nTransfer-Encoding: chunked\r\n";
    let pod =
        Pod::answering(format!("HTTP/1.1 200 OK\r\n{fields}\r\n3\r\n\x1f\x08\x08\r\n1\r\nx\r\n0\r\n\r\n")).unwrap();
    by_each_way(&pod, &[], |way| {
        let answer = way.ask("GET", "/app.js", "Accept-Encoding: gzip, br\r\nIf-None-Match: W/\"0-a\"\r\n");
        assert_eq!(answer.body, b"\x1f\x08\x08x");
        assert_eq!((answer.field("content-encoding"), answer.field("etag")), (Some("gzip"), Some("W/\"1-a\"")));
        let request = pod.requests().pop().unwrap();
        assert_eq!(request.values("accept-encoding"), ["gzip, br"]);
        assert_eq!(request.values("if-none-match"), ["W/\"0-a\""]);
    });
}

/// The prefix of an application that knows it is in its paths, and nowhere a second time; what it does not put below
/// the prefix itself is put there, so that no cookie of it reaches another sandbox.
#[test]
fn an_application_that_knows_its_prefix_is_not_told_again() {
    let pod = Pod::start(|request, connection| {
        connection.body(request)?;
        let (path, location) = request.target().split_once("?to=").unwrap_or_default();
        let cookie = format!("Set-Cookie: own=1; Path={path}\r\nSet-Cookie: all=1; Path=/\r\n");
        connection.send(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n{cookie}Content-Length: 0\r\n\r\n"))
    });
    let pod = pod.unwrap();
    let port = pod.address().port();
    let gateway = gateway(&["--service-prefix-keep", &port.to_string()]);
    let way = Way { entrance: &gateway, host: "gw.example".to_owned(), prefix: format!("{PREFIX}/{port}") };
    let own = format!("{}/lab/", way.prefix);
    for (to, seen) in [
        (own.clone(), own.clone()),
        ("/lab".to_owned(), format!("{}/lab", way.prefix)),
        (format!("http://{}{own}", pod.address()), format!("http://gw.example{own}")),
        ("https://other.example/".to_owned(), "https://other.example/".to_owned()),
    ] {
        let answer = way.ask("GET", &format!("/lab/?to={to}"), "");
        assert_eq!(answer.field("location"), Some(&*seen));
        let cookies = [format!("own=1; Path={own}"), format!("all=1; Path={}/", way.prefix)];
        assert_eq!(answer.head.values("set-cookie"), cookies);
    }
    let request = pod.requests().pop().unwrap();
    assert_eq!((request.target().starts_with(&own), request.field("x-forwarded-prefix")), (true, None));
    assert_eq!(way.ask("GET", "", "").field("location"), Some(&*format!("{}/", way.prefix)));
}
