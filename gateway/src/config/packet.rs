//! The packet engine.

use std::fmt;
use std::path::PathBuf;

use super::kind::Kind;

/// Where the packet engine keeps what outlives the process, and what of the machine it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketConfig {
    /// A directory of a BPF file system. Streams without sockets live on in it while no gateway runs.
    pub state_dir: PathBuf,
    /// The source ports of connections to pods.
    pub ports: PortRange,
    /// The interfaces that clients and pods are reached through. Empty: all that have Ethernet headers, which the
    /// loopback interface has, too.
    pub interfaces: Vec<String>,
    /// How many streams can be without sockets at one time. The kernel has memory for all of them from the start.
    pub streams_max: u32,
    /// The longest segments that clients are told they may send, in bytes; above [`SEGMENT_LIMIT`] that is left to
    /// their routes.
    pub segment_max: usize,
}

/// The longest segment that a listener can be told to ask for, in bytes (`MAX_TCP_WINDOW` of include/net/tcp.h).
pub const SEGMENT_LIMIT: usize = 32_767;

impl Default for PacketConfig {
    fn default() -> Self {
        Self {
            state_dir: "/sys/fs/bpf/splicegate".into(),
            ports: PortRange { first: 61_000, last: u16::MAX },
            interfaces: Vec::new(),
            streams_max: 32 << 10,
            segment_max: 65_535,
        }
    }
}

/// Ports from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first one.
    pub first: u16,
    /// The last one, which is not below the first.
    pub last: u16,
}

impl PortRange {
    /// How many there are.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }

    /// Whether `port` is one of them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Reads `61000-65535`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let digits_only = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (digits_only && 0 < first && first <= last).then_some(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A directory, which may not exist yet.
pub const DIRECTORY: Kind<PathBuf> = Kind {
    placeholder: "DIRECTORY",
    parse: |text| {
        let path = PathBuf::from(text);
        if path.is_absolute() { Ok(path) } else { Err(format!("expected an absolute path, not '{text}'")) }
    },
    show: |path| path.display().to_string(),
};

/// A range of ports.
pub const PORTS: Kind<PortRange> = Kind {
    placeholder: "PORT-PORT",
    parse: |text| PortRange::parse(text).ok_or_else(|| format!("expected two ports such as 61000-65535, not '{text}'")),
    show: PortRange::to_string,
};

/// The name of an interface: what the kernel takes for one (`dev_valid_name` in net/core/dev.c).
pub const INTERFACE: Kind<String> = Kind {
    placeholder: "INTERFACE",
    parse: |text| {
        let is_name = !matches!(text, "" | "." | "..")
            && text.len() < 16
            && !text.bytes().any(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b':'));
        if is_name { Ok(text.to_owned()) } else { Err(format!("expected an interface such as eth0, not '{text}'")) }
    },
    show: String::clone,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_ports_in_order() {
        assert_eq!(PortRange::parse("61000-65535"), Some(PortRange { first: 61_000, last: 65_535 }));
        assert_eq!(PortRange::parse("7-7").map(PortRange::count), Some(1));
        for wrong in ["", "-", "7", "0-7", "8-7", "7-65536", "+7-9", "7--9", "7 - 9"] {
            assert_eq!(PortRange::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_interface_has_a_name_that_the_kernel_takes() {
        for name in ["eth0", "eth0.100", "a"] {
            assert_eq!((INTERFACE.parse)(name), Ok(name.to_owned()));
        }
        for wrong in ["", ".", "..", "a/b", "eth0:1", "sixteen-letters-", "a b"] {
            assert!((INTERFACE.parse)(wrong).is_err(), "{wrong}");
        }
    }
}
