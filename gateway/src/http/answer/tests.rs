//! What the gateway says itself, as a client reads it.

use super::*;
use crate::http::parse::{self, ResponseContext};
use crate::http::{BodyLength, HeadLimits, Progress, ResponseHead};

const GONE: Answer<'static> = Answer {
    status: 502,
    code: "upstream_unreachable",
    detail: "the sandbox could not be reached",
    retry_after: None,
    close: false,
};

fn parsed(out: &[u8]) -> (ResponseHead, String) {
    match parse::response(out, ResponseContext::default(), &HeadLimits::default()) {
        Ok(Progress::Complete { head, consumed }) => (head, String::from_utf8(out[consumed..].to_vec()).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn said(answer: &Answer<'_>, form: Form) -> (ResponseHead, String) {
    let mut out = Vec::new();
    failure(answer, form, false, "id-1", &mut out);
    let (head, body) = parsed(&out);
    assert_eq!(head.body(), BodyLength::Fixed(body.len() as u64));
    (head, body)
}

fn field<'a>(head: &'a ResponseHead, name: &str) -> Option<&'a str> {
    head.field(name).map(|value| str::from_utf8(value).unwrap())
}

#[test]
fn programs_get_json() {
    let (head, body) = said(&GONE, Form::Json);
    assert_eq!(body, r#"{"detail":"the sandbox could not be reached","code":"upstream_unreachable"}"#);
    assert_eq!((head.status(), head.reason()), (502, &b"Bad Gateway"[..]));
    assert_eq!(field(&head, "content-type"), Some("application/json"));
    assert_eq!(field(&head, "x-gateway-error"), Some("upstream_unreachable"));
    assert_eq!(field(&head, "x-request-id"), Some("id-1"));
    assert_eq!(field(&head, "cache-control"), Some("no-store"));
    assert_eq!(field(&head, "connection"), Some("keep-alive"));
    assert_eq!(field(&head, "retry-after"), None);
    let (_, body) = said(&Answer { detail: "a \"b\"\\\n", ..GONE }, Form::Json);
    assert_eq!(body, r#"{"detail":"a \"b\"\\\n","code":"upstream_unreachable"}"#);
}

#[test]
fn people_get_a_page() {
    let (head, body) = said(&Answer { retry_after: Some(7), ..GONE }, Form::Page);
    assert_eq!(field(&head, "content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(field(&head, "retry-after"), Some("7"));
    assert!(field(&head, "content-security-policy").is_some());
    assert!(body.contains("data-retries=\"30\" data-seconds=\"7\"") && body.contains("Bad Gateway"), "{body}");
    assert!(!body.contains("{{") && !body.contains("}}"), "{body}");
}

#[test]
fn a_page_tries_again_only_where_that_may_help() {
    for (status, retry_after, tries) in [
        (502, None, true),
        (503, Some(1), true),
        (504, None, true),
        (409, None, true),
        (404, None, false),
        (400, None, false),
        (429, Some(5), true),
    ] {
        let tries_again = |form| {
            let (_, body) = said(&Answer { status, retry_after, ..GONE }, form);
            !body.contains("data-retries=\"0\"")
        };
        assert_eq!(tries_again(Form::Page), tries, "{status}");
        assert!(!tries_again(Form::PageOnce), "{status}");
    }
}

#[test]
fn a_page_escapes_every_text() {
    let evil = "</script><b a='1' c=\"2\">&{{code}}";
    let mut out = Vec::new();
    failure(&Answer { detail: evil, ..GONE }, Form::Page, false, "<i>", &mut out);
    let (_, body) = parsed(&out);
    assert!(body.contains("&lt;/script&gt;&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;{{code}}"), "{body}");
    assert!(body.contains("&lt;i&gt;") && !body.contains("<b ") && !body.contains("<i>"));
}

#[test]
fn head_gets_the_same_head_alone() {
    for form in [Form::Json, Form::Page, Form::PageOnce] {
        let (mut get, mut head) = (Vec::new(), Vec::new());
        failure(&GONE, form, false, "id-1", &mut get);
        failure(&GONE, form, true, "id-1", &mut head);
        assert!(get.starts_with(&head) && head.ends_with(b"\r\n\r\n") && get.len() > head.len());
    }
}

#[test]
fn some_statuses_name_what_they_demand() {
    let (head, _) = said(&Answer { status: 426, close: true, ..GONE }, Form::Json);
    assert_eq!(field(&head, "sec-websocket-version"), Some("13"));
    assert_eq!((field(&head, "upgrade"), field(&head, "connection")), (Some("websocket"), Some("Upgrade, close")));
    let (head, _) = said(&Answer { status: 405, close: true, ..GONE }, Form::Json);
    assert_eq!((field(&head, "allow").is_some(), field(&head, "connection")), (true, Some("close")));
}

#[test]
fn redirects_have_no_body_and_cannot_be_split() {
    let mut out = Vec::new();
    redirect(308, b"/vnc/7/?a=%20\r\nX: 1", &["vnc_session_id=7; Path=/vnc/".to_owned()], "id-1", true, &mut out);
    let (head, body) = parsed(&out);
    assert_eq!((head.status(), head.reason(), body.as_str()), (308, &b"Permanent Redirect"[..], ""));
    assert_eq!(field(&head, "location"), Some("/vnc/7/?a=%20X: 1"));
    assert_eq!(field(&head, "set-cookie"), Some("vnc_session_id=7; Path=/vnc/"));
    assert_eq!((field(&head, "content-length"), field(&head, "connection")), (Some("0"), Some("keep-alive")));
}
