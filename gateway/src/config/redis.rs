//! The Redis directory's configuration, which holds a secret.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The Redis directory.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://`, `rediss://` or `unix:` URL, with its password if it has one: never printed.
    pub url: String,
    /// The hash that maps sandboxes to endpoints. The default is the contract with its writers.
    pub hash: String,
    /// The hash that says of a sandbox whether it runs, if there is one.
    pub state_hash: String,
    /// What stands before a sandbox's id in the hash's field names. The default is the contract with its writers.
    pub field_prefix: String,
    /// How long one answer may take. A request for an unknown sandbox waits this long at most before it gets its 503.
    pub response_timeout: Duration,
    /// How long connecting, including TLS and authentication, may take.
    pub connect_timeout: Duration,
    /// How many sandboxes the cache remembers, known and unknown ones together: about 200 bytes each.
    pub cache_entries_max: usize,
    /// How long "not in the directory" is believed, so that a flood of requests for nothing does not reach Redis.
    pub negative_ttl: Duration,
    /// A file whose first line is the password; it takes the place of the one in `url`. Read again at each reconnect,
    /// since mounted secrets rotate.
    pub password_file: Option<PathBuf>,
}

impl RedisConfig {
    /// The defaults around one server.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            hash: "vnc_sandboxes".to_owned(),
            state_hash: "vnc_sandboxes_state".to_owned(),
            field_prefix: "Sandbox_ID_".to_owned(),
            response_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(1),
            cache_entries_max: 100_000,
            negative_ttl: Duration::from_secs(1),
            password_file: None,
        }
    }

    /// The URL without its credentials and its query (a `unix:` URL has its password there): what may be printed.
    #[must_use]
    pub fn redacted_url(&self) -> String {
        let scheme_end = self.url.find("://").map_or(0, |scheme| scheme + "://".len());
        let (scheme, rest) = self.url.split_at(scheme_end);
        // Looked for in the whole rest, and from its end: a password with an unescaped '@', '/' or '?' must not show
        // either.
        let (credentials, address) = rest.rsplit_once('@').map_or(("", rest), |(_, address)| ("***@", address));
        let address = address.split(['?', '#']).next().unwrap_or_default();
        format!("{scheme}{credentials}{address}")
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url: _,
            hash,
            state_hash,
            field_prefix,
            response_timeout,
            connect_timeout,
            cache_entries_max,
            negative_ttl,
            password_file,
        } = self;
        f.debug_struct("RedisConfig")
            .field("url", &self.redacted_url())
            .field("hash", hash)
            .field("state_hash", state_hash)
            .field("field_prefix", field_prefix)
            .field("response_timeout", response_timeout)
            .field("connect_timeout", connect_timeout)
            .field("cache_entries_max", cache_entries_max)
            .field("negative_ttl", negative_ttl)
            .field("password_file", password_file)
            .finish()
    }
}
