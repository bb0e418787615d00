//! Why a head was refused.

/// A rule that a request head or a response head broke. For a request each of them ends the client's connection, since
/// nobody can say where the next request would begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// RFC 9112 section 2.2 tolerates an empty line before a request; more than that is not a request.
    #[error("empty lines where the start line should be")]
    EmptyLines,
    /// A line ended by LF alone. RFC 9112 section 2.2 lets a recipient accept it, which is how two parsers disagree.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// A CR that is not followed by LF, RFC 9112 section 2.2.
    #[error("a CR stands without LF")]
    BareCr,
    /// NUL, another control character but HTAB, or DEL, RFC 9110 section 5.5.
    #[error("a control character in the head")]
    ControlByte,
    /// The start line is longer than its limit.
    #[error("the start line exceeds {limit} bytes")]
    LineTooLong {
        /// [`super::HeadLimits::line_bytes_max`].
        limit: usize,
    },
    /// The head is longer than its limit.
    #[error("the head exceeds {limit} bytes")]
    HeadTooLarge {
        /// [`super::HeadLimits::head_bytes_max`].
        limit: usize,
    },
    /// The head has more fields than its limit.
    #[error("the head has more than {limit} fields")]
    TooManyFields {
        /// [`super::HeadLimits::fields_max`].
        limit: usize,
    },
    /// The method is no token of 1 to 32 bytes, RFC 9110 section 9.1.
    #[error("the method is malformed")]
    Method,
    /// CONNECT asks for a proxy to anywhere, which a gateway is not.
    #[error("CONNECT is not served")]
    Connect,
    /// The target is neither origin-form, nor an absolute http URL, nor `*` with OPTIONS, RFC 9112 section 3.2.
    #[error("the request target is malformed")]
    Target,
    /// Not exactly `HTTP/1.0` or `HTTP/1.1`: HTTP/0.9, the preface of HTTP/2, anything else.
    #[error("the HTTP version is not 1.0 or 1.1")]
    Version,
    /// The status line of a response is malformed, RFC 9112 section 4.
    #[error("the status line is malformed")]
    StatusLine,
    /// A field name is empty or not a token, RFC 9110 section 5.1.
    #[error("a field name is malformed")]
    FieldName,
    /// A field line without a colon.
    #[error("a field line has no colon")]
    FieldColon,
    /// Whitespace between a field name and its colon, RFC 9112 section 5.1.
    #[error("whitespace before the colon of a field")]
    SpaceBeforeColon,
    /// A field line that begins with whitespace: a folded value, or whitespace before the first field, RFC 9112
    /// sections 2.2 and 5.2.
    #[error("a field line begins with whitespace")]
    Folded,
    /// HTTP/1.1 without Host, RFC 9112 section 3.2.
    #[error("the Host field is missing")]
    HostMissing,
    /// Several Host fields, RFC 9112 section 3.2.
    #[error("there is more than one Host field")]
    HostRepeated,
    /// Host is not `uri-host [":" port]`, RFC 9110 section 7.2.
    #[error("the Host field is malformed")]
    HostMalformed,
    /// An absolute target names another authority than Host.
    #[error("the target and the Host field name different hosts")]
    HostMismatch,
    /// Content-Length is not a plain decimal number below 2^64, RFC 9110 section 8.6.
    #[error("Content-Length is malformed")]
    ContentLengthMalformed,
    /// Several Content-Length values that differ, RFC 9112 section 6.3.
    #[error("Content-Length values differ")]
    ContentLengthDiffers,
    /// Content-Length beside Transfer-Encoding, RFC 9112 section 6.1.
    #[error("Content-Length and Transfer-Encoding together")]
    LengthAndEncoding,
    /// Transfer-Encoding is anything other than one `chunked`, RFC 9112 section 6.1.
    #[error("Transfer-Encoding is not exactly one chunked")]
    TransferEncoding,
    /// Transfer-Encoding in an HTTP/1.0 message, RFC 9112 section 6.1.
    #[error("Transfer-Encoding in an HTTP/1.0 message")]
    TransferEncodingIn10,
    /// A 101 that answers a request which asked for no upgrade, RFC 9110 section 15.2.2.
    #[error("the upstream switches protocols unasked")]
    SwitchUnasked,
}

impl HeadError {
    /// The rule's name: a label of bounded cardinality, which never holds anything a peer sent.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::EmptyLines => "empty_lines",
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::ControlByte => "control_byte",
            Self::LineTooLong { .. } => "line_too_long",
            Self::HeadTooLarge { .. } => "head_too_large",
            Self::TooManyFields { .. } => "too_many_fields",
            Self::Method => "method",
            Self::Connect => "connect",
            Self::Target => "target",
            Self::Version => "version",
            Self::StatusLine => "status_line",
            Self::FieldName => "field_name",
            Self::FieldColon => "field_colon",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::Folded => "obs_fold",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::HostMalformed => "host_malformed",
            Self::HostMismatch => "host_mismatch",
            Self::ContentLengthMalformed => "content_length_malformed",
            Self::ContentLengthDiffers => "content_length_differs",
            Self::LengthAndEncoding => "length_and_encoding",
            Self::TransferEncoding => "transfer_encoding",
            Self::TransferEncodingIn10 => "transfer_encoding_http10",
            Self::SwitchUnasked => "switch_unasked",
        }
    }
}
