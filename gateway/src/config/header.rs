//! What the header source, its names and its tokens run with.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::OriginPolicy;

/// What the header source does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderConfig {
    /// Who knows the address of a sandbox whose request names none.
    pub lookup: AddressBook,
    /// Whether a client may send its request to the gateway's own machine. For tests, and for pods on the host's
    /// network.
    pub allow_loopback_pod_ip: bool,
    /// What a sandbox sees of the Origin of an upgrade. Stripped by default: many servers compare it with Host, which
    /// is their own address and not the browser's.
    pub upgrade_origin: OriginPolicy,
    /// Whether the fields that name the sandbox stay behind.
    pub strip_sandbox_headers: bool,
}

/// Who knows the address of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressBook {
    /// `<id>.<namespace>.svc.<cluster domain>`
    Dns,
    /// The directory of the other sources.
    Directory,
}

/// The names of the cluster, and who answers for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// What the names of all services end with.
    pub cluster_domain: String,
    /// Who is asked; none is whom `/etc/resolv.conf` names.
    pub server: Option<SocketAddr>,
    /// How long one question may take, its repetition included.
    pub timeout: Duration,
    /// How long a name without an address is remembered as one, at most. A new sandbox's name appears any moment.
    pub negative_ttl: Duration,
    /// How many names are remembered, with addresses and without.
    pub cache_entries_max: usize,
}

/// Which tokens open sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// The token that opens every sandbox.
    pub token: Option<SecretText>,
    /// The files of the secrets that scoped tokens are signed with.
    pub secret_files: Vec<PathBuf>,
    /// Whether the header source may do without any of these.
    pub allow_unauthenticated: bool,
    /// How long the cookie that a browser gets for a token is good for, if the token is good for longer.
    pub cookie_lifetime: Duration,
    /// Origins of pages elsewhere that may use sandboxes by that cookie.
    pub origins: Vec<String>,
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// The text; `None` if there is nothing but white space.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The text itself.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretText").finish_non_exhaustive()
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            token: None,
            secret_files: Vec::new(),
            allow_unauthenticated: false,
            cookie_lifetime: Duration::from_secs(12 * 60 * 60),
            origins: Vec::new(),
        }
    }
}

impl Default for HeaderConfig {
    fn default() -> Self {
        Self {
            lookup: AddressBook::Dns,
            allow_loopback_pod_ip: false,
            upgrade_origin: OriginPolicy::Strip,
            strip_sandbox_headers: false,
        }
    }
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".to_owned(),
            server: None,
            timeout: Duration::from_secs(2),
            negative_ttl: Duration::from_secs(1),
            cache_entries_max: 100_000,
        }
    }
}
