//! A sandbox redirects to where it believes to live. What names the sandbox itself is mapped to its public URL; every
//! other target is not the gateway's business.

use std::net::SocketAddr;

use super::set_cookie::{is_below, without_prefix};

/// The public side of a sandbox, and the names it has for itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Map<'a> {
    /// `http` or `https`, as the browser sees it.
    pub(super) scheme: &'a [u8],
    /// The authority that the browser asked for; empty if it named none.
    pub(super) host: &'a [u8],
    /// What stands before every path of the sandbox, without a slash at its end.
    pub(super) prefix: &'a [u8],
    /// What a host agent in between has put in front of those paths, written alike; empty where there is none.
    pub(super) agent_prefix: &'a [u8],
    pub(super) endpoint: SocketAddr,
    /// The Host field that the sandbox was sent.
    pub(super) sent_host: &'a [u8],
}

/// Appends the Location value as the browser has to see it.
pub(super) fn append(value: &[u8], map: &Map<'_>, out: &mut Vec<u8>) {
    if value.starts_with(b"/") && !value.starts_with(b"//") {
        append_path(value, map, out);
        return;
    }
    // With neither host nor prefix `http://pod//other` would become `//other`, which names somebody else.
    let nothing_public = map.host.is_empty() && map.prefix.is_empty();
    match own_path(value, map).filter(|_| !nothing_public) {
        Some(path) => {
            if !map.host.is_empty() {
                out.extend_from_slice(map.scheme);
                out.extend_from_slice(b"://");
                out.extend_from_slice(map.host);
            }
            append_path(path, map, out);
        }
        None => out.extend_from_slice(value),
    }
}

/// Appends `path`, which may lack its slash (`?x` of `http://pod?x`), below the prefix.
fn append_path(path: &[u8], map: &Map<'_>, out: &mut Vec<u8>) {
    let path = without_prefix(path, map.agent_prefix);
    if !is_below(path, map.prefix) || map.prefix.is_empty() {
        out.extend_from_slice(map.prefix);
    }
    if !path.starts_with(b"/") {
        out.push(b'/');
    }
    out.extend_from_slice(path);
}

/// What follows the authority of an absolute URL that names the sandbox.
fn own_path<'a>(value: &'a [u8], map: &Map<'_>) -> Option<&'a [u8]> {
    let (default_port, rest) = strip_scheme(value)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let same = is_endpoint(authority, default_port, map.endpoint) || is_host(authority, default_port, map.sent_host);
    same.then_some(path)
}

fn strip_scheme(value: &[u8]) -> Option<(u16, &[u8])> {
    [(80, &b"http://"[..]), (443, b"https://")].into_iter().find_map(|(port, scheme)| {
        let start = value.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| (port, &value[scheme.len()..]))
    })
}

/// Compares addresses rather than texts: `[::1]` has many spellings.
fn is_endpoint(authority: &[u8], default_port: u16, endpoint: SocketAddr) -> bool {
    let (host, port) = split_port(authority, default_port);
    let bracketed = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let address = std::str::from_utf8(bracketed.unwrap_or(host)).ok().and_then(|host| host.parse().ok());
    port == Some(endpoint.port()) && address == Some(endpoint.ip())
}

/// Compares with the Host that the sandbox was sent. That one's default port is 80: the gateway speaks plain HTTP to
/// it; but a sandbox told by X-Forwarded-Proto that the browser uses https writes `https://host/`, so an equal text
/// counts.
fn is_host(authority: &[u8], default_port: u16, sent_host: &[u8]) -> bool {
    if sent_host.is_empty() {
        return false;
    }
    let (host, port) = split_port(authority, default_port);
    let (sent_name, sent_port) = split_port(sent_host, 80);
    authority.eq_ignore_ascii_case(sent_host) || (host.eq_ignore_ascii_case(sent_name) && port == sent_port)
}

/// The host and its port; `None` for a port that is no number.
fn split_port(authority: &[u8], default: u16) -> (&[u8], Option<u16>) {
    let host_end = memchr::memrchr(b']', authority).unwrap_or(0);
    match memchr::memrchr(b':', &authority[host_end..]) {
        Some(colon) => {
            let (host, port) = authority.split_at(host_end + colon);
            let port = &port[1..];
            let digits = std::str::from_utf8(port).ok().filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
            (host, if port.is_empty() { Some(default) } else { digits.and_then(|port| port.parse().ok()) })
        }
        None => (authority, Some(default)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(value: &str, prefix: &str, endpoint: &str, sent_host: &str) -> String {
        let map = Map {
            scheme: b"http",
            host: b"gw.example:8080",
            prefix: prefix.as_bytes(),
            agent_prefix: b"/proxy/a/80",
            endpoint: endpoint.parse().unwrap(),
            sent_host: sent_host.as_bytes(),
        };
        let mut out = Vec::new();
        append(value.as_bytes(), &map, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paths_get_the_prefix_once() {
        for (value, expected) in [
            ("/", "/vnc/7/"),
            ("/login?next=/a", "/vnc/7/login?next=/a"),
            ("/vnc/7", "/vnc/7"),
            ("/vnc/7/x", "/vnc/7/x"),
            ("/vnc/7?x", "/vnc/7?x"),
            ("/vnc/70/x", "/vnc/7/vnc/70/x"),
            ("/%2F//x", "/vnc/7/%2F//x"),
        ] {
            assert_eq!(mapped(value, "/vnc/7", "10.0.0.1:6080", "10.0.0.1:6080"), expected);
        }
    }

    #[test]
    fn the_sandbox_itself_is_mapped_to_the_public_origin() {
        for (value, endpoint, expected) in [
            ("http://10.0.0.1:6080/x", "10.0.0.1:6080", "http://gw.example:8080/vnc/7/x"),
            ("HTTP://10.0.0.1:6080", "10.0.0.1:6080", "http://gw.example:8080/vnc/7/"),
            ("http://10.0.0.1:6080?q", "10.0.0.1:6080", "http://gw.example:8080/vnc/7/?q"),
            ("http://10.0.0.1/x", "10.0.0.1:80", "http://gw.example:8080/vnc/7/x"),
            ("http://10.0.0.1:/x", "10.0.0.1:80", "http://gw.example:8080/vnc/7/x"),
            ("https://10.0.0.1/x", "10.0.0.1:443", "http://gw.example:8080/vnc/7/x"),
            ("http://[0:0::1]:6080/x", "[::1]:6080", "http://gw.example:8080/vnc/7/x"),
            ("http://10.0.0.1:6080/vnc/7/x", "10.0.0.1:6080", "http://gw.example:8080/vnc/7/x"),
        ] {
            assert_eq!(mapped(value, "/vnc/7", endpoint, endpoint), expected, "{value}");
        }
    }

    #[test]
    fn the_host_that_was_sent_counts_as_the_sandbox() {
        for value in ["http://desk.example/x", "http://DESK.example:80/x", "https://desk.example/x"] {
            assert_eq!(mapped(value, "/vnc/7", "10.0.0.1:6080", "desk.example"), "http://gw.example:8080/vnc/7/x");
        }
    }

    #[test]
    fn everything_else_is_untouched() {
        for value in [
            "//other.example/x",
            "http://other.example/x",
            "http://10.0.0.1:8080/x",
            "http://10.0.0.1:808/x",
            "http://10.0.0.1:+80/x",
            "http://10.0.0.10/x",
            "http://user@10.0.0.1/x",
            "https://10.0.0.1/x",
            "x/y",
            "../x",
            "?q",
            "#f",
            "",
            "ftp://10.0.0.1/x",
            "javascript:alert(1)",
        ] {
            assert_eq!(mapped(value, "/vnc/7", "10.0.0.1:80", "10.0.0.1:80"), value);
        }
    }

    #[test]
    fn the_prefix_of_a_host_agent_is_taken_off_at_its_boundary() {
        for (value, expected) in [
            ("/proxy/a/80/x//y%2F?z", "/x//y%2F?z"),
            ("/proxy/a/80", "/"),
            ("/proxy/a/80/", "/"),
            ("/proxy/a/80?x", "/?x"),
            ("/proxy/a/8080/x", "/proxy/a/8080/x"),
            ("http://10.0.0.1/proxy/a/80/x", "http://gw.example:8080/x"),
            ("//proxy/a/80/x", "//proxy/a/80/x"),
        ] {
            assert_eq!(mapped(value, "", "10.0.0.1:80", "10.0.0.1:80"), expected, "{value}");
        }
    }

    #[test]
    fn without_a_prefix_only_the_origin_changes() {
        assert_eq!(mapped("/x", "", "10.0.0.1:80", "h"), "/x");
        assert_eq!(mapped("http://10.0.0.1/x", "", "10.0.0.1:80", "h"), "http://gw.example:8080/x");
    }
}
