//! The streams without sockets: what is known of them stands in the kernel's maps, and here is who looks after them.
//!
//! A stream that was spliced has no task. Its end is found when the program tells of it, or within a second by looking;
//! limits, keepalive probes and the closes that somebody orders are the keeper's, too. Since all of it is read from the
//! maps, a gateway that starts looks after the streams of the one before as after its own.

mod routes;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gateway_common::packet::Way;
use hashbrown::{HashMap, HashSet};

use super::ending::look;
use super::{Spliced, label};
use crate::bpf::splicer::{Pair, Place, Splicer};
use crate::config::AddressBook;
use crate::metrics::Metrics;
use crate::route::SandboxId;
use crate::sys::TcpTuning;
use crate::tunnel::closing::Closed;
use crate::tunnel::live::{Direction, Permit, StreamInfo};
use crate::tunnel::{Ended, Engine, Reason, Side};
pub use routes::follow;

/// What holds for every stream.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How ends are asked whether they are there.
    pub keepalive: TcpTuning,
    /// How long a stream may carry nothing; zero is for ever.
    pub idle_timeout: Duration,
    /// How long a stream may live; zero is for ever.
    pub lifetime_max: Duration,
}

/// Looks after the process's streams without sockets.
pub struct Keeper {
    splicer: Arc<Splicer>,
    streams: Mutex<Streams>,
    terms: Terms,
    metrics: Arc<Metrics>,
    /// The number of the next stream of the process.
    ids: Arc<AtomicU64>,
}

#[derive(Default)]
struct Streams {
    /// Their numbers in the maps.
    kept: HashSet<u32>,
    /// Their places under the caps. Most gateways have none, so that a stream is no more than its number.
    permits: HashMap<u32, Permit>,
    /// Bytes by direction that were carried under any keeper's eyes and that no process before counted.
    carried: [u64; 2],
}

impl Streams {
    fn enter(&mut self, number: u32, permit: Permit) {
        if permit.is_bound() {
            self.permits.insert(number, permit);
        }
        self.kept.insert(number);
    }

    fn forget(&mut self, number: u32) {
        self.permits.remove(&number);
        self.kept.remove(&number);
    }
}

impl Keeper {
    /// For a process without such streams, whose next stream gets its number from `ids`.
    #[must_use]
    pub fn new(splicer: Arc<Splicer>, terms: Terms, metrics: Arc<Metrics>, ids: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { splicer, streams: Mutex::default(), terms, metrics, ids })
    }

    /// The kernel side.
    #[must_use]
    pub fn splicer(&self) -> &Arc<Splicer> {
        &self.splicer
    }

    /// Looks after a stream from now on.
    pub(in crate::tunnel) fn enter(&self, place: Place, permit: Permit) {
        let number = place.keep();
        let mut streams = self.streams();
        streams.enter(number, permit);
        self.follow_from_the_start(&streams, number);
    }

    /// Looks after streams of processes that are gone. `permit` counts each in.
    pub fn adopt(&self, numbers: Vec<u32>, permit: impl Fn(&StreamInfo) -> Permit) {
        let mut found: Vec<_> = numbers.into_iter().filter_map(|number| Some((number, self.known(number)?))).collect();
        // In this order each number that was not given yet is seen to be free.
        found.sort_by_key(|(_, stream)| stream.id);
        let count = found.len();
        for (number, stream) in found {
            if self.ids.fetch_max(stream.id + 1, Ordering::Relaxed) > stream.id {
                let id = self.ids.fetch_add(1, Ordering::Relaxed);
                self.splicer.pair(number).label().id.store(id, Ordering::Relaxed);
            }
            let permit = permit(&stream);
            let mut streams = self.streams();
            streams.enter(number, permit);
            self.follow_from_the_start(&streams, number);
        }
        if count > 0 {
            self.metrics.streams().adopted(count as u64);
            tracing::info!(streams = count, "took over the streams of a gateway that is gone");
        }
    }

    fn known(&self, number: u32) -> Option<StreamInfo> {
        let info = info(self.splicer.pair(number));
        if info.is_none() {
            tracing::warn!(number, "a stream of a gateway that is gone has no name; it is left alone");
            self.splicer.free(number);
        }
        info
    }

    /// Leaves all streams to the process that shares them; how many. It must have been there since [`Splicer::close`],
    /// so that none is just on its way here.
    #[must_use]
    pub fn hand_over(&self) -> usize {
        let mut streams = self.streams();
        let count = streams.kept.len();
        streams.kept.clear();
        streams.permits.clear();
        self.splicer.leave();
        count
    }

    /// Looks at one stream, of which the program has told.
    pub fn look(&self, number: u32) {
        self.look_at(&mut self.streams(), number);
    }

    /// Looks at every stream. Called once a second.
    pub fn sweep(&self) {
        let mut streams = self.streams();
        let numbers: Vec<u32> = streams.kept.iter().copied().collect();
        numbers.into_iter().for_each(|number| self.look_at(&mut streams, number));
    }

    fn look_at(&self, streams: &mut Streams, number: u32) {
        // It may be another process's.
        if !streams.kept.contains(&number) {
            return;
        }
        let spliced = Spliced::of(self.splicer.pair(number));
        let over = look(&spliced, &self.terms.keepalive);
        let over = over.or_else(|| self.beyond_limits(spliced.pair).map(by_gateway));
        if let Some(ended) = over {
            self.end(streams, number, ended);
        }
    }

    fn beyond_limits(&self, pair: Pair<'_>) -> Option<Reason> {
        let Terms { idle_timeout, lifetime_max, .. } = self.terms;
        let is_over = |limit: Duration, time: Duration| !limit.is_zero() && time >= limit;
        let idle = label::idle(pair.label(), moved(pair).iter().sum());
        let lifetime = is_over(lifetime_max, label::age(pair.label())).then_some(Reason::Lifetime);
        lifetime.or_else(|| is_over(idle_timeout, idle).then_some(Reason::Idle))
    }

    fn end(&self, streams: &mut Streams, number: u32, ended: Ended) {
        let spliced = Spliced::of(self.splicer.pair(number));
        if spliced.is_untold(ended) {
            spliced.reset_both();
        }
        let pair = spliced.pair;
        let packet = count(streams, pair);
        streams.forget(number);
        let label = pair.label();
        if let Some((sandbox, request_id)) = label::names(label) {
            let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
            let bytes =
                Direction::ALL.map(|direction| word(&label.carried[direction as usize]) + packet[direction as usize]);
            let closed = Closed {
                request_id: &request_id,
                id: word(&label.id),
                sandbox: &sandbox,
                client: spliced.paths.client,
                endpoint: spliced.paths.pod,
                engine: Engine::Packet,
                bytes,
                kernel_bytes: word(&label.carried_by_kernel) + packet.iter().sum::<u64>(),
                promotions: word(&label.promotions),
                duration: label::age(label),
                ended,
            };
            closed.tell(self.metrics.streams());
        }
        self.splicer.free(number);
    }

    /// Ends the stream with this number of the process; false where there is none.
    pub(in crate::tunnel) fn close(&self, id: u64, reason: Reason) -> bool {
        let has_id = |pair: Pair<'_>| pair.label().id.load(Ordering::Relaxed) == id;
        self.close_where(reason, has_id) > 0
    }

    /// Ends the streams of a sandbox that `book` no longer has.
    pub(in crate::tunnel) fn close_sandbox(&self, sandbox: &SandboxId, book: AddressBook, reason: Reason) {
        self.close_where(reason, |pair| {
            let label = pair.label();
            label::book(label) == Some(book) && label::names(label).is_some_and(|(name, _)| name == *sandbox)
        });
    }

    /// Ends all.
    pub(in crate::tunnel) fn close_all(&self, reason: Reason) {
        self.close_where(reason, |_| true);
    }

    fn close_where(&self, reason: Reason, matches: impl Fn(Pair<'_>) -> bool) -> usize {
        let mut streams = self.streams();
        let numbers: Vec<u32> =
            streams.kept.iter().copied().filter(|&number| matches(self.splicer.pair(number))).collect();
        numbers.iter().for_each(|&number| self.end(&mut streams, number, by_gateway(reason)));
        numbers.len()
    }

    /// What `/streams` tells of them.
    pub(in crate::tunnel) fn infos(&self) -> Vec<StreamInfo> {
        self.streams().kept.iter().filter_map(|&number| info(self.splicer.pair(number))).collect()
    }

    /// Whose streams they are, of those from `book`; a sandbox is named once for each.
    pub(in crate::tunnel) fn sandboxes(&self, book: AddressBook) -> Vec<SandboxId> {
        let streams = self.streams();
        let labels = streams.kept.iter().map(|&number| self.splicer.pair(number).label());
        labels
            .filter(|label| label::book(label) == Some(book))
            .filter_map(|label| Some(label::names(label)?.0))
            .collect()
    }

    /// How many there are.
    pub(in crate::tunnel) fn len(&self) -> usize {
        self.streams().kept.len()
    }

    /// Bytes by direction that no process before this one has counted, of streams that are over, too.
    pub(in crate::tunnel) fn carried(&self) -> [u64; 2] {
        let mut streams = self.streams();
        let numbers: Vec<u32> = streams.kept.iter().copied().collect();
        for number in numbers {
            count(&mut streams, self.splicer.pair(number));
        }
        streams.carried
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        // Nothing here is left half-done when a thread panics.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn by_gateway(reason: Reason) -> Ended {
    Ended { side: Side::Gateway, reason }
}

/// Adds what a stream has carried since it was last counted, by whatever process; all that it has carried.
fn count(streams: &mut Streams, pair: Pair<'_>) -> [u64; 2] {
    let moved = moved(pair);
    for direction in Direction::ALL.map(|direction| direction as usize) {
        let before = pair.label().counted[direction].swap(moved[direction], Ordering::Relaxed);
        // A FIN that just came is counted as a byte for an instant.
        streams.carried[direction] = streams.carried[direction].wrapping_add(moved[direction].wrapping_sub(before));
    }
    moved
}

/// Bytes by direction since the two connections became one. A FIN counts as one in sequence numbers.
fn moved(pair: Pair<'_>) -> [u64; 2] {
    [0, 1].map(|direction| pair.way(direction)).map(|way: &Way<AtomicU64>| {
        let fin = u64::from(way.fin.load(Ordering::Relaxed) != 0);
        let end = way.end.load(Ordering::Relaxed);
        end.saturating_sub(way.begin.load(Ordering::Relaxed)).saturating_sub(fin)
    })
}

fn info(pair: Pair<'_>) -> Option<StreamInfo> {
    let (label, paths, moved) = (pair.label(), pair.paths(), moved(pair));
    let (sandbox, _) = label::names(label)?;
    let bytes = |direction: usize| label.carried[direction].load(Ordering::Relaxed) + moved[direction];
    Some(StreamInfo {
        id: label.id.load(Ordering::Relaxed),
        sandbox,
        client: paths.client,
        endpoint: paths.pod,
        engine: Engine::Packet.label(),
        bytes_up: bytes(0),
        bytes_down: bytes(1),
        age_seconds: label::age(label).as_secs_f64(),
        idle_seconds: label::idle(label, moved.iter().sum()).as_secs_f64(),
    })
}
