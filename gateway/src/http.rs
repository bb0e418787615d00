//! HTTP/1.1 between a client and a sandbox, as bytes in and values out: nothing here reads a socket, a clock or a
//! random number.
//!
//! A head passes through four steps. `scan` finds its end and refuses what no line may contain, `parse` splits it into
//! fields, `framing` decides what the fields say about Host and the body, and `rewrite` writes the head for the other
//! side. Whatever two parsers on the way could read differently is refused rather than repaired: a gateway that
//! repairs a request lets the pod see another request than the one it routed (RFC 9112 section 11.2).

pub mod answer;
pub mod body;
mod cookie;
pub mod field;
mod framing;
pub mod head;
pub mod head_error;
mod location;
pub mod offer;
pub mod parse;
pub mod query;
pub mod rewrite;
mod scan;
mod set_cookie;
pub mod upgrade;

pub use body::{BodyError, BodyReader};
pub use head::{RequestHead, ResponseHead};
pub use head_error::HeadError;
pub use upgrade::{Upgrade, UpgradeError};

/// What a head may cost before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// The start line, in bytes, without its CRLF. RFC 9112 section 3 asks for at least 8,000.
    pub line_bytes_max: usize,
    /// The whole head, in bytes, with the empty line that ends it and any empty lines before it.
    pub head_bytes_max: usize,
    /// How many field lines.
    pub fields_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { line_bytes_max: 8 * 1024, head_bytes_max: 16 * 1024, fields_max: 100 }
    }
}

/// How far a head in a buffer has come.
#[derive(Debug)]
pub enum Progress<T> {
    /// More bytes are needed. The buffer holds less than [`HeadLimits::head_bytes_max`].
    Partial,
    /// The head is there.
    Complete {
        /// The head itself; it owns its bytes.
        head: T,
        /// How many bytes of the buffer it took. What follows is the body, the stream or the next request.
        consumed: usize,
    },
}

/// The two versions that are spoken. Everything else is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: no chunks, and the connection ends unless both sides say `keep-alive`.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Where a message's body ends, RFC 9112 section 6.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body and no field that announces one.
    None,
    /// This many bytes, from Content-Length. 0 is a body that is announced and empty.
    Fixed(u64),
    /// Chunks, from Transfer-Encoding.
    Chunked,
    /// Everything until the upstream closes. Only a response can end like this.
    UntilClose,
}

impl BodyLength {
    /// Whether not a single byte of body will come.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Fixed(0))
    }
}
