//! What a control plane has said, for as long as it holds. `now` comes in.

use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

use super::answer::Said;
use crate::directory::cache::clock::Clock;
use crate::directory::endpoint::Endpoint;
use crate::directory::{LocateError, Located};
use crate::route::SandboxId;

/// One part in this many of the room is for sandboxes without an endpoint, so that a scan for ids that do not exist
/// cannot displace those that do.
const ABSENT_SHARE: usize = 8;

/// How long a sandbox is believed to have no endpoint: a state changes when its user wants it to.
const ABSENT_TTL: Duration = Duration::from_secs(1);

/// A bounded memory.
pub(super) struct Memory {
    known: Clock<Known>,
    absent: Clock<Absent>,
    hasher: RandomState,
    generation: u64,
}

struct Known {
    located: Located,
    /// `None` once its host was found to be gone.
    until: Option<Instant>,
}

struct Absent {
    error: LocateError,
    until: Instant,
}

/// What is remembered of a sandbox.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// What holds now.
    Fresh(Result<Located, LocateError>),
    /// What held last.
    Expired(Located),
    /// Nothing.
    Nothing,
}

impl Memory {
    /// Room for `entries_max` sandboxes; 2 at least.
    pub(super) fn new(entries_max: usize) -> Self {
        let absent_max = (entries_max / ABSENT_SHARE).max(1);
        Self {
            known: Clock::new(entries_max.saturating_sub(absent_max)),
            absent: Clock::new(absent_max),
            hasher: RandomState::default(),
            generation: 0,
        }
    }

    pub(super) fn lookup(&mut self, id: &SandboxId, now: Instant) -> Found {
        let hash = self.hasher.hash_one(id);
        if let Some(known) = self.known.get(hash, id) {
            let holds = known.until.is_some_and(|until| now < until);
            return if holds { Found::Fresh(Ok(known.located)) } else { Found::Expired(known.located) };
        }
        match self.absent.get(hash, id) {
            Some(absent) if now < absent.until => Found::Fresh(Err(absent.error.clone())),
            _ => Found::Nothing,
        }
    }

    /// Remembers what was said, and returns it with its generation: a new one unless the endpoint is the one that was
    /// known.
    pub(super) fn store(&mut self, id: &SandboxId, said: Said, now: Instant) -> Result<Located, LocateError> {
        let hash = self.hasher.hash_one(id);
        match said {
            Ok((endpoint, ttl)) => {
                let old = self.known.get(hash, id).map(|known| known.located);
                let located = old.filter(|old| old.endpoint == endpoint).unwrap_or_else(|| {
                    self.generation += 1;
                    Located { endpoint, generation: self.generation }
                });
                self.known.put(hash, id, Known { located, until: Some(now + ttl) });
                self.absent.remove(hash, id);
                Ok(located)
            }
            Err(error) => {
                self.known.remove(hash, id);
                self.absent.put(hash, id, Absent { error: error.clone(), until: now + ABSENT_TTL });
                Err(error)
            }
        }
    }

    /// Ends the belief in `endpoint`, if that is what is remembered.
    pub(super) fn distrust(&mut self, id: &SandboxId, endpoint: Endpoint) -> bool {
        let hash = self.hasher.hash_one(id);
        match self.known.get(hash, id).filter(|known| known.located.endpoint == endpoint) {
            Some(known) => known.until.take().is_some(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::EndpointRules;

    const TTL: Duration = Duration::from_secs(120);

    fn endpoint(port: u16) -> Endpoint {
        EndpointRules::default().check(([10, 0, 0, 1], port).into()).unwrap()
    }

    #[test]
    fn an_answer_holds_for_its_time_and_is_the_last_resort_behind_it() {
        let (mut memory, id, now) = (Memory::new(8), "a".parse().unwrap(), Instant::now());
        assert_eq!(memory.lookup(&id, now), Found::Nothing);
        let located = memory.store(&id, Ok((endpoint(1), TTL)), now).unwrap();
        assert_eq!(memory.lookup(&id, now + TTL - Duration::from_millis(1)), Found::Fresh(Ok(located)));
        assert_eq!(memory.lookup(&id, now + TTL), Found::Expired(located));
        assert_eq!(memory.store(&id, Ok((endpoint(1), TTL)), now + TTL), Ok(located), "the same generation");
    }

    #[test]
    fn a_sandbox_that_moved_or_came_back_has_another_generation() {
        let (mut memory, id, now) = (Memory::new(8), "a".parse().unwrap(), Instant::now());
        let mut store = |said| memory.store(&id, said, now);
        let first = store(Ok((endpoint(1), TTL))).unwrap().generation;
        let moved = store(Ok((endpoint(2), TTL))).unwrap().generation;
        assert_eq!(store(Err(LocateError::Stopped)), Err(LocateError::Stopped));
        let back = store(Ok((endpoint(2), TTL))).unwrap().generation;
        assert!(first > 0 && first < moved && moved < back);
        assert!(matches!(memory.lookup(&id, now), Found::Fresh(Ok(_))), "it is not absent any more");
    }

    #[test]
    fn only_the_endpoint_that_failed_is_distrusted() {
        let (mut memory, id, now) = (Memory::new(8), "a".parse().unwrap(), Instant::now());
        let located = memory.store(&id, Ok((endpoint(2), TTL)), now).unwrap();
        assert!(!memory.distrust(&id, endpoint(1)));
        assert_eq!(memory.lookup(&id, now), Found::Fresh(Ok(located)));
        assert!(memory.distrust(&id, endpoint(2)) && !memory.distrust(&id, endpoint(2)));
        assert_eq!(memory.lookup(&id, now), Found::Expired(located));
    }

    #[test]
    fn a_scan_for_unknown_ids_displaces_no_known_one() {
        let (mut memory, id, now) = (Memory::new(8), "a".parse().unwrap(), Instant::now());
        let located = memory.store(&id, Ok((endpoint(1), TTL)), now).unwrap();
        for unknown in 0..100 {
            let _not_found = memory.store(&format!("x{unknown}").parse().unwrap(), Err(LocateError::NotFound), now);
        }
        assert_eq!(memory.lookup(&id, now), Found::Fresh(Ok(located)));
        assert!(memory.known.len() + memory.absent.len() <= 8);
    }
}
