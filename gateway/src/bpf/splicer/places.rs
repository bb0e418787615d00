//! The places of streams: two directions, two entries of the index, and a label.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use gateway_common::packet::{HELD, LOOPBACK, Label, SHUT, SPLICED, WATCHED, Way, WayKey};

use super::keys::{address_of, address_words, port_word, ports_of, way_key};
use super::{HoldError, Splicer, locked};

/// The four ends of a stream's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paths {
    /// The client's end of its connection.
    pub client: SocketAddr,
    /// The gateway's end of it.
    pub gateway_to_client: SocketAddr,
    /// The gateway's end of the connection to the pod.
    pub gateway_to_pod: SocketAddr,
    /// The pod's end.
    pub pod: SocketAddr,
}

/// Half of an index: a stream in the maps.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    splicer: &'a Splicer,
    number: u32,
}

/// A place on the way to be a stream's. Dropped, it is free again.
pub struct Place {
    splicer: Arc<Splicer>,
    number: u32,
    is_kept: bool,
}

impl Splicer {
    /// Gives a stream a place: from now on what arrives for its sockets is counted.
    ///
    /// # Errors
    /// When there is no place, or the kernel refuses an entry; nothing stays behind.
    pub fn watch(self: &Arc<Self>, paths: Paths) -> Result<Place, HoldError> {
        /// `BPF_NOEXIST` of include/uapi/linux/bpf.h: two streams never share a direction.
        const NEW: u64 = 1;
        if self.closed.load(Ordering::Relaxed) {
            return Err(HoldError::Closed);
        }
        let number = self.claim().ok_or(HoldError::Full(self.labels.len()))?;
        let place = Place { splicer: Arc::clone(self), number, is_kept: false };
        let pair = place.pair();
        pair.write_paths(paths);
        for (direction, key) in (0..).zip(pair.keys()) {
            pair.way(direction).state.store(WATCHED, Ordering::Release);
            let index = pair.index(direction);
            locked(&self.indices).insert(key, index, NEW)?;
        }
        Ok(place)
    }

    /// Any free place becomes this process's.
    fn claim(&self) -> Option<u32> {
        let len = self.labels.len();
        (0..len).map(|_| self.next.fetch_add(1, Ordering::Relaxed) % len).find(|&number| {
            let owner = &self.labels.get(number).owner;
            // Read first: a compare-and-swap takes the cache line away from whoever reads it.
            owner.load(Ordering::Relaxed) == 0
                && owner.compare_exchange(0, self.owners.number(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// A stream that is known by its number in the maps.
    pub fn pair(&self, number: u32) -> Pair<'_> {
        Pair { splicer: self, number }
    }

    /// The stream whose packets come like this, and the direction that they take.
    #[must_use]
    pub fn find(&self, source: SocketAddr, destination: SocketAddr) -> Option<(Pair<'_>, usize)> {
        let index = locked(&self.indices).get(&way_key(source, destination), 0).ok()?;
        Some((self.pair(index / 2), (index % 2) as usize))
    }

    /// Gives the place of a stream that is over to others, as soon as no packet uses it any more.
    pub fn free(&self, number: u32) {
        let pair = self.pair(number);
        for direction in [0, 1] {
            pair.way(direction).state.store(0, Ordering::Release);
        }
        for (direction, key) in (0..).zip(pair.keys()) {
            let mut indices = locked(&self.indices);
            // Where the kernel refused the entry, another stream's may be there.
            if indices.get(&key, 0).is_ok_and(|index| index == pair.index(direction)) {
                let _gone = indices.remove(&key).is_err();
            }
        }
        self.grace.free(number);
    }

    /// Makes this process the owner of the streams of those for whom `is_gone`, and tells their numbers. What was
    /// never spliced is freed.
    pub(super) fn take_over(&self, is_gone: impl Fn(u64) -> bool) -> Vec<u32> {
        let own = self.owners.number();
        let mut taken = Vec::new();
        for number in 0..self.labels.len() {
            let label = self.labels.get(number);
            let owner = label.owner.load(Ordering::Acquire);
            if owner == 0
                || !is_gone(owner)
                || label.owner.compare_exchange(owner, own, Ordering::AcqRel, Ordering::Relaxed).is_err()
            {
                continue;
            }
            let pair = self.pair(number);
            // Both are complete before the first of the two is let go.
            if [0, 1].iter().any(|&direction| pair.way(direction).state.load(Ordering::Acquire) == SPLICED) {
                pair.splice();
                taken.push(number);
            } else {
                self.free(number);
            }
        }
        taken
    }
}

impl<'a> Pair<'a> {
    /// The direction that begins at the client (0) or at the pod (1).
    #[must_use]
    pub fn way(self, direction: usize) -> &'a Way<AtomicU64> {
        self.splicer.ways.get(self.index(direction))
    }

    /// What else is known of the stream.
    #[must_use]
    pub fn label(self) -> &'a Label<AtomicU64> {
        self.splicer.labels.get(self.number)
    }

    /// Whose it is.
    #[must_use]
    pub const fn splicer(self) -> &'a Splicer {
        self.splicer
    }

    /// Where it begins and ends.
    #[must_use]
    pub fn paths(self) -> Paths {
        let ends = |direction| {
            let way = self.way(direction);
            let address =
                |words: &[AtomicU64; 2]| address_of(words.each_ref().map(|word| word.load(Ordering::Relaxed)));
            let [source, destination] =
                ports_of(u32::try_from(way.ports.load(Ordering::Relaxed)).expect("two ports are 32 bits"));
            [SocketAddr::new(address(&way.source), source), SocketAddr::new(address(&way.destination), destination)]
        };
        let ([gateway_to_pod, pod], [gateway_to_client, client]) = (ends(0), ends(1));
        Paths { client, gateway_to_client, gateway_to_pod, pod }
    }

    fn write_paths(self, paths: Paths) {
        let Paths { client, gateway_to_client, gateway_to_pod, pod } = paths;
        for (direction, [source, destination]) in
            [[gateway_to_pod, pod], [gateway_to_client, client]].iter().enumerate()
        {
            let way = self.way(direction);
            for (words, end) in [(&way.source, source), (&way.destination, destination)] {
                words.iter().zip(address_words(end.ip())).for_each(|(to, word)| to.store(word, Ordering::Relaxed));
            }
            way.ports.store(port_word(*source, *destination).into(), Ordering::Relaxed);
        }
    }

    /// As the packets of both directions arrive.
    fn keys(self) -> [WayKey; 2] {
        let Paths { client, gateway_to_client, gateway_to_pod, pod } = self.paths();
        [way_key(client, gateway_to_client), way_key(pod, gateway_to_pod)]
    }

    /// Whether another gateway on this machine has made one of the stream's ends part of a stream of its own, and one
    /// of the two is to pass packets up, to a socket that is not there any more. Whoever enters second sees the first.
    #[must_use]
    pub fn is_chained(self, devices: [u32; 2]) -> bool {
        let Paths { client, gateway_to_client, gateway_to_pod, pod } = self.paths();
        let others = [(gateway_to_pod, pod), (gateway_to_client, client)];
        others.into_iter().filter_map(|(source, destination)| self.splicer.find(source, destination)).any(
            |(other, _)| {
                // What one that is being entered will do is not known yet.
                let passes_up = |way: &Way<AtomicU64>| {
                    way.state.load(Ordering::Acquire) != SPLICED
                        || way.device.load(Ordering::Relaxed) == u64::from(LOOPBACK)
                };
                devices == [LOOPBACK; 2] || [0, 1].iter().all(|&direction| passes_up(other.way(direction)))
            },
        )
    }

    fn index(self, direction: usize) -> u32 {
        2 * self.number + u32::try_from(direction).expect("0 or 1")
    }

    /// Lets the program rewrite and send on.
    fn splice(self) {
        // The other direction's numbers are read as soon as one is on its way: both are shut, and complete.
        self.set(SPLICED);
    }

    fn set(self, state: u64) {
        for direction in [0, 1] {
            self.way(direction).state.store(state, Ordering::SeqCst);
        }
    }
}

impl Place {
    /// The stream in the maps.
    #[must_use]
    pub fn pair(&self) -> Pair<'_> {
        self.splicer.pair(self.number)
    }

    /// How many packets went up to the stream's sockets since it has the place.
    #[must_use]
    pub fn passed(&self) -> [u64; 2] {
        [0, 1].map(|direction| self.pair().way(direction).passed.load(Ordering::SeqCst))
    }

    /// Has bytes and ends dropped, so that the stream falls silent.
    pub fn hold(&self) {
        self.pair().set(HELD);
    }

    /// Has everything dropped, if only `passed` packets went up until then. False where more have: nothing has changed.
    #[must_use]
    pub fn shut_after(&self, passed: [u64; 2]) -> bool {
        let before = self.pair().way(0).state.load(Ordering::Relaxed);
        self.pair().set(SHUT);
        // The program counts first and looks at the state then; we have changed the state, and look at the count.
        fence(Ordering::SeqCst);
        if self.passed() == passed {
            return true;
        }
        self.pair().set(before);
        false
    }

    /// Waits until the packets that are on their way from an interface to a socket now have arrived. False where that
    /// cannot be known.
    pub async fn grace(&self) -> bool {
        self.splicer.grace().await
    }

    /// Lets the program rewrite and send on. Everything else about the stream must have been written.
    pub fn splice(&self) {
        self.pair().splice();
    }

    /// The stream's number in the maps, which is to be freed when the stream is over.
    #[must_use]
    pub fn keep(mut self) -> u32 {
        self.is_kept = true;
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_kept {
            self.splicer.free(self.number);
        }
    }
}
