//! The streams that are alive now: what they have carried, and the way to close one from any thread.
//!
//! A record is written by its stream's worker and read by everybody. Bytes are counted in plain stores, since each
//! counter has one writer. Whether a stream is idle is found by the sweeper, which compares the counters with what it
//! saw a second before, so that moving a message costs no clock reading.

mod admission;
mod record;
mod spliced;
mod totals;

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::packet::Keeper;
use super::{Engine, Reason};
use crate::config::AddressBook;
use crate::route::SandboxId;
use crate::sys::FlowArray;
use admission::Admission;
use record::{Counts, Record};

pub use admission::{AdmitError, Caps, Permit};
pub use record::StreamInfo;

/// How often idle time and lifetime are looked at.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the pod.
    Up,
    /// From the pod to the client.
    Down,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// The name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What somebody wants of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// To end.
    Close(Reason),
    /// To go into the kernel.
    Promote,
    /// To come back to the user path, and stay there.
    Demote,
    /// To go into the kernel as soon as it can, whatever was before.
    Release,
}

/// Every live stream of the process.
pub struct LiveStreams {
    /// One per worker, so that workers meet only the admin thread here.
    shards: Box<[Mutex<Shard>]>,
    next_id: Arc<AtomicU64>,
    caps: Caps,
    admission: Arc<Admission>,
    /// Sessions of the broker, which have caps of their own.
    sessions: Arc<Admission>,
    /// Who has the streams without sockets. Set once, where there may be some.
    keeper: OnceLock<Arc<Keeper>>,
}

#[derive(Default)]
struct Shard {
    records: HashMap<u64, Arc<Record>>,
    /// What streams had carried that are no longer in `records`; they move from there to here under one lock.
    ended: Counts,
}

impl Shard {
    /// Removes a stream's record, if it is still there.
    fn forget(&mut self, record: &Record) {
        if self.records.remove(&record.id).is_some() {
            self.ended.add(record.counts());
        }
    }
}

impl LiveStreams {
    /// An empty registry for `workers` workers.
    #[must_use]
    pub fn new(workers: usize, caps: Caps) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
            next_id: Arc::new(AtomicU64::new(1)),
            caps,
            admission: Admission::new(),
            sessions: Admission::new(),
            keeper: OnceLock::new(),
        })
    }

    /// Reserves a place for a stream before its upstream is dialled.
    ///
    /// # Errors
    /// When a cap is reached.
    pub fn admit(&self, client: IpAddr, sandbox: &SandboxId) -> Result<Permit, AdmitError> {
        self.admission.admit(client, sandbox, self.caps)
    }

    /// Reserves a place for a session of the broker.
    ///
    /// # Errors
    /// When a cap is reached.
    pub fn admit_session(&self, client: IpAddr, sandbox: &SandboxId, caps: Caps) -> Result<Permit, AdmitError> {
        self.sessions.admit(client, sandbox, caps)
    }

    /// Enters an established stream. It leaves when the guard is dropped. The endpoint comes with who named it.
    #[must_use]
    pub fn open(
        self: &Arc<Self>,
        permit: Permit,
        worker: usize,
        client: SocketAddr,
        (endpoint, book): (SocketAddr, Option<AddressBook>),
        engine: Engine,
    ) -> StreamGuard {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let record = Arc::new(Record::new(id, permit.sandbox.clone(), client, (endpoint, book), engine));
        let shard = worker % self.shards.len();
        locked(&self.shards[shard]).records.insert(id, Arc::clone(&record));
        let (request_id, promotions) = (String::new(), Cell::new(0));
        StreamGuard { streams: Arc::clone(self), permit: Some(permit), shard, record, request_id, promotions }
    }

    /// Every live stream, by number.
    #[must_use]
    pub fn snapshot(&self) -> Vec<StreamInfo> {
        let now = Instant::now();
        let shards = self.all();
        let with_sockets = shards.iter().flat_map(|shard| shard.records.values()).map(|record| record.info(now));
        let mut streams: Vec<_> =
            with_sockets.chain(self.keeper().map(|keeper| keeper.infos()).unwrap_or_default()).collect();
        streams.sort_unstable_by_key(|stream| stream.id);
        streams
    }

    /// All shards at once: a stream that loses its sockets meanwhile is seen once.
    fn all(&self) -> Vec<MutexGuard<'_, Shard>> {
        self.shards.iter().map(locked).collect()
    }

    /// How many streams are alive.
    #[must_use]
    pub fn len(&self) -> usize {
        let shards = self.all();
        let with_sockets: usize = shards.iter().map(|shard| shard.records.len()).sum();
        with_sockets + self.keeper().map_or(0, |keeper| keeper.len())
    }

    /// Whether none is alive.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes the stream with this number; false where there is none.
    pub fn close(&self, id: u64, reason: Reason) -> bool {
        let close = |record: &Arc<Record>| record.close(reason);
        self.shards.iter().any(|shard| locked(shard).records.get(&id).map(close).is_some())
            || self.keeper().is_some_and(|keeper| keeper.close(id, reason))
    }

    /// Closes the streams of a sandbox that `book` no longer has. Who was found by other means is not concerned.
    pub fn close_sandbox(&self, sandbox: &SandboxId, book: AddressBook, reason: Reason) {
        self.close_where(reason, |record| record.book == Some(book) && record.sandbox == *sandbox);
        if let Some(keeper) = self.keeper() {
            keeper.close_sandbox(sandbox, book, reason);
        }
    }

    /// Closes every stream.
    pub fn close_all(&self, reason: Reason) {
        self.close_where(reason, |_| true);
        if let Some(keeper) = self.keeper() {
            keeper.close_all(reason);
        }
    }

    /// The sandboxes from `book` that have live streams; one with several of them more than once.
    #[must_use]
    pub fn sandboxes(&self, book: AddressBook) -> Vec<SandboxId> {
        let of_shard = |shard: &Mutex<Shard>| {
            let shard = locked(shard);
            let from_book = shard.records.values().filter(|record| record.book == Some(book));
            from_book.map(|record| record.sandbox.clone()).collect::<Vec<_>>()
        };
        let spliced = self.keeper().map(|keeper| keeper.sandboxes(book)).unwrap_or_default();
        self.shards.iter().flat_map(of_shard).chain(spliced).collect()
    }

    /// Lets the stream with this number go into the kernel, or brings it back for good; false where there is none.
    pub fn switch(&self, id: u64, into_kernel: bool) -> bool {
        let switch = |record: &Arc<Record>| if into_kernel { record.release() } else { record.demote() };
        self.shards.iter().any(|shard| locked(shard).records.get(&id).map(switch).is_some())
    }

    /// Closes a worker's streams that were idle or alive for too long; zero is no limit. Those that wait for it and
    /// have been quiet for long enough are asked to go into the kernel.
    pub fn sweep(&self, worker: usize, idle_timeout: Duration, lifetime_max: Duration) {
        let now = Instant::now();
        for record in locked(&self.shards[worker % self.shards.len()]).records.values() {
            let idle = record.idle(now);
            let (idle_timeout, lifetime_max) = *record.limits.get().unwrap_or(&(idle_timeout, lifetime_max));
            if !lifetime_max.is_zero() && now.saturating_duration_since(record.opened) >= lifetime_max {
                record.close(Reason::Lifetime);
            } else if !idle_timeout.is_zero() && idle >= idle_timeout {
                record.close(Reason::Idle);
            } else if record.is_promotion_due(idle) {
                record.promote();
            }
        }
    }

    fn close_where(&self, reason: Reason, matches: impl Fn(&Record) -> bool) {
        for shard in &self.shards {
            locked(shard).records.values().filter(|record| matches(record)).for_each(|record| record.close(reason));
        }
    }
}

/// Nothing here is left half-done when a thread panics, so a poisoned lock is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A live stream's place in the registry.
pub struct StreamGuard {
    streams: Arc<LiveStreams>,
    /// Until another takes it over.
    permit: Option<Permit>,
    shard: usize,
    record: Arc<Record>,
    request_id: String,
    promotions: Cell<u32>,
}

impl StreamGuard {
    /// Counts bytes that the other side's socket has taken.
    pub fn moved(&self, direction: Direction, bytes: usize) {
        let counter = &self.record.bytes[direction as usize];
        counter.store(counter.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
    }

    /// Waits until somebody wants something of the stream.
    pub async fn told(&self) -> Told {
        self.record.told().await
    }

    /// Says who moves the stream's bytes from now on.
    pub fn set_engine(&self, engine: Engine) {
        if engine.is_kernel() {
            self.promotions.set(self.promotions.get().saturating_add(1));
        }
        self.record.set_engine(engine);
    }

    /// Who moves the stream's bytes.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.record.engine()
    }

    /// Says after how much quiet the sweeper is to ask for a promotion; `None` is never.
    pub fn promote_after(&self, quiet: Option<Duration>) {
        self.record.promote_after(quiet);
    }

    /// Says where the kernel counts what it moves, by direction.
    pub fn attach_kernel(&self, flows: &Arc<FlowArray>, indices: [u32; 2]) {
        self.record.attach_kernel(Arc::clone(flows), indices);
    }

    /// Takes over what the kernel has counted, since its counters will be another stream's.
    pub fn detach_kernel(&self) {
        self.record.detach_kernel();
    }

    /// Bytes that the kernel carried, in both directions.
    #[must_use]
    pub fn kernel_bytes(&self) -> u64 {
        self.record.counts().by_kernel()
    }

    /// How often the stream went into the kernel.
    #[must_use]
    pub fn promotions(&self) -> u32 {
        self.promotions.get()
    }

    /// Bytes carried so far.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.record.bytes(direction)
    }

    /// Gives the stream limits of its own, which the sweeper then goes by; zero is no limit.
    pub fn limit(&self, idle_timeout: Duration, lifetime_max: Duration) {
        let first = self.record.limits.set((idle_timeout, lifetime_max)).is_ok();
        debug_assert!(first, "a stream's limits were set twice");
    }

    /// Says where the upstream is now.
    pub fn set_endpoint(&self, endpoint: SocketAddr) {
        self.record.set_endpoint(endpoint);
    }

    /// Who knows its sandbox's address.
    #[must_use]
    pub fn book(&self) -> Option<AddressBook> {
        self.record.book
    }

    /// Says which request opened it.
    pub fn set_request_id(&mut self, request_id: String) {
        self.request_id = request_id;
    }

    /// The request that opened it; a session of the broker has none.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Whose stream it is.
    #[must_use]
    pub fn sandbox(&self) -> &SandboxId {
        &self.record.sandbox
    }

    /// The client's address.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        self.record.client
    }

    /// The pod's address.
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        self.record.endpoint()
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.record.id
    }

    /// Time since the 101.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.record.opened.elapsed()
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        locked(&self.streams.shards[self.shard]).forget(&self.record);
    }
}
