//! The process's kernel side for spliced connections: the program on the interfaces, the maps, and the places of the
//! streams in them.
//!
//! It is made before the workers have descriptor tables of their own, so that its descriptors mean the same in all of
//! them. Interfaces that come later carry no spliced stream.

mod grace;
mod ports;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{ProgramError, TcAttachType};
use gateway_common::packet::{HELD, SHUT, SPLICED, Unspliced, WATCHED, Way, WayKey};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;
use slab::Slab;
use tokio::io::Interest;
use tokio::sync::Notify;

use super::{LoadError, OBJECT, ingress, load_splicer};
use crate::sys::raw::RawSender;
use crate::sys::{FlowArray, registered};
use grace::Grace;
pub use ports::{OwnedPort, Ports};

/// `gateway-ebpf/src/maps.rs`
pub(super) const WAY_INDICES: &str = "WAY_INDICES";
/// As above.
pub(super) const WAYS: &str = "WAYS";
const WAY_EVENTS: &str = "WAY_EVENTS";
const UNSPLICED: &str = "UNSPLICED";

/// Streams that can be spliced at a time. Each takes 512 bytes whether it is there or not, so this is 16 MiB.
pub const SPLICED_MAX: u32 = 32 << 10;

/// The directions' array.
pub type Ways = FlowArray<Way<AtomicU64>>;

/// The kernel side of the packet engine.
pub struct Splicer {
    indices: Mutex<HashMap<MapData, WayKey, u32>>,
    ways: Arc<Ways>,
    unspliced: PerCpuArray<MapData, u64>,
    places: Places,
    grace: Grace,
    /// Interfaces with the program on them.
    devices: Vec<u32>,
    ports: Ports,
    sender: RawSender,
    /// Holds the program, and its links.
    _ebpf: Mutex<Ebpf>,
}

/// The streams that have a place; the key is the half of their indices.
type Places = Arc<Mutex<Slab<Arc<Notify>>>>;

/// Why there is no kernel side.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program is not in the kernel.
    #[error(transparent)]
    Load(#[from] LoadError),
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
    #[error("all {SPLICED_MAX} places are taken")]
    Full,
    /// The kernel refused an entry.
    #[error("the map refuses an entry: {0}")]
    Refused(#[from] MapError),
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

impl Splicer {
    /// Loads the program and attaches it to every interface that is there.
    ///
    /// # Errors
    /// When the kernel does not take it, or something else is missing that the engine needs.
    pub fn start() -> Result<(Arc<Self>, RingBuf<MapData>), StartError> {
        let len = NonZeroU32::new(2 * SPLICED_MAX).expect("some");
        let mut ebpf = load_splicer(OBJECT, len)?;
        let mut devices = Vec::new();
        for interface in interfaces().map_err(system("cannot list the interfaces"))? {
            let index =
                if_nametoindex(interface.as_str()).map_err(|error| system("no such interface")(error.into()))?;
            let attached = ingress(&mut ebpf).attach(&interface, TcAttachType::Ingress);
            attached.map_err(|source| StartError::Attach { interface, source })?;
            devices.push(index);
        }
        let mut take = |name| ebpf.take_map(name).expect("the ABI version vouches for the maps");
        let (indices, ways, events, unspliced) = (take(WAY_INDICES), take(WAYS), take(WAY_EVENTS), take(UNSPLICED));
        let vouched = "the ABI version vouches for the maps' types";
        let Map::Array(ways) = ways else { unreachable!("{vouched}") };
        let ways = Ways::map(&ways.fd().as_fd(), len.get()).map_err(system("the directions cannot be mapped"))?;
        let places = Places::default();
        let splicer = Arc::new(Self {
            indices: Mutex::new(HashMap::try_from(indices).expect(vouched)),
            ways: Arc::new(ways),
            unspliced: PerCpuArray::try_from(unspliced).expect(vouched),
            grace: Grace::start(Arc::clone(&places)).map_err(system("no membarrier(2)"))?,
            places,
            devices,
            ports: Ports::default(),
            sender: RawSender::open().map_err(system("cannot open a raw socket (CAP_NET_RAW)"))?,
            _ebpf: Mutex::new(ebpf),
        });
        Ok((splicer, RingBuf::try_from(events).expect(vouched)))
    }

    /// Gives a stream a place. From now on what arrives for its two directions, first the client's, is counted.
    ///
    /// # Errors
    /// When there is no place, or the kernel refuses an entry; nothing stays behind.
    pub fn watch(self: &Arc<Self>, keys: [WayKey; 2]) -> Result<Place, HoldError> {
        let woken = Arc::<Notify>::default();
        let pair = {
            let mut places = locked(&self.places);
            if places.len() >= SPLICED_MAX as usize {
                return Err(HoldError::Full);
            }
            u32::try_from(places.insert(Arc::clone(&woken))).expect("fewer places than indices")
        };
        let place = Place { splicer: Arc::clone(self), pair, keys, woken };
        for (index, key) in (2 * pair..).zip(keys) {
            self.ways.get(index).state.store(WATCHED, Ordering::Release);
            locked(&self.indices).insert(key, index, 0)?;
        }
        Ok(place)
    }

    /// The interface through which packets leave from `local` to `peer`: `Some(0)` where the peer is on this machine,
    /// `None` where it is not understood.
    #[must_use]
    pub fn device(&self, local: IpAddr, peer: IpAddr) -> Option<u32> {
        let interfaces: Vec<_> = getifaddrs().ok()?.collect();
        let having = |address: IpAddr| {
            interfaces.iter().find(|interface| {
                let own = interface.address.as_ref();
                let v4 = own.and_then(|own| own.as_sockaddr_in()).map(|own| IpAddr::V4(own.ip()));
                let v6 = own.and_then(|own| own.as_sockaddr_in6()).map(|own| IpAddr::V6(own.ip()));
                v4.or(v6) == Some(address)
            })
        };
        if peer.is_loopback() || having(peer).is_some() {
            return Some(0);
        }
        let device = if_nametoindex(having(local)?.interface_name.as_str()).ok()?;
        self.devices.contains(&device).then_some(device)
    }

    /// The source ports of connections that may be spliced.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// What says the last word to both ends.
    #[must_use]
    pub fn sender(&self) -> &RawSender {
        &self.sender
    }

    /// All directions, for any thread.
    #[must_use]
    pub fn ways(&self) -> &Arc<Ways> {
        &self.ways
    }

    /// Waits until the packets that are on their way from an interface to a socket now have arrived. False where that
    /// cannot be known.
    pub async fn grace(&self) -> bool {
        self.grace.passed().await
    }

    /// How many packets were not spliced, by reason.
    #[must_use]
    pub fn unspliced(&self) -> Vec<(Unspliced, u64)> {
        // A map that cannot be read has counted nothing.
        let sum = |reason| self.unspliced.get(&(reason as u32), 0).map_or(0, |counts| counts.iter().sum());
        Unspliced::ALL.into_iter().map(|reason| (reason, sum(reason))).collect()
    }

    /// Wakes every stream, to look for what was not told or has not come. Called once a second.
    pub fn sweep(&self) {
        locked(&self.places).iter().for_each(|(_, woken)| woken.notify_one());
    }

    /// Wakes streams as their events come, for as long as the process runs.
    ///
    /// # Errors
    /// When the ring cannot be waited for.
    pub async fn attend(self: Arc<Self>, events: RingBuf<MapData>) -> io::Result<()> {
        let mut events = registered(events)?;
        loop {
            let mut guard = events.ready_mut(Interest::READABLE).await?;
            // Before the ring is emptied: an event that comes meanwhile is another edge.
            guard.clear_ready();
            while let Some(event) = guard.get_inner_mut().next() {
                let Ok(index) = <[u8; 4]>::try_from(&*event) else { continue };
                if let Some(woken) = locked(&self.places).get(u32::from_ne_bytes(index) as usize / 2) {
                    woken.notify_one();
                }
            }
        }
    }
}

/// Every interface that is up and whose packets have an Ethernet header; the loopback's do.
fn interfaces() -> io::Result<Vec<String>> {
    const WITH_ETHERNET_HEADER: [u16; 2] = [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK];
    let up = getifaddrs()?.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
    // One entry of each interface is its link's. sysfs would show those of the network namespace that mounted it.
    let has_header = |interface: &InterfaceAddress| {
        let link = interface.address.as_ref().and_then(SockaddrStorage::as_link_addr);
        link.is_some_and(|link| WITH_ETHERNET_HEADER.contains(&link.hatype()))
    };
    Ok(up.filter(has_header).map(|interface| interface.interface_name).collect())
}

/// A direction as its packets name it.
#[must_use]
pub fn way_key(source: SocketAddr, destination: SocketAddr) -> WayKey {
    let mut key = WayKey::default();
    for (half, address) in key.chunks_mut(4).zip([source, destination]) {
        for (word, bytes) in half.iter_mut().zip(mapped(address.ip()).chunks(4)) {
            *word = u32::from_ne_bytes(bytes.try_into().expect("four bytes"));
        }
    }
    key[8] = port_word(source, destination);
    key
}

/// Both ports as the first four bytes of a TCP header.
#[must_use]
pub fn port_word(source: SocketAddr, destination: SocketAddr) -> u32 {
    let ([a, b], [c, d]) = (source.port().to_be_bytes(), destination.port().to_be_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// An address in the IPv6-mapped form, as two words in memory's order.
#[must_use]
pub fn address_words(address: IpAddr) -> [u64; 2] {
    let octets = mapped(address);
    let word = |at: usize| u64::from_ne_bytes(octets[at..at + 8].try_into().expect("eight bytes"));
    [word(0), word(8)]
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Nothing here is left half-done when a thread panics, so a poisoned lock is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream's entries in the maps. They are removed with it.
pub struct Place {
    splicer: Arc<Splicer>,
    pair: u32,
    keys: [WayKey; 2],
    woken: Arc<Notify>,
}

impl Place {
    /// The direction that begins at the client (0) or at the pod (1).
    #[must_use]
    pub fn way(&self, direction: usize) -> &Way<AtomicU64> {
        self.splicer.ways.get(2 * self.pair + u32::try_from(direction).expect("0 or 1"))
    }

    /// The indices of both, for the counters.
    #[must_use]
    pub const fn indices(&self) -> [u32; 2] {
        [2 * self.pair, 2 * self.pair + 1]
    }

    /// How many packets went up to the stream's sockets since it has the place.
    #[must_use]
    pub fn passed(&self) -> [u64; 2] {
        [0, 1].map(|direction| self.way(direction).passed.load(Ordering::SeqCst))
    }

    /// Has bytes and ends dropped, so that the stream falls silent.
    pub fn hold(&self) {
        self.set(HELD);
    }

    /// Has everything dropped, if only `passed` packets went up until then. False where more have: nothing has changed.
    #[must_use]
    pub fn shut_after(&self, passed: [u64; 2]) -> bool {
        let before = self.way(0).state.load(Ordering::Relaxed);
        self.set(SHUT);
        // The program counts first and looks at the state then; we have changed the state, and look at the count.
        fence(Ordering::SeqCst);
        if self.passed() == passed {
            return true;
        }
        self.set(before);
        false
    }

    /// Lets the program rewrite and send on. Everything else about the directions must have been written.
    pub fn splice(&self) {
        // The other direction's numbers are read as soon as one is on its way: both are shut, and complete.
        self.set(SPLICED);
    }

    fn set(&self, state: u64) {
        [0, 1].iter().for_each(|&direction| self.way(direction).state.store(state, Ordering::SeqCst));
    }

    /// Waits until there may be something to see.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Whose it is.
    #[must_use]
    pub fn splicer(&self) -> &Splicer {
        &self.splicer
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for key in &self.keys {
            // It is not there where the kernel refused it.
            let _absent = locked(&self.splicer.indices).remove(key).is_err();
        }
        self.splicer.grace.free(self.pair, Arc::clone(&self.splicer.ways));
    }
}
