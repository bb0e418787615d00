//! One live stream's record.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;

use super::Direction;
use crate::route::SandboxId;
use crate::tunnel::{Engine, Reason};

/// What is known about one live stream: written by its worker, read by everybody.
pub(super) struct Record {
    pub(super) id: u64,
    pub(super) sandbox: SandboxId,
    pub(super) client: SocketAddr,
    pub(super) endpoint: SocketAddr,
    pub(super) engine: Engine,
    pub(super) opened: Instant,
    pub(super) bytes: [AtomicU64; 2],
    /// The sweeper's: total bytes when it last looked, and when (in milliseconds after `opened`) they last changed.
    swept_bytes: AtomicU64,
    active_ms: AtomicU64,
    /// 0, or one more than the index in [`Reason::ALL`].
    pub(super) closing: AtomicU8,
    pub(super) close: Notify,
}

impl Record {
    pub(super) fn new(id: u64, sandbox: SandboxId, client: SocketAddr, endpoint: SocketAddr, engine: Engine) -> Self {
        Self {
            id,
            sandbox,
            client,
            endpoint,
            engine,
            opened: Instant::now(),
            bytes: Default::default(),
            swept_bytes: AtomicU64::new(0),
            active_ms: AtomicU64::new(0),
            closing: AtomicU8::new(0),
            close: Notify::new(),
        }
    }

    /// Waits until somebody closes the stream.
    pub(super) async fn closing(&self) -> Reason {
        loop {
            if let Some(index) = usize::from(self.closing.load(Ordering::Acquire)).checked_sub(1) {
                return Reason::ALL[index];
            }
            self.close.notified().await;
        }
    }

    pub(super) fn bytes(&self, direction: Direction) -> u64 {
        self.bytes[direction as usize].load(Ordering::Relaxed)
    }

    pub(super) fn close(&self, reason: Reason) {
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
            endpoint: self.endpoint,
            engine: self.engine.label(),
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
