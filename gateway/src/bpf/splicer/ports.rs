//! The source ports of connections to pods. A spliced connection's stays taken although no socket has it: which are
//! live, the program's own map says.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::config::PortRange;

/// How many ports a dial looks at, all its attempts together: each look is a system call, about a microsecond, and a
/// worker serves nobody else meanwhile. The next dial begins behind them, so that all come to be looked at.
pub(super) const LOOKS_MAX: u32 = 64;

/// The ports, handed out in turn: one that was given back rests for as long as all others take.
pub(super) struct Ports {
    range: PortRange,
    next: AtomicU32,
}

impl Ports {
    /// They begin anywhere: what was given back just before a restart rests, too.
    pub(super) fn new(range: PortRange) -> Self {
        Self { range, next: AtomicU32::new(rand::random::<u32>() % range.count()) }
    }

    /// A port of the address `local` that no live connection has; `None` where the dial, which may look so many times
    /// more, has found none.
    pub(super) fn next(
        &self,
        mut local: SocketAddr,
        looks: &mut u32,
        is_live: impl Fn(SocketAddr) -> bool,
    ) -> Option<u16> {
        let count = self.range.count();
        (0..count.min(*looks)).find_map(|_| {
            *looks -= 1;
            let offset = u16::try_from(self.next.fetch_add(1, Ordering::Relaxed) % count).expect("below the count");
            local.set_port(self.range.first + offset);
            (!is_live(local)).then(|| local.port())
        })
    }

    /// Whether a port is one of them.
    pub(super) const fn contains(&self, port: u16) -> bool {
        self.range.contains(port)
    }
}

/// The address of this machine that a connection to `endpoint` has: connecting a datagram socket sends nothing, and
/// finds the route.
pub(super) fn local_address(endpoint: SocketAddr) -> Option<SocketAddr> {
    let any: SocketAddr = if endpoint.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(endpoint).ok()?;
    socket.local_addr().ok()
}

/// What of `range` the kernel gives to others of its own accord, in words.
pub(super) fn shared_with_others(range: PortRange) -> Option<String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    overlap(range, &read("ip_local_port_range"), &read("ip_local_reserved_ports"))
}

/// `local` is two ports; `reserved`, such as `8080,61000-65535`, is never given to others.
fn overlap(range: PortRange, local: &str, reserved: &str) -> Option<String> {
    let mut ports = local.split_ascii_whitespace().map(str::parse);
    let (Some(Ok(first)), Some(Ok(last))) = (ports.next(), ports.next()) else { return None };
    let local = PortRange { first, last };
    let is_reserved = |port: u16| {
        reserved.trim().split(',').any(|item| match PortRange::parse(item) {
            Some(range) => range.contains(port),
            None => item.parse() == Ok(port),
        })
    };
    let shared = (range.first..=range.last).filter(|&port| local.contains(port) && !is_reserved(port)).count();
    (shared > 0).then(|| {
        format!(
            "{shared} of the ports {range} lie in net.ipv4.ip_local_port_range ({local}) and are not in \
                 net.ipv4.ip_local_reserved_ports"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_live_port_is_not_given_out_again() {
        let range = PortRange { first: 61_000, last: 61_009 };
        let (ports, here) = (Ports::new(range), "127.0.0.1:0".parse().unwrap());
        let live = RefCell::new(HashSet::new());
        let next = || {
            let mut looks = LOOKS_MAX;
            ports.next(here, &mut looks, |local| live.borrow().contains(&local.port()))
        };
        let first = next().unwrap();
        live.borrow_mut().insert(first);
        let round: Vec<_> = (0..30).map(|_| next().unwrap()).collect();
        assert!(!round.contains(&first) && round.iter().all(|&port| range.contains(port)), "{round:?}");
        live.borrow_mut().extend(range.first..=range.last);
        assert_eq!(next(), None);
        live.borrow_mut().remove(&first);
        assert_eq!(next(), Some(first));
    }

    #[test]
    fn a_dial_looks_at_so_many_ports_and_no_more() {
        let range = PortRange { first: 61_000, last: 65_535 };
        let (ports, here) = (Ports::new(range), "127.0.0.1:0".parse().unwrap());
        let looked = RefCell::new(0);
        // Three attempts, of which each finds the port of the one before not good enough.
        let dial = |free: Option<u16>| {
            let mut looks = LOOKS_MAX;
            let attempts = [(); 3].map(|()| {
                ports.next(here, &mut looks, |local| {
                    *looked.borrow_mut() += 1;
                    Some(local.port()) != free
                })
            });
            attempts.into_iter().flatten().next()
        };
        assert_eq!((dial(None), looked.take()), (None, LOOKS_MAX));
        // The only free one is found all the same, by one of the dials that look at all.
        let dials = range.count().div_ceil(LOOKS_MAX);
        let found: Vec<_> = (0..=dials).filter_map(|_| dial(Some(63_210))).collect();
        assert!(found.starts_with(&[63_210]), "{found:?}");
    }

    #[test]
    fn what_the_kernel_gives_to_others_is_told() {
        let range = PortRange { first: 61_000, last: 61_009 };
        assert_eq!(overlap(range, "32768\t60999\n", "\n"), None);
        assert!(overlap(range, "32768\t61004\n", "\n").unwrap().starts_with("5 of the ports 61000-61009 lie in"));
        assert!(overlap(range, "1024\t65535\n", "61000-61003,61005\n").unwrap().starts_with("5 of"));
        assert_eq!(overlap(range, "1024\t65535\n", "61000-61009\n"), None);
        assert_eq!(overlap(range, "", ""), None);
    }
}
