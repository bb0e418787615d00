//! What the fields say about Host, the body's length and the connection: RFC 9112 sections 3.2, 6 and 9, read strictly.

use super::field::{self, Known};
use super::head::{ConnectionOptions, Fields, Span};
use super::{HeadError, Version};

/// What one pass over the fields of a head found.
#[derive(Debug, Default)]
pub(super) struct Framing {
    pub(super) host: Option<Span>,
    /// Content-Length, if there is one.
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) connection: ConnectionOptions,
}

impl Framing {
    /// Reads the fields and refuses every ambiguity among them.
    pub(super) fn read(fields: &Fields, version: Version) -> Result<Self, HeadError> {
        let mut framing = Self::default();
        for span in &fields.spans {
            let value = fields.slice(span.value);
            match span.known {
                Known::Host => framing.add_host(span.value)?,
                Known::ContentLength => framing.add_length(value)?,
                Known::TransferEncoding => framing.add_encoding(value)?,
                Known::Connection => framing.add_options(value),
                _ => {}
            }
        }
        match (framing.chunked, framing.length) {
            (true, Some(_)) => Err(HeadError::LengthAndEncoding),
            (true, None) if version == Version::Http10 => Err(HeadError::TransferEncodingIn10),
            _ => Ok(framing),
        }
    }

    fn add_host(&mut self, value: Span) -> Result<(), HeadError> {
        match self.host.replace(value) {
            None => Ok(()),
            Some(_) => Err(HeadError::HostRepeated),
        }
    }

    /// A repeated value collapses, RFC 9110 section 8.6; an empty member of the list is malformed.
    fn add_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for member in value.split(|&byte| byte == b',') {
            let length = decimal(field::trim(member)).ok_or(HeadError::ContentLengthMalformed)?;
            if self.length.is_some_and(|known| known != length) {
                return Err(HeadError::ContentLengthDiffers);
            }
            self.length = Some(length);
        }
        Ok(())
    }

    fn add_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::TransferEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    fn add_options(&mut self, value: &[u8]) {
        for option in field::list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.connection.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.connection.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.connection.upgrade = true;
            } else {
                self.connection.names_fields = true;
            }
        }
    }
}

/// Whether `value` is `uri-host [":" port]`, RFC 9110 section 7.2. Neither part is looked up or decoded: this only
/// keeps out what could end a line, a URL or an attribute wherever the value is written again.
pub(super) fn is_authority(value: &[u8]) -> bool {
    let (host, port) = if value.starts_with(b"[") {
        match value.iter().position(|&byte| byte == b']') {
            Some(end) => (&value[1..end], &value[end + 1..]),
            None => return false,
        }
    } else {
        value.split_at(value.iter().position(|&byte| byte == b':').unwrap_or(value.len()))
    };
    let host_byte = if value.starts_with(b"[") { is_address_byte } else { is_name_byte };
    !host.is_empty() && host.iter().all(|&byte| host_byte(byte)) && is_port(port)
}

/// `:` and up to five digits, or nothing.
fn is_port(port: &[u8]) -> bool {
    match port.strip_prefix(b":") {
        Some(digits) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        None => port.is_empty(),
    }
}

/// A byte of a reg-name, RFC 3986 section 3.2.2: unreserved, percent-encoding, and sub-delims but those that could end
/// an attribute or join two Host fields into one.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&()*+=".contains(&byte)
}

/// A byte of an IP literal between brackets.
fn is_address_byte(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
}

/// A number of decimal digits only: no sign, no blank, no more than a `u64` holds.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
