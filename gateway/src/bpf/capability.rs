//! The capabilities that kernel engines need, and which of them this thread has.

use std::fmt;
use std::fs;
use std::io;

/// One bit of the capability sets, numbered as in the kernel's `include/uapi/linux/capability.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Everything to do with networks, among it the network types of BPF programs.
    NetAdmin = 12,
    /// Sockets that send whole packets.
    NetRaw = 13,
    /// What `CAP_BPF` was part of before Linux 5.8; it still stands in for both others.
    SysAdmin = 21,
    /// BPF maps and programs.
    Bpf = 39,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Bpf => "CAP_BPF",
        })
    }
}

/// A thread's effective capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Those of the calling thread.
    ///
    /// # Errors
    /// When `/proc` is not mounted, or shows no capabilities.
    pub fn effective() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/thread-self/status")?;
        Self::parse(&status)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no CapEff in /proc/thread-self/status"))
    }

    /// Reads the line `CapEff` of a `status` file, `proc_pid_status(5)`.
    #[must_use]
    pub fn parse(status: &str) -> Option<Self> {
        let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(bits.trim(), 16).ok().map(Self)
    }

    /// Is `capability` among them?
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u32) != 0
    }

    /// What is still missing to load network programs: `bpf_prog_load()` in `kernel/bpf/syscall.c` wants `CAP_BPF` and
    /// `CAP_NET_ADMIN`, and takes `CAP_SYS_ADMIN` for either.
    #[must_use]
    pub fn missing_for_programs(self) -> Vec<Capability> {
        if self.has(Capability::SysAdmin) {
            return Vec::new();
        }
        [Capability::Bpf, Capability::NetAdmin].into_iter().filter(|&capability| !self.has(capability)).collect()
    }
}

/// The names in one line: `CAP_BPF and CAP_NET_ADMIN`.
#[must_use]
pub fn names(capabilities: &[Capability]) -> String {
    capabilities.iter().map(Capability::to_string).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(bits: &str) -> Capabilities {
        Capabilities::parse(&format!("Name:\tgateway\nCapPrm:\t000001ffffffffff\nCapEff:\t{bits}\nCapBnd:\t0\n"))
            .unwrap()
    }

    #[test]
    fn an_ordinary_user_lacks_both() {
        assert_eq!(with("0000000000000000").missing_for_programs(), [Capability::Bpf, Capability::NetAdmin]);
    }

    #[test]
    fn each_is_asked_for_alone() {
        assert_eq!(with("0000008000000000").missing_for_programs(), [Capability::NetAdmin]);
        assert_eq!(with("0000000000001000").missing_for_programs(), [Capability::Bpf]);
        assert_eq!(with("0000008000001000").missing_for_programs(), []);
    }

    #[test]
    fn sys_admin_stands_in_for_both() {
        assert_eq!(with("0000000000200000").missing_for_programs(), []);
    }

    #[test]
    fn nonsense_is_not_read_as_no_capability() {
        assert_eq!(Capabilities::parse("Name:\tgateway\n"), None);
        assert_eq!(Capabilities::parse("CapEff:\tall of them\n"), None);
    }

    #[test]
    fn this_thread_has_a_set() {
        Capabilities::effective().unwrap();
    }
}
