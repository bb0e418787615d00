//! What differs by the way in.

use super::*;

#[test]
fn a_masked_host_has_the_endpoints_port_where_it_says_so() {
    let host_header = HostHeader::Mask("localhost:{port}".to_owned());
    let text = forwarded("", &Forwarding { host_header: &host_header, ..forwarding() });
    assert!(text.contains("\r\nHost: localhost:6080\r\n"), "{text}");
}

#[test]
fn a_host_agent_passes_the_host_that_the_edge_was_asked_for() {
    let edge = Forwarding { host_header: &HostHeader::Pass, client_is_edge: true, ..forwarding() };
    let named = "X-Forwarded-Host: 80-a.example\r\n";
    assert!(forwarded(named, &Forwarding { client_trusted: true, ..edge }).contains("\r\nHost: 80-a.example\r\n"));
    assert!(forwarded(named, &edge).contains("\r\nHost: gw:8080\r\n"), "a stranger is not believed");
}

#[test]
fn a_prefix_that_was_not_cut_off_is_not_told_and_still_bounds_the_answer() {
    let f = Forwarding { keeps_prefix: true, ..forwarding() };
    assert!(!forwarded("", &f).contains("X-Forwarded-Prefix"));
    let outer = Forwarding { client_trusted: true, ..f };
    assert!(forwarded("X-Forwarded-Prefix: /outer\r\n", &outer).contains("X-Forwarded-Prefix: /outer\r\n"));
    let text = "HTTP/1.1 302 Found\r\nLocation: /vnc/7/lab\r\nSet-Cookie: a=1; Path=/vnc/7/\r\n\
        Set-Cookie: b=1; Path=/\r\nContent-Length: 0\r\n\r\n";
    let head = response_head(text, ResponseContext::default());
    let asked = request_head("GET /vnc/7/ HTTP/1.1\r\nHost: gw:8080\r\n\r\n");
    let rewrite = ResponseRewrite { request: &asked, set_cookies: &[], close: false, upgrade: false };
    let mut out = Vec::new();
    response(&head, &f, &rewrite, &mut out);
    let written = String::from_utf8(out).unwrap();
    for line in ["Location: /vnc/7/lab\r\n", "Set-Cookie: a=1; Path=/vnc/7/\r\n", "Set-Cookie: b=1; Path=/vnc/7/\r\n"] {
        assert!(written.contains(line), "{written}");
    }
}

#[test]
fn a_trusted_proxys_prefix_stands_before_the_gateways() {
    let f = Forwarding { client_trusted: true, ..forwarding() };
    assert!(forwarded("X-Forwarded-Prefix: /outer/\r\n", &f).contains("X-Forwarded-Prefix: /outer/vnc/7\r\n"));
    assert!(forwarded("X-Forwarded-Prefix: /evil\r\n", &forwarding()).contains("X-Forwarded-Prefix: /vnc/7\r\n"));
    assert!(!forwarded("", &Forwarding { public_prefix: "", ..forwarding() }).contains("X-Forwarded-Prefix"));
}

#[test]
fn origin_is_changed_on_upgrades_alone_and_a_used_authorization_stays_behind() {
    let head = request_head("GET /x HTTP/1.1\r\nHost: gw\r\nOrigin: http://gw\r\nAuthorization: Bearer t\r\n\r\n");
    for (origin, upgrade, seen) in [
        (OriginPolicy::Pass, true, Some("http://gw")),
        (OriginPolicy::Strip, true, None),
        (OriginPolicy::Rewrite, true, Some("http://10.0.0.1:6080")),
        (OriginPolicy::Strip, false, Some("http://gw")),
    ] {
        let mut out = Vec::new();
        let f = Forwarding { origin, consumes_authorization: true, ..forwarding() };
        request(&head, upgrade, &f, &mut out);
        let text = String::from_utf8(out).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Origin: "));
        assert_eq!(line, seen, "{origin:?}");
        assert!(!text.contains("Authorization"), "{text}");
    }
}
