//! How the text of an option becomes a value, and a value text again.
//!
//! A kind is a pair of pure functions that agree: what `show` writes, `parse` reads back to the same value.

use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::choice::{self, Choice};
use super::peer::{RedisUrl, SandboxEntry};
use super::{
    AddressBook, BrokerPattern, ControlPlaneConfig, EngineChoice, HostHeader, HostPattern, IoChoice, KeepaliveFrame,
    LogFormat, OnRedial, OriginPolicy, SecretText, WebsocketHint,
};
use crate::route::SandboxId;
use crate::route::sandbox_id::SandboxIdError;

/// How values of one sort are written.
pub struct Kind<T> {
    /// What stands for the value in help and README.
    pub placeholder: &'static str,
    /// Text to value, or what would have been right: the rest of the sentence "expected ...".
    pub parse: fn(&str) -> Result<T, String>,
    /// Value to text.
    pub show: fn(&T) -> String,
}

/// The longest duration that can be written. A deadline is `now` plus a duration and must not overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// An address to listen on. Names are refused: which of a name's addresses was meant, nobody could tell from the
/// outside.
pub const ADDRESS: Kind<SocketAddr> = Kind {
    placeholder: "IP:PORT",
    parse: |text| text.parse().map_err(|_| expected("IP:PORT such as 0.0.0.0:8080 or [::1]:8080", text)),
    show: SocketAddr::to_string,
};

/// A network, or a single address.
pub const NETWORK: Kind<IpNet> =
    Kind { placeholder: "CIDR", parse: parse_network, show: |network| network.to_string() };

/// A duration; 0 has the meaning that the option's help gives it.
pub const DURATION: Kind<Duration> = Kind { placeholder: "DURATION", parse: parse_duration, show: show_duration };

/// A duration for which 0 would mean "never works".
pub const DURATION_POSITIVE: Kind<Duration> = Kind {
    placeholder: "DURATION",
    parse: |text| match parse_duration(text)? {
        Duration::ZERO => Err("expected more than 0".to_owned()),
        duration => Ok(duration),
    },
    show: show_duration,
};

/// A duration that the kernel takes in whole seconds, from 1 s to the 32767 s of tcp(7).
pub const SECONDS: Kind<Duration> = Kind {
    placeholder: "DURATION",
    parse: |text| match parse_duration(text)? {
        duration if duration.subsec_nanos() == 0 && (1..=32_767).contains(&duration.as_secs()) => Ok(duration),
        _ => Err(expected("whole seconds, 1s to 32767s", text)),
    },
    show: show_duration,
};

/// How many workers; none is "one per core".
pub const WORKERS: Kind<Option<NonZeroUsize>> = Kind {
    placeholder: "N|auto",
    parse: |text| match text {
        "auto" => Ok(None),
        _ => parse_number::<usize>(text, 1, 1024)
            .map(NonZeroUsize::new)
            .map_err(|_| expected("'auto' or a number from 1 to 1024", text)),
    },
    show: |workers| workers.map_or_else(|| "auto".to_owned(), |n| n.to_string()),
};

/// A switch. Written out, so that a higher layer can also switch off what a lower one switched on.
pub const SWITCH: Kind<bool> = Kind {
    placeholder: "true|false",
    parse: |text| text.parse().map_err(|_| expected("true or false", text)),
    show: bool::to_string,
};

/// A choice among ways to wait.
pub const IO: Kind<IoChoice> = choice();
/// A choice among engines.
pub const ENGINE: Kind<EngineChoice> = choice();
/// A choice among log formats.
pub const LOG_FORMAT: Kind<LogFormat> = choice();
/// A choice among WebSocket hints.
pub const WEBSOCKET_HINT: Kind<WebsocketHint> = choice();
/// A choice among signs of life.
pub const KEEPALIVE_FRAME: Kind<KeepaliveFrame> = choice();
/// A choice of what becomes of messages without a receiver.
pub const ON_REDIAL: Kind<OnRedial> = choice();
/// A choice among those who know addresses.
pub const HEADER_LOOKUP: Kind<AddressBook> = choice();
/// A choice of what becomes of an Origin.
pub const ORIGIN: Kind<OriginPolicy> = choice();
/// One way in.
pub const SOURCE: Kind<choice::Source> = choice();

/// A secret, which is read and never shown.
pub const SECRET: Kind<SecretText> = Kind {
    placeholder: "TOKEN",
    parse: |text| SecretText::new(text).ok_or_else(|| "expected a token, not white space".to_owned()),
    show: |_| "***".to_owned(),
};

/// What a sandbox sees as Host.
pub const HOST_HEADER: Kind<HostHeader> = Kind {
    placeholder: "endpoint|pass|mask:TEXT",
    parse: parse_host_header,
    show: |header| match header {
        HostHeader::Endpoint => "endpoint".to_owned(),
        HostHeader::Pass => "pass".to_owned(),
        HostHeader::Mask(text) => format!("mask:{text}"),
    },
};

/// A path that begins and ends with a slash.
pub const PATH_PREFIX: Kind<String> = Kind { placeholder: "PATH", parse: parse_path_prefix, show: String::clone };

/// Paths that are sessions of the broker.
pub const BROKER_PATTERN: Kind<BrokerPattern> = Kind {
    placeholder: "PATH-PATTERN",
    parse: |text| text.parse().map_err(|_| expected("a pattern such as /agent/{id}, with one {id}", text)),
    show: BrokerPattern::to_string,
};

/// How a host's first label names port and sandbox.
pub const HOST_PATTERN: Kind<HostPattern> =
    Kind { placeholder: "PATTERN", parse: HostPattern::parse, show: HostPattern::to_string };

/// A domain name, in lower case and without dots at its ends.
pub const DOMAIN: Kind<String> = Kind {
    placeholder: "DOMAIN",
    parse: |text| {
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if text.split('.').all(label) { Ok(text.to_owned()) } else { Err(expected("a domain such as a.example", text)) }
    },
    show: String::clone,
};

/// A sandbox's id.
pub const SANDBOX_ID: Kind<SandboxId> = Kind {
    placeholder: "ID",
    parse: |text| text.parse().map_err(|error: SandboxIdError| error.to_string()),
    show: SandboxId::to_string,
};

/// A cookie's name: a token of RFC 9110 section 5.6.2.
pub const COOKIE_NAME: Kind<String> = Kind {
    placeholder: "NAME",
    parse: |text| if is_token(text) { Ok(text.to_owned()) } else { Err(expected("a cookie name", text)) },
    show: String::clone,
};

/// A text that has at least one character and no control characters.
pub const TEXT: Kind<String> = Kind {
    placeholder: "TEXT",
    parse: |text| {
        if text.is_empty() || text.contains(char::is_control) {
            Err(expected("a text", text))
        } else {
            Ok(text.to_owned())
        }
    },
    show: String::clone,
};

/// Which log lines are written.
pub const LOG_FILTER: Kind<String> = Kind {
    placeholder: "FILTER",
    parse: |text| match EnvFilter::try_new(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(expected("a filter such as 'info' or 'info,gateway::directory=debug'", text)),
    },
    show: String::clone,
};

/// A file's path.
pub const FILE: Kind<PathBuf> = Kind {
    placeholder: "FILE",
    parse: |text| if text.is_empty() { Err(expected("a path", text)) } else { Ok(text.into()) },
    show: |path| path.display().to_string(),
};

/// One row of the embedded directory.
pub const SANDBOX: Kind<SandboxEntry> =
    Kind { placeholder: "ID=HOST:PORT", parse: SandboxEntry::parse, show: SandboxEntry::to_string };

/// Where Redis is.
pub const REDIS_URL: Kind<RedisUrl> = Kind { placeholder: "URL", parse: RedisUrl::parse, show: |url| url.redacted() };

/// Where a control plane is asked.
pub const DIRECTORY_URL: Kind<String> =
    Kind { placeholder: "HTTP-URL", parse: ControlPlaneConfig::parse_url, show: String::clone };

/// A number of things, from `MIN` to `MAX`.
pub const fn count<T: TryFrom<u64> + Display, const MIN: u64, const MAX: u64>() -> Kind<T> {
    Kind { placeholder: "N", parse: |text| parse_number(text, MIN, MAX), show: T::to_string }
}

/// A number of bytes, from `MIN` to `MAX`.
pub const fn bytes<const MIN: usize, const MAX: usize>() -> Kind<usize> {
    Kind { placeholder: "BYTES", parse: |text| parse_bytes(text, MIN, MAX), show: |bytes| show_bytes(*bytes) }
}

const fn choice<T: Choice>() -> Kind<T> {
    Kind { placeholder: T::PLACEHOLDER, parse: choice::parse, show: |value| choice::name(*value).to_owned() }
}

const DURATION_UNITS: [(&str, u64); 4] = [("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || expected("a duration such as 500ms, 10s, 5m, 1h or 0", text);
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match DURATION_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, unit_ms)) => *unit_ms,
        None if number == 0 && unit.is_empty() => 0,
        None => return Err(wrong()),
    };
    let duration = number.checked_mul(unit_ms).map(Duration::from_millis).filter(|duration| *duration <= DURATION_MAX);
    duration.ok_or_else(|| expected("a duration of one year (8760h) at most", text))
}

fn show_duration(duration: &Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match DURATION_UNITS.iter().find(|(_, unit_ms)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms)) {
        Some((unit, unit_ms)) => format!("{}{unit}", ms / unit_ms),
        None => "0".to_owned(),
    }
}

const BYTE_UNITS: [(&str, usize); 3] = [("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

fn parse_bytes(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let bytes = BYTE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .and_then(|(_, unit_bytes)| number.parse::<usize>().ok()?.checked_mul(*unit_bytes))
        .ok_or_else(|| expected("a number of bytes such as 8192 or 16KiB", text))?;
    if (min..=max).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(expected(&format!("{} to {} bytes", show_bytes(min), show_bytes(max)), text))
    }
}

fn show_bytes(bytes: usize) -> String {
    let (unit, unit_bytes) = BYTE_UNITS
        .iter()
        .find(|(_, unit_bytes)| bytes >= *unit_bytes && bytes.is_multiple_of(*unit_bytes))
        .unwrap_or(&("", 1));
    format!("{}{unit}", bytes / unit_bytes)
}

fn parse_number<T: TryFrom<u64>>(text: &str, min: u64, max: u64) -> Result<T, String> {
    let digits_only = text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse::<u64>().ok().filter(|number| digits_only && (min..=max).contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| expected(&format!("a number from {min} to {max}"), text))
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    network.map(|network| network.trunc()).ok_or_else(|| expected("a network such as 10.0.0.0/8 or fd00::/8", text))
}

fn parse_host_header(text: &str) -> Result<HostHeader, String> {
    match (text, text.strip_prefix("mask:")) {
        ("endpoint", _) => Ok(HostHeader::Endpoint),
        ("pass", _) => Ok(HostHeader::Pass),
        (_, Some(mask)) if !mask.is_empty() && mask.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(HostHeader::Mask(mask.to_owned()))
        }
        _ => Err(expected("endpoint, pass or mask:TEXT such as mask:sandbox.internal", text)),
    }
}

fn parse_path_prefix(text: &str) -> Result<String, String> {
    // A segment of RFC 3986 without percent-encoding: the prefix is compared with the raw path byte by byte.
    let is_segment = |segment: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
        !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
    };
    let inner = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    match inner {
        Some(inner) if inner.split('/').all(is_segment) => Ok(text.to_owned()),
        _ => Err(expected("a path that begins and ends with a slash, such as /vnc/", text)),
    }
}

fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}

fn expected(what: &str, text: &str) -> String {
    format!("expected {what}, not '{}'", text.escape_debug())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_duration_is_shown_as_it_is_read(ms in 0..=u64::try_from(DURATION_MAX.as_millis()).unwrap()) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&show_duration(&duration)), Ok(duration));
        }

        #[test]
        fn bytes_are_shown_as_they_are_read(bytes: usize) {
            prop_assert_eq!(parse_bytes(&show_bytes(bytes), 0, usize::MAX), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}|[0-9]{1,25}(ms|s|m|h|KiB|MiB|B|)|[0-9:./\\[\\]=-]{0,20}") {
            let _duration = parse_duration(&text);
            let _bytes = parse_bytes(&text, 0, usize::MAX);
            let _network = parse_network(&text);
            let _prefix = parse_path_prefix(&text);
            let _host_header = parse_host_header(&text);
            let _sandbox = SandboxEntry::parse(&text);
        }
    }

    #[test]
    fn durations() {
        let ok =
            [("0", 0), ("0s", 0), ("500ms", 500), ("10s", 10_000), ("90s", 90_000), ("5m", 300_000), ("1h", 3_600_000)];
        for (text, ms) in ok {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "+1s", "1.5s", "1 s", "1d", "1S", "8761h", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for (duration, text) in
            [(Duration::from_secs(90), "90s"), (Duration::from_secs(7200), "2h"), (Duration::ZERO, "0")]
        {
            assert_eq!(show_duration(&duration), text);
        }
        assert!(
            (DURATION_POSITIVE.parse)("0").is_err()
                && (SECONDS.parse)("1500ms").is_err()
                && (SECONDS.parse)("0").is_err()
        );
    }

    #[test]
    fn bytes_and_numbers_keep_their_bounds() {
        let head = bytes::<512, 4096>();
        assert_eq!((head.parse)("1KiB"), Ok(1024));
        assert_eq!((head.parse)("511"), Err("expected 512 to 4KiB bytes, not '511'".to_owned()));
        assert!((head.parse)("5KiB").is_err() && (head.parse)("1kb").is_err() && (head.parse)("").is_err());
        let attempts = count::<u32, 1, 10>();
        assert_eq!((attempts.parse)("10"), Ok(10));
        assert!(["0", "11", "+1", "-1", "1.0", ""].iter().all(|text| (attempts.parse)(text).is_err()));
    }

    #[test]
    fn a_network_is_cut_to_its_prefix() {
        for (text, network) in [("10.1.2.3/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("::1", "::1/128")] {
            assert_eq!(parse_network(text).unwrap().to_string(), network);
        }
        assert!(parse_network("10.0.0.0/33").is_err() && parse_network("localhost").is_err());
    }

    #[test]
    fn texts_that_end_up_in_heads_cannot_break_them() {
        for text in ["vnc", "/vnc", "vnc/", "/", "//", "/a//b/", "/../", "/a b/", "/a%20b/", "/a;b/", "/a?/", "/a\r\n/"]
        {
            assert!(parse_path_prefix(text).is_err(), "{text:?}");
        }
        assert!(parse_path_prefix("/vnc/").is_ok() && parse_path_prefix("/a/b.c/").is_ok());
        for text in ["", "a b", "a=b", "a;b", "a\r\nb", "\u{e9}"] {
            assert!((COOKIE_NAME.parse)(text).is_err(), "{text:?}");
        }
        for text in ["mask:", "mask:a b", "mask:a\r\nX: y", "Endpoint", ""] {
            assert!(parse_host_header(text).is_err(), "{text:?}");
        }
    }
}
