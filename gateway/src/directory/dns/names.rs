//! What is remembered of the cluster's names. Pure: `now` comes in.
//!
//! Two tables of half the room each: when the young one is full it becomes the old one, and what the old one held is
//! forgotten. Times to live are short, so that little is forgotten that still held.

use std::net::IpAddr;
use std::time::Instant;

use hashbrown::HashMap;

use crate::route::SandboxId;

/// A name's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) address: IpAddr,
    /// Changes with the address.
    pub(super) generation: u64,
}

/// The names, with addresses and without.
pub(super) struct Names {
    young: HashMap<SandboxId, Entry>,
    old: HashMap<SandboxId, Entry>,
    half: usize,
    generation: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    known: Option<Known>,
    until: Instant,
}

impl Names {
    /// Room for so many.
    pub(super) fn new(entries_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: entries_max.div_ceil(2), generation: 0 }
    }

    /// What is known of a name at `now`; `Some(None)` is that it has no address.
    pub(super) fn lookup(&self, id: &SandboxId, now: Instant) -> Option<Option<Known>> {
        self.entry(id).filter(|entry| now < entry.until).map(|entry| entry.known)
    }

    /// Keeps what a server said. Of several addresses the one in use is kept to.
    pub(super) fn store(&mut self, id: &SandboxId, addresses: &[IpAddr], until: Instant) -> Option<Known> {
        let before = self.entry(id).and_then(|entry| entry.known);
        let known = before.filter(|known| addresses.contains(&known.address)).or_else(|| {
            let address = *addresses.first()?;
            self.generation += 1;
            Some(Known { address, generation: self.generation })
        });
        self.old.remove(id);
        if self.young.len() >= self.half && !self.young.contains_key(id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id.clone(), Entry { known, until });
        known
    }

    /// Forgets a name if `address` is what it has. Says whether it was.
    pub(super) fn forget(&mut self, id: &SandboxId, address: IpAddr) -> bool {
        let holds = self.entry(id).and_then(|entry| entry.known).is_some_and(|known| known.address == address);
        if holds {
            self.young.remove(id);
            self.old.remove(id);
        }
        holds
    }

    fn entry(&self, id: &SandboxId) -> Option<Entry> {
        self.young.get(id).or_else(|| self.old.get(id)).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn id(text: &str) -> SandboxId {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_holds_until_its_time_is_over() {
        let (mut names, now) = (Names::new(8), Instant::now());
        let until = now + Duration::from_secs(5);
        let known = names.store(&id("a"), &[A], until);
        assert_eq!(names.lookup(&id("a"), until - Duration::from_nanos(1)), Some(known));
        assert_eq!(names.lookup(&id("a"), until), None);
        assert_eq!(names.store(&id("b"), &[], until), None);
        assert_eq!(names.lookup(&id("b"), now), Some(None));
    }

    #[test]
    fn the_generation_changes_with_the_address_only() {
        let (mut names, now) = (Names::new(8), Instant::now());
        let first = names.store(&id("a"), &[A, B], now).unwrap();
        assert_eq!(names.store(&id("a"), &[B, A], now), Some(first));
        let second = names.store(&id("a"), &[B], now).unwrap();
        assert!(second.address == B && second.generation != first.generation);
        names.store(&id("a"), &[], now);
        let again = names.store(&id("a"), &[B], now).unwrap();
        assert_ne!(again.generation, second.generation, "it was gone in between");
    }

    #[test]
    fn only_the_address_that_failed_is_forgotten() {
        let (mut names, now) = (Names::new(8), Instant::now());
        names.store(&id("a"), &[B], now + Duration::from_secs(1));
        assert!(!names.forget(&id("a"), A) && names.lookup(&id("a"), now).is_some());
        assert!(names.forget(&id("a"), B) && names.lookup(&id("a"), now).is_none());
    }

    #[test]
    fn the_room_is_bounded_and_new_names_have_it() {
        let (mut names, now) = (Names::new(10), Instant::now());
        let until = now + Duration::from_secs(1);
        for number in 0..1000 {
            names.store(&id(&number.to_string()), &[A], until);
            assert!(names.young.len() + names.old.len() <= 10);
        }
        assert!(names.lookup(&id("999"), now).is_some() && names.lookup(&id("0"), now).is_none());
    }
}
