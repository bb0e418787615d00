//! What must hold whatever bytes arrive: one function per fuzz target. Each takes any bytes and panics where an invariant is
//! broken, which is how a fuzzer hears of it.
//!
//! The targets in `fuzz/` call these functions and do nothing else, and the smoke in `tests` drives the same functions on stable
//! Rust with every `cargo test`. Only tests and the feature `fuzzing` compile this file.

use crate::config::{RoutingConfig, Sources, WebsocketHint};
use crate::http::parse::{self, ResponseContext};
use crate::http::{HeadError, HeadLimits, Progress, RequestHead};
use crate::route::{self, Decision};

/// Limits small enough for a fuzzer to reach them.
const LIMITS: HeadLimits = HeadLimits { line_bytes_max: 256, head_bytes_max: 1024, fields_max: 16 };

/// The heads of requests and responses. The first byte says what a response answers.
///
/// A head is found where it ends and nowhere else: no shorter buffer holds it, and what follows it does not change it. Nothing
/// that comes out of it can end a line or a head that is written from it.
pub fn head(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let context = ResponseContext { head: choice & 1 != 0, upgrade: choice & 2 != 0 };
    whole_head(bytes, |bytes| match parse::request(bytes, &LIMITS)? {
        Progress::Partial => Ok(None),
        Progress::Complete { head, consumed } => {
            assert!(head.target().starts_with(b"/") || head.target() == b"*", "the target is in origin-form");
            assert!(is_printable(head.target()), "the target holds a byte that ends it");
            assert_eq!(head.path().len() + head.query().map_or(0, |query| query.len() + 1), head.target().len());
            assert!(!head.method().is_empty());
            fields_are_whole(head.fields());
            Ok(Some((format!("{head:?}"), consumed)))
        }
    });
    whole_head(bytes, |bytes| match parse::response(bytes, context, &LIMITS)? {
        Progress::Partial => Ok(None),
        Progress::Complete { head, consumed } => {
            assert!((100..=999).contains(&head.status()));
            assert!(context.upgrade || head.status() != 101, "an upgrade nobody asked for");
            fields_are_whole(head.fields());
            Ok(Some((format!("{head:?}"), consumed)))
        }
    });
}

/// The decision about a request. The first byte chooses the configuration; the rest is the request's head.
///
/// No sandbox is invented, and the sandbox sees the tail of the very bytes that the client sent.
pub fn route(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let Ok(Progress::Complete { head, .. }) = parse::request(bytes, &HeadLimits::default()) else { return };
    let rules = RoutingConfig {
        sources: Sources { path: choice & 1 == 0, cookie: choice & 2 == 0, ..Sources::NONE },
        strip: choice & 4 == 0,
        path_prefix: if choice & 8 == 0 { "/vnc/" } else { "/" }.to_owned(),
        websocket_hint: match choice >> 4 & 3 {
            0 | 1 => WebsocketHint::Redirect,
            2 => WebsocketHint::Cookie,
            _ => WebsocketHint::Off,
        },
        ..RoutingConfig::default()
    };
    match route::decide(&head, &rules) {
        Ok(Decision::Forward(target)) => {
            let id = target.sandbox.as_str();
            assert!(
                clients_words(&head).any(|words| contains(words, id.as_bytes())),
                "{id} stands nowhere in the request"
            );
            assert!(target.upstream_target.starts_with(b"/"), "the upstream target is in origin-form");
            assert!(head.target().ends_with(&target.upstream_target), "the upstream target is the tail of the target");
            assert!(rules.strip || target.upstream_target == head.target());
            let prefix = &target.public_prefix;
            assert!(prefix.is_empty() || *prefix == format!("{}{id}", rules.path_prefix));
            setting_cookies_is_harmless(&target.set_cookies);
        }
        Ok(Decision::Redirect { status, location, set_cookies }) => {
            assert!(matches!(status, 302 | 308));
            assert!(location.starts_with(head.path()), "a redirect stays with its path");
            // A location that begins with two slashes would name another host, RFC 3986 section 4.2.
            assert!(is_printable(&location) && !location.starts_with(b"//"));
            setting_cookies_is_harmless(&set_cookies);
            follow(&head, &rules, &location, 2);
        }
        Err(_) => {}
    }
}

/// Holds `parse` against itself: it returns what it read from a buffer, and how much of the buffer that was.
fn whole_head<F>(bytes: &[u8], parse: F)
where
    F: Fn(&[u8]) -> Result<Option<(String, usize)>, HeadError>,
{
    let Ok(Some((head, consumed))) = parse(bytes) else { return };
    assert!(consumed <= bytes.len() && consumed <= LIMITS.head_bytes_max);
    for shorter in 0..consumed {
        assert_eq!(parse(&bytes[..shorter]), Ok(None), "{shorter} of {consumed} bytes");
    }
    assert_eq!(parse(&bytes[..consumed]), Ok(Some((head, consumed))));
}

/// No field can be read as two, or as the end of the head.
fn fields_are_whole<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) {
    let mut count = 0;
    for (name, value) in fields {
        assert!(!name.is_empty() && is_printable(name.as_bytes()) && !name.contains(':'), "a field name: {name:?}");
        assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)), "a value that ends its line: {value:?}");
        assert_eq!(value, value.trim_ascii(), "white space belongs to no value");
        count += 1;
    }
    assert!(count <= LIMITS.fields_max);
}

/// Follows a redirect as a browser does: it ends after at most `hops`.
fn follow(head: &RequestHead, rules: &RoutingConfig, location: &[u8], hops: u32) {
    let mut bytes = [b"GET ", location, b" HTTP/1.1\r\nHost: a\r\n"].concat();
    for (name, value) in head.fields().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    // A location may have grown beyond the limits of a head, and then it ends there.
    let Ok(Progress::Complete { head, .. }) = parse::request(&bytes, &HeadLimits::default()) else { return };
    if let Ok(Decision::Redirect { location, .. }) = route::decide(&head, rules) {
        assert!(hops > 1, "redirected again to {}", String::from_utf8_lossy(&location));
        follow(&head, rules, &location, hops - 1);
    }
}

/// Everything in a request that may name a sandbox.
fn clients_words(head: &RequestHead) -> impl Iterator<Item = &[u8]> {
    std::iter::once(head.target()).chain(head.values("referer")).chain(head.values("cookie"))
}

fn setting_cookies_is_harmless(set_cookies: &[String]) {
    for cookie in set_cookies {
        assert!(cookie.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{cookie:?}");
        assert_eq!(cookie.matches(';').count(), 2, "a value that adds attributes: {cookie:?}");
    }
}

fn is_printable(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_graphic)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests;
