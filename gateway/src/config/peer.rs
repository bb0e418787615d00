//! The addresses of peers, as the operator writes them: a sandbox of the embedded directory, the Redis server.

use std::fmt;
use std::net::Ipv6Addr;

use super::RedisConfig;
use crate::route::SandboxId;

/// The longest host name, in bytes: RFC 1035 section 2.3.4, as text.
const HOST_BYTES_MAX: usize = 253;

/// One row of the embedded directory: `37579=127.0.0.1:6080`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxEntry {
    /// Which sandbox.
    pub id: SandboxId,
    /// Where it listens.
    pub address: HostPort,
}

/// A host, by address or by name, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// An IPv4 address, an IPv6 address without its brackets, or a name.
    pub host: String,
    /// The port: never 0.
    pub port: u16,
}

/// A URL of a scheme that the Redis directory speaks. May hold a password: printed only through `redacted`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl SandboxEntry {
    /// Reads `ID=HOST:PORT`, or says what would have been right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((id, address)) = text.split_once('=') else {
            return Err(format!("expected ID=HOST:PORT such as 37579=127.0.0.1:6080, not '{}'", text.escape_debug()));
        };
        let id = id.trim().parse().map_err(|error| format!("'{}': {error}", id.escape_debug()))?;
        Ok(Self { id, address: HostPort::parse(address.trim())? })
    }
}

impl HostPort {
    fn parse(text: &str) -> Result<Self, String> {
        let split = || {
            let (host, port) = text.rsplit_once(':')?;
            // Digits alone: `u16::from_str` would take a leading plus as well.
            let digits = Some(port).filter(|port| port.bytes().all(|b| b.is_ascii_digit()))?;
            let port = digits.parse().ok().filter(|port| *port != 0)?;
            let host = match host.strip_prefix('[') {
                Some(bracketed) => bracketed.strip_suffix(']').filter(|host| host.parse::<Ipv6Addr>().is_ok())?,
                None => Some(host).filter(|host| is_host_name(host))?,
            };
            Some(Self { host: host.to_owned(), port })
        };
        split().ok_or_else(|| {
            format!("expected HOST:PORT such as 127.0.0.1:6080, [::1]:6080 or pod:6080, not '{}'", text.escape_debug())
        })
    }
}

impl RedisUrl {
    /// Reads a URL, or says what would have been right. What stands behind the scheme is judged by the client that uses
    /// it.
    pub fn parse(text: &str) -> Result<Self, String> {
        const SCHEMES: [&str; 5] = ["redis://", "rediss://", "unix://", "redis+unix://", "unix:"];
        let known = SCHEMES.iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
        if known && !text.contains(|c: char| c.is_control() || c == ' ') {
            return Ok(Self(text.to_owned()));
        }
        // The text is not repeated: it may hold a password.
        Err("expected a URL such as redis://127.0.0.1:6379/0, rediss://redis.internal or unix:///run/redis.sock"
            .to_owned())
    }

    /// The whole URL, its password included.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// The URL without its credentials.
    #[must_use]
    pub fn redacted(&self) -> String {
        RedisConfig::at(&self.0).redacted_url()
    }
}

impl fmt::Display for SandboxEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.id, self.address)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

fn is_host_name(host: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    host.len() <= HOST_BYTES_MAX && host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port() {
        let ok =
            [("127.0.0.1:80", "127.0.0.1", 80), ("[::1]:6080", "::1", 6080), ("pod-1.ns.svc.:1", "pod-1.ns.svc.", 1)];
        for (text, host, port) in ok {
            let address = HostPort::parse(text).unwrap();
            assert_eq!((&*address.host, address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            ":80",
            "pod",
            "pod:",
            "pod:0",
            "pod:65536",
            "pod:+1",
            "::1:80",
            "[pod]:80",
            "[::1:80",
            "a b:1",
            "a..b:1",
        ] {
            assert!(HostPort::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_redis_url_is_shown_without_its_credentials() {
        let cases = [
            ("redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379/1"),
            ("rediss://user:secret@redis.internal", "rediss://***@redis.internal"),
            ("redis://:secret@h:1/0?protocol=resp3", "redis://***@h:1/0"),
            ("redis://:sec@ret@h", "redis://***@h"),
            ("redis://:sec/ret@h", "redis://***@h"),
            ("redis://:sec?ret@h", "redis://***@h"),
            ("unix:///run/redis.sock?db=1&pass=secret", "unix:///run/redis.sock"),
            ("unix:/run/redis.sock?pass=secret", "unix:/run/redis.sock"),
        ];
        for (text, shown) in cases {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!((&*url.redacted(), &*format!("{url:?}"), url.secret()), (shown, shown, text));
        }
    }

    #[test]
    fn what_is_no_redis_url_is_not_repeated() {
        for text in ["", "redis://", "http://:secret@h", "127.0.0.1:6379", "redis://:sec ret@h", "REDIS://h"] {
            let reason = RedisUrl::parse(text).unwrap_err();
            assert!(!reason.contains("sec"), "{reason}");
        }
    }
}
