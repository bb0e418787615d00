//! Where a head ends, and what no line of it may contain.
//!
//! httparse takes LF for CRLF, skips any number of empty lines and knows no limits. This pass runs before it, on a head
//! that may still be incomplete, so that a peer is refused at the first wrong byte and can never fill more than the
//! limits allow.

use super::{HeadError, HeadLimits};

/// Which kind of start line the head begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartLine {
    Request,
    Status,
}

/// What the scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scanned {
    /// The empty line that ends a head has not come yet.
    Partial,
    /// The head is `buf[start..end]`, its empty line included.
    Complete { start: usize, end: usize, field_lines: usize },
}

/// How many empty lines may precede a request: one for the CRLF that old clients sent behind a body (RFC 9112 section
/// 2.2), and one to spare.
pub(super) const EMPTY_LINES_MAX: usize = 2;

/// Walks over the lines of the head at the beginning of `buf`. Bytes behind the head are not looked at.
pub(super) fn head(buf: &[u8], kind: StartLine, limits: &HeadLimits) -> Result<Scanned, HeadError> {
    let start = skip_empty_lines(buf, kind)?;
    let mut line_start = start;
    let mut lines = 0;
    for lf in memchr::memchr_iter(b'\n', &buf[start..]) {
        let lf = start + lf;
        if lf == line_start || buf[lf - 1] != b'\r' {
            return Err(HeadError::BareLf);
        }
        let line = &buf[line_start..lf - 1];
        check_bytes(line)?;
        if lines == 0 {
            check_start_line(line, kind, limits)?;
        } else if line.is_empty() {
            return complete(start, lf + 1, lines - 1, limits);
        } else if lines > limits.fields_max {
            return Err(HeadError::TooManyFields { limit: limits.fields_max });
        }
        lines += 1;
        line_start = lf + 1;
    }
    check_unfinished(buf, line_start, lines, limits)
}

/// Passes over the empty lines that are tolerated before a request. Returns where the start line begins.
fn skip_empty_lines(buf: &[u8], kind: StartLine) -> Result<usize, HeadError> {
    let mut start = 0;
    while buf[start..].starts_with(b"\r\n") {
        start += 2;
        if kind == StartLine::Status || start > 2 * EMPTY_LINES_MAX {
            return Err(HeadError::EmptyLines);
        }
    }
    Ok(start)
}

fn complete(start: usize, end: usize, field_lines: usize, limits: &HeadLimits) -> Result<Scanned, HeadError> {
    if end > limits.head_bytes_max {
        return Err(HeadError::HeadTooLarge { limit: limits.head_bytes_max });
    }
    Ok(Scanned::Complete { start, end, field_lines })
}

/// The start line has to be good before the rest arrives: otherwise HTTP/0.9 and other protocols would wait for the
/// deadline.
fn check_start_line(line: &[u8], kind: StartLine, limits: &HeadLimits) -> Result<(), HeadError> {
    if line.len() > limits.line_bytes_max {
        return Err(HeadError::LineTooLong { limit: limits.line_bytes_max });
    }
    let versioned = match kind {
        StartLine::Request => line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0"),
        StartLine::Status => line.starts_with(b"HTTP/1.1 ") || line.starts_with(b"HTTP/1.0 "),
    };
    if versioned { Ok(()) } else { Err(HeadError::Version) }
}

/// The line that has not ended yet must be able to become a good one.
fn check_unfinished(buf: &[u8], line_start: usize, lines: usize, limits: &HeadLimits) -> Result<Scanned, HeadError> {
    let rest = &buf[line_start..];
    // The CR at the very end may be half of a CRLF.
    let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
    check_bytes(rest)?;
    if lines == 0 && (rest.len() > limits.line_bytes_max || buf.len() >= limits.head_bytes_max) {
        return Err(HeadError::LineTooLong { limit: limits.line_bytes_max.min(limits.head_bytes_max) });
    }
    if buf.len() >= limits.head_bytes_max {
        return Err(HeadError::HeadTooLarge { limit: limits.head_bytes_max });
    }
    if lines > limits.fields_max && !rest.is_empty() {
        return Err(HeadError::TooManyFields { limit: limits.fields_max });
    }
    Ok(Scanned::Partial)
}

fn check_bytes(line: &[u8]) -> Result<(), HeadError> {
    // Without an early exit the loop is vectorised; good lines, which are nearly all, have to be read to their end
    // anyway.
    let forbidden = line.iter().fold(false, |found, &byte| found | is_forbidden(byte));
    if !forbidden {
        return Ok(());
    }
    match line.iter().find(|&&byte| is_forbidden(byte)) {
        Some(b'\r') => Err(HeadError::BareCr),
        _ => Err(HeadError::ControlByte),
    }
}

fn is_forbidden(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}
