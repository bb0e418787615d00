//! What must hold whatever bytes arrive: one function per fuzz target. Each takes any bytes and panics where an
//! invariant is broken, which is how a fuzzer hears of it.
//!
//! The targets in `fuzz/` call these functions and do nothing else, and the smoke in `tests` drives the same functions
//! on stable Rust with every `cargo test`. Only tests and the feature `fuzzing` compile this file.

mod frames;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::{HostHeader, OriginPolicy, RoutingConfig, Sources, WebsocketHint};
use crate::directory::EndpointRules;
use crate::directory::record::{self, FieldNames};
use crate::http::body::BodyError;
use crate::http::parse::{self, ResponseContext};
use crate::http::rewrite::{self, Forwarding, ResponseRewrite};
use crate::http::{BodyLength, BodyReader, HeadError, HeadLimits, Progress, RequestHead, ResponseHead, upgrade};
use crate::route::{self, Decision};

pub use frames::frames;

/// Limits small enough for a fuzzer to reach them.
const LIMITS: HeadLimits = HeadLimits { line_bytes_max: 256, head_bytes_max: 1024, fields_max: 16 };

/// The heads of requests and responses. The first byte says what a response answers.
///
/// A head is found where it ends and nowhere else: no shorter buffer holds it, and what follows it does not change it.
/// Written for the other side it is one head again, with the same body behind it: what the gateway took for one message
/// can never be two for the sandbox or the browser.
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
            request_survives_rewriting(&head);
            Ok(Some((format!("{head:?}"), consumed)))
        }
    });
    whole_head(bytes, |bytes| match parse::response(bytes, context, &LIMITS)? {
        Progress::Partial => Ok(None),
        Progress::Complete { head, consumed } => {
            assert!((100..=999).contains(&head.status()));
            assert!(context.upgrade || head.status() != 101, "an upgrade nobody asked for");
            fields_are_whole(head.fields());
            response_survives_rewriting(&head, context);
            Ok(Some((format!("{head:?}"), consumed)))
        }
    });
}

/// A chunked body. The first byte says how the bytes are dealt out to the reader.
///
/// How they are dealt out makes no difference, nothing is read behind the body's end, what goes out is never longer
/// than what came in, and it is a chunked body that reads as itself: extensions, trailers and leading zeros are gone,
/// the data is not.
pub fn chunked(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let reader = BodyReader::new(BodyLength::Chunked);
    let (whole, out) = read(reader.clone(), bytes, bytes.len().max(1));
    assert_eq!(
        read(reader.clone(), bytes, usize::from(choice % 16) + 1),
        (whole, out.clone()),
        "dealt out differently"
    );
    let (decoded, content) = read(BodyReader::decoding(BodyLength::Chunked), bytes, bytes.len().max(1));
    assert_eq!(decoded, whole, "both readers see the same body");
    assert!(content.len() <= out.len() && out.len() <= bytes.len());
    let Ok((consumed, true)) = whole else { return };
    assert_eq!(
        content_of(&bytes[..consumed]).as_deref(),
        Some(content.as_slice()),
        "RFC 9112 section 7.1 reads it otherwise"
    );
    assert_eq!(
        read(reader.clone(), &bytes[..consumed], 1),
        (Ok((consumed, true)), out.clone()),
        "bytes behind the end count"
    );
    assert_eq!(read(reader, &out, 7), (Ok((out.len(), true)), out.clone()), "what went out is in its plainest form");
    assert_eq!(read(BodyReader::decoding(BodyLength::Chunked), &out, 7).1, content, "the data is the same");
}

/// A field and a value of the directory, which anybody with access to its hash may have written.
///
/// What is accepted is written again as itself, and no rule about endpoints is lost on the way through text.
pub fn record(data: &[u8]) {
    let names = FieldNames::new("Sandbox_ID_");
    if let Some(id) = names.decode(data) {
        assert_eq!(names.encode(&id).as_bytes(), data, "two fields for one sandbox");
    }
    let rules = EndpointRules { allow: Vec::new(), own: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))] };
    let Ok(endpoint) = record::decode_value(data, &rules) else { return };
    assert!(data.len() <= record::VALUE_BYTES_MAX);
    let address = endpoint.address();
    let ip = address.ip();
    assert!(address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast(), "{address} is no endpoint");
    assert!(!ip.to_canonical().is_ipv4() || ip.is_ipv4(), "{address} hides an IPv4 address from the rules");
    assert!(!matches!(ip, IpAddr::V4(ip) if ip.is_link_local() || ip.is_broadcast()), "{address} is no endpoint");
    assert!(!rules.own.contains(&address), "{address} is the gateway itself");
    let written = record::encode_value(endpoint);
    assert_eq!(record::decode_value(written.as_bytes(), &rules), Ok(endpoint), "{written} reads otherwise");
}

/// The decision about a request. The first byte chooses the configuration; the rest is the request's head.
///
/// No sandbox is invented, and the sandbox sees the tail of the very bytes that the client sent.
pub fn route(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let Some((head, _)) = complete(parse::request(bytes, &HeadLimits::default())) else { return };
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

/// The head that the sandbox gets for `head`.
fn request_survives_rewriting(head: &RequestHead) {
    let upgrade = matches!(upgrade::requested(head), Ok(Some(_)));
    let mut out = Vec::new();
    rewrite::request(head, upgrade, &forwarding(head.target()), &mut out);
    let sent = complete(parse::request(&out, &HeadLimits::default()));
    let (sent, consumed) = sent.expect("the sandbox gets a head");
    assert_eq!(consumed, out.len(), "the sandbox gets more than one head");
    assert_eq!((sent.method(), sent.target(), sent.body()), (head.method(), head.target(), head.body()));
    assert_eq!(sent.asks_websocket(), upgrade);
    let own = sent
        .values("cookie")
        .any(|value| value.split(|&byte| byte == b';').any(|pair| pair.trim_ascii().starts_with(b"vnc_session_id=")));
    assert!(!own, "the gateway's cookie reaches the sandbox");
}

/// The head that a client gets for `head`.
fn response_survives_rewriting(head: &ResponseHead, context: ResponseContext) {
    let request = b"GET /vnc/1/ HTTP/1.1\r\nHost: gw.example\r\n\r\n";
    let (request, _) = complete(parse::request(request, &HeadLimits::default())).expect("a plain request is good");
    let rewrite = ResponseRewrite {
        request: &request,
        set_cookies: &[],
        close: false,
        upgrade: context.upgrade && head.status() == 101,
    };
    let mut out = Vec::new();
    rewrite::response(head, &forwarding(b"/"), &rewrite, &mut out);
    let sent = complete(parse::response(&out, context, &HeadLimits::default()));
    let (sent, consumed) = sent.expect("the client gets a head");
    assert_eq!(consumed, out.len(), "the client gets more than one head");
    assert_eq!((sent.status(), sent.body()), (head.status(), head.body()));
    assert_eq!(sent.values("set-cookie").count(), head.values("set-cookie").count(), "each cookie keeps its own field");
}

/// A head, and how many bytes it took.
fn complete<T>(progress: Result<Progress<T>, HeadError>) -> Option<(T, usize)> {
    match progress {
        Ok(Progress::Complete { head, consumed }) => Some((head, consumed)),
        Ok(Progress::Partial) | Err(_) => None,
    }
}

fn forwarding(upstream_target: &[u8]) -> Forwarding<'_> {
    Forwarding {
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        client_trusted: false,
        tls: false,
        endpoint: SocketAddr::from((Ipv4Addr::new(10, 18, 124, 21), 6080)),
        host_header: &HostHeader::Endpoint,
        upstream_target,
        public_prefix: "/vnc/1",
        keeps_prefix: false,
        agent_prefix: "",
        client_is_edge: false,
        origin: OriginPolicy::Pass,
        consumes_authorization: false,
        own_cookies: ["vnc_session_id", "gateway_access"],
        upgrade_cookies: true,
        token_parameter: "gateway_token",
        hides_sandbox_headers: false,
        request_id: "1",
    }
}

/// Deals `bytes` out to `reader` in portions: how many were the body's, whether it ended, and what goes out.
fn read(mut reader: BodyReader, bytes: &[u8], portion: usize) -> (Result<(usize, bool), BodyError>, Vec<u8>) {
    let mut out = Vec::new();
    let mut consumed = 0;
    for part in bytes.chunks(portion) {
        match reader.advance(part, &mut out) {
            Ok(taken) => {
                consumed += taken;
                assert!(taken == part.len() || reader.is_done(), "a body that goes on takes every byte");
            }
            Err(error) => return (Err(error), out),
        }
    }
    assert_eq!(reader.clone().finish().is_ok(), reader.is_done(), "a chunked body ends with its last chunk only");
    (Ok((consumed, reader.is_done())), out)
}

/// The data of a whole chunked body, read as RFC 9112 section 7.1 is written: line by line, and with nothing to resume.
fn content_of(mut body: &[u8]) -> Option<Vec<u8>> {
    fn line<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
        let end = body.windows(2).position(|pair| pair == b"\r\n")?;
        let line = &body[..end];
        *body = &body[end + 2..];
        Some(line)
    }
    let mut content = Vec::new();
    loop {
        let size = line(&mut body)?.split(|&byte| byte == b';').next()?;
        let size = std::str::from_utf8(size).ok().filter(|size| !size.starts_with('+'))?;
        match usize::from_str_radix(size, 16).ok()? {
            0 => break,
            size => content.extend_from_slice(body.split_off(..size)?),
        }
        if !line(&mut body)?.is_empty() {
            return None;
        }
    }
    while !line(&mut body)?.is_empty() {}
    body.is_empty().then_some(content)
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
    let Some((head, _)) = complete(parse::request(&bytes, &HeadLimits::default())) else { return };
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
