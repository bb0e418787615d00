//! What a sandbox is called: parsed once, valid forever.

use std::fmt;
use std::sync::Arc;

/// A sandbox's id, as a directory knows it. Cheap to clone; never a `String` after `route`.
///
/// Syntax: a name of 1 to 63 bytes of ASCII letters, digits, `-`, `_` and `.`, beginning with a letter or a digit; or
/// `namespace/name`, both written like that. That covers the digits of the path source and the DNS labels of the other
/// ones, and keeps an id harmless wherever it is written: a Redis field, a log line, a Set-Cookie value.
///
/// The namespace is part of the id because everything that must not be shared between two sandboxes is keyed by it:
/// kept connections, caps, live streams. The namespace `default` is never written, so that a sandbox has one id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxId(Arc<str>);

/// Why a text is no sandbox id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a sandbox id is 1 to {max} letters, digits, '-', '_' or '.', and begins with a letter or a digit; \
     a namespace other than '{default}' may stand before it, written alike, and a slash",
    max = SandboxId::NAME_BYTES_MAX,
    default = SandboxId::DEFAULT_NAMESPACE
)]
pub struct SandboxIdError;

impl SandboxId {
    /// The longest name and the longest namespace, in bytes: a DNS label, RFC 1035 section 2.3.4.
    pub const NAME_BYTES_MAX: usize = 63;

    /// The namespace of ids that name none, as in Kubernetes.
    pub const DEFAULT_NAMESPACE: &str = "default";

    /// The sandbox `name` of `namespace`.
    ///
    /// # Errors
    /// When either is not written as the syntax says.
    pub fn in_namespace(namespace: &str, name: &str) -> Result<Self, SandboxIdError> {
        if !is_name(namespace) || !is_name(name) {
            return Err(SandboxIdError);
        }
        let id = if namespace == Self::DEFAULT_NAMESPACE { name.into() } else { format!("{namespace}/{name}").into() };
        Ok(Self(id))
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or(Self::DEFAULT_NAMESPACE, |(namespace, _)| namespace)
    }

    /// The name in its namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for SandboxId {
    type Err = SandboxIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((Self::DEFAULT_NAMESPACE, _)) => Err(SandboxIdError),
            Some((namespace, name)) => Self::in_namespace(namespace, name),
            None => Self::in_namespace(Self::DEFAULT_NAMESPACE, text),
        }
    }
}

fn is_name(text: &str) -> bool {
    let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest_ok = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    first_ok && rest_ok && text.len() <= SandboxId::NAME_BYTES_MAX
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_has_one_id_in_whatever_way_it_is_named() {
        let plain: SandboxId = "a-1".parse().unwrap();
        assert_eq!(SandboxId::in_namespace("default", "a-1").unwrap(), plain);
        assert_eq!((plain.namespace(), plain.name(), plain.as_str()), ("default", "a-1", "a-1"));
        let other = SandboxId::in_namespace("team", "a-1").unwrap();
        assert_eq!("team/a-1".parse(), Ok(other.clone()));
        assert_eq!((other.namespace(), other.name()), ("team", "a-1"));
        assert_ne!(plain, other);
    }

    #[test]
    fn what_could_be_read_twice_is_no_id() {
        let long = "a".repeat(64);
        for text in ["", "/", "a/", "/a", "a/b/c", "default/a", "-a", "a b", "a\n", "\u{e9}", "a/-b", "../a", &long] {
            assert_eq!(text.parse::<SandboxId>(), Err(SandboxIdError), "{text:?}");
        }
        assert!(SandboxId::in_namespace("a/b", "c").is_err() && SandboxId::in_namespace("a", "b/c").is_err());
    }
}
