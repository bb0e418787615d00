//! A parsed head: one copy of its bytes, and where the parts are.

use std::str;

use smallvec::SmallVec;

use super::field::{self, Known};
use super::{BodyLength, Version};

/// A request's head. It owns its bytes: one allocation, and a second one only beyond 24 fields.
#[derive(Debug, Clone)]
pub struct RequestHead {
    pub(super) fields: Fields,
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) path: Span,
    pub(super) host: Span,
    pub(super) version: Version,
    pub(super) body: BodyLength,
    pub(super) connection: ConnectionOptions,
}

/// A response's head.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    pub(super) fields: Fields,
    pub(super) status: u16,
    pub(super) reason: Span,
    pub(super) version: Version,
    pub(super) body: BodyLength,
    pub(super) length: Option<u64>,
    pub(super) connection: ConnectionOptions,
}

/// The fields of a head in the order they came, over the head's bytes.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: SmallVec<[FieldSpan; 24]>,
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldSpan {
    pub(super) known: Known,
    pub(super) name: Span,
    pub(super) value: Span,
}

/// A part of the head's bytes. A head is limited to far less than 4 GiB.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// One field as a rewriting pass sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) known: Known,
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

/// What the Connection fields ask for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectionOptions {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// Some other field is named, so that hop-by-hop removal has to look at names.
    pub(super) names_fields: bool,
}

impl RequestHead {
    /// The method, as it came: methods are case-sensitive (RFC 9110 section 9.1).
    #[must_use]
    pub fn method(&self) -> &str {
        text(self.fields.slice(self.method))
    }

    /// The target in origin-form (or `*`), with exactly the bytes that came. Of an absolute target this is what
    /// follows the authority.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.fields.slice(self.target)
    }

    /// The path of the target, not decoded.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.fields.slice(self.path)
    }

    /// What follows the first `?` of the target, not decoded. `Some` of nothing if the target ends in `?`.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        self.target()[self.path().len()..].strip_prefix(b"?")
    }

    /// The version of the request line.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The authority that the client asked for, port included if it was given. Empty only for HTTP/1.0 without Host.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        self.fields.slice(self.host)
    }

    /// All fields in order: name as it came, and value without the whitespace around it.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| (text(field.name), field.value))
    }

    /// The first value of the field `name`, in any case of letters.
    #[must_use]
    pub fn field<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        self.fields.first(name)
    }

    /// All values of the field `name`, in any case of letters.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.named(name)
    }

    /// Where the body ends.
    #[must_use]
    pub fn body(&self) -> BodyLength {
        self.body
    }

    /// Whether the client wants to send another request on this connection, RFC 9112 section 9.3.
    #[must_use]
    pub fn wants_keep_alive(&self) -> bool {
        self.connection.keeps_alive(self.version)
    }

    /// Whether the client waits for a 100 before it sends the body, RFC 9110 section 10.1.1. HTTP/1.0 has no 100.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        let mut values = self.fields.known(Known::Expect).flat_map(field::list);
        self.version == Version::Http11 && values.any(|value| value.eq_ignore_ascii_case(b"100-continue"))
    }

    /// Whether the method is HEAD, whose response has no body.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.fields.slice(self.method) == b"HEAD"
    }

    /// Whether a Connection field lists `name`, in any case of letters.
    #[must_use]
    pub fn connection_names(&self, name: &str) -> bool {
        self.fields.connection_names(name.as_bytes())
    }

    /// Whether the client asks to switch to WebSocket. Whether it asks correctly is for [`super::upgrade::requested`].
    #[must_use]
    pub fn asks_websocket(&self) -> bool {
        self.connection.upgrade && self.fields.lists(Known::Upgrade, b"websocket")
    }

    /// Whether a person waits for a page: Sec-Fetch-Mode says `navigate`, or, from a client that does not send it,
    /// Accept prefers HTML.
    #[must_use]
    pub fn navigates(&self) -> bool {
        match self.fields.known(Known::SecFetchMode).next() {
            Some(mode) => mode.eq_ignore_ascii_case(b"navigate"),
            None => prefers_html(&self.fields),
        }
    }
}

impl ResponseHead {
    /// The status code, 100 to 999.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase, exactly as it came; may be empty.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        self.fields.slice(self.reason)
    }

    /// The version of the status line.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// All fields in order: name as it came, and value without the whitespace around it.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| (text(field.name), field.value))
    }

    /// The first value of the field `name`, in any case of letters.
    #[must_use]
    pub fn field<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        self.fields.first(name)
    }

    /// All values of the field `name`, in any case of letters.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.named(name)
    }

    /// Where the body ends.
    #[must_use]
    pub fn body(&self) -> BodyLength {
        self.body
    }

    /// Whether another response follows this one: 1xx, but not the 101 that ends HTTP on the connection. A client that
    /// speaks HTTP/1.0 must not be sent one (RFC 9110 section 15.2).
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Whether the upstream connection can carry another request after this response's body.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.body != BodyLength::UntilClose && self.status != 101 && self.connection.keeps_alive(self.version)
    }
}

impl Fields {
    pub(super) fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.spans.iter().map(|span| Field {
            known: span.known,
            name: self.slice(span.name),
            value: self.slice(span.value),
        })
    }

    pub(super) fn known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().filter(move |span| span.known == known).map(|span| self.slice(span.value))
    }

    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.value)
    }

    pub(super) fn first<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        let mut fields = self.iter();
        fields.find(|field| field.name.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.value)
    }

    /// Whether a list-valued field holds `member`, in any case of letters.
    pub(super) fn lists(&self, known: Known, member: &[u8]) -> bool {
        self.known(known).flat_map(field::list).any(|listed| listed.eq_ignore_ascii_case(member))
    }

    pub(super) fn connection_names(&self, name: &[u8]) -> bool {
        self.lists(Known::Connection, name)
    }
}

impl Span {
    /// The span of `start..end`.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let position = |at| u32::try_from(at).expect("a head is limited to far less than 4 GiB");
        Self { start: position(start), end: position(end) }
    }
}

impl ConnectionOptions {
    fn keeps_alive(self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// Methods and field names are tokens, which are ASCII; `parse` saw to that.
fn text(token: &[u8]) -> &str {
    str::from_utf8(token).expect("a token is ASCII")
}

/// Whether HTML is the first of the media types with the highest weight. `*/*` alone is what programs send.
fn prefers_html(fields: &Fields) -> bool {
    let mut best_weight = 0;
    let mut best_is_html = false;
    for member in fields.known(Known::Accept).flat_map(field::list) {
        let mut parts = member.split(|&byte| byte == b';').map(field::trim);
        let media_type = parts.next().unwrap_or_default();
        let weight = parts.find_map(weight_thousandths).unwrap_or(1000);
        if weight > best_weight {
            best_weight = weight;
            best_is_html =
                [&b"text/html"[..], b"application/xhtml+xml"].iter().any(|html| media_type.eq_ignore_ascii_case(html));
        }
    }
    best_is_html
}

/// Reads `q=0.9` as 900, RFC 9110 section 12.4.2. A weight that cannot be read is 0.
fn weight_thousandths(parameter: &[u8]) -> Option<u16> {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let weight = str::from_utf8(value).ok().and_then(|value| value.parse::<f32>().ok()).unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000 before the cast")]
    Some((weight.clamp(0.0, 1.0) * 1000.0) as u16)
}

#[cfg(test)]
mod tests;
