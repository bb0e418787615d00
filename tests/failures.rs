//! What a client is told when something fails: JSON for programs, a page for people, and nothing about the inside.

use gateway_tests::pod::{Absent, Pod};
use gateway_tests::process::free_address;
use gateway_tests::wire::{Answer, Client};
use serde_json::Value;

use crate::scene::{Scene, assert_closed, assert_open, assert_tells_no_address, builder, get};

/// A sandbox whose pod refuses.
fn unreachable() -> (gateway_tests::gateway::Gateway, Absent) {
    let absent = Absent::new().unwrap();
    let gateway = builder().args(["--dial-attempts", "1"]).sandbox("1", absent.address()).start().unwrap();
    (gateway, absent)
}

/// The answer to a GET of a sandbox that cannot be reached, with further fields, each with its line end.
fn failed(fields: &str) -> Answer {
    let (gateway, _absent) = unreachable();
    // An asset: a page would be redirected before.
    let answer = Client::connect(gateway.addr()).unwrap().ask(get("/vnc/1/x", fields)).unwrap();
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (502, Some("upstream_unreachable")), "{fields}");
    answer
}

fn is_page(answer: &Answer) -> bool {
    match answer.field("content-type") {
        Some("text/html; charset=utf-8") => true,
        Some("application/json") => false,
        other => panic!("{other:?}"),
    }
}

/// Trap 52.
#[test]
fn a_program_gets_json() {
    for fields in [
        "",
        "Accept: */*\r\n",
        "Accept: application/json, text/html;q=0.5\r\n",
        "Sec-Fetch-Mode: cors\r\nAccept: text/html\r\n",
        "Sec-Fetch-Mode: no-cors\r\nAccept: text/html\r\n",
        "Sec-Fetch-Mode: websocket\r\nAccept: text/html\r\n",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n",
    ] {
        let answer = failed(fields);
        assert!(!is_page(&answer), "{fields}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["code", "detail"]);
        assert_eq!(body["code"], "upstream_unreachable");
    }
}

/// Trap 52.
#[test]
fn a_navigation_gets_a_page() {
    for fields in [
        "Sec-Fetch-Mode: navigate\r\n",
        "Sec-Fetch-Mode: navigate\r\nAccept: application/json\r\n",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n",
    ] {
        let answer = failed(fields);
        assert!(is_page(&answer), "{fields}");
        let page = answer.text();
        assert!(page.starts_with("<!doctype html>") && page.contains("upstream_unreachable"), "{page}");
        assert!(page.contains("location.reload()"), "it tries again by itself");
        assert!(!page.contains("{{"), "every name is filled in");
        assert!(answer.field("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
}

/// Trap 52.
#[test]
fn a_page_escapes_what_the_client_sent() {
    let answer = failed("Sec-Fetch-Mode: navigate\r\nX-Request-Id: <script>alert('1')</script>&\"\r\n");
    let page = answer.text();
    assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;"), "{page}");
    assert!(!page.contains("<script>alert"));
}

/// Loading it again by itself would send the form again.
#[test]
fn the_page_for_a_form_that_was_sent_leaves_another_attempt_to_its_reader() {
    let (gateway, _absent) = unreachable();
    let tries_again = |start: &str| {
        let request = format!("{start} HTTP/1.1\r\nHost: gw.example\r\nSec-Fetch-Mode: navigate\r\n");
        let answer = Client::connect(gateway.addr()).unwrap().ask(request + "Content-Length: 0\r\n\r\n").unwrap();
        assert!(is_page(&answer) && answer.status() == 502, "{start}");
        !answer.text().contains("data-retries=\"0\"")
    };
    assert!(tries_again("GET /vnc/1/x"));
    assert!(!tries_again("POST /vnc/1/x"));
}

#[test]
fn neither_tells_an_address() {
    let (gateway, absent) = unreachable();
    let scene = Scene { gateway, pod: absent.listen(|_, connection| connection.reset()).unwrap() };
    for fields in ["", "Sec-Fetch-Mode: navigate\r\n"] {
        let answer = scene.ask(get("/vnc/1/x", fields));
        assert_eq!(answer.field("x-gateway-error"), Some("bad_upstream_response"));
        assert_tells_no_address(&answer, &scene);
    }
    for fields in ["", "Sec-Fetch-Mode: navigate\r\n"] {
        let told = failed(fields);
        let told = String::from_utf8_lossy(told.head.raw()).into_owned() + &told.text();
        assert!(!told.contains("127.0.0.1"), "{told}");
    }
}

/// The log tells all of it, under the id that the client was told.
#[test]
fn the_log_tells_what_the_client_is_not_told() {
    let (gateway, absent) = unreachable();
    let answer = Client::connect(gateway.addr()).unwrap().ask(get("/vnc/1/x", "")).unwrap();
    let id = answer.field("x-request-id").unwrap().to_owned();
    let record = gateway
        .logged("the request's line", gateway_tests::wait::PATIENCE, |record| {
            gateway_tests::gateway::field(record, "request_id").is_some_and(|logged| *logged == *id)
        })
        .unwrap();
    let field = |name| gateway_tests::gateway::field(&record, name).cloned().unwrap_or_default();
    assert_eq!(field("code"), "upstream_unreachable");
    assert_eq!(field("status"), 502);
    assert_eq!(field("sandbox"), "1");
    let error = field("error").to_string();
    assert!(error.contains(&absent.address().to_string()) && error.contains("refused"), "{error}");
}

/// Every failure of section 6 that an embedded directory can have; limits, streams and timeouts have stories of their
/// own.
#[test]
fn failures_that_are_nobodys_fault_keep_the_connection() {
    let scene = Scene::of(Pod::answering("not HTTP at all\r\n\r\n").unwrap());
    let mut client = scene.client();
    for (target, status, code) in [
        ("/nowhere", 404, "no_route"),
        ("/vnc/2/x", 404, "sandbox_not_found"),
        ("/vnc/1/x", 502, "bad_upstream_response"),
    ] {
        let answer = client.ask(get(target, "")).unwrap();
        crate::scene::assert_failure(&answer, status, code, &scene);
        assert_eq!(answer.field("retry-after"), None);
        assert_eq!(answer.field("connection"), Some("keep-alive"));
    }
    assert_open(&mut client);
    let answer = client.ask(get("/nowhere", "Connection: close\r\n")).unwrap();
    assert_eq!((answer.status(), answer.field("connection")), (404, Some("close")));
    assert_closed(&mut client);
}

/// A body that nobody has read stands between the answer and the next request.
#[test]
fn a_failure_of_a_request_with_a_body_ends_the_connection() {
    let scene = Scene::plain();
    for body in ["Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"] {
        let mut client = scene.client();
        let answer = client.ask(format!("POST /vnc/2/x HTTP/1.1\r\nHost: gw.example\r\n{body}")).unwrap();
        crate::scene::assert_failure(&answer, 404, "sandbox_not_found", &scene);
        assert_eq!(answer.field("connection"), Some("close"));
        assert_closed(&mut client);
    }
}

#[test]
fn a_directory_that_is_away_gets_503_at_once() {
    let nobody = free_address().unwrap();
    let gateway = builder().redis(format!("redis://{nobody}/")).start().unwrap();
    let mut client = Client::connect(gateway.addr()).unwrap();
    let answer = client.ask(get("/vnc/1/x", "")).unwrap();
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (503, Some("directory_unavailable")));
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert!(!answer.text().contains(&nobody.port().to_string()), "{}", answer.text());
    assert_open(&mut client);
    let page = client.ask(get("/vnc/x", "Sec-Fetch-Mode: navigate\r\nCookie: vnc_session_id=1\r\n")).unwrap();
    assert!(is_page(&page) && page.status() == 503);
}
