//! What a sandbox is called: parsed once, valid forever.

use std::fmt;
use std::sync::Arc;

/// A sandbox's id, as a directory knows it. Cheap to clone; never a `String` after `route`.
///
/// Syntax: 1 to 63 bytes of ASCII letters, digits, `-`, `_` and `.`, beginning with a letter or a digit. That covers
/// the digits of the path source and the DNS labels of the host and header sources, and keeps an id harmless wherever
/// it is written: a Redis field, a log line, a Set-Cookie value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxId(Arc<str>);

/// Why a text is no sandbox id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a sandbox id is 1 to {max} letters, digits, '-', '_' or '.', and begins with a letter or a digit",
    max = SandboxId::BYTES_MAX
)]
pub struct SandboxIdError;

impl SandboxId {
    /// The longest id, in bytes: a DNS label, RFC 1035 section 2.3.4.
    pub const BYTES_MAX: usize = 63;

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for SandboxId {
    type Err = SandboxIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest_ok = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if first_ok && rest_ok && text.len() <= Self::BYTES_MAX { Ok(Self(text.into())) } else { Err(SandboxIdError) }
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for SandboxId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
