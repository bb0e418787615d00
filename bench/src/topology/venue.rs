//! Where a subject meets its clients and pods: where the suite is, or on a network of its own that is built alike.
//!
//! A program on a network's interfaces sees the packets of everybody there. So that nobody pays for another one's, a
//! subject that has one is measured elsewhere: on another loopback, or on three hosts more.

use std::fs::File;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Uid;

use super::{Network, ThreeHosts};
use crate::congestion;

/// The network namespace of the thread that asks.
const OWN: &str = "/proc/thread-self/ns/net";

/// See the module.
pub(crate) struct Venue {
    network: Network,
    elsewhere: Option<Elsewhere>,
}

/// A network of its own, which goes with this and with its last process.
struct Elsewhere {
    /// Where subjects are.
    gateway: File,
    _hosts: Option<ThreeHosts>,
}

impl Venue {
    /// Where the suite is.
    pub(crate) fn here(network: &Network) -> Self {
        Self { network: network.clone(), elsewhere: None }
    }

    /// A network like `like`, called by `name` where there are several. Only root has one; for others it is here.
    pub(crate) fn another(like: &Network, name: &str) -> Result<Self> {
        if !Uid::effective().is_root() {
            return Ok(Self::here(like));
        }
        match like {
            Network::Loopback => {
                let gateway = another_loopback().context("make another loopback")?;
                Ok(Self { network: like.clone(), elsewhere: Some(Elsewhere { gateway, _hosts: None }) })
            }
            Network::ThreeHosts(_) => {
                let hosts = ThreeHosts::new(name).context("build three more hosts")?;
                let network = Network::ThreeHosts(hosts.prefix().to_owned());
                let gateway = hosts.gateway.namespace()?;
                Ok(Self { network, elsewhere: Some(Elsewhere { gateway, _hosts: Some(hosts) }) })
            }
        }
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// Does something where subjects are: what it starts is there, and so are its sockets, for good.
    pub(crate) fn inside<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(Elsewhere { gateway, .. }) = &self.elsewhere else { return work() };
        let home = File::open(OWN).context("open the own network")?;
        setns(gateway, CloneFlags::CLONE_NEWNET).context("enter another network")?;
        let done = work();
        setns(home, CloneFlags::CLONE_NEWNET).context("return to the own network")?;
        done
    }
}

fn another_loopback() -> Result<File> {
    let home = File::open(OWN)?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let furnished = congestion::furnish().and_then(|()| Ok(File::open(OWN)?));
    setns(home, CloneFlags::CLONE_NEWNET).context("return to the own network")?;
    furnished
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use gateway_tests::need::{Need, is_missing};

    use super::*;

    #[test]
    fn what_is_opened_elsewhere_is_not_here() {
        if is_missing(&[Need::Root, Need::Program("ip")]) {
            return;
        }
        let elsewhere = Venue::another(&Network::Loopback, "test").unwrap();
        let listener = elsewhere.inside(|| Ok(TcpListener::bind("127.0.0.1:0")?)).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(elsewhere.inside(|| Ok(TcpStream::connect(address)?)).is_ok());
        assert!(TcpStream::connect(address).is_err(), "another loopback is reached from here");
        let here = Venue::here(&Network::Loopback);
        assert!(here.inside(|| Ok(TcpListener::bind(address)?)).is_ok(), "its port is free here");
    }
}
