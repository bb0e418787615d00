//! An established stream: the bytes behind a 101, moved by an engine until both directions have ended.
//!
//! # The contract that every engine keeps
//!
//! 1. Bytes already read behind the heads, in either direction, are delivered first.
//! 2. Order is kept, nothing is lost, nothing is duplicated, whatever the chunking.
//! 3. Each direction's end is passed on exactly once, after its last byte; a reset becomes a reset.
//! 4. Bytes per direction, duration, who ended the stream and why are reported.
//! 5. Memory is bounded whatever either side does.
//! 6. On any exit nothing stays behind: no descriptor, no map entry, no pipe.
//! 7. The gateway can close a stream at any time.
//!
//! One conformance suite (`tests/engine_contract.rs`) runs against each engine.
//!
//! # The ways a stream can take
//!
//! On the *user path* (`user_path`) two pumps move its bytes, by `copy`. At an instant when both pumps rest, a stream
//! that can be spliced leaves all ways: `packet` has no sockets, and no way back.
//!
//! With a kernel side for sockets, one that cannot goes over to `sockmap` at such an instant, and comes back when a
//! side ends, when a reader is slower than its writer, or when an operator says so. The switch is in `sockmap`, the
//! rules for it are in [`damping`].

pub mod closing;
mod copy;
pub mod damping;
pub mod half_close;
pub mod live;
pub mod packet;
mod pause;
mod sockmap;
mod splice;
mod user_path;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::bpf::offload::Offload;
use crate::metrics::Metrics;
use crate::sys::Socket;
use damping::Damping;
use half_close::Peer;
use live::Direction;
use packet::Splicing;
use sockmap::{Entered, Entering, Left};
use user_path::Outcome;

pub use crate::bpf::splicer::{Place, Splicer};
pub use half_close::{Ended, Reason, Side};
pub use live::{LiveStreams, StreamGuard};

/// What is handed to an engine.
pub struct Tunnel {
    /// The browser's or SDK's connection.
    pub client: Socket,
    /// The pod's connection.
    pub upstream: Socket,
    /// What the client sent behind its request head.
    pub to_upstream: Vec<u8>,
    /// What the pod sent behind its 101.
    pub to_client: Vec<u8>,
}

/// Who moves the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Receive and send in user space: always available, and the reference for the others.
    Copy,
    /// Receive and send in user space what is small, and splice(2) the rest through pipes.
    Splice,
    /// Redirect from socket to socket in the kernel.
    Sockmap,
    /// Make the two TCP connections one.
    Packet,
}

impl Engine {
    /// Every engine of this build.
    pub const ALL: [Self; 4] = [Self::Copy, Self::Splice, Self::Sockmap, Self::Packet];

    /// Whether the bytes stay in the kernel.
    #[must_use]
    pub const fn is_kernel(self) -> bool {
        match self {
            Self::Copy | Self::Splice => false,
            Self::Sockmap | Self::Packet => true,
        }
    }

    /// The name in configuration, logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Splice => "splice",
            Self::Sockmap => "sockmap",
            Self::Packet => "packet",
        }
    }
}

/// Bytes that may wait on either socket to be sent. What a reader that stops costs is this, and what may wait to be
/// read on the other side.
pub const UNSENT_MAX_BYTES: u32 = 256 << 10;

/// Bytes that may wait to be read from a client: the window of a sender that may be a continent away.
pub const CLIENT_UNREAD_MAX_BYTES: u32 = 1 << 20;

/// Bytes that may wait to be read from a pod, which is near: 256 KiB in half a millisecond are 500 MB/s.
pub const UPSTREAM_UNREAD_MAX_BYTES: u32 = 256 << 10;

/// How old a stream is at least before it loses its sockets unasked. Short ones do not pay for it, and the first
/// seconds, in which a desktop is drawn, leave the fewest quiet instants.
const SPLICED_AGE_MIN: Duration = Duration::from_secs(3);

/// Who moves the bytes of the user path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserEngine {
    /// [`Engine::Copy`]
    Copy,
    /// [`Engine::Splice`]
    Splice,
}

impl UserEngine {
    /// As one of all engines.
    #[must_use]
    pub const fn engine(self) -> Engine {
        match self {
            Self::Copy => Engine::Copy,
            Self::Splice => Engine::Splice,
        }
    }
}

/// How a worker's streams are to be moved.
pub struct Plan {
    /// Who moves bytes in user space.
    pub user: UserEngine,
    /// The way into the kernel, where there is one.
    pub kernel: Option<Rc<Offload>>,
    /// The way out of all sockets, where there is one. It goes before `kernel`.
    pub splicer: Option<Arc<Splicer>>,
    /// Streams take it as soon as they can, since it was asked for. Otherwise they wait for the sweeper, so that a
    /// short one costs nothing.
    pub eager: bool,
    /// Where promotions and demotions are counted.
    pub metrics: Arc<Metrics>,
}

/// Both sockets of a stream, and its entry in the kernel's maps once it has one.
struct Sides {
    client: Socket,
    upstream: Socket,
    user: UserEngine,
    kernel: Option<Entered>,
}

impl Sides {
    const fn of(&self, peer: Peer) -> &Socket {
        match peer {
            Peer::Client => &self.client,
            Peer::Upstream => &self.upstream,
        }
    }

    /// Where a direction's bytes come from and go to.
    const fn along(&self, direction: Direction) -> (&Socket, &Socket) {
        match direction {
            Direction::Up => (&self.client, &self.upstream),
            Direction::Down => (&self.upstream, &self.client),
        }
    }

    /// Who moves the bytes of the user path. Once the sockets are in a map, splice(2) does not see what the program on
    /// them lets up to user space (since no Linux), so such a stream is copied.
    const fn user_engine(&self) -> UserEngine {
        if self.kernel.is_some() { UserEngine::Copy } else { self.user }
    }

    /// Counts bytes of the user path that the other socket has taken.
    fn delivered(&self, direction: Direction, bytes: usize, stream: &StreamGuard) {
        stream.moved(direction, bytes);
        if let Some(kernel) = &self.kernel {
            kernel.forwarded(direction, bytes);
        }
    }
}

/// What a stream came to.
pub enum Conclusion {
    /// It is over.
    Ended(Ended),
    /// It goes on without sockets; the place is for [`keep`].
    Spliced(Place),
}

/// Leaves a stream without sockets to the process's keeper.
pub fn keep(stream: StreamGuard, place: Place) {
    stream.leave_to_keeper(place);
}

/// Runs a stream to its end, or for as long as it has sockets.
pub async fn run(tunnel: Tunnel, plan: &Plan, stream: &StreamGuard) -> Conclusion {
    let Tunnel { client, upstream, to_upstream, to_client } = tunnel;
    let mut sides = Sides { client, upstream, user: plan.user, kernel: None };
    let mut behind = [to_upstream, to_client];
    let mut eager = plan.eager;
    let mut damping = Damping::default();
    let mut splicer = plan.splicer.as_ref();
    let mut busy = 0;
    if plan.kernel.is_some() || plan.splicer.is_some() {
        stream.promote_after(Some(damping.quiet_needed()));
    }
    let ended = loop {
        match user_path::run(&sides, std::mem::take(&mut behind), stream, eager).await {
            Outcome::Ended(ended) => break ended,
            Outcome::Resting => {}
        }
        eager = false;
        if let Some(way_out) = splicer {
            // The sweeper asks again.
            if !plan.eager && stream.age() < SPLICED_AGE_MIN {
                continue;
            }
            match spliced(&sides, way_out, plan, stream, busy).await {
                // In repair mode, both close without a word.
                Splicing::Done(place) => return Conclusion::Spliced(place),
                Splicing::NotQuiet(_) => {
                    busy += 1;
                    // Not even force has helped: it must not cost a retransmission each second.
                    if busy > packet::BUSY_MAX {
                        damping.demoted(Duration::ZERO);
                    }
                    stream.promote_after(Some(damping.quiet_needed()));
                    continue;
                }
                // What does not fit once will not fit again.
                Splicing::Refused(_) => splicer = None,
            }
        }
        let began = stream.age();
        let Some(left) = offloaded(&mut sides, plan, stream).await else { continue };
        match left {
            Left::Closed(reason) => {
                if reason.resets_upstream() {
                    sides.of(Peer::Upstream).reset_on_close();
                }
                break Ended { side: Side::Gateway, reason };
            }
            // One side has ended or failed: the user path finds out how, and tells the other.
            Left::PeerEnded => stream.promote_after(None),
            // The sweeper asks again.
            Left::Raced => stream.set_engine(Engine::Copy),
            // Nobody is to blame but ourselves: a stream for which we are late belongs there more than others.
            Left::Late => {
                stream.set_engine(Engine::Copy);
                eager = true;
            }
            Left::Operator => {
                stream.promote_after(None);
                stream.set_engine(Engine::Copy);
            }
            Left::Pressure => {
                damping.demoted(stream.age().saturating_sub(began));
                stream.promote_after(Some(damping.quiet_needed()));
                stream.set_engine(Engine::Copy);
            }
        }
    };
    if let Some(kernel) = sides.kernel.take() {
        kernel.leave(&sides, stream);
    }
    Conclusion::Ended(ended)
}

/// Leaves a stream whose pumps rest to `sockmap` until it comes back; `None` where it does not get there.
async fn offloaded(sides: &mut Sides, plan: &Plan, stream: &StreamGuard) -> Option<Left> {
    let metrics = plan.metrics.streams();
    let Some(offload) = &plan.kernel else {
        stream.promote_after(None);
        return None;
    };
    match sockmap::enter(sides, offload, stream) {
        Entering::Done => {}
        Entering::NotQuiet => {
            metrics.promotion_refused("busy");
            return None;
        }
        Entering::Refused(error) => {
            tracing::debug!(%error, stream = stream.id(), "a stream stays on the user path");
            metrics.promotion_refused(error.label());
            // What the kernel refuses once it will refuse again.
            stream.promote_after(None);
            return None;
        }
    }
    metrics.promoted(Engine::Sockmap.label());
    stream.set_engine(Engine::Sockmap);
    let left = sockmap::run(sides, stream).await;
    metrics.demoted(Engine::Sockmap.label(), left.label());
    Some(left)
}

/// Splices a stream whose pumps rest and that was too busy for it `busy` times, and counts what comes of it.
async fn spliced(sides: &Sides, splicer: &Arc<Splicer>, plan: &Plan, stream: &StreamGuard, busy: u32) -> Splicing {
    let metrics = plan.metrics.streams();
    let splicing = packet::splice(sides, splicer, stream, busy >= packet::BUSY_MAX).await;
    match &splicing {
        Splicing::Done(_) => {
            metrics.promoted(Engine::Packet.label());
            stream.set_engine(Engine::Packet);
        }
        Splicing::NotQuiet(reason) => metrics.promotion_refused(reason),
        Splicing::Refused(error) => {
            tracing::debug!(%error, stream = stream.id(), "a stream keeps its sockets");
            metrics.promotion_refused(error.label());
        }
    }
    splicing
}
