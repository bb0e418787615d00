//! One worker's kernel side: its own copy of the programs and the maps, and the places of its streams in them.
//!
//! Workers share nothing here, so no lock is taken and no worker is woken for another's stream. A [`Place`] is what a
//! stream holds; what the kernel wants a stream for comes as an event on the worker's ring.

use std::cell::{Cell, RefCell};
use std::io;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, RingBuf, SockMap};
use aya::programs::ProgramError;
use aya_log::EbpfLogger;
use gateway_common::{Flow, PASSING};
use slab::Slab;
use tokio::io::Interest;
use tokio::sync::Notify;
use tracing::level_filters::LevelFilter;

use super::{LoadError, OBJECT, load, verdict};
use crate::sys::{FlowArray, registered};

/// `gateway-ebpf/src/maps.rs`
pub(super) const INDICES: &str = "INDICES";
/// As above.
pub(super) const PEERS: &str = "PEERS";
/// As above.
pub(super) const FLOWS: &str = "FLOWS";
const EVENTS: &str = "EVENTS";

/// Streams that a worker has places for at most. Each takes 256 bytes of the flows' memory whether it is used or not,
/// so this is 8 MiB a worker. Streams beyond it stay on the user path.
pub const PLACES_MAX: u32 = 32 << 10;

/// The kernel side of one worker. It lives on the worker's thread, as its descriptors do.
pub struct Offload {
    indices: RefCell<HashMap<MapData, u64, u32>>,
    peers: RefCell<SockMap<MapData>>,
    flows: Arc<FlowArray>,
    /// The streams that have a place; the key is the half of their indices.
    places: RefCell<Slab<Rc<Notify>>>,
    /// Holds the programs.
    _ebpf: Ebpf,
}

/// What the programs send: the events that concern a stream, and what they log.
pub struct Reports {
    events: RingBuf<MapData>,
    log: EbpfLogger<KernelLog>,
}

/// Why a worker has no kernel side.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The programs are not in the kernel.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The program could not be attached to the socket map.
    #[error("the program cannot be attached: {0}")]
    Attach(#[from] ProgramError),
    /// The flows could not be mapped into memory.
    #[error("the flows cannot be mapped: {0}")]
    Map(#[source] io::Error),
}

/// Why a stream got no place.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// All places are taken.
    #[error("all {0} places are taken")]
    Full(u32),
    /// The kernel refused one of the two sockets.
    #[error("the socket map refuses a socket: {0}")]
    Refused(#[from] MapError),
}

impl Offload {
    /// Loads the programs for up to `streams` streams. `log_level` is the most detailed level of what the programs log
    /// that anybody wants to read.
    ///
    /// # Errors
    /// When the kernel does not take them.
    pub fn start(streams: u32, log_level: LevelFilter) -> Result<(Rc<Self>, Reports), StartError> {
        Self::start_object(OBJECT, streams, log_level)
    }

    pub(super) fn start_object(
        object: &[u8],
        streams: u32,
        log_level: LevelFilter,
    ) -> Result<(Rc<Self>, Reports), StartError> {
        let sockets = NonZeroU32::new(streams.min(PLACES_MAX) * 2).unwrap_or(NonZeroU32::MIN);
        let mut ebpf = load(object, sockets, kernel_level(log_level))?;
        let mut take = |name| ebpf.take_map(name).expect("the ABI version vouches for the maps");
        let (indices, peers, flows, events) = (take(INDICES), take(PEERS), take(FLOWS), take(EVENTS));
        let vouched = "the ABI version vouches for the maps' types";
        let peers = SockMap::try_from(peers).expect(vouched);
        let Map::Array(flows) = flows else { unreachable!("{vouched}") };
        verdict(&mut ebpf).attach(peers.fd())?;
        let log = EbpfLogger::init_with_logger(&mut ebpf, KernelLog).expect(vouched);
        let offload = Rc::new(Self {
            indices: RefCell::new(HashMap::try_from(indices).expect(vouched)),
            peers: RefCell::new(peers),
            flows: Arc::new(FlowArray::map(flows.fd(), sockets.get()).map_err(StartError::Map)?),
            places: RefCell::default(),
            _ebpf: ebpf,
        });
        Ok((offload, Reports { events: RingBuf::try_from(events).expect(vouched), log }))
    }

    /// Puts a stream's sockets into the maps, first the client's. From then on all they receive goes through the
    /// program, which lets everything pass until it is told otherwise.
    ///
    /// What a socket had received before must have been read to the end: the program gets whole buffers, whatever was
    /// already read of them (`tcp_read_skb`).
    ///
    /// # Errors
    /// When there is no place, or the kernel refuses a socket; nothing stays behind.
    pub fn enter<S: AsRawFd>(self: &Rc<Self>, sockets: [(&S, u64); 2]) -> Result<Place, EnterError> {
        let pair = {
            let mut places = self.places.borrow_mut();
            if places.len() * 2 >= self.flows.len() as usize {
                return Err(EnterError::Full(self.flows.len() / 2));
            }
            places.insert(Rc::default())
        };
        let woken = Rc::clone(&self.places.borrow()[pair]);
        let pair = u32::try_from(pair).expect("fewer places than indices");
        let place = Place {
            offload: Rc::clone(self),
            pair,
            cookies: sockets.map(|(_, cookie)| cookie),
            woken,
            forgotten: Cell::new(false),
        };
        for (index, (socket, cookie)) in (2 * pair..).zip(sockets) {
            clear(self.flows.get(index));
            self.indices.borrow_mut().insert(cookie, index, 0)?;
            self.peers.borrow_mut().set(index, socket, 0)?;
        }
        Ok(place)
    }

    /// The counters of all flows, for any thread.
    #[must_use]
    pub fn flows(&self) -> &Arc<FlowArray> {
        &self.flows
    }

    /// Wakes the streams whose events found no room in the ring. Called once a second.
    pub fn sweep(&self) {
        for (pair, woken) in &*self.places.borrow() {
            let pair = u32::try_from(pair).expect("fewer places than indices");
            if [2 * pair, 2 * pair + 1].iter().any(|&index| wants_attention(self.flows.get(index))) {
                woken.notify_one();
            }
        }
    }

    fn wake(&self, index: u32) {
        if let Some(woken) = self.places.borrow().get(index as usize / 2) {
            woken.notify_one();
        }
    }

    /// Wakes streams as their events come, and logs what the programs log, for as long as the worker runs.
    ///
    /// # Errors
    /// When the rings cannot be waited for.
    pub async fn attend(self: Rc<Self>, reports: Reports) -> io::Result<()> {
        let Reports { events, log } = reports;
        let (mut events, mut log) = (registered(events)?, registered(log)?);
        loop {
            tokio::select! {
                guard = events.ready_mut(Interest::READABLE) => {
                    let mut guard = guard?;
                    // Before the ring is emptied: an event that comes meanwhile is another edge.
                    guard.clear_ready();
                    while let Some(event) = guard.get_inner_mut().next() {
                        if let Ok(index) = <[u8; 4]>::try_from(&*event) {
                            self.wake(u32::from_ne_bytes(index));
                        }
                    }
                }
                guard = log.ready_mut(Interest::READABLE) => {
                    let mut guard = guard?;
                    guard.clear_ready();
                    guard.get_inner_mut().flush();
                }
            }
        }
    }
}

/// Whether something went up although its stream had left the way to the program.
fn wants_attention(flow: &Flow<AtomicU64>) -> bool {
    let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
    load(&flow.offload) != 0 && load(&flow.state) == PASSING && load(&flow.passed) != load(&flow.forwarded)
}

fn clear(flow: &Flow<AtomicU64>) {
    let Flow {
        passed,
        redirected,
        charged,
        skbs,
        active_ns,
        state,
        told,
        kernel_spare: _,
        forwarded,
        limit,
        offload,
        user_spare: _,
    } = flow;
    for word in [passed, redirected, charged, skbs, active_ns, state, told, forwarded, limit, offload] {
        word.store(0, Ordering::Relaxed);
    }
}

/// A stream's entries in the maps of its worker. They are removed with it, or before.
pub struct Place {
    offload: Rc<Offload>,
    pair: u32,
    cookies: [u64; 2],
    woken: Rc<Notify>,
    forgotten: Cell<bool>,
}

impl Place {
    /// The indices of the client's and of the upstream's socket.
    #[must_use]
    pub const fn indices(&self) -> [u32; 2] {
        [2 * self.pair, 2 * self.pair + 1]
    }

    /// The flow of what arrives on the client's socket (0) or the upstream's (1).
    #[must_use]
    pub fn flow(&self, side: usize) -> &Flow<AtomicU64> {
        self.offload.flows.get(self.indices()[side])
    }

    /// Waits until the program has something for the stream.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Takes the sockets out of the program's sight. It lets everything pass then, and counts nothing. The sockets
    /// themselves leave the map when they are closed: taking a socket out would drop what was passed and not yet read
    /// (`sk_psock_drop`).
    pub fn forget(&self) {
        if self.forgotten.replace(true) {
            return;
        }
        let mut indices = self.offload.indices.borrow_mut();
        for cookie in &self.cookies {
            if let Err(error) = indices.remove(cookie) {
                // Where the kernel refused the stream's second socket, that one was never entered.
                tracing::debug!(%error, "a socket was not in the kernel's index");
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.forget();
        self.offload.places.borrow_mut().remove(self.pair as usize);
    }
}

/// The programs' messages, in this program's log.
struct KernelLog;

/// The programs' levels are numbers (`aya_log::Level`); 0 is below all of them.
const fn kernel_level(filter: LevelFilter) -> u8 {
    match filter {
        LevelFilter::TRACE | LevelFilter::DEBUG => aya_log::Level::Debug as u8,
        _ => 0,
    }
}

impl log::Log for KernelLog {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: "kernel", "{}", record.args());
    }

    fn flush(&self) {}
}
