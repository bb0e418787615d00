//! What differs by the way in.

use super::*;

#[test]
fn a_masked_host_has_the_endpoints_port_where_it_says_so() {
    let host_header = HostHeader::Mask("localhost:{port}".to_owned());
    let text = forwarded("", &Forwarding { host_header: &host_header, ..forwarding() });
    assert!(text.contains("\r\nHost: localhost:6080\r\n"), "{text}");
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
