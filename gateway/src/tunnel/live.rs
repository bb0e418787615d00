//! The streams that are alive now: what they have carried, and the way to close one from any thread.
//!
//! A record is written by its stream's worker and read by everybody. Bytes are counted in plain stores, since each counter
//! has one writer. Whether a stream is idle is found by the sweeper, which compares the counters with what it saw a second
//! before, so that moving a message costs no clock reading.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use serde::Serialize;
use tokio::sync::Notify;

use super::{Engine, Reason};
use crate::route::SandboxId;

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

/// Limits that admit a stream; zero is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caps {
    /// Streams per client address.
    pub per_client: u32,
    /// Streams per sandbox.
    pub per_sandbox: u32,
}

/// Which cap a new stream would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// The client's.
    #[error("the client has {0} streams already, which is its limit")]
    Client(u32),
    /// The sandbox's.
    #[error("the sandbox has {0} streams already, which is its limit")]
    Sandbox(u32),
}

/// Every live stream of the process.
pub struct LiveStreams {
    /// One per worker, so that workers meet only the admin thread here.
    shards: Box<[Mutex<Shard>]>,
    next_id: AtomicU64,
    caps: Caps,
    admitted: Mutex<Admitted>,
}

/// Bytes by engine and direction.
type Totals = [[u64; Direction::ALL.len()]; Engine::ALL.len()];

#[derive(Default)]
struct Shard {
    records: HashMap<u64, Arc<Record>>,
    /// What streams had carried that are no longer in `records`; they move from there to here under one lock.
    ended: Totals,
}

#[derive(Default)]
struct Admitted {
    clients: HashMap<IpAddr, u32>,
    sandboxes: HashMap<SandboxId, u32>,
}

struct Record {
    id: u64,
    sandbox: SandboxId,
    client: SocketAddr,
    endpoint: SocketAddr,
    engine: Engine,
    opened: Instant,
    bytes: [AtomicU64; 2],
    /// The sweeper's: total bytes when it last looked, and when (in milliseconds after `opened`) they last changed.
    swept_bytes: AtomicU64,
    active_ms: AtomicU64,
    /// 0, or one more than the index in [`Reason::ALL`].
    closing: AtomicU8,
    close: Notify,
}

impl Record {
    fn close(&self, reason: Reason) {
        let index = Reason::ALL.iter().position(|&known| known == reason).expect("ALL lists every reason");
        let code = u8::try_from(index + 1).expect("a handful of reasons");
        // The first reason stays.
        if self.closing.compare_exchange(0, code, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.close.notify_one();
        }
    }

    fn total(&self) -> u64 {
        self.bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    fn millis_since_opened(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes activity and returns for how long there was none.
    fn idle(&self, now: Instant) -> Duration {
        let total = self.total();
        let now_ms = self.millis_since_opened(now);
        if self.swept_bytes.swap(total, Ordering::Relaxed) != total {
            self.active_ms.store(now_ms, Ordering::Relaxed);
        }
        Duration::from_millis(now_ms.saturating_sub(self.active_ms.load(Ordering::Relaxed)))
    }

    fn info(&self, now: Instant) -> StreamInfo {
        StreamInfo {
            id: self.id,
            sandbox: self.sandbox.clone(),
            client: self.client,
            endpoint: self.endpoint,
            engine: self.engine.label(),
            bytes_up: self.bytes[Direction::Up as usize].load(Ordering::Relaxed),
            bytes_down: self.bytes[Direction::Down as usize].load(Ordering::Relaxed),
            age_seconds: now.saturating_duration_since(self.opened).as_secs_f64(),
            idle_seconds: self.idle(now).as_secs_f64(),
        }
    }
}

/// What `/streams` tells about one stream.
#[derive(Debug, Clone, Serialize)]
pub struct StreamInfo {
    /// Its number, unique in this process.
    pub id: u64,
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The client's address.
    pub client: SocketAddr,
    /// The pod's address.
    pub endpoint: SocketAddr,
    /// Who moves its bytes.
    pub engine: &'static str,
    /// Bytes from the client to the pod.
    pub bytes_up: u64,
    /// Bytes from the pod to the client.
    pub bytes_down: u64,
    /// Seconds since the 101.
    pub age_seconds: f64,
    /// Seconds without a byte in either direction, to the sweeper's second.
    pub idle_seconds: f64,
}

impl LiveStreams {
    /// An empty registry for `workers` workers.
    #[must_use]
    pub fn new(workers: usize, caps: Caps) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
            next_id: AtomicU64::new(1),
            caps,
            admitted: Mutex::default(),
        })
    }

    /// Reserves a place for a stream before its upstream is dialled.
    ///
    /// # Errors
    /// When a cap is reached.
    pub fn admit(self: &Arc<Self>, client: IpAddr, sandbox: &SandboxId) -> Result<Permit, AdmitError> {
        let Caps { per_client, per_sandbox } = self.caps;
        let mut admitted = locked(&self.admitted);
        if per_client > 0 {
            let count = admitted.clients.entry(client).or_default();
            if *count >= per_client {
                return Err(AdmitError::Client(per_client));
            }
            *count += 1;
        }
        if per_sandbox > 0 {
            let count = admitted.sandboxes.entry(sandbox.clone()).or_default();
            if *count >= per_sandbox {
                release(&mut admitted.clients, &client);
                return Err(AdmitError::Sandbox(per_sandbox));
            }
            *count += 1;
        }
        Ok(Permit { streams: Arc::clone(self), client, sandbox: sandbox.clone() })
    }

    /// Enters an established stream. It leaves when the guard is dropped.
    #[must_use]
    pub fn open(
        permit: Permit,
        worker: usize,
        client: SocketAddr,
        endpoint: SocketAddr,
        engine: Engine,
    ) -> StreamGuard {
        let streams = &permit.streams;
        let record = Arc::new(Record {
            id: streams.next_id.fetch_add(1, Ordering::Relaxed),
            sandbox: permit.sandbox.clone(),
            client,
            endpoint,
            engine,
            opened: Instant::now(),
            bytes: Default::default(),
            swept_bytes: AtomicU64::new(0),
            active_ms: AtomicU64::new(0),
            closing: AtomicU8::new(0),
            close: Notify::new(),
        });
        let shard = worker % streams.shards.len();
        locked(&streams.shards[shard]).records.insert(record.id, Arc::clone(&record));
        StreamGuard { permit, shard, record }
    }

    /// Every live stream, by number.
    #[must_use]
    pub fn snapshot(&self) -> Vec<StreamInfo> {
        let now = Instant::now();
        let mut streams: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| locked(shard).records.values().map(|record| record.info(now)).collect::<Vec<_>>())
            .collect();
        streams.sort_unstable_by_key(|stream| stream.id);
        streams
    }

    /// How many streams are alive.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).records.len()).sum()
    }

    /// Whether none is alive.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes the stream with this number; false where there is none.
    pub fn close(&self, id: u64, reason: Reason) -> bool {
        self.shards.iter().any(|shard| locked(shard).records.get(&id).map(|record| record.close(reason)).is_some())
    }

    /// Closes the streams of a sandbox.
    pub fn close_sandbox(&self, sandbox: &SandboxId, reason: Reason) {
        self.close_where(reason, |record| record.sandbox == *sandbox);
    }

    /// Closes every stream.
    pub fn close_all(&self, reason: Reason) {
        self.close_where(reason, |_| true);
    }

    /// The sandboxes that have live streams, each once.
    #[must_use]
    pub fn sandboxes(&self) -> Vec<SandboxId> {
        let mut sandboxes: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| locked(shard).records.values().map(|record| record.sandbox.clone()).collect::<Vec<_>>())
            .collect();
        sandboxes.sort_unstable();
        sandboxes.dedup();
        sandboxes
    }

    /// Closes a worker's streams that were idle or alive for too long; zero is no limit.
    pub fn sweep(&self, worker: usize, idle_timeout: Duration, lifetime_max: Duration) {
        let now = Instant::now();
        for record in locked(&self.shards[worker % self.shards.len()]).records.values() {
            let idle = record.idle(now);
            if !lifetime_max.is_zero() && now.saturating_duration_since(record.opened) >= lifetime_max {
                record.close(Reason::Lifetime);
            } else if !idle_timeout.is_zero() && idle >= idle_timeout {
                record.close(Reason::Idle);
            }
        }
    }

    /// Bytes carried since the start, by engine and direction, ended streams included.
    #[must_use]
    pub fn bytes(&self) -> Vec<(Engine, Direction, u64)> {
        let mut totals = Totals::default();
        for shard in &self.shards {
            let shard = locked(shard);
            let live = shard
                .records
                .values()
                .map(|record| (record.engine, record.bytes.each_ref().map(|bytes| bytes.load(Ordering::Relaxed))));
            let ended = Engine::ALL.into_iter().map(|engine| (engine, shard.ended[engine as usize]));
            for (engine, bytes) in live.chain(ended) {
                add(&mut totals[engine as usize], bytes);
            }
        }
        Engine::ALL
            .into_iter()
            .flat_map(|engine| {
                Direction::ALL.map(|direction| (engine, direction, totals[engine as usize][direction as usize]))
            })
            .collect()
    }

    /// How many streams each engine carries now.
    #[must_use]
    pub fn open_by_engine(&self) -> Vec<(Engine, usize)> {
        let count = |engine: Engine| -> usize {
            self.shards
                .iter()
                .map(|shard| locked(shard).records.values().filter(|record| record.engine == engine).count())
                .sum()
        };
        Engine::ALL.into_iter().map(|engine| (engine, count(engine))).collect()
    }

    fn close_where(&self, reason: Reason, matches: impl Fn(&Record) -> bool) {
        for shard in &self.shards {
            locked(shard).records.values().filter(|record| matches(record)).for_each(|record| record.close(reason));
        }
    }
}

fn add(total: &mut [u64; 2], bytes: [u64; 2]) {
    total.iter_mut().zip(bytes).for_each(|(total, bytes)| *total += bytes);
}

fn release<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Nothing here is left half-done when a thread panics, so a poisoned lock is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place under the caps, given back when dropped.
pub struct Permit {
    streams: Arc<LiveStreams>,
    client: IpAddr,
    sandbox: SandboxId,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Caps { per_client, per_sandbox } = self.streams.caps;
        if per_client == 0 && per_sandbox == 0 {
            return;
        }
        let mut admitted = locked(&self.streams.admitted);
        release(&mut admitted.clients, &self.client);
        release(&mut admitted.sandboxes, &self.sandbox);
    }
}

/// A live stream's place in the registry.
pub struct StreamGuard {
    permit: Permit,
    shard: usize,
    record: Arc<Record>,
}

impl StreamGuard {
    /// Counts bytes that the other side's socket has taken.
    pub fn moved(&self, direction: Direction, bytes: usize) {
        let counter = &self.record.bytes[direction as usize];
        counter.store(counter.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
    }

    /// Waits until somebody closes the stream.
    pub async fn closing(&self) -> Reason {
        loop {
            if let Some(index) = usize::from(self.record.closing.load(Ordering::Acquire)).checked_sub(1) {
                return Reason::ALL[index];
            }
            self.record.close.notified().await;
        }
    }

    /// Bytes carried so far.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.record.bytes[direction as usize].load(Ordering::Relaxed)
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
        let streams = &self.permit.streams;
        let mut shard = locked(&streams.shards[self.shard]);
        let bytes = Direction::ALL.map(|direction| self.bytes(direction));
        add(&mut shard.ended[self.record.engine as usize], bytes);
        shard.records.remove(&self.record.id);
    }
}
