//! Field names that mean something to a gateway, and lists inside field values.

/// What a field is to the gateway. Found out once, when a head is parsed, so that every later pass is a `match` on one
/// byte instead of a comparison of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Known {
    /// None of the below: forwarded as it came.
    Other,
    /// `Accept`, read to tell navigations from programs.
    Accept,
    /// `Authorization`.
    Authorization,
    /// `Connection`.
    Connection,
    /// `Content-Length`.
    ContentLength,
    /// `Cookie`.
    Cookie,
    /// `Expect`.
    Expect,
    /// `Host`.
    Host,
    /// A field that is always dropped: for one hop, as `Keep-Alive`, `Proxy-*`, `TE`, `Trailer`; or with underscores
    /// where one of the fields below has hyphens.
    Hop,
    /// `Location`.
    Location,
    /// `Origin`.
    Origin,
    /// `Sec-Fetch-Mode`.
    SecFetchMode,
    /// `Service-Worker-Allowed`: the widest scope that a script may take, a path or URL as in `Location`.
    ServiceWorkerAllowed,
    /// `Set-Cookie`.
    SetCookie,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Upgrade`.
    Upgrade,
    /// A claim about the client that only a trusted proxy may make, and that the gateway does not make itself:
    /// `Forwarded`, `X-Real-IP`, `X-Forwarded-Port` and the like.
    Claim,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `X-Forwarded-Host`.
    ForwardedHost,
    /// `X-Forwarded-Prefix`.
    ForwardedPrefix,
    /// `X-Forwarded-Proto`.
    ForwardedProto,
    /// `X-Request-Id`.
    RequestId,
}

impl Known {
    /// What the field `name` is, in any case of letters.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            2 if is("te") => Self::Hop,
            4 if is("host") => Self::Host,
            6 if is("cookie") => Self::Cookie,
            6 if is("accept") => Self::Accept,
            6 if is("expect") => Self::Expect,
            6 if is("origin") => Self::Origin,
            7 if is("upgrade") => Self::Upgrade,
            7 if is("trailer") => Self::Hop,
            8 if is("location") => Self::Location,
            9 if is("forwarded") => Self::Claim,
            10 if is("connection") => Self::Connection,
            10 if is("set-cookie") => Self::SetCookie,
            10 if is("keep-alive") => Self::Hop,
            13 if is("authorization") => Self::Authorization,
            14 if is("content-length") => Self::ContentLength,
            14 if is("sec-fetch-mode") => Self::SecFetchMode,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            22 if is("service-worker-allowed") => Self::ServiceWorkerAllowed,
            7.. if name[..6].eq_ignore_ascii_case(b"proxy-") => Self::Hop,
            9.. if matches!(name, [b'x' | b'X', b'-' | b'_', ..]) => Self::of_extension(name),
            _ => Self::Other,
        }
    }

    /// What the field `name` is, which begins with `X-`. An underscore counts as a hyphen: CGI and WSGI cannot tell
    /// `X_Forwarded_For` from `X-Forwarded-For`, so a client must not be able to send either. No proxy writes the
    /// former, but many pass it on, so that it is dropped even where proxies are believed.
    fn of_extension(name: &[u8]) -> Self {
        let is = |other: &str| {
            let same = |(&got, want): (&u8, u8)| got.eq_ignore_ascii_case(&want) || (got == b'_' && want == b'-');
            name.len() == other.len() && name.iter().zip(other.bytes()).all(same)
        };
        let known = match name.len() {
            9 if is("x-real-ip") => Self::Claim,
            12 if is("x-request-id") => Self::RequestId,
            15 if is("x-forwarded-for") => Self::ForwardedFor,
            16 if is("x-forwarded-host") => Self::ForwardedHost,
            16 if is("x-forwarded-port") => Self::Claim,
            17 if is("x-forwarded-proto") => Self::ForwardedProto,
            18 if is("x-forwarded-server") => Self::Claim,
            18 if is("x-forwarded-prefix") => Self::ForwardedPrefix,
            _ => Self::Other,
        };
        if known != Self::Other && name.contains(&b'_') { Self::Hop } else { known }
    }
}

/// The members of a comma-separated list, trimmed, empty ones left out (RFC 9110 section 5.6.1). Quoted strings are not
/// understood, since no list that the gateway reads may hold one.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// The value without the spaces and tabs around it.
#[must_use]
pub fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().take_while(blank).count();
    let end = value.len() - value[start..].iter().rev().take_while(blank).count();
    &value[start..end]
}

/// Whether `byte` may stand in a token, RFC 9110 section 5.6.2.
#[must_use]
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
