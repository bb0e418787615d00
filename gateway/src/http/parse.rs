//! A head's bytes become a [`RequestHead`] or a [`ResponseHead`]. The only file that knows httparse, which splits
//! lines into tokens; what it lets through and a gateway must not is refused in `scan` before and `framing` after it.

use smallvec::{SmallVec, smallvec};

use super::field::Known;
use super::framing::{Framing, is_authority};
use super::head::{FieldSpan, Fields, RequestHead, ResponseHead, Span};
use super::scan::{self, Scanned, StartLine};
use super::{BodyLength, HeadError, HeadLimits, Progress, Version};

/// The longest method, in bytes. The longest one registered with IANA has 17.
pub const METHOD_BYTES_MAX: usize = 32;

/// What a response's framing depends on beside the response, RFC 9112 section 6.3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResponseContext {
    /// The request was HEAD: the response has no body, whatever its fields say.
    pub head: bool,
    /// The request asked for an upgrade: a 101 is allowed.
    pub upgrade: bool,
}

/// Parses the request head at the beginning of `buf`. Call it again with a longer buffer while it is
/// [`Progress::Partial`].
pub fn request(buf: &[u8], limits: &HeadLimits) -> Result<Progress<RequestHead>, HeadError> {
    let Scanned::Complete { start, end, field_lines } = scan::head(buf, StartLine::Request, limits)? else {
        return Ok(Progress::Partial);
    };
    let raw = &buf[start..end];
    let mut headers = empty_headers(field_lines);
    let mut parsed = httparse::Request::new(&mut headers);
    parsed.parse(raw).map_err(|error| explain(error, raw, StartLine::Request))?;
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HeadError::Target);
    };
    if method.len() > METHOD_BYTES_MAX {
        return Err(HeadError::Method);
    }
    if method == "CONNECT" {
        return Err(HeadError::Connect);
    }
    let version = version(minor);
    let mut fields = Fields::copy(raw, parsed.headers);
    let framing = Framing::read(&fields, version)?;
    let target = Target::parse(method, span_in(raw, target.as_bytes()), &mut fields.bytes)?;
    let host = host(&framing, &target, version, &fields)?;
    let head = RequestHead {
        method: span_in(raw, method.as_bytes()),
        target: target.whole,
        path: target.path,
        host,
        version,
        body: match framing.length {
            _ if framing.chunked => BodyLength::Chunked,
            Some(length) => BodyLength::Fixed(length),
            None => BodyLength::None,
        },
        connection: framing.connection,
        fields,
    };
    Ok(Progress::Complete { head, consumed: end })
}

/// Parses the response head at the beginning of `buf`, which answers the request that `context` describes.
pub fn response(
    buf: &[u8],
    context: ResponseContext,
    limits: &HeadLimits,
) -> Result<Progress<ResponseHead>, HeadError> {
    let Scanned::Complete { start, end, field_lines } = scan::head(buf, StartLine::Status, limits)? else {
        return Ok(Progress::Partial);
    };
    let raw = &buf[start..end];
    let mut headers = empty_headers(field_lines);
    let mut parsed = httparse::Response::new(&mut headers);
    parsed.parse(raw).map_err(|error| explain(error, raw, StartLine::Status))?;
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(HeadError::StatusLine);
    };
    if status < 100 {
        return Err(HeadError::StatusLine);
    }
    if status == 101 && !context.upgrade {
        return Err(HeadError::SwitchUnasked);
    }
    let version = version(minor);
    let fields = Fields::copy(raw, parsed.headers);
    let framing = Framing::read(&fields, version)?;
    let bodyless = context.head || status < 200 || status == 204 || status == 304;
    let head = ResponseHead {
        status,
        reason: reason(raw),
        version,
        body: match framing.length {
            _ if bodyless => BodyLength::None,
            _ if framing.chunked => BodyLength::Chunked,
            Some(length) => BodyLength::Fixed(length),
            None => BodyLength::UntilClose,
        },
        length: framing.length,
        connection: framing.connection,
        fields,
    };
    Ok(Progress::Complete { head, consumed: end })
}

impl Fields {
    /// Copies the head and notes where its fields are.
    fn copy(raw: &[u8], headers: &[httparse::Header<'_>]) -> Self {
        let spans = headers.iter().map(|header| FieldSpan {
            known: Known::of(header.name.as_bytes()),
            name: span_in(raw, header.name.as_bytes()),
            value: span_in(raw, header.value),
        });
        Self { spans: spans.collect(), bytes: raw.to_vec() }
    }
}

/// A request target, RFC 9112 section 3.2, reduced to origin-form or `*`.
struct Target {
    whole: Span,
    path: Span,
    /// Of an absolute target.
    authority: Option<Span>,
}

impl Target {
    /// Finds the parts of the target at `at`. Where an absolute target has no path, the one that RFC 9112 section
    /// 3.2.1 asks for is appended to `bytes`.
    fn parse(method: &str, at: Span, bytes: &mut Vec<u8>) -> Result<Self, HeadError> {
        let (start, end) = (at.start as usize, at.end as usize);
        let target = &bytes[start..end];
        // A fragment is never sent, and httparse lets UTF-8 through, which no two parsers read alike.
        if target.iter().any(|&byte| byte == b'#' || !byte.is_ascii()) {
            return Err(HeadError::Target);
        }
        if target.starts_with(b"/") {
            return Ok(Self::origin(bytes, start, end, None));
        }
        if target == b"*" {
            return if method == "OPTIONS" {
                Ok(Self { whole: at, path: at, authority: None })
            } else {
                Err(HeadError::Target)
            };
        }
        let scheme = ["http://", "https://"]
            .into_iter()
            .find(|scheme| target.get(..scheme.len()).is_some_and(|got| got.eq_ignore_ascii_case(scheme.as_bytes())))
            .ok_or(HeadError::Target)?;
        let authority_start = start + scheme.len();
        let length = bytes[authority_start..end].iter().position(|byte| matches!(byte, b'/' | b'?'));
        let authority_end = length.map_or(end, |length| authority_start + length);
        if !is_authority(&bytes[authority_start..authority_end]) {
            return Err(HeadError::Target);
        }
        let authority = Some(Span::new(authority_start, authority_end));
        if bytes[authority_end..end].starts_with(b"/") {
            return Ok(Self::origin(bytes, authority_end, end, authority));
        }
        let appended = bytes.len();
        bytes.push(if method == "OPTIONS" && authority_end == end { b'*' } else { b'/' });
        bytes.extend_from_within(authority_end..end);
        Ok(Self::origin(bytes, appended, bytes.len(), authority))
    }

    fn origin(bytes: &[u8], start: usize, end: usize, authority: Option<Span>) -> Self {
        let path_end = memchr::memchr(b'?', &bytes[start..end]).map_or(end, |length| start + length);
        Self { whole: Span::new(start, end), path: Span::new(start, path_end), authority }
    }
}

/// The authority of the request: exactly one Host in HTTP/1.1, and no other than an absolute target's.
fn host(framing: &Framing, target: &Target, version: Version, fields: &Fields) -> Result<Span, HeadError> {
    if let Some(host) = framing.host
        && !is_authority(fields.slice(host))
    {
        return Err(HeadError::HostMalformed);
    }
    match (framing.host, target.authority) {
        (None, _) if version == Version::Http11 => Err(HeadError::HostMissing),
        (None, authority) => Ok(authority.unwrap_or_default()),
        (Some(host), None) => Ok(host),
        (Some(host), Some(authority)) => {
            let same = fields.slice(host).eq_ignore_ascii_case(fields.slice(authority));
            if same { Ok(host) } else { Err(HeadError::HostMismatch) }
        }
    }
}

/// The reason phrase. httparse leaves it out when it holds obs-text, so that it is taken from the line.
fn reason(raw: &[u8]) -> Span {
    let start = "HTTP/1.1 200 ".len();
    let end = memchr::memchr(b'\r', raw).unwrap_or(raw.len());
    if start < end { Span::new(start, end) } else { Span::default() }
}

fn version(minor: u8) -> Version {
    if minor == 0 { Version::Http10 } else { Version::Http11 }
}

fn empty_headers<'a>(count: usize) -> SmallVec<[httparse::Header<'a>; 32]> {
    smallvec![httparse::EMPTY_HEADER; count]
}

/// Where `part` lies in `whole`: httparse returns slices of what it was given.
fn span_in(whole: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    Span::new(start, start + part.len())
}

/// Says which rule httparse found broken. It stops at the first, but does not say at which line, so the lines are
/// looked at again.
fn explain(error: httparse::Error, raw: &[u8], kind: StartLine) -> HeadError {
    match (error, kind) {
        (httparse::Error::HeaderName | httparse::Error::TooManyHeaders, _) => explain_field(raw),
        (httparse::Error::HeaderValue | httparse::Error::NewLine, _) => HeadError::ControlByte,
        (_, StartLine::Status) => HeadError::StatusLine,
        // `scan` saw a good version at the line's end: what httparse takes for a bad one is a blank in the target.
        (_, StartLine::Request) => {
            let method = raw.split(|&byte| byte == b' ').next().unwrap_or_default();
            let good = !method.is_empty() && method.iter().all(|&byte| super::field::is_token_byte(byte));
            if good { HeadError::Target } else { HeadError::Method }
        }
    }
}

fn explain_field(raw: &[u8]) -> HeadError {
    let lines = raw.split(|&byte| byte == b'\n').skip(1).map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    for line in lines.filter(|line| !line.is_empty()) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return HeadError::Folded;
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            return HeadError::FieldColon;
        };
        let name = &line[..colon];
        if name.ends_with(b" ") || name.ends_with(b"\t") {
            return HeadError::SpaceBeforeColon;
        }
        if name.is_empty() || !name.iter().all(|&byte| super::field::is_token_byte(byte)) {
            return HeadError::FieldName;
        }
    }
    HeadError::FieldName
}

#[cfg(test)]
mod tests;
