//! A head is written again for the other side. Fields that concern one hop stay behind, those that say who talks to
//! whom are set by the gateway, and everything else passes byte for byte and in its order.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::str;

use super::field::{self, Known};
use super::framing::is_authority;
use super::head::{ConnectionOptions, Field, Fields};
use super::{BodyLength, BodyReader, RequestHead, ResponseHead, Version, cookie, location, query, set_cookie};
use crate::config::{HostHeader, OriginPolicy};

/// The longest X-Request-Id that is taken over from a client, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// What a request is forwarded with, and what its response has to be translated back from.
#[derive(Debug, Clone, Copy)]
pub struct Forwarding<'a> {
    /// The address of the TCP connection.
    pub client: IpAddr,
    /// That address belongs to a proxy whose X-Forwarded fields are believed.
    pub client_trusted: bool,
    /// The client speaks TLS to the gateway.
    pub tls: bool,
    /// Where the sandbox listens.
    pub endpoint: SocketAddr,
    /// What the sandbox is told as Host.
    pub host_header: &'a HostHeader,
    /// The request target for the sandbox, in origin-form.
    pub upstream_target: &'a [u8],
    /// What stands before the sandbox's paths as the client sees them, `/vnc/37579`, with or without a slash at its
    /// end; empty if nothing does.
    pub public_prefix: &'a str,
    /// That prefix was not cut off: the sandbox knows it, and finds it in the path.
    pub keeps_prefix: bool,
    /// What a host agent in between wants in front of the sandbox's paths; empty where there is none. With a boundary:
    /// `/proxy/a/80` is not the beginning of `/proxy/a/8080`.
    pub agent_prefix: &'a str,
    /// The client is the gateway that knows the public side, and this one its host agent.
    pub client_is_edge: bool,
    /// What the sandbox sees of the Origin of an upgrade.
    pub origin: OriginPolicy,
    /// The Authorization field was the gateway's.
    pub consumes_authorization: bool,
    /// The gateway's own cookies, which the sandbox never sees.
    pub own_cookies: [&'a str; 2],
    /// The sandbox sees the cookies of an upgrade.
    pub upgrade_cookies: bool,
    /// The query parameter in which a browser brings a token: a Referer that has it stays behind.
    pub token_parameter: &'a str,
    /// The fields that named the sandbox stay behind.
    pub hides_sandbox_headers: bool,
    /// The id of this request, unless the client brings a good one of its own.
    pub request_id: &'a str,
}

/// How a response is written for the client.
#[derive(Debug, Clone, Copy)]
pub struct ResponseRewrite<'a> {
    /// The request that is answered: its host and, from a trusted proxy, its X-Forwarded fields are the public origin.
    pub request: &'a RequestHead,
    /// The values of Set-Cookie fields of the gateway's own, one field each.
    pub set_cookies: &'a [String],
    /// The client's connection ends after this response.
    pub close: bool,
    /// The response is the 101 that opens a stream.
    pub upgrade: bool,
}

/// What follows a response head that was written.
#[derive(Debug)]
pub struct Outgoing {
    /// Follows the body and writes it in the form that the head announced.
    pub body: BodyReader,
    /// The client's connection ends after the body, and the head said so if it could.
    pub close: bool,
}

/// The id that the client gave its request, if it is harmless: visible ASCII of at most [`REQUEST_ID_BYTES_MAX`].
#[must_use]
pub fn inbound_request_id(head: &RequestHead) -> Option<&str> {
    let id = head.fields.known(Known::RequestId).next()?;
    let good = (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    if good { str::from_utf8(id).ok() } else { None }
}

/// The client's address: that of the connection, or, if that is trusted, the rightmost of X-Forwarded-For that is not.
/// What stands left of it anybody may have written. Where all are trusted it is the leftmost.
pub fn client_address(head: &RequestHead, peer: IpAddr, trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = peer.to_canonical();
    let hops: Vec<&[u8]> = head.fields.known(Known::ForwardedFor).flat_map(field::list).collect();
    for hop in hops.iter().rev() {
        let address = str::from_utf8(hop).ok().and_then(|hop| hop.parse::<IpAddr>().ok());
        match address.filter(|_| trusted(client)) {
            Some(address) => client = address.to_canonical(),
            None => break,
        }
    }
    client
}

/// Appends to `out` the head of `head`'s request as the sandbox gets it. `upgrade` says that
/// [`super::upgrade::requested`] found a good one; without it Upgrade fields stay behind.
pub fn request(head: &RequestHead, upgrade: bool, f: &Forwarding<'_>, out: &mut Vec<u8>) {
    out.reserve(head.fields.bytes.len() + ADDED_BYTES);
    out.extend_from_slice(head.method().as_bytes());
    out.push(b' ');
    out.extend_from_slice(f.upstream_target);
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    append_sent_host(head, f, out);
    out.extend_from_slice(b"\r\n");
    let mut length_written = false;
    for field in head.fields.iter() {
        match field.known {
            Known::Cookie if upgrade && !f.upgrade_cookies => {}
            Known::Cookie => append_cookie(&field, &f.own_cookies, out),
            Known::ContentLength if !length_written => {
                append_length(head.body, out);
                length_written = true;
            }
            Known::TransferEncoding => out.extend_from_slice(CHUNKED_LINE),
            Known::Claim if f.client_trusted => append_line(field.name, field.value, out),
            Known::Expect if head.version == Version::Http10 => {}
            Known::Origin if upgrade && f.origin == OriginPolicy::Strip => {}
            Known::Origin if upgrade && f.origin == OriginPolicy::Rewrite => append_own_origin(head, f, out),
            Known::Authorization if f.consumes_authorization => {}
            Known::Other if f.hides_sandbox_headers && names_sandbox(field.name) => {}
            Known::Other if tells_token(&field, f.token_parameter) => {}
            Known::Other
            | Known::Accept
            | Known::Authorization
            | Known::Expect
            | Known::Location
            | Known::Origin
            | Known::SecFetchMode
            | Known::ServiceWorkerAllowed
            | Known::SetCookie => {
                append_unless_named(&field, &head.fields, head.connection, out);
            }
            // Set below, for one hop only, or a claim nobody may make.
            _ => {}
        }
    }
    append_forwarded(head, f, out);
    let id = inbound_request_id(head).unwrap_or(f.request_id);
    append_line(b"X-Request-Id", id.as_bytes(), out);
    if upgrade {
        out.extend_from_slice(UPGRADE_LINES);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends to `out` the head of `head`'s response as the client gets it, and says how the body follows.
pub fn response(head: &ResponseHead, f: &Forwarding<'_>, r: &ResponseRewrite<'_>, out: &mut Vec<u8>) -> Outgoing {
    let outgoing = outgoing(head, r);
    out.reserve(head.fields.bytes.len() + ADDED_BYTES);
    write!(out, "HTTP/1.1 {} ", head.status).expect("a Vec takes every byte");
    out.extend_from_slice(head.reason());
    out.extend_from_slice(b"\r\n");
    let prefix = f.public_prefix.trim_end_matches('/').as_bytes();
    let mut length_written = false;
    for field in head.fields.iter() {
        match field.known {
            Known::ContentLength if !length_written => {
                length_written = true;
                append_response_length(head, out);
            }
            Known::TransferEncoding if head.body == BodyLength::Chunked && r.request.version == Version::Http11 => {
                out.extend_from_slice(CHUNKED_LINE);
            }
            Known::Location | Known::ServiceWorkerAllowed => append_location(&field, prefix, f, r, out),
            Known::SetCookie => {
                start_field(field.name, out);
                let prefix = if f.client_is_edge { b"" } else { prefix };
                set_cookie::append(field.value, prefix, f.agent_prefix.as_bytes(), out);
                out.extend_from_slice(b"\r\n");
            }
            Known::Connection | Known::ContentLength | Known::Hop | Known::TransferEncoding | Known::Upgrade => {}
            _ => append_unless_named(&field, &head.fields, head.connection, out),
        }
    }
    if !head.is_interim() {
        r.set_cookies.iter().for_each(|value| append_line(b"Set-Cookie", value.as_bytes(), out));
    }
    append_connection(head, r, outgoing.close, out);
    out.extend_from_slice(b"\r\n");
    outgoing
}

/// What a rewritten head may be longer than the one it was made from, in bytes: only a guess that saves allocations.
const ADDED_BYTES: usize = 256;

const CHUNKED_LINE: &[u8] = b"Transfer-Encoding: chunked\r\n";
const UPGRADE_LINES: &[u8] = b"Upgrade: websocket\r\nConnection: Upgrade\r\n";

/// The Host field for the sandbox. HTTP/1.0 may have none to pass on; the one that an edge gateway sends is this host
/// agent's own, and what the browser sent stands beside it.
fn append_sent_host(head: &RequestHead, f: &Forwarding<'_>, out: &mut Vec<u8>) {
    let asked = if f.client_is_edge { public_host(head, f) } else { head.host() };
    match f.host_header {
        HostHeader::Pass if !asked.is_empty() => out.extend_from_slice(asked),
        HostHeader::Mask(text) => {
            let mut parts = text.split("{port}");
            out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
            for part in parts {
                write!(out, "{}{part}", f.endpoint.port()).expect("a Vec takes every byte");
            }
        }
        HostHeader::Pass | HostHeader::Endpoint => {
            write!(out, "{}", f.endpoint).expect("a Vec takes every byte");
        }
    }
}

/// Whether a field is one by which a client names its sandbox.
fn names_sandbox(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-sandbox-";
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Whether a field is a Referer with a token in it: that of a page that was opened before its token was taken away.
fn tells_token(field: &Field<'_>, parameter: &str) -> bool {
    field.name.eq_ignore_ascii_case(b"referer") && query::without(field.value, parameter).is_some()
}

/// The origin of a page that the sandbox served itself, as far as it knows.
fn append_own_origin(head: &RequestHead, f: &Forwarding<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Origin: http://");
    append_sent_host(head, f, out);
    out.extend_from_slice(b"\r\n");
}

fn append_cookie(field: &Field<'_>, own: &[&str], out: &mut Vec<u8>) {
    let start = out.len();
    start_field(field.name, out);
    if cookie::append_without(field.value, own, out) {
        out.extend_from_slice(b"\r\n");
    } else {
        out.truncate(start);
    }
}

/// X-Forwarded-For, -Proto and -Host: what the gateway sees, or, behind a trusted proxy, what that one saw.
fn append_forwarded(head: &RequestHead, f: &Forwarding<'_>, out: &mut Vec<u8>) {
    start_field(b"X-Forwarded-For", out);
    if f.client_trusted {
        for value in head.fields.known(Known::ForwardedFor).filter(|value| !value.is_empty()) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    write!(out, "{}\r\n", f.client.to_canonical()).expect("a Vec takes every byte");
    append_line(b"X-Forwarded-Proto", public_scheme(head, f), out);
    let host = public_host(head, f);
    if !host.is_empty() {
        append_line(b"X-Forwarded-Host", host, out);
    }
    append_forwarded_prefix(head, f, out);
}

/// X-Forwarded-Prefix, for applications that make URLs of their own: what a trusted proxy has cut off, and then what
/// this gateway has.
fn append_forwarded_prefix(head: &RequestHead, f: &Forwarding<'_>, out: &mut Vec<u8>) {
    let outer = trusted(head, f.client_trusted, Known::ForwardedPrefix)
        .filter(|prefix| prefix.starts_with(b"/"))
        .unwrap_or_default();
    let cut_nothing = f.client_is_edge || f.keeps_prefix;
    let own = if cut_nothing { "" } else { f.public_prefix.trim_end_matches('/') };
    let outer = outer.strip_suffix(b"/").unwrap_or(outer);
    if !outer.is_empty() || !own.is_empty() {
        append_line(b"X-Forwarded-Prefix", &[outer, own.as_bytes()].concat(), out);
    }
}

/// Where the client sees the gateway: scheme and authority, as the gateway sees them or, with `client_trusted`, as the
/// proxy in front says.
#[must_use]
pub fn public_origin(head: &RequestHead, client_trusted: bool, tls: bool) -> (&[u8], &[u8]) {
    (scheme(head, client_trusted, tls), host(head, client_trusted))
}

fn public_scheme<'a>(head: &'a RequestHead, f: &Forwarding<'_>) -> &'a [u8] {
    scheme(head, f.client_trusted, f.tls)
}

fn public_host<'a>(head: &'a RequestHead, f: &Forwarding<'_>) -> &'a [u8] {
    host(head, f.client_trusted)
}

fn scheme(head: &RequestHead, client_trusted: bool, tls: bool) -> &[u8] {
    let own = if tls { &b"https"[..] } else { b"http" };
    let claimed = trusted(head, client_trusted, Known::ForwardedProto);
    claimed.filter(|scheme| scheme.iter().all(u8::is_ascii_alphabetic)).unwrap_or(own)
}

fn host(head: &RequestHead, client_trusted: bool) -> &[u8] {
    // A proxy that is trusted may still pass on what a stranger wrote.
    trusted(head, client_trusted, Known::ForwardedHost).filter(|host| is_authority(host)).unwrap_or_else(|| head.host())
}

/// The first value of a field that only a trusted proxy may set. A list has the oldest, the browser's, in front.
fn trusted(head: &RequestHead, client_trusted: bool, known: Known) -> Option<&[u8]> {
    if client_trusted { head.fields.known(known).flat_map(field::list).next() } else { None }
}

fn append_location(field: &Field<'_>, prefix: &[u8], f: &Forwarding<'_>, r: &ResponseRewrite<'_>, out: &mut Vec<u8>) {
    let mut sent_host = Vec::new();
    append_sent_host(r.request, f, &mut sent_host);
    let map = location::Map {
        scheme: public_scheme(r.request, f),
        // The edge gateway maps a path; only it knows the origin.
        host: if f.client_is_edge { b"" } else { public_host(r.request, f) },
        prefix,
        agent_prefix: f.agent_prefix.as_bytes(),
        endpoint: f.endpoint,
        sent_host: &sent_host,
    };
    start_field(field.name, out);
    location::append(field.value, &map, out);
    out.extend_from_slice(b"\r\n");
}

/// How the body goes out, and whether its end is the connection's end: chunks cannot be sent to HTTP/1.0, and a body
/// that ends with the upstream's connection ends with the client's.
fn outgoing(head: &ResponseHead, r: &ResponseRewrite<'_>) -> Outgoing {
    let unframed = match head.body {
        BodyLength::UntilClose => true,
        BodyLength::Chunked => r.request.version == Version::Http10,
        BodyLength::None | BodyLength::Fixed(_) => false,
    };
    let decodes = unframed && head.body == BodyLength::Chunked;
    let body = if decodes { BodyReader::decoding(head.body) } else { BodyReader::new(head.body) };
    Outgoing { body, close: r.close || unframed }
}

/// Content-Length of a body, or of the body that HEAD and 304 only speak of. 1xx and 204 must not have one (RFC 9110
/// section 8.6).
fn append_response_length(head: &ResponseHead, out: &mut Vec<u8>) {
    if let Some(length) = head.length.filter(|_| head.status >= 200 && head.status != 204) {
        append_length(BodyLength::Fixed(length), out);
    }
}

/// The Connection field, and Upgrade where there is one. 1xx says nothing about the connection; 426 has to name the
/// protocol (RFC 9110 section 15.5.22).
fn append_connection(head: &ResponseHead, r: &ResponseRewrite<'_>, close: bool, out: &mut Vec<u8>) {
    if head.is_interim() {
        return;
    }
    if r.upgrade {
        out.extend_from_slice(UPGRADE_LINES);
    } else if head.status == 426 {
        let line: &[u8] = if close { b"Connection: Upgrade, close\r\n" } else { b"Connection: Upgrade\r\n" };
        out.extend_from_slice(b"Upgrade: websocket\r\n");
        out.extend_from_slice(line);
    } else if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if r.request.version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

fn append_length(body: BodyLength, out: &mut Vec<u8>) {
    if let BodyLength::Fixed(length) = body {
        write!(out, "Content-Length: {length}\r\n").expect("a Vec takes every byte");
    }
}

/// Appends the field, unless a Connection field says that it is for one hop only.
fn append_unless_named(field: &Field<'_>, fields: &Fields, connection: ConnectionOptions, out: &mut Vec<u8>) {
    if !(connection.names_fields && fields.connection_names(field.name)) {
        append_line(field.name, field.value, out);
    }
}

fn append_line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    start_field(name, out);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn start_field(name: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
}

#[cfg(test)]
mod tests;
