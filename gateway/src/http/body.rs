//! A message body's framing, read byte by byte and written again in its plainest form.
//!
//! Chunk extensions and trailers end here: nobody behind the gateway asked for them (a trailer needs a `TE: trailers`
//! that was dropped on the way), and they are where parsers disagree (RFC 9112 sections 7.1.1 and 7.1.2).

use std::io::Write as _;

use super::BodyLength;

/// The most hex digits a chunk size may have: as many as a `u64` holds, so that no size overflows.
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 16;

/// The longest chunk extension, in bytes. Nothing known to us sends any.
pub const CHUNK_EXTENSION_BYTES_MAX: u16 = 256;

/// The longest trailer section, in bytes.
pub const TRAILER_BYTES_MAX: u16 = 8192;

/// Why a body cannot be read any further. Each of them ends the connection it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A chunk size is missing, or something other than hex digits, `;` or CRLF stands in it.
    #[error("a chunk size is malformed")]
    ChunkSize,
    /// A chunk size has more than [`CHUNK_SIZE_DIGITS_MAX`] digits.
    #[error("a chunk size has more than {CHUNK_SIZE_DIGITS_MAX} digits")]
    ChunkSizeTooLong,
    /// A chunk extension holds a control character, a bare CR or a bare LF.
    #[error("a chunk extension is malformed")]
    ChunkExtension,
    /// A chunk extension has more than [`CHUNK_EXTENSION_BYTES_MAX`] bytes.
    #[error("a chunk extension exceeds {CHUNK_EXTENSION_BYTES_MAX} bytes")]
    ChunkExtensionTooLong,
    /// A chunk's data is not followed by CRLF.
    #[error("a chunk is longer than its size")]
    ChunkEnd,
    /// The trailers hold a control character, a bare CR or a bare LF.
    #[error("the trailers are malformed")]
    Trailers,
    /// The trailers have more than [`TRAILER_BYTES_MAX`] bytes.
    #[error("the trailers exceed {TRAILER_BYTES_MAX} bytes")]
    TrailersTooLong,
    /// The peer closed before the body's end.
    #[error("the body ends early")]
    Truncated,
}

impl BodyError {
    /// The rule's name: a label of bounded cardinality, which never holds anything a peer sent.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::ChunkSize => "chunk_size",
            Self::ChunkSizeTooLong => "chunk_size_too_long",
            Self::ChunkExtension => "chunk_extension",
            Self::ChunkExtensionTooLong => "chunk_extension_too_long",
            Self::ChunkEnd => "chunk_end",
            Self::Trailers => "trailers",
            Self::TrailersTooLong => "trailers_too_long",
            Self::Truncated => "truncated",
        }
    }
}

/// Follows a body from its first byte to its last. After an error it must not be used again.
#[derive(Debug, Clone)]
pub struct BodyReader {
    state: State,
    /// Only the data of chunks is written, for a recipient that does not know chunks.
    decodes: bool,
}

/// What the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not the body's any more. Final.
    Done,
    /// One of this many, never 0. Then `Done`.
    Fixed(u64),
    /// The body's, until the upstream closes.
    UntilClose,
    /// Of a chunk size that has this value so far. Then `Extension` or `SizeLf`.
    Size { digits: u8, size: u64 },
    /// Of the extension of a chunk of `size`. Then `SizeLf`.
    Extension { size: u64, bytes: u16 },
    /// The LF of a size line. Then `Data`, or `TrailerStart` if the size is 0.
    SizeLf { size: u64 },
    /// One of this many of a chunk, never 0. Then `DataCr`.
    Data(u64),
    /// The CR behind a chunk. Then `DataLf`.
    DataCr,
    /// The LF behind a chunk. Then the next `Size`.
    DataLf,
    /// The first of a trailer line, or the CR that ends them. Then `Trailer` or `EndLf`.
    TrailerStart { bytes: u16 },
    /// Of a trailer line. Then `TrailerLf`.
    Trailer { bytes: u16 },
    /// The LF of a trailer line. Then `TrailerStart`.
    TrailerLf { bytes: u16 },
    /// The last LF. Then `Done`.
    EndLf,
}

impl State {
    const NEXT_CHUNK: Self = Self::Size { digits: 0, size: 0 };
}

impl BodyReader {
    /// Follows a body whose framing goes out as it is, without chunk extensions and trailers.
    #[must_use]
    pub fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::None | BodyLength::Fixed(0) => State::Done,
            BodyLength::Fixed(bytes) => State::Fixed(bytes),
            BodyLength::Chunked => State::NEXT_CHUNK,
            BodyLength::UntilClose => State::UntilClose,
        };
        Self { state, decodes: false }
    }

    /// Follows a body of which only the data goes out, without any framing of chunks: HTTP/1.0 has none.
    #[must_use]
    pub fn decoding(length: BodyLength) -> Self {
        Self { decodes: true, ..Self::new(length) }
    }

    /// Whether the body's last byte has been seen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes may be forwarded right now without being looked at; `u64::MAX` for a body that ends with its
    /// connection. Tell [`Self::advance_plain`] how many were.
    #[must_use]
    pub fn plain(&self) -> u64 {
        match self.state {
            State::Fixed(bytes) | State::Data(bytes) => bytes,
            State::UntilClose => u64::MAX,
            _ => 0,
        }
    }

    /// `bytes` of the [`Self::plain`] ones went by without being looked at.
    pub fn advance_plain(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.plain(), "only what plain() offered may go by unseen");
        self.state = match self.state {
            State::Fixed(left) if left <= bytes => State::Done,
            State::Fixed(left) => State::Fixed(left - bytes),
            State::Data(left) if left <= bytes => State::DataCr,
            State::Data(left) => State::Data(left - bytes),
            state => state,
        };
    }

    /// Reads from `input` up to the body's end and appends what goes out to `out`. Returns how many bytes of `input`
    /// were the body's: all of them, unless the body ended.
    pub fn advance(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, BodyError> {
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            let plain = self.plain();
            if plain == 0 {
                self.step(input[at], out)?;
                at += 1;
            } else {
                let left = input.len() - at;
                let taken = usize::try_from(plain).map_or(left, |plain| plain.min(left));
                out.extend_from_slice(&input[at..at + taken]);
                self.advance_plain(taken as u64);
                at += taken;
            }
        }
        Ok(at)
    }

    /// The peer closed. Only a body that ends with its connection may end so.
    pub fn finish(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }

    /// Takes one byte of the framing of chunks.
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), BodyError> {
        self.state = match (self.state, byte) {
            (State::Size { digits, size }, _) => step_size(digits, size, byte)?,
            (State::Extension { size, .. }, b'\r') => State::SizeLf { size },
            (State::Extension { .. }, _) if is_control(byte) => return Err(BodyError::ChunkExtension),
            (State::Extension { bytes: CHUNK_EXTENSION_BYTES_MAX, .. }, _) => {
                return Err(BodyError::ChunkExtensionTooLong);
            }
            (State::Extension { size, bytes }, _) => State::Extension { size, bytes: bytes + 1 },
            (State::SizeLf { size: 0 }, b'\n') => State::TrailerStart { bytes: 0 },
            (State::SizeLf { size }, b'\n') => {
                self.frame(size, out);
                State::Data(size)
            }
            (State::SizeLf { .. }, _) => return Err(BodyError::ChunkExtension),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.end_frame(b"\r\n", out);
                State::NEXT_CHUNK
            }
            (State::DataCr | State::DataLf, _) => return Err(BodyError::ChunkEnd),
            (State::TrailerStart { .. }, b'\r') => State::EndLf,
            (State::Trailer { bytes }, b'\r') => State::TrailerLf { bytes },
            (State::TrailerStart { bytes } | State::Trailer { bytes }, _) => step_trailer(bytes, byte)?,
            (State::TrailerLf { bytes }, b'\n') => State::TrailerStart { bytes },
            (State::EndLf, b'\n') => {
                self.end_frame(b"0\r\n\r\n", out);
                State::Done
            }
            (State::TrailerLf { .. } | State::EndLf, _) => return Err(BodyError::Trailers),
            (state @ (State::Done | State::Fixed(_) | State::UntilClose | State::Data(_)), _) => state,
        };
        Ok(())
    }

    fn frame(&self, size: u64, out: &mut Vec<u8>) {
        if !self.decodes {
            write!(out, "{size:x}\r\n").expect("a Vec takes every byte");
        }
    }

    fn end_frame(&self, end: &[u8], out: &mut Vec<u8>) {
        if !self.decodes {
            out.extend_from_slice(end);
        }
    }
}

fn step_size(digits: u8, size: u64, byte: u8) -> Result<State, BodyError> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\r' if digits > 0 => return Ok(State::SizeLf { size }),
        b';' if digits > 0 => return Ok(State::Extension { size, bytes: 0 }),
        _ => return Err(BodyError::ChunkSize),
    };
    if digits == CHUNK_SIZE_DIGITS_MAX {
        return Err(BodyError::ChunkSizeTooLong);
    }
    Ok(State::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
}

fn step_trailer(bytes: u16, byte: u8) -> Result<State, BodyError> {
    if is_control(byte) {
        return Err(BodyError::Trailers);
    }
    if bytes == TRAILER_BYTES_MAX {
        return Err(BodyError::TrailersTooLong);
    }
    Ok(State::Trailer { bytes: bytes + 1 })
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests;
