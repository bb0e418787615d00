//! What the pod is told about the client, and by whom it may be told.

use gateway_tests::pod::Pod;

use crate::scene::{OK, Scene};

const CLAIMS: &str = "X-Forwarded-For: 203.0.113.9, 198.51.100.7\r\nX-Forwarded-Proto: https\r\n\
 X-Forwarded-Host: public.example\r\n\
    Forwarded: for=203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\nX-Forwarded-Port: 443\r\nX_Forwarded_For: 203.0.113.9\r\n\
    X-Forwarded-Prefix: /p\r\n";

/// Trap 47.
#[test]
fn a_stranger_claims_nothing() {
    let request = Scene::plain().forwarded(CLAIMS);
    assert_eq!(request.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.values("x-forwarded-proto"), ["http"]);
    assert_eq!(request.values("x-forwarded-host"), ["gw.example"]);
    for claim in ["forwarded", "x-real-ip", "x-forwarded-port", "x_forwarded_for"] {
        assert_eq!(request.field(claim), None, "{claim}");
    }
    assert_eq!(request.values("x-forwarded-prefix"), ["/vnc/1"], "what the gateway itself has cut off");
}

/// Trap 47.
#[test]
fn a_proxy_that_is_trusted_is_believed() {
    let scene = Scene::with(Pod::answering(OK).unwrap(), &["--trusted-proxy", "127.0.0.0/8"]);
    let request = scene.forwarded(CLAIMS);
    assert_eq!(request.values("x-forwarded-for"), ["203.0.113.9, 198.51.100.7, 127.0.0.1"]);
    assert_eq!(request.values("x-forwarded-proto"), ["https"]);
    assert_eq!(request.values("x-forwarded-host"), ["public.example"]);
    assert_eq!(request.values("x-forwarded-prefix"), ["/p/vnc/1"]);
    assert_eq!(request.field("x-real-ip"), Some("203.0.113.9"));
    let bare = scene.forwarded("");
    assert_eq!(bare.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(bare.values("x-forwarded-proto"), ["http"]);
    assert_eq!(bare.values("x-forwarded-host"), ["gw.example"]);
}

#[test]
fn a_proxy_from_elsewhere_is_not() {
    let scene = Scene::with(Pod::answering(OK).unwrap(), &["--trusted-proxy", "10.0.0.0/8"]);
    assert_eq!(scene.forwarded(CLAIMS).values("x-forwarded-for"), ["127.0.0.1"]);
}

/// A proxy passes on what a stranger wrote: what is no host name is no host name.
#[test]
fn a_claim_that_is_malformed_is_dropped() {
    let scene = Scene::with(Pod::answering(OK).unwrap(), &["--trusted-proxy", "127.0.0.1/32"]);
    let request = scene.forwarded("X-Forwarded-Host: evil.example/x?\r\nX-Forwarded-Proto: java script\r\n");
    assert_eq!(request.values("x-forwarded-host"), ["gw.example"]);
    assert_eq!(request.values("x-forwarded-proto"), ["http"]);
}
