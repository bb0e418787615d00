//! The process's kernel side for spliced connections: the program on the interfaces, the maps, and the places of the
//! streams in them. All of it lives on while no gateway runs (`state`), and several gateways may have it at one time
//! (`owners`).
//!
//! It is made before the workers have descriptor tables of their own, so that its descriptors mean the same in all of
//! them.

mod devices;
pub mod flush;
mod grace;
mod keys;
mod owners;
mod places;
mod ports;
mod program;
pub mod state;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::ProgramError;
use gateway_common::packet::{LOOPBACK, Label, NOWHERE, Unspliced, Way, WayKey};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{LoadError, PACKET_INGRESS};
use crate::config::PacketConfig;
use crate::sys::netlink::{Routes, Towards};
use crate::sys::raw::RawSender;
use crate::sys::{FlowArray, registered};
use devices::Devices;
use grace::Grace;
use owners::Owners;
pub use places::{Pair, Paths, Place};
use ports::Ports;
use state::{StateDir, StateError};

/// `gateway-ebpf/src/maps.rs`
pub(super) const WAY_INDICES: &str = "WAY_INDICES";
/// As above.
pub(super) const WAYS: &str = "WAYS";
const WAY_EVENTS: &str = "WAY_EVENTS";
const UNSPLICED: &str = "UNSPLICED";
/// Made by `program`.
const LABELS: &str = "LABELS";

/// The maps of the object that outlive the process.
const PINNED: [&str; 4] = [WAY_INDICES, WAYS, WAY_EVENTS, UNSPLICED];

/// The directions' array.
pub type Ways = FlowArray<Way<AtomicU64>>;

/// The labels' array.
pub type Labels = FlowArray<Label<AtomicU64>>;

/// The kernel side of the packet engine.
pub struct Splicer {
    indices: Mutex<HashMap<MapData, WayKey, u32>>,
    ways: Arc<Ways>,
    labels: Arc<Labels>,
    unspliced: PerCpuArray<MapData, u64>,
    /// Where the next free place is looked for.
    next: AtomicU32,
    grace: Grace,
    devices: Devices,
    routes: Routes,
    ports: Ports,
    sender: RawSender,
    owners: Owners,
    /// No stream is taken in any more.
    closed: AtomicBool,
    state: StateDir,
}

/// What the program has to tell, read by one process of those that share it.
pub struct Events {
    lock: PathBuf,
    map: Map,
}

/// What a start comes to.
pub struct Started {
    /// The kernel side.
    pub splicer: Arc<Splicer>,
    /// What the program tells.
    pub events: Events,
    /// The streams of gateways before, by their numbers in the maps.
    pub adopted: Vec<u32>,
}

/// Why there is no kernel side.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program is not in the kernel.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no place for what outlives the process.
    #[error(transparent)]
    State(#[from] StateError),
    /// The program could not be attached to an interface.
    #[error("the program cannot be attached to {interface}: {source}")]
    Attach {
        /// Its name.
        interface: String,
        /// What the kernel said.
        source: ProgramError,
    },
    /// Something else that it takes.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why a stream got no place.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// All places are taken.
    #[error("all {0} places are taken")]
    Full(u32),
    /// The process is about to leave its streams to another.
    #[error("this gateway ends, and leaves its streams to another")]
    Closed,
    /// The kernel refused an entry.
    #[error("the map refuses an entry: {0}")]
    Refused(#[from] MapError),
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

impl Splicer {
    /// Takes over what is there from the gateway before, or begins anew; the program is on the interfaces then.
    ///
    /// # Errors
    /// When the kernel does not take it, or something else is missing that the engine needs.
    pub fn start(config: &PacketConfig) -> Result<Started, StartError> {
        let state = StateDir::open(&config.state_dir)?;
        let _setting_up = state.lock().map_err(system("cannot lock the state directory"))?;
        warn(config, &state);
        let owners = Owners::join(state.owners()).map_err(system("cannot enter the state directory"))?;
        make_room(config, &state, &owners)?;
        let (mut ebpf, maps) = program::load(&state, config.streams_max)?;
        let vouched = "the ABI version vouches for the maps' types";
        let (Map::Array(ways), Map::Array(labels)) = (&maps.ways, &maps.labels) else { unreachable!("{vouched}") };
        let ways =
            Ways::map(&ways.fd().as_fd(), 2 * maps.streams).map_err(system("the directions cannot be mapped"))?;
        let labels = Labels::map(&labels.fd().as_fd(), maps.streams).map_err(system("the labels cannot be mapped"))?;
        let (ways, labels) = (Arc::new(ways), Arc::new(labels));
        let grace = Grace::start(Arc::clone(&ways), Arc::clone(&labels)).map_err(system("no membarrier(2)"))?;
        let sender = RawSender::open().map_err(system("cannot open a raw socket (CAP_NET_RAW)"))?;
        let routes = Routes::open().map_err(system("cannot open a netlink socket"))?;
        let devices = devices::wanted(&config.interfaces).map_err(system("cannot list the interfaces"))?;
        for name in devices::missing(&config.interfaces, &devices) {
            tracing::warn!(name, "there is no such interface with Ethernet headers yet");
        }
        program::attach(&mut ebpf, &state, &devices)?;
        let events = Events { lock: state.events(), map: maps.events };
        let splicer = Arc::new(Self {
            indices: Mutex::new(HashMap::try_from(maps.indices).expect(vouched)),
            ways,
            labels,
            unspliced: PerCpuArray::try_from(maps.unspliced).expect(vouched),
            next: AtomicU32::new(0),
            grace,
            devices: Devices::new(config.interfaces.clone(), devices),
            routes,
            ports: Ports::new(config.ports),
            sender,
            owners,
            closed: AtomicBool::new(false),
            state,
        });
        // Whoever else is about to enter waits for this one, so all that are alive are seen.
        let others = splicer.owners.others().map_err(system("cannot list the state directory"))?;
        let adopted = splicer.take_over(|owner| !others.contains(&owner));
        Ok(Started { splicer, events, adopted })
    }

    /// The streams of processes that are gone are this one's now: their numbers in the maps.
    #[must_use]
    pub fn adopt(&self) -> Vec<u32> {
        if !self.owners.is_there() {
            return Vec::new();
        }
        let gone = self.owners.gone().unwrap_or_else(|error| {
            tracing::warn!(%error, "the processes that share the streams cannot be listed");
            Vec::new()
        });
        if gone.is_empty() {
            return Vec::new();
        }
        let taken = self.take_over(|owner| gone.iter().any(|gone| gone.number == owner));
        for gone in gone {
            if let Err(error) = gone.forget() {
                tracing::debug!(%error, "a process that is gone cannot be forgotten");
            }
        }
        taken
    }

    /// Whether another process shares the streams, and would take this one's over.
    #[must_use]
    pub fn has_successor(&self) -> bool {
        self.owners.others().is_ok_and(|others| !others.is_empty())
    }

    /// Takes no stream in any more; false where that was so before.
    pub fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::Relaxed)
    }

    /// Whether this process has not left yet.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.owners.is_there()
    }

    /// Leaves this process's streams to the others, or to the next one. It must not touch them any more.
    pub fn leave(&self) {
        self.owners.leave();
    }

    /// Removes everything from the kernel, unless another process shares it. This process must have no stream.
    pub fn remove(&self) {
        let removed = self.state.lock().and_then(|_tearing_down| {
            let is_in_use = self.has_successor() || locked(&self.indices).keys().next().is_some();
            if is_in_use { Ok(()) } else { self.state.remove() }
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "the state directory cannot be removed");
        }
    }

    /// The interface through which packets leave from `local` to `peer`: [`LOOPBACK`] where the peer is on this
    /// machine, [`NOWHERE`] where there is no route. What answers through an interface without the program does not
    /// come to us, so that there is no way through such a one, either.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn device(&self, local: IpAddr, peer: IpAddr) -> io::Result<u32> {
        let device = match self.routes.find(local, peer)? {
            Towards::Here => LOOPBACK,
            Towards::Device(device) => device,
            Towards::Nowhere => NOWHERE,
        };
        Ok(if self.devices.has(device) { device } else { NOWHERE })
    }

    /// Puts the program on interfaces that have come, and takes away what is left of those that have gone. False where
    /// another process is just setting up or tearing down, so that it has to be tried again.
    ///
    /// # Errors
    /// When the interfaces cannot be listed, or one does not take the program.
    pub fn follow_interfaces(&self) -> Result<bool, StartError> {
        let devices = self.devices.changed().map_err(system("cannot list the interfaces"))?;
        let Some(devices) = devices.filter(|_| self.owners.is_there()) else { return Ok(true) };
        let Some(_setting_up) = self.state.try_lock().map_err(system("cannot lock the state directory"))? else {
            return Ok(false);
        };
        program::follow(&self.state, &devices)?;
        self.devices.set(devices);
        Ok(true)
    }

    /// The address of this machine that a connection to `endpoint` has; `None` where there is no route.
    #[must_use]
    pub fn local_address(endpoint: SocketAddr) -> Option<SocketAddr> {
        ports::local_address(endpoint)
    }

    /// Ports of `local` from which `endpoint` can be dialled so that the connection may be spliced, one after another,
    /// the same again where there are few; for one dial.
    pub fn ports(&self, local: SocketAddr, endpoint: SocketAddr) -> impl Iterator<Item = u16> {
        let is_live = move |local| locked(&self.indices).get(&keys::way_key(endpoint, local), 0).is_ok();
        let mut looks = ports::LOOKS_MAX;
        std::iter::from_fn(move || self.ports.next(local, &mut looks, is_live))
    }

    /// Whether packets from `local` to `endpoint` stay on this machine.
    #[must_use]
    pub fn is_here(&self, local: SocketAddr, endpoint: SocketAddr) -> bool {
        matches!(self.device(local.ip(), endpoint.ip()), Ok(LOOPBACK))
    }

    /// Whether nobody else is given this port.
    #[must_use]
    pub fn owns_port(&self, port: u16) -> bool {
        self.ports.contains(port)
    }

    /// How many packets were not spliced since the maps were made, by reason.
    #[must_use]
    pub fn unspliced(&self) -> Vec<(Unspliced, u64)> {
        // A map that cannot be read has counted nothing.
        let sum = |reason| self.unspliced.get(&(reason as u32), 0).map_or(0, |counts| counts.iter().sum());
        Unspliced::ALL.into_iter().map(|reason| (reason, sum(reason))).collect()
    }

    /// What says the last word to both ends.
    #[must_use]
    pub fn sender(&self) -> &RawSender {
        &self.sender
    }

    /// Waits until the packets that are on their way from an interface to a socket now have arrived. False where that
    /// cannot be known.
    pub async fn grace(&self) -> bool {
        self.grace.passed().await
    }
}

impl Events {
    /// Passes on which streams have come nearer to their end, by their numbers in the maps. Nobody else reads the
    /// events meanwhile.
    ///
    /// # Errors
    /// When the ring cannot be waited for.
    pub async fn read(self, mut tell: impl FnMut(u32)) -> io::Result<()> {
        /// How often is looked whether the process that reads them is gone. What it does not tell this one is seen
        /// within a second all the same.
        const LOOK: Duration = Duration::from_secs(1);
        let _lock = loop {
            if let Some(lock) = owners::try_lock(&self.lock)? {
                break lock;
            }
            tokio::time::sleep(LOOK).await;
        };
        let ring = RingBuf::try_from(self.map).map_err(io::Error::other)?;
        let mut events: AsyncFd<RingBuf<MapData>> = registered(ring)?;
        loop {
            let mut guard = events.ready_mut(Interest::READABLE).await?;
            // Before the ring is emptied: an event that comes meanwhile is another edge.
            guard.clear_ready();
            while let Some(event) = guard.get_inner_mut().next() {
                let Ok(index) = <[u8; 4]>::try_from(&*event) else { continue };
                tell(u32::from_ne_bytes(index) / 2);
            }
        }
    }
}

/// Says what is not as it should be, and is no reason not to start.
fn warn(config: &PacketConfig, state: &StateDir) {
    if let Some(shared) = ports::shared_with_others(config.ports) {
        tracing::warn!("{shared}: others may be given the ports of spliced connections");
    }
    for path in state.other_layouts() {
        tracing::warn!(
            path = %path.display(),
            "streams of a gateway of another version may be there: they go on, but only that version can watch over \
             them; `gateway flush` ends them"
        );
    }
}

/// Takes maps of another size away, unless they are in use.
fn make_room(config: &PacketConfig, state: &StateDir, owners: &Owners) -> Result<(), StartError> {
    let Some(room) = program::room(state).filter(|&room| room != config.streams_max) else { return Ok(()) };
    let is_alone = owners.others().is_ok_and(|others| others.is_empty());
    if is_alone && !program::is_in_use(state) {
        return state.empty().map_err(system("the state directory cannot be emptied"));
    }
    tracing::warn!(room, wanted = config.streams_max, "the maps are in use and keep the size that they were made with");
    Ok(())
}

/// Nothing here is left half-done when a thread panics, so a poisoned lock is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
