//! The fields one by one: what is taken, and what each refusal is called.

use proptest::prelude::*;

use super::*;
use crate::http::parse;
use crate::http::{HeadLimits, Progress};

fn head(fields: &str) -> RequestHead {
    let text = format!("GET /a%2Fb?x HTTP/1.1\r\nHost: gw\r\n{fields}\r\n");
    match parse::request(text.as_bytes(), &HeadLimits::default()).unwrap() {
        Progress::Complete { head, .. } => head,
        Progress::Partial => panic!("not a head: {text:?}"),
    }
}

fn asked(fields: &str) -> Option<Result<Target, HeaderError>> {
    target(&head(fields), &HeaderConfig::default())
}

#[test]
fn the_defaults_are_the_contracts() {
    let target = asked("x-sandbox-id: box-1\r\n").unwrap().unwrap();
    assert_eq!((target.sandbox.as_str(), target.port, target.lookup), ("box-1", Some(8888), Lookup::Dns));
    assert_eq!(target.upstream_target, b"/a%2Fb?x");
    assert_eq!(target.handling.response_timeout, None);
    assert!(asked("").is_none() && asked("X-Sandbox-ID:\r\n").is_none());
}

#[test]
fn every_field_is_taken() {
    let target = asked(
        "X-Sandbox-ID: box\r\nX-Sandbox-Namespace: team\r\nX-Sandbox-Port: 80\r\n\
         X-Sandbox-Pod-IP: 2001:db8::0:1\r\nX-Sandbox-Timeout: 1.5\r\n",
    );
    let target = target.unwrap().unwrap();
    assert_eq!((target.sandbox.namespace(), target.sandbox.name(), target.port), ("team", "box", Some(80)));
    assert_eq!(target.lookup, Lookup::Address("2001:db8::1".parse().unwrap()));
    assert_eq!(target.handling.response_timeout, Some(Duration::from_millis(1500)));
}

#[test]
fn what_is_malformed_is_named() {
    let long = format!("X-Sandbox-ID: {}", "a".repeat(64));
    for (fields, error) in [
        ("X-Sandbox-ID: Box", HeaderError::Id),
        ("X-Sandbox-ID: -a", HeaderError::Id),
        ("X-Sandbox-ID: a-", HeaderError::Id),
        ("X-Sandbox-ID: a.b", HeaderError::Id),
        ("X-Sandbox-ID: a/b", HeaderError::Id),
        ("X-Sandbox-ID: \u{e4}", HeaderError::Id),
        ("X-Sandbox-ID: a\r\nX-Sandbox-ID: b", HeaderError::Id),
        (long.as_str(), HeaderError::Id),
        ("X-Sandbox-ID: a\r\nX-Sandbox-Namespace: a b", HeaderError::Namespace),
        ("X-Sandbox-ID: a\r\nX-Sandbox-Port: 0", HeaderError::Port),
        ("X-Sandbox-ID: a\r\nX-Sandbox-Port: 65536", HeaderError::Port),
        ("X-Sandbox-ID: a\r\nX-Sandbox-Port: +80", HeaderError::Port),
        ("X-Sandbox-ID: a\r\nX-Sandbox-Port: x", HeaderError::Port),
        ("X-Sandbox-ID: a\r\nX-Sandbox-Pod-IP: pod.svc", HeaderError::AddressFormat),
        ("X-Sandbox-ID: a\r\nX-Sandbox-Pod-IP: [::1]", HeaderError::AddressFormat),
    ] {
        assert_eq!(asked(&format!("{fields}\r\n")), Some(Err(error)), "{fields}");
    }
}

#[test]
fn a_client_cannot_choose_addresses_that_are_no_pods() {
    let chosen = |address: &str, allow_loopback_pod_ip| {
        let rules = HeaderConfig { allow_loopback_pod_ip, ..HeaderConfig::default() };
        let fields = format!("X-Sandbox-ID: a\r\nX-Sandbox-Pod-IP: {address}\r\n");
        target(&head(&fields), &rules).unwrap().map(|target| target.lookup)
    };
    let refused = ["169.254.169.254", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "::", "fe80::1", "ff02::1"];
    for address in refused.into_iter().chain(["::ffff:169.254.169.254", "::ffff:0.0.0.0"]) {
        assert_eq!(chosen(address, true), Err(HeaderError::Address), "{address}");
    }
    for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(chosen(loopback, false), Err(HeaderError::Address), "{loopback}");
        assert!(chosen(loopback, true).is_ok(), "{loopback}");
    }
    assert!(chosen("10.0.0.1", false).is_ok());
}

#[test]
fn a_timeout_that_is_none_is_not_there() {
    for text in ["0", "-1", "inf", "nan", "soon", "1e400", ""] {
        let fields = format!("X-Sandbox-ID: a\r\nX-Sandbox-Timeout: {text}\r\n");
        assert_eq!(asked(&fields).unwrap().unwrap().handling.response_timeout, None, "{text}");
    }
}

#[test]
fn a_directory_keeps_its_port_unless_one_is_named() {
    let rules = HeaderConfig { lookup: AddressBook::Directory, ..HeaderConfig::default() };
    let port = |fields: &str| target(&head(fields), &rules).unwrap().unwrap().port;
    assert_eq!(port("X-Sandbox-ID: a\r\n"), None);
    assert_eq!(port("X-Sandbox-ID: a\r\nX-Sandbox-Port: 9\r\n"), Some(9));
}

proptest! {
    #[test]
    fn no_value_panics_or_becomes_another_name(value in "[ -~]{0,70}") {
        let value = value.trim();
        if let Some(Ok(target)) = asked(&format!("X-Sandbox-ID: {value}\r\n")) {
            prop_assert_eq!(target.sandbox.as_str(), value);
        }
        for field in ["Namespace", "Port", "Pod-IP", "UID", "Timeout"] {
            let _outcome = asked(&format!("X-Sandbox-ID: a\r\nX-Sandbox-{field}: {value}\r\n"));
        }
    }
}
