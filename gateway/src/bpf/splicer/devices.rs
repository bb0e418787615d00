//! The interfaces that spliced packets arrive on and leave through. They come and go.

use std::io;
use std::sync::Mutex;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockaddrStorage;

use super::locked;

/// An interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) index: u32,
}

impl Device {
    /// Whether there still is an interface with this name and number.
    pub(super) fn is_there(&self) -> bool {
        if_nametoindex(self.name.as_str()) == Ok(self.index)
    }
}

/// Those with the program on them.
pub(super) struct Devices {
    /// What somebody has named; otherwise the program is on all that can have it.
    names: Vec<String>,
    hooked: Mutex<Vec<Device>>,
}

impl Devices {
    pub(super) const fn new(names: Vec<String>, hooked: Vec<Device>) -> Self {
        Self { names, hooked: Mutex::new(hooked) }
    }

    pub(super) fn has(&self, index: u32) -> bool {
        locked(&self.hooked).iter().any(|device| device.index == index)
    }

    /// Those that are there now; `None` where nothing has changed since [`Self::set`].
    pub(super) fn changed(&self) -> io::Result<Option<Vec<Device>>> {
        let devices = wanted(&self.names)?;
        Ok((*locked(&self.hooked) != devices).then_some(devices))
    }

    pub(super) fn set(&self, devices: Vec<Device>) {
        *locked(&self.hooked) = devices;
    }
}

/// The interfaces with these names that are there; without any name, all whose packets have an Ethernet header, which
/// those of the loopback interface have, too. Whether they are up does not matter: what is up before the program is on
/// it would let a packet by.
pub(super) fn wanted(names: &[String]) -> io::Result<Vec<Device>> {
    const WITH_ETHERNET_HEADER: [u16; 2] = [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK];
    // One entry of each interface is its link's. sysfs would show those of the network namespace that mounted it.
    let link = |interface: &InterfaceAddress| {
        let link = *interface.address.as_ref().and_then(SockaddrStorage::as_link_addr)?;
        let index = u32::try_from(link.ifindex()).ok()?;
        WITH_ETHERNET_HEADER.contains(&link.hatype()).then(|| Device { name: interface.interface_name.clone(), index })
    };
    let mut devices: Vec<Device> = getifaddrs()?.filter_map(|interface| link(&interface)).collect();
    devices.retain(|device| names.is_empty() || names.contains(&device.name));
    devices.sort_unstable_by_key(|device| device.index);
    Ok(devices)
}

/// The names without an interface that can have the program.
pub(super) fn missing<'a>(names: &'a [String], devices: &[Device]) -> Vec<&'a str> {
    let is_missing = |name: &&String| !devices.iter().any(|device| device.name == **name);
    names.iter().filter(is_missing).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_and_there_is_wanted() {
        let names = ["lo".to_owned(), "no-such-device".to_owned()];
        let devices = wanted(&names).unwrap();
        assert_eq!(devices, [Device { name: "lo".to_owned(), index: 1 }]);
        assert_eq!(missing(&names, &devices), ["no-such-device"]);
        let known = Devices::new(names.to_vec(), devices);
        assert!(known.has(1) && !known.has(2));
        assert_eq!(known.changed().unwrap(), None);
        known.set(Vec::new());
        assert_eq!(known.changed().unwrap().map(|devices| devices.len()), Some(1));
    }
}
