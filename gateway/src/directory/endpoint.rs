//! Where a sandbox listens, and which addresses it may not be.
//!
//! A directory has writers that the gateway does not know. An endpoint is therefore checked before it is dialled,
//! whatever its source: a link-local address is a cloud's metadata service, an unspecified one is this machine in
//! disguise, and the gateway's own listener is a loop. Loopback is fine here, since operators write both directories;
//! the sources in which clients name addresses refuse it themselves.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

/// A checked address: made by [`EndpointRules::check`] only. An IPv4-mapped address stands here as plain IPv4, and
/// scope ids and flow labels are gone, so that two endpoints are equal exactly when the same socket would answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint(SocketAddr);

/// What an endpoint may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointRules {
    /// Where endpoints may lie. Empty: anywhere.
    pub allow: Vec<IpNet>,
    /// The gateway's own listeners, as [`own_addresses`] gives them: an endpoint there is a loop.
    pub own: Vec<SocketAddr>,
}

/// Why an address is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EndpointError {
    /// Port 0 cannot be dialled (RFC 6335 section 6).
    #[error("its port is 0")]
    PortZero,
    /// `::`, or anything in 0.0.0.0/8 (RFC 6890): Linux connects 0.0.0.0 to the machine itself.
    #[error("its address is unspecified")]
    Unspecified,
    /// 224.0.0.0/4 or ff00::/8.
    #[error("its address is multicast")]
    Multicast,
    /// 255.255.255.255.
    #[error("its address is the broadcast address")]
    Broadcast,
    /// 169.254.0.0/16 (RFC 3927) or fe80::/10 (RFC 4291 section 2.5.6): where clouds keep their metadata services.
    #[error("its address is link-local")]
    LinkLocal,
    /// One of the gateway's own listeners.
    #[error("it is the gateway itself")]
    Own,
    /// Outside the configured networks.
    #[error("its address is outside the allowed networks")]
    NotAllowed,
}

impl EndpointRules {
    /// Makes an endpoint of an address that these rules accept.
    pub fn check(&self, address: SocketAddr) -> Result<Endpoint, EndpointError> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let ip = address.ip();
        if address.port() == 0 {
            return Err(EndpointError::PortZero);
        }
        if is_unspecified(ip) {
            return Err(EndpointError::Unspecified);
        }
        if ip.is_multicast() {
            return Err(EndpointError::Multicast);
        }
        if ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(EndpointError::Broadcast);
        }
        if is_link_local(ip) {
            return Err(EndpointError::LinkLocal);
        }
        if self.own.iter().any(|own| reaches(address, *own)) {
            return Err(EndpointError::Own);
        }
        if !self.allow.is_empty() && !self.allow.iter().any(|network| network.contains(&ip)) {
            return Err(EndpointError::NotAllowed);
        }
        Ok(Endpoint(address))
    }
}

fn is_unspecified(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 0,
        IpAddr::V6(ip) => ip.is_unspecified(),
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether a connection to `address` arrives at the listener `own`. Of an unspecified listener only the loopback part
/// can be known here; [`own_addresses`] spells the rest out.
fn reaches(address: SocketAddr, own: SocketAddr) -> bool {
    let listener = own.ip().to_canonical();
    own.port() == address.port()
        && (listener == address.ip() || (listener.is_unspecified() && address.ip().is_loopback()))
}

/// The addresses under which these listeners answer on this machine: an unspecified listener answers on every
/// interface.
///
/// Addresses that the machine gets later are not covered; they are not worth a netlink subscription, since a loop is
/// also stopped by the limits of the client side. Errors are those of getifaddrs(3).
pub fn own_addresses(listeners: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
    let mut own = listeners.to_vec();
    if listeners.iter().any(|listener| listener.ip().is_unspecified()) {
        let interfaces: Vec<IpAddr> = interface_addresses()?;
        let unspecified = listeners.iter().filter(|listener| listener.ip().is_unspecified());
        own.extend(unspecified.flat_map(|listener| interfaces.iter().map(|ip| SocketAddr::new(*ip, listener.port()))));
    }
    Ok(own)
}

fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    Ok(interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect())
}

impl Endpoint {
    /// What to dial.
    #[must_use]
    pub fn address(self) -> SocketAddr {
        self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &EndpointRules, address: &str) -> Result<String, EndpointError> {
        rules.check(address.parse().unwrap()).map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn ordinary_pod_addresses_are_endpoints() {
        let rules = EndpointRules::default();
        for address in ["10.18.124.21:6080", "127.0.0.1:6080", "[::1]:6080", "[2001:db8::7]:1", "8.8.8.8:65535"] {
            assert_eq!(check(&rules, address), Ok(address.to_owned()));
        }
    }

    #[test]
    fn addresses_that_name_no_pod_are_refused_in_both_notations() {
        use EndpointError::{Broadcast, LinkLocal, Multicast, PortZero, Unspecified};
        let rules = EndpointRules::default();
        let refused = [
            ("10.0.0.1:0", PortZero),
            ("0.0.0.0:80", Unspecified),
            ("0.1.2.3:80", Unspecified),
            ("[::]:80", Unspecified),
            ("[::ffff:0.0.0.0]:80", Unspecified),
            ("224.0.0.1:80", Multicast),
            ("[ff02::1]:80", Multicast),
            ("[::ffff:224.0.0.1]:80", Multicast),
            ("255.255.255.255:80", Broadcast),
            ("[::ffff:255.255.255.255]:80", Broadcast),
            ("169.254.169.254:80", LinkLocal),
            ("[fe80::1]:80", LinkLocal),
            ("[fe80::1%2]:80", LinkLocal),
            ("[::ffff:169.254.169.254]:80", LinkLocal),
        ];
        for (address, reason) in refused {
            assert_eq!(check(&rules, address), Err(reason), "{address}");
        }
    }

    #[test]
    fn mapped_and_scoped_addresses_become_plain() {
        let rules = EndpointRules::default();
        assert_eq!(check(&rules, "[::ffff:10.0.0.1]:80"), Ok("10.0.0.1:80".to_owned()));
        assert_eq!(check(&rules, "[2001:db8::1%3]:80"), Ok("[2001:db8::1]:80".to_owned()));
    }

    #[test]
    fn the_gateway_is_no_endpoint_of_itself() {
        let rules = EndpointRules {
            own: vec!["0.0.0.0:8080".parse().unwrap(), "[::ffff:10.0.0.9]:9090".parse().unwrap()],
            ..EndpointRules::default()
        };
        assert_eq!(check(&rules, "127.0.0.1:8080"), Err(EndpointError::Own));
        assert_eq!(check(&rules, "[::1]:8080"), Err(EndpointError::Own));
        assert_eq!(check(&rules, "10.0.0.9:9090"), Err(EndpointError::Own));
        assert_eq!(check(&rules, "127.0.0.1:8081"), Ok("127.0.0.1:8081".to_owned()));
        assert_eq!(check(&rules, "10.0.0.8:8080"), Ok("10.0.0.8:8080".to_owned()));
    }

    #[test]
    fn an_unspecified_listener_is_known_under_the_machines_addresses() {
        let listener: SocketAddr = "0.0.0.0:8080".parse().unwrap();
        let own = own_addresses(&[listener]).unwrap();
        assert!(own.contains(&listener));
        assert!(own.contains(&"127.0.0.1:8080".parse().unwrap()), "{own:?}");

        let loopback: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(own_addresses(&[loopback]).unwrap(), [loopback]);
    }

    #[test]
    fn an_allow_list_shuts_everything_else_out() {
        let rules = EndpointRules {
            allow: vec!["10.18.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            ..EndpointRules::default()
        };
        assert_eq!(check(&rules, "10.18.124.21:6080"), Ok("10.18.124.21:6080".to_owned()));
        assert_eq!(check(&rules, "[::ffff:10.18.124.21]:6080"), Ok("10.18.124.21:6080".to_owned()));
        assert_eq!(check(&rules, "[2001:db8::1]:1"), Ok("[2001:db8::1]:1".to_owned()));
        assert_eq!(check(&rules, "10.19.0.1:6080"), Err(EndpointError::NotAllowed));
        assert_eq!(check(&rules, "127.0.0.1:6080"), Err(EndpointError::NotAllowed));
    }
}
