//! The Referer: tells two tabs apart where their assets carry no id.
//!
//! `/vnc/app/ui.js` says nothing, and the cookie knows only the tab that was opened last; the page that asks for it,
//! however, was loaded from below `/vnc/37579/`, and a browser says so on every same-origin request but a WebSocket
//! handshake.

use super::SandboxId;
use super::path::{self, Named};

/// The sandbox that the page behind a request was loaded from.
///
/// Only a page of the authority that the request itself is for counts: another site may link here from any path it
/// likes, and must not choose the sandbox.
pub(super) fn sandbox(referer: &[u8], host: &[u8], prefix: &str) -> Option<SandboxId> {
    let behind_scheme = strip_scheme(referer)?;
    let authority_end = behind_scheme.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(behind_scheme.len());
    let (authority, target) = behind_scheme.split_at(authority_end);
    if authority.is_empty() || !authority.eq_ignore_ascii_case(host) {
        return None;
    }
    let path_end = target.iter().position(|byte| b"?#".contains(byte)).unwrap_or(target.len());
    match path::named(path::below(&target[..path_end], prefix)?) {
        Named::Inside(id, _) | Named::Unslashed(id) => Some(id),
        Named::Nothing => None,
    }
}

/// What follows `http://` or `https://`, in any case (RFC 3986 section 3.1).
fn strip_scheme(url: &[u8]) -> Option<&[u8]> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = url.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_of_the_same_authority_and_below_the_prefix_names_a_sandbox() {
        for (referer, expected) in [
            ("http://gw.example:8080/vnc/1/", Some("1")),
            ("https://gw.example:8080/vnc/1/vnc.html?path=../../vnc/2/websockify", Some("1")),
            ("HTTP://GW.example:8080/vnc/1", Some("1")),
            ("http://gw.example:8080/vnc/1?x=/vnc/2/", Some("1")),
            ("http://gw.example:8080/vnc/app/ui.js", None),
            ("http://gw.example:8080/?/vnc/1/", None),
            ("http://gw.example:8080/", None),
            ("http://gw.example:8080", None),
            ("http://gw.example/vnc/1/", None),
            ("http://evil.example:8080/vnc/1/", None),
            ("http://gw.example:8080@evil.example/vnc/1/", None),
            ("http://gw.example:8080.evil.example/vnc/1/", None),
            ("ftp://gw.example:8080/vnc/1/", None),
            ("//gw.example:8080/vnc/1/", None),
            ("/vnc/1/", None),
            ("about:blank", None),
            ("http://", None),
            ("", None),
        ] {
            let found = sandbox(referer.as_bytes(), b"gw.example:8080", "/vnc/");
            assert_eq!(found.as_ref().map(SandboxId::as_str), expected, "{referer}");
        }
        assert_eq!(sandbox(b"http:///vnc/1/", b"", "/vnc/"), None, "an empty authority is nobody's");
    }
}
