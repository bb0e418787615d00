//! From what the operator wrote to what the program uses.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;

use super::peer::{HostPort, SandboxEntry};
use super::problem::{Origin, Problem, Problems};
use super::raw::{Draft, Raw};
use super::{Config, ControlPlaneConfig, DirectoryConfig, RedisConfig, RoutingConfig};

/// Asks for the addresses of a host, best first.
pub type Lookup<'a> = &'a dyn Fn(&HostPort) -> io::Result<Vec<SocketAddr>>;

/// Asks the system's resolver: `/etc/hosts`, DNS, whatever nsswitch.conf(5) says. Blocks.
///
/// # Errors
/// What the resolver says.
pub fn system_lookup(address: &HostPort) -> io::Result<Vec<SocketAddr>> {
    (&*address.host, address.port).to_socket_addrs().map(Iterator::collect)
}

impl Draft {
    /// Chooses the directory, counts the cores and looks up the host names of the embedded directory.
    ///
    /// # Errors
    /// The names that have no address.
    pub fn resolve(self, lookup: Lookup<'_>) -> Result<Config, Problems> {
        let Raw {
            listen,
            admin,
            workers,
            engine,
            io,
            sources,
            routing,
            sandboxes,
            redis_url,
            redis,
            dns,
            auth,
            directory_url,
            control_plane,
            http,
            upstream,
            stream,
            packet,
            broker,
            drain_timeout,
            drain_delay,
            log,
            log_level,
            trusted_proxies,
        } = self.raw;
        let directory = match (redis_url, directory_url) {
            (Some(url), _) => DirectoryConfig::Redis(RedisConfig { url: url.secret().to_owned(), ..redis }),
            (None, Some(url)) => DirectoryConfig::ControlPlane(ControlPlaneConfig { url, ..control_plane }),
            (None, None) => embedded(sandboxes, |index| self.origins.at("sandbox", index), lookup)?,
        };
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Ok(Config {
            listen,
            admin,
            workers: workers.unwrap_or_else(cores),
            engine,
            io,
            routing: RoutingConfig { sources: sources.into_iter().collect(), ..routing },
            directory,
            dns,
            auth,
            http,
            upstream,
            stream,
            packet,
            broker,
            drain_timeout,
            drain_delay,
            log,
            log_level,
            trusted_proxies,
        })
    }
}

fn embedded(
    entries: Vec<SandboxEntry>,
    origin: impl Fn(usize) -> Origin,
    lookup: Lookup<'_>,
) -> Result<DirectoryConfig, Problems> {
    let mut problems = Vec::new();
    let mut table = BTreeMap::new();
    for (index, SandboxEntry { id, address }) in entries.into_iter().enumerate() {
        let found = lookup(&address).and_then(|found| {
            found.into_iter().next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has none"))
        });
        match found {
            Ok(endpoint) => {
                table.insert(id, endpoint);
            }
            Err(error) => problems.push(Problem::Unresolved {
                origin: origin(index),
                host: address.host,
                reason: error.to_string(),
            }),
        }
    }
    Problems::found(problems).map(|()| DirectoryConfig::Embedded(table))
}
