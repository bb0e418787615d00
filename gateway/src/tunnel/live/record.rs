//! One live stream's record.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;

use super::{Direction, Told, locked};
use crate::config::AddressBook;
use crate::route::SandboxId;
use crate::sys::FlowArray;
use crate::tunnel::{Engine, Reason};

/// What is known about one live stream: written by its worker, read by everybody.
pub(super) struct Record {
    pub(super) id: u64,
    pub(super) sandbox: SandboxId,
    pub(super) client: SocketAddr,
    endpoint: Mutex<SocketAddr>,
    /// Who named the endpoint; `None` where the client did.
    pub(super) book: Option<AddressBook>,
    /// Idle time and lifetime of this one, where they are not the configured ones of streams.
    pub(super) limits: OnceLock<(Duration, Duration)>,
    /// Who moves its bytes now: an index in [`Engine::ALL`].
    engine: AtomicU8,
    pub(super) opened: Instant,
    /// Who moves its bytes on the user path: the engine that it began with.
    user: Engine,
    /// What the user path has moved, by direction.
    pub(super) bytes: [AtomicU64; 2],
    kernel: Mutex<KernelCounts>,
    /// The sweeper's: total bytes when it last looked, and when (in milliseconds after `opened`) they last changed.
    swept_bytes: AtomicU64,
    active_ms: AtomicU64,
    /// After how many quiet milliseconds the sweeper asks for a promotion.
    promote_after_ms: AtomicU64,
    /// 0, or one more than the index in [`Reason::ALL`].
    pub(super) closing: AtomicU8,
    /// [`PROMOTE`], [`DEMOTE`], [`RELEASE`], or 0.
    switch: AtomicU8,
    told: Notify,
}

/// What sockmap has moved, by direction.
#[derive(Debug, Clone, Copy, Default)]
struct KernelMoved {
    bytes: [u64; 2],
    skbs: [u64; 2],
}

/// What the kernel has moved of a stream.
#[derive(Default)]
enum KernelCounts {
    /// It never had the stream.
    #[default]
    Nothing,
    /// It counts here; the indices are by direction.
    Live { flows: Arc<FlowArray>, indices: [u32; 2] },
    /// It will not move any more.
    Final(KernelMoved),
}

impl KernelCounts {
    fn read(&self) -> KernelMoved {
        match self {
            Self::Nothing => Default::default(),
            Self::Live { flows, indices } => {
                let flows = indices.map(|index| flows.get(index));
                let bytes = flows.map(|flow| flow.redirected.load(Ordering::Relaxed));
                let skbs = flows.map(|flow| flow.skbs.load(Ordering::Relaxed));
                KernelMoved { bytes, skbs }
            }
            Self::Final(moved) => *moved,
        }
    }
}

/// What a stream has carried, by direction.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Bytes, first by the engine that moved them.
    pub(super) moved: [[u64; 2]; Engine::ALL.len()],
    /// Socket buffers that the kernel moved.
    pub(super) skbs: [u64; 2],
}

impl Counts {
    /// Bytes that the kernel moved.
    pub(super) fn by_kernel(&self) -> u64 {
        self.moved[Engine::Sockmap as usize].iter().sum()
    }

    /// Bytes that anybody moved.
    fn by_all(&self, direction: Direction) -> u64 {
        self.moved.iter().map(|moved| moved[direction as usize]).sum()
    }
}

/// No quiet is enough.
const NEVER: u64 = u64::MAX;

const PROMOTE: u8 = 1;
const DEMOTE: u8 = 2;
const RELEASE: u8 = 3;

impl Record {
    pub(super) fn new(
        id: u64,
        sandbox: SandboxId,
        client: SocketAddr,
        (endpoint, book): (SocketAddr, Option<AddressBook>),
        engine: Engine,
    ) -> Self {
        Self {
            id,
            sandbox,
            client,
            endpoint: Mutex::new(endpoint),
            book,
            limits: OnceLock::new(),
            engine: AtomicU8::new(engine as u8),
            opened: Instant::now(),
            user: engine,
            bytes: Default::default(),
            kernel: Mutex::default(),
            swept_bytes: AtomicU64::new(0),
            active_ms: AtomicU64::new(0),
            promote_after_ms: AtomicU64::new(NEVER),
            closing: AtomicU8::new(0),
            switch: AtomicU8::new(0),
            told: Notify::new(),
        }
    }

    /// Where its upstream is.
    pub(super) fn endpoint(&self) -> SocketAddr {
        *locked(&self.endpoint)
    }

    pub(super) fn set_endpoint(&self, endpoint: SocketAddr) {
        *locked(&self.endpoint) = endpoint;
    }

    /// Who moves its bytes now.
    pub(super) fn engine(&self) -> Engine {
        Engine::ALL[usize::from(self.engine.load(Ordering::Relaxed))]
    }

    pub(super) fn set_engine(&self, engine: Engine) {
        self.engine.store(engine as u8, Ordering::Relaxed);
    }

    pub(super) fn attach_kernel(&self, flows: Arc<FlowArray>, indices: [u32; 2]) {
        *locked(&self.kernel) = KernelCounts::Live { flows, indices };
    }

    pub(super) fn detach_kernel(&self) {
        let mut kernel = locked(&self.kernel);
        *kernel = KernelCounts::Final(kernel.read());
    }

    /// Waits until somebody wants something of the stream. An end goes before everything else.
    pub(super) async fn told(&self) -> Told {
        loop {
            if let Some(index) = usize::from(self.closing.load(Ordering::Acquire)).checked_sub(1) {
                return Told::Close(Reason::ALL[index]);
            }
            match self.switch.swap(0, Ordering::AcqRel) {
                PROMOTE => return Told::Promote,
                DEMOTE => return Told::Demote,
                RELEASE => return Told::Release,
                _ => self.told.notified().await,
            }
        }
    }

    /// Asks the stream to go into the kernel. An order that it has not seen yet goes before.
    pub(super) fn promote(&self) {
        if self.switch.compare_exchange(0, PROMOTE, Ordering::Release, Ordering::Relaxed).is_ok() {
            self.told.notify_one();
        }
    }

    /// Orders the stream to come back to the user path.
    pub(super) fn demote(&self) {
        self.order(DEMOTE);
    }

    /// Lets the stream go into the kernel again.
    pub(super) fn release(&self) {
        self.order(RELEASE);
    }

    /// The last order counts.
    fn order(&self, order: u8) {
        self.switch.store(order, Ordering::Release);
        self.told.notify_one();
    }

    /// After how much quiet the sweeper asks for a promotion; `None` is never.
    pub(super) fn promote_after(&self, quiet: Option<Duration>) {
        let millis = quiet.map_or(NEVER, |quiet| u64::try_from(quiet.as_millis()).unwrap_or(NEVER));
        self.promote_after_ms.store(millis, Ordering::Relaxed);
    }

    /// Whether it has been quiet for long enough to be asked.
    pub(super) fn is_promotion_due(&self, idle: Duration) -> bool {
        let after = self.promote_after_ms.load(Ordering::Relaxed);
        after != NEVER && idle.as_millis() >= u128::from(after) && !self.engine().is_kernel()
    }

    /// What it has carried.
    pub(super) fn counts(&self) -> Counts {
        let KernelMoved { bytes, skbs } = locked(&self.kernel).read();
        let mut moved = [[0; 2]; Engine::ALL.len()];
        moved[self.user as usize] = self.bytes.each_ref().map(|bytes| bytes.load(Ordering::Relaxed));
        moved[Engine::Sockmap as usize] = bytes;
        Counts { moved, skbs }
    }

    pub(super) fn bytes(&self, direction: Direction) -> u64 {
        self.counts().by_all(direction)
    }

    pub(super) fn close(&self, reason: Reason) {
        let index = Reason::ALL.iter().position(|&known| known == reason).expect("ALL lists every reason");
        let code = u8::try_from(index + 1).expect("a handful of reasons");
        // The first reason stays.
        if self.closing.compare_exchange(0, code, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.told.notify_one();
        }
    }

    fn total(&self) -> u64 {
        self.counts().moved.iter().flatten().sum()
    }

    fn millis_since_opened(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes activity and returns for how long there was none.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        let total = self.total();
        let now_ms = self.millis_since_opened(now);
        if self.swept_bytes.swap(total, Ordering::Relaxed) != total {
            self.active_ms.store(now_ms, Ordering::Relaxed);
        }
        Duration::from_millis(now_ms.saturating_sub(self.active_ms.load(Ordering::Relaxed)))
    }

    pub(super) fn info(&self, now: Instant) -> StreamInfo {
        StreamInfo {
            id: self.id,
            sandbox: self.sandbox.clone(),
            client: self.client,
            endpoint: self.endpoint(),
            engine: self.engine().label(),
            bytes_up: self.bytes(Direction::Up),
            bytes_down: self.bytes(Direction::Down),
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
