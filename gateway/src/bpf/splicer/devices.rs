//! The interfaces that spliced packets arrive on and leave through.

use std::io;
use std::net::IpAddr;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

/// An interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) index: u32,
    is_loopback: bool,
}

/// Those with the program on them.
pub(super) struct Devices(Vec<Device>);

impl Devices {
    pub(super) const fn new(devices: Vec<Device>) -> Self {
        Self(devices)
    }

    /// The interface through which packets leave from `local` to `peer`: `Some(0)` where the peer is on this machine,
    /// `None` where it is not understood.
    pub(super) fn towards(&self, local: IpAddr, peer: IpAddr) -> Option<u32> {
        let interfaces: Vec<_> = getifaddrs().ok()?.collect();
        let having = |address: IpAddr| {
            interfaces.iter().find(|interface| {
                let own = interface.address.as_ref();
                let v4 = own.and_then(|own| own.as_sockaddr_in()).map(|own| IpAddr::V4(own.ip()));
                let v6 = own.and_then(|own| own.as_sockaddr_in6()).map(|own| IpAddr::V6(own.ip()));
                v4.or(v6) == Some(address)
            })
        };
        let Self(devices) = self;
        if peer.is_loopback() || having(peer).is_some() {
            return devices.iter().any(|device| device.is_loopback).then_some(0);
        }
        let device = if_nametoindex(having(local)?.interface_name.as_str()).ok()?;
        devices.iter().any(|known| known.index == device).then_some(device)
    }
}

/// The interfaces with these names; without any, all that are up and whose packets have an Ethernet header, which those
/// of the loopback interface have, too.
pub(super) fn hooked(names: &[String]) -> io::Result<Vec<Device>> {
    const WITH_ETHERNET_HEADER: [u16; 2] = [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK];
    let known: Vec<_> = getifaddrs()?.collect();
    // One entry of each interface is its link's. sysfs would show those of the network namespace that mounted it.
    let has_header = |interface: &InterfaceAddress| {
        let link = interface.address.as_ref().and_then(SockaddrStorage::as_link_addr);
        link.is_some_and(|link| WITH_ETHERNET_HEADER.contains(&link.hatype()))
    };
    let mut wanted: Vec<String> = if names.is_empty() {
        let up = known.iter().filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
        up.filter(|interface| has_header(interface)).map(|interface| interface.interface_name.clone()).collect()
    } else {
        names.to_vec()
    };
    wanted.sort_unstable();
    wanted.dedup();
    let device = |name: String| {
        let index = if_nametoindex(name.as_str())
            .map_err(|error| io::Error::new(io::ErrorKind::NotFound, format!("{name}: {error}")))?;
        let is_loopback = known.iter().any(|interface| {
            interface.interface_name == name && interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        });
        Ok(Device { name, index, is_loopback })
    };
    wanted.into_iter().map(device).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_on_this_machine_takes_the_loopback_interface() {
        let devices = Devices::new(hooked(&["lo".to_owned()]).unwrap());
        let own = "127.0.0.1".parse().unwrap();
        assert_eq!(devices.towards(own, own), Some(0));
        assert_eq!(Devices::new(Vec::new()).towards(own, own), None);
        assert!(hooked(&["no-such-device".to_owned()]).is_err());
    }
}
