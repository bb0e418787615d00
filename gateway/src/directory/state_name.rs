//! What a control plane calls the state of a sandbox.

use std::fmt;
use std::sync::Arc;

/// The name of a state, for log lines: bounded and printable whatever the control plane says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateName(Arc<str>);

impl StateName {
    /// The longest name, in bytes; what is longer is cut.
    pub const BYTES_MAX: usize = 32;

    /// The name in `text`, without what may not stand in it: it is lower-case letters, digits, `-` and `_`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let name: String = text
            .bytes()
            .filter(allowed)
            .take(Self::BYTES_MAX)
            .map(|byte| char::from(byte.to_ascii_lowercase()))
            .collect();
        Self(if name.is_empty() { "unknown".into() } else { name.into() })
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_harmless_whatever_the_control_plane_says() {
        for (text, name) in [("Paused", "paused"), ("a\r\nb c", "abc"), ("", "unknown"), ("\u{e9}<>", "unknown")] {
            assert_eq!(StateName::new(text).to_string(), name);
        }
        assert_eq!(StateName::new(&"x".repeat(100)).to_string().len(), StateName::BYTES_MAX);
    }
}
