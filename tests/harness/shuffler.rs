//! A cable on which packets overtake each other, and some arrive twice.
//!
//! It is a host in the middle of the cable that takes every frame from one side and puts it on the other, by itself:
//! its network has no addresses. What it does with a frame comes from a seed; what overtakes what comes from the
//! traffic, too.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
};

use crate::netns::Namespace;
use crate::pattern::Pattern;

/// The devices of the host in the middle.
pub const SIDES: [&str; 2] = ["near", "far"];

/// Frames of a thousand that others overtake.
const OVERTAKEN_PER_MILLE: usize = 30;
/// Frames of a thousand that come again later.
const DOUBLED_PER_MILLE: usize = 20;
/// Frames that overtake one, at most.
const OVERTAKING_MAX: usize = 8;
/// How long a frame waits for others to overtake it, or to come again behind them.
const HELD_MAX: Duration = Duration::from_millis(5);
/// Bytes of frames that wait for us.
const WAITING_BYTES: usize = 8 << 20;

/// The host in the middle. Dropping it cuts the cable.
pub struct Shuffler {
    namespace: Namespace,
    counts: Arc<Counts>,
    /// Its end is the thread's.
    going: Option<(UnixStream, JoinHandle<()>)>,
}

/// What has happened on the cable, both ways.
#[derive(Debug, Default)]
struct Counts {
    overtaken: AtomicU64,
    doubled: AtomicU64,
}

impl Shuffler {
    /// A host whose two [`SIDES`] are to be plugged in.
    pub fn new() -> Result<Self> {
        let namespace = Namespace::new()?;
        // It says nothing of its own.
        for scope in ["default", "all"] {
            namespace.set(&format!("ipv6/conf/{scope}/disable_ipv6"), "1")?;
        }
        Ok(Self { namespace, counts: Arc::default(), going: None })
    }

    /// The host.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Begins, as soon as both sides are plugged in.
    pub fn start(&mut self, seed: u64) -> Result<()> {
        for side in SIDES {
            self.namespace.ip(&["link", "set", side, "up"])?;
        }
        let [near, far] = SIDES;
        let sides = self.namespace.there(|| Ok([open(near)?, open(far)?]))?;
        let (going, end) = UnixStream::pair()?;
        let counts = Arc::clone(&self.counts);
        let ways = [0, 1].map(|way| Way { held: VecDeque::new(), numbers: Pattern::new(2 * seed + way) });
        let thread = std::thread::Builder::new().name("shuffler".to_owned());
        self.going = Some((going, thread.spawn(move || shuffle(&sides, ways, &end, &counts))?));
        Ok(())
    }

    /// Frames that came behind one that had been sent later.
    pub fn overtaken(&self) -> u64 {
        self.counts.overtaken.load(Ordering::Relaxed)
    }

    /// Frames that came twice.
    pub fn doubled(&self) -> u64 {
        self.counts.doubled.load(Ordering::Relaxed)
    }
}

impl Drop for Shuffler {
    fn drop(&mut self) {
        if let Some((going, thread)) = self.going.take() {
            drop(going);
            // What it panicked with is on stderr.
            let _panicked = thread.join().is_err();
        }
        // The gateway's host takes the other along.
        if let Err(error) = self.namespace.ip(&["link", "delete", SIDES[1]]) {
            eprintln!("a cable of {} stays: {error:#}", self.namespace.name());
        }
    }
}

/// A packet socket for everything that comes out of `device`. What it sends itself it does not get (packet(7)).
fn open(device: &str) -> Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    setsockopt(&socket, RcvBufForce, &WAITING_BYTES)?;
    let is_its_own = |address: &nix::ifaddrs::InterfaceAddress| address.interface_name == device;
    let mut addresses = getifaddrs()?.filter(is_its_own).filter_map(|own| own.address);
    let link = addresses.find_map(|address| address.as_link_addr().copied());
    bind(socket.as_raw_fd(), &link.with_context(|| format!("{device} has no address"))?)?;
    Ok(socket)
}

/// One direction of the cable.
struct Way {
    held: VecDeque<Held>,
    numbers: Pattern,
}

/// A frame that waits.
struct Held {
    frame: Vec<u8>,
    /// How many are to go first.
    behind: usize,
    since: Instant,
    is_copy: bool,
}

/// Takes frames from each side to the other, until the other end of `end` is gone.
fn shuffle(sides: &[OwnedFd; 2], mut ways: [Way; 2], end: &UnixStream, counts: &Counts) {
    /// Longer than any frame of a device with an MTU of 1500 bytes.
    const FRAME_MAX: usize = 2048;
    let mut frame = [0; FRAME_MAX];
    loop {
        let [near, far] = sides;
        let mut wanted = [near.as_fd(), far.as_fd(), end.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let is_holding = ways.iter().any(|way| !way.held.is_empty());
        let timeout = if is_holding { PollTimeout::from(1_u8) } else { PollTimeout::NONE };
        if poll(&mut wanted, timeout).is_err() || wanted[2].any().unwrap_or(true) {
            return;
        }
        for (from, way) in ways.iter_mut().enumerate() {
            let to = &sides[1 - from];
            while let Ok(length) = recv(sides[from].as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
                way.pass(&frame[..length], to, counts);
            }
            way.release(to, counts, |held| held.since.elapsed() >= HELD_MAX);
        }
    }
}

impl Way {
    fn pass(&mut self, frame: &[u8], to: &OwnedFd, counts: &Counts) {
        let choice = self.numbers.below(1000);
        let is_copy = choice >= OVERTAKEN_PER_MILLE;
        if choice < OVERTAKEN_PER_MILLE + DOUBLED_PER_MILLE {
            let behind = 1 + self.numbers.below(OVERTAKING_MAX);
            self.held.push_back(Held { frame: frame.to_vec(), behind, since: Instant::now(), is_copy });
        }
        if is_copy {
            put(frame, to);
            self.held.iter_mut().for_each(|held| held.behind = held.behind.saturating_sub(1));
            self.release(to, counts, |held| held.behind == 0);
        }
    }

    fn release(&mut self, to: &OwnedFd, counts: &Counts, is_due: impl Fn(&Held) -> bool) {
        while let Some(at) = self.held.iter().position(&is_due) {
            let held = self.held.remove(at).expect("there is one at its place");
            put(&held.frame, to);
            if held.is_copy {
                counts.doubled.fetch_add(1, Ordering::Relaxed);
            } else if held.behind == 0 {
                counts.overtaken.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// What finds no room is lost, as anywhere.
fn put(frame: &[u8], to: &OwnedFd) {
    let sent = send(to.as_raw_fd(), frame, MsgFlags::empty());
    debug_assert!(matches!(sent, Ok(_) | Err(Errno::ENOBUFS | Errno::ENETDOWN | Errno::ENXIO)), "{sent:?}");
}
