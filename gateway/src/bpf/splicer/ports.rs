//! The source ports of connections to pods. A spliced connection's stays ours although no socket has it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::locked;

/// Above what the kernel gives out by itself (`net.ipv4.ip_local_port_range` ends with 60999 unless somebody changed
/// it), so that nobody else gets one of them. As many streams can be spliced to one endpoint.
const FIRST: u16 = 61_000;
const COUNT: u32 = 65_535 - FIRST as u32 + 1;

/// The ports, handed out in turn: one that was given back rests for as long as all others take.
#[derive(Default)]
pub struct Ports {
    next: AtomicU32,
    live: Arc<Mutex<HashSet<(SocketAddr, u16)>>>,
}

impl Ports {
    /// A port from which `endpoint` can be dialled; `None` where all are taken.
    pub fn next(&self, endpoint: SocketAddr) -> Option<u16> {
        let live = locked(&self.live);
        (0..COUNT)
            .map(|_| FIRST + u16::try_from(self.next.fetch_add(1, Ordering::Relaxed) % COUNT).expect("a port"))
            .find(|&port| !live.contains(&(endpoint, port)))
    }

    /// Keeps a port from being dialled from. `None` where it is none of ours.
    pub fn own(&self, endpoint: SocketAddr, port: u16) -> Option<OwnedPort> {
        if port < FIRST {
            return None;
        }
        let inserted = locked(&self.live).insert((endpoint, port));
        inserted.then(|| OwnedPort { live: Arc::clone(&self.live), key: (endpoint, port) })
    }
}

/// A port of a spliced connection, given back when dropped.
pub struct OwnedPort {
    live: Arc<Mutex<HashSet<(SocketAddr, u16)>>>,
    key: (SocketAddr, u16),
}

impl Drop for OwnedPort {
    fn drop(&mut self) {
        locked(&self.live).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_port_is_not_given_out_again() {
        let (ports, pod) = (Ports::default(), "192.0.2.1:80".parse().unwrap());
        let other = "192.0.2.2:80".parse().unwrap();
        let first = ports.next(pod).unwrap();
        let owned = ports.own(pod, first).unwrap();
        assert!(ports.own(pod, first).is_none(), "twice");
        let round: Vec<_> = (1..COUNT).map(|_| ports.next(pod).unwrap()).collect();
        assert!(!round.contains(&first));
        assert_ne!(ports.next(pod), Some(first));
        assert!((0..COUNT).any(|_| ports.next(other) == Some(first)), "another pod's connections are others");
        drop(owned);
        assert!((0..COUNT).any(|_| ports.next(pod) == Some(first)));
        assert!(ports.own(pod, 40_000).is_none());
    }
}
