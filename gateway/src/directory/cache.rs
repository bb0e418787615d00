//! What the workers remember of the directory. Pure: `now` comes in, nothing is awaited.
//!
//! Coherence is one number. A push from the directory says that something changed, not what; [`Cache::invalidate_all`]
//! then raises the *epoch*, and with it every entry of an older epoch is "revalidate on next use". That costs one
//! increment however many entries there are, and an entry keeps its old answer for the time in which the directory is
//! unreachable. An answer is stored under the epoch in which it was *asked for*: whatever was pushed in between leaves
//! it revalidated.
//!
//! The bound: known sandboxes and unknown ones have separate room (a scan for ids that do not exist cannot displace a
//! route that does), each in a `Clock`, so a full cache forgets an entry that was not asked for lately. One lock guards
//! a sixteenth of all entries; a hit takes it once, hashes once and allocates nothing.

pub(super) mod clock;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

use self::clock::Clock;
use super::Located;
use super::endpoint::Endpoint;
use super::record::NoEndpoint;
use crate::route::SandboxId;

/// Into how many locks a cache of ordinary size is divided: more than a machine has workers that meet at one moment.
const SHARDS: usize = 16;

/// Below this many entries one lock is enough, and the bound is exact instead of exact per shard.
const SHARDED_FROM: usize = 1024;

/// One part in this many of the room is for sandboxes that the directory does not know.
const ABSENT_SHARE: usize = 8;

/// An epoch older than every real one.
const NEVER: u64 = 0;

/// What the directory says about a sandbox that it has.
pub type Answer = Result<Located, NoEndpoint>;

/// A bounded memory of answers, shared by all workers.
pub struct Cache {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    epoch: AtomicU64,
    generation: AtomicU64,
    negative_ttl: Duration,
}

/// What the cache says about a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The directory's present answer.
    Fresh(Answer),
    /// The directory does not have this sandbox.
    FreshAbsent,
    /// An answer that may have changed: ask, and keep to it only if nobody can be asked.
    Revalidate(Answer),
    /// Nothing is known.
    Miss,
}

struct Shard {
    known: Clock<Known>,
    absent: Clock<Absent>,
}

#[derive(Clone, Copy)]
struct Known {
    answer: Answer,
    epoch: u64,
}

#[derive(Clone, Copy)]
struct Absent {
    epoch: u64,
    until: Instant,
}

impl Cache {
    /// Room for `entries_max` sandboxes, known and unknown ones together; 2 at least. "Unknown" is believed for
    /// `negative_ttl` at most, even if nothing is pushed. `hasher` should be seeded at random, since clients choose
    /// ids.
    #[must_use]
    pub fn new(entries_max: usize, negative_ttl: Duration, hasher: RandomState) -> Self {
        let shards = if entries_max < SHARDED_FROM { 1 } else { SHARDS };
        let absent_max = (entries_max / ABSENT_SHARE / shards).max(1);
        let known_max = (entries_max / shards).saturating_sub(absent_max).max(1);
        let shard = || Mutex::new(Shard { known: Clock::new(known_max), absent: Clock::new(absent_max) });
        Self {
            shards: std::iter::repeat_with(shard).take(shards).collect(),
            hasher,
            epoch: AtomicU64::new(NEVER + 1),
            generation: AtomicU64::new(0),
            negative_ttl,
        }
    }

    /// What is known about `id` now.
    #[must_use]
    pub fn lookup(&self, id: &SandboxId, now: Instant) -> Lookup {
        let hash = self.hasher.hash_one(id);
        let epoch = self.epoch();
        let mut shard = self.shard(hash);
        if let Some(known) = shard.known.get(hash, id) {
            return if known.epoch == epoch { Lookup::Fresh(known.answer) } else { Lookup::Revalidate(known.answer) };
        }
        match shard.absent.get(hash, id) {
            Some(absent) if absent.epoch == epoch && now < absent.until => Lookup::FreshAbsent,
            _ => Lookup::Miss,
        }
    }

    /// The present epoch: to be read before a question is sent, and handed to [`Cache::store`] with its answer.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Makes every entry "revalidate on next use".
    pub fn invalidate_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Keeps what the directory said (`None`: it does not have the sandbox) to a question that was sent in epoch
    /// `asked_in`.
    ///
    /// Returns what holds now: the same, with its generation, or the answer to a later question if one is there
    /// already.
    pub fn store(
        &self,
        id: &SandboxId,
        said: Option<Result<Endpoint, NoEndpoint>>,
        asked_in: u64,
        now: Instant,
    ) -> Option<Answer> {
        let hash = self.hasher.hash_one(id);
        let mut shard = self.shard(hash);
        let Shard { known, absent } = &mut *shard;
        let before = known.get(hash, id).copied();
        if let Some(later) = before.filter(|before| before.epoch > asked_in) {
            return Some(later.answer);
        }
        if absent.get(hash, id).is_some_and(|later| later.epoch > asked_in) {
            return None;
        }
        let Some(said) = said else {
            known.remove(hash, id);
            absent.put(hash, id, Absent { epoch: asked_in, until: now + self.negative_ttl });
            return None;
        };
        absent.remove(hash, id);
        let unchanged = before.map(|before| before.answer).filter(|answer| answer.map(|l| l.endpoint) == said);
        let answer =
            unchanged.unwrap_or_else(|| said.map(|endpoint| Located { endpoint, generation: self.next_generation() }));
        known.put(hash, id, Known { answer, epoch: asked_in });
        Some(answer)
    }

    /// Makes the entry of `id` "revalidate on next use" under a new generation, if it still holds `endpoint`. Says
    /// whether it did.
    ///
    /// The answer stays for the time in which the directory is unreachable: a route that may be dead is better than
    /// none.
    pub fn distrust(&self, id: &SandboxId, endpoint: Endpoint) -> bool {
        let hash = self.hasher.hash_one(id);
        let mut shard = self.shard(hash);
        let Some(known) = shard.known.get(hash, id) else { return false };
        match known.answer {
            Ok(located) if located.endpoint == endpoint => {
                let generation = self.next_generation();
                *known = Known { answer: Ok(Located { endpoint, generation }), epoch: NEVER };
                true
            }
            _ => false,
        }
    }

    /// Whether anything is kept that the directory said about `id` in answer to a question of epoch `epoch` or later.
    #[must_use]
    pub fn heard_since(&self, id: &SandboxId, epoch: u64) -> bool {
        let hash = self.hasher.hash_one(id);
        let mut shard = self.shard(hash);
        let known = shard.known.get(hash, id).is_some_and(|known| known.epoch >= epoch);
        known || shard.absent.get(hash, id).is_some_and(|absent| absent.epoch >= epoch)
    }

    /// How many sandboxes are known, revalidated or not.
    #[must_use]
    pub fn known(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).known.len()).sum()
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // A table takes its bucket from a hash's lowest bits and its tag from the highest seven; these are neither.
        let bits = usize::try_from(hash >> 40 & 0xffff).expect("16 bits fit into a usize");
        lock(&self.shards[bits % self.shards.len()])
    }

    fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// A shard is consistent between any two of its statements that could panic, so a poisoned lock is as good as another.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
