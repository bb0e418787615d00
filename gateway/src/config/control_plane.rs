//! The configuration of a control plane as the directory.

use std::time::Duration;

/// A control plane that says over HTTP where sandboxes listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneConfig {
    /// An `http://` URL with `{id}` where the sandbox's id goes.
    pub url: String,
    /// How long an answer holds that does not say it itself.
    pub ttl: Duration,
    /// How long a question may take, its connection included.
    pub timeout: Duration,
    /// How many sandboxes are remembered, known and unknown ones together: about 200 bytes each.
    pub entries_max: usize,
}

impl ControlPlaneConfig {
    /// The defaults around one URL.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        let (ttl, timeout) = (Duration::from_secs(120), Duration::from_secs(2));
        Self { url: url.into(), ttl, timeout, entries_max: 100_000 }
    }

    /// Reads the URL, or says what would have been right.
    pub(super) fn parse_url(text: &str) -> Result<String, String> {
        let good = text.strip_prefix("http://").is_some_and(|rest| {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['#', '@', ',']);
            plain && !authority.is_empty() && !authority.contains(['{', '?']) && path.matches("{id}").count() == 1
        });
        let wrong =
            || format!("expected a URL such as http://control-plane/resolve/{{id}}, not '{}'", text.escape_debug());
        if good { Ok(text.to_owned()) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_plain_http_and_has_one_place_for_the_id() {
        for text in ["http://cp/resolve/{id}", "http://[::1]:80/{id}/x", "http://10.0.0.1:1/?sandbox={id}"] {
            assert_eq!(ControlPlaneConfig::parse_url(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "http://cp",
            "http://cp/",
            "https://cp/{id}",
            "http://{id}/",
            "http:///{id}",
            "http://cp/{id}{id}",
            "http://u:p@cp/{id}",
            "http://cp/ {id}",
        ] {
            assert!(ControlPlaneConfig::parse_url(text).is_err(), "{text}");
        }
    }
}
