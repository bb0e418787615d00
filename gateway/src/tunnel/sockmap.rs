//! The `sockmap` engine: a stream's way into the kernel, its stay there, and its way back.
//!
//! The program's side of the agreement is in `gateway-ebpf/src/sockmap.rs`. Ours:
//!
//! - **In.** Both pumps rest, and neither socket has unread bytes. Both go into the maps, where everything passes at
//!   first. If bytes came in between, the user path takes them: its receive sends them through the program, which would
//!   not look at them before the next arrival (`tcp_bpf_recvmsg_parser`). Else each socket gets a send buffer that the
//!   credit fits into twice, and the program is allowed to redirect.
//! - **There.** We wait for the end of either side and for the program's events, never for data. The credit is renewed
//!   as far as the peer's send buffer has emptied.
//! - **Back.** The leave is taken back. Then each socket's lock is taken once: a run of the program that had begun
//!   before is over. Then we wait until all that was redirected is in the peers' send buffers, and only then the user
//!   path may write.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use gateway_common::{CREDIT, CREDIT_LOW, Flow};

use super::half_close::Reason;
use super::live::{Direction, StreamGuard, Told};
use super::{Sides, UNSENT_MAX_BYTES};
use crate::bpf::offload::{EnterError, Offload, Place};
use crate::sys::tcp;

/// How soon the credit of a peer that had not taken enough is looked at again, at first: the kernel thread that moves
/// redirected bytes may just not have got to them, and a hundred small messages use the rest of the credit up.
const RENEW_RETRY: Duration = Duration::from_millis(1);

/// The same once it was looked at several times in vain: the reader is slow.
const RENEW_RETRY_MAX: Duration = Duration::from_millis(8);

/// How soon it is looked at again whether redirected bytes have reached the peer's send buffer. A kernel thread is
/// moving them, which takes microseconds unless memory is short.
const DELIVERY_RETRY: Duration = Duration::from_millis(1);

/// How long that is waited for at most. A stream for which it takes longer is given up.
const DELIVERY_MAX: Duration = Duration::from_secs(30);

/// How long a stream that is being closed waits for that at most.
const CLOSING_DELIVERY_MAX: Duration = Duration::from_secs(1);

/// A smaller renewal of the credit is not worth its system calls.
const RENEWAL_MIN: u64 = CREDIT / 4;

/// A stream's entry in the maps, which it keeps to its end.
pub(super) struct Entered {
    place: Place,
    /// By direction.
    start: [Cell<Start>; 2],
    /// By direction, while the credit is low.
    asked: [Cell<Option<Asked>>; 2],
}

/// Where a direction stood when the program was last allowed to redirect it.
#[derive(Debug, Clone, Copy, Default)]
struct Start {
    /// Bytes written to the peer's socket, as [`tcp::progress`] counts.
    written: u64,
    /// Bytes that the program had redirected, in earlier stays.
    redirected: u64,
}

/// What was redirected when a renewal of the credit began. Under steady traffic something is always on its way, so the
/// renewal waits for the delivery of this and not of all.
#[derive(Debug, Clone, Copy)]
struct Asked {
    charged: u64,
    redirected: u64,
}

/// Whether a stream went into the kernel.
pub(super) enum Entering {
    /// It did.
    Done,
    /// Bytes, or an end, came in that instant: the user path takes them first.
    NotQuiet,
    /// It cannot.
    Refused(Refusal),
}

/// Why a stream cannot go into the kernel.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// No place in the maps.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// A socket could not be prepared.
    #[error("a socket cannot be prepared: {0}")]
    Socket(#[from] io::Error),
}

impl Refusal {
    /// The name in metrics.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Enter(EnterError::Full(_)) => "full",
            Self::Enter(EnterError::Refused(_)) | Self::Socket(_) => "refused",
        }
    }
}

/// Why a stream came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// A side ended or failed.
    PeerEnded,
    /// A reader is slower than its writer: the credit is used up.
    Pressure,
    /// The credit was used up although the reader kept up: the worker was late.
    Late,
    /// Bytes went up in the instant of the switch.
    Raced,
    /// An operator wants it on the user path.
    Operator,
    /// The gateway closes it.
    Closed(Reason),
}

impl Left {
    /// The name in metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::PeerEnded => "ended",
            Self::Pressure => "pressure",
            Self::Late => "late",
            Self::Raced => "raced",
            Self::Operator => "operator",
            Self::Closed(_) => "closed",
        }
    }
}

/// Takes a stream whose pumps rest into the kernel.
pub(super) fn enter(sides: &mut Sides, offload: &Rc<Offload>, stream: &StreamGuard) -> Entering {
    let (client, upstream) = (&sides.client, &sides.upstream);
    if sides.kernel.is_none() {
        // A socket that still holds bytes may hold a buffer of which a part was read. The program would get it whole.
        if !(client.is_silent() && upstream.is_silent()) {
            return Entering::NotQuiet;
        }
        match first_time(sides, offload) {
            Ok(entered) => {
                stream.attach_kernel(offload.flows(), entered.place.indices());
                sides.kernel = Some(entered);
            }
            Err(refusal) => return Entering::Refused(refusal),
        }
    }
    let Some(entered) = &sides.kernel else { return Entering::NotQuiet };
    // What came before the insertion has not seen the program. The user path's next receive sends it there.
    if !(sides.client.is_silent() && sides.upstream.is_silent()) {
        return Entering::NotQuiet;
    }
    match entered.allow(sides) {
        Ok(true) => Entering::Done,
        Ok(false) => Entering::NotQuiet,
        Err(error) => Entering::Refused(error.into()),
    }
}

fn first_time(sides: &Sides, offload: &Rc<Offload>) -> Result<Entered, Refusal> {
    let sockets = [&sides.client, &sides.upstream];
    let [client, upstream] = sockets.map(|socket| tcp::cookie(socket).map(|cookie| (socket, cookie)));
    let place = offload.enter([client?, upstream?])?;
    Ok(Entered { place, start: Default::default(), asked: Default::default() })
}

/// Stays in the kernel until there is a reason to come back, and comes back.
pub(super) async fn run(sides: &Sides, stream: &StreamGuard) -> Left {
    let Some(entered) = &sides.kernel else { return Left::Raced };
    let left = entered.stay(sides, stream).await;
    if entered.come_back(sides, matches!(left, Left::Closed(_))).await {
        left
    } else {
        tracing::warn!(stream = stream.id(), "redirected bytes did not reach their socket; the stream is closed");
        Left::Closed(Reason::Failed)
    }
}

impl Entered {
    /// Counts bytes that the user path has written to the peer.
    pub(super) fn forwarded(&self, direction: Direction, bytes: usize) {
        let forwarded = &self.flow(direction).forwarded;
        forwarded.store(forwarded.load(Ordering::Relaxed) + bytes as u64, Ordering::Release);
    }

    /// What arrives on the side where `direction` begins.
    fn flow(&self, direction: Direction) -> &Flow<AtomicU64> {
        self.place.flow(direction as usize)
    }

    /// Allows the program to redirect. False where something is still on its way on the user path; nothing is changed
    /// then.
    fn allow(&self, sides: &Sides) -> io::Result<bool> {
        let mut queued = [0; 2];
        for direction in Direction::ALL {
            let (flow, (_, to)) = (self.flow(direction), sides.along(direction));
            if nothing_passed(flow).is_none() {
                return Ok(false);
            }
            let memory = tcp::send_queue_memory(to)?;
            let progress = tcp::progress(to)?;
            if progress.dead || memory > CREDIT_LOW {
                return Ok(false);
            }
            let redirected = flow.redirected.load(Ordering::Relaxed);
            self.start[direction as usize].set(Start { written: progress.written, redirected });
            self.asked[direction as usize].set(None);
            queued[direction as usize] = memory;
        }
        for direction in Direction::ALL {
            let (flow, (_, to)) = (self.flow(direction), sides.along(direction));
            tcp::fix_send_buffer(to, u32::try_from(CREDIT).expect("half a MiB"))?;
            // The credit is the limit here. What the kernel redirects must never wait for room.
            tcp::set_unsent_max(to, u32::MAX >> 1)?;
            let credit = CREDIT - queued[direction as usize];
            flow.limit.store(flow.charged.load(Ordering::Relaxed) + credit, Ordering::Relaxed);
        }
        for direction in Direction::ALL {
            self.flow(direction).offload.store(1, Ordering::Release);
        }
        // Allow first, then look (`look`) at what was passed; the program counts first and then looks at what is
        // allowed.
        fence(Ordering::SeqCst);
        Ok(true)
    }

    async fn stay(&self, sides: &Sides, stream: &StreamGuard) -> Left {
        let mut ends = pin!(async {
            tokio::select! {
                () = sides.client.gone() => {}
                () = sides.upstream.gone() => {}
            }
        });
        let mut next_retry = RENEW_RETRY;
        loop {
            let retry = match self.look(sides) {
                Standing::Good => {
                    next_retry = RENEW_RETRY;
                    None
                }
                Standing::CreditLow => Some(next_retry),
                Standing::Passing(why) => return why,
            };
            tokio::select! {
                told = stream.told() => match told {
                    Told::Close(reason) => return Left::Closed(reason),
                    Told::Demote => return Left::Operator,
                    Told::Promote | Told::Release => {}
                },
                () = &mut ends => return Left::PeerEnded,
                () = self.place.woken() => {}
                () = after(retry) => next_retry = (2 * next_retry).min(RENEW_RETRY_MAX),
            }
        }
    }

    /// What the program has to say.
    fn look(&self, sides: &Sides) -> Standing {
        let mut standing = Standing::Good;
        for direction in Direction::ALL {
            let flow = self.flow(direction);
            let left = credit_left(flow);
            if nothing_passed(flow).is_none() {
                return Standing::Passing(match left {
                    CREDIT_LOW.. => Left::Raced,
                    // Many small messages use the credit up faster than a busy worker renews it.
                    _ if self.renew(sides, direction) => Left::Late,
                    _ => Left::Pressure,
                });
            }
            if left < CREDIT_LOW && !self.renew(sides, direction) {
                standing = Standing::CreditLow;
            }
        }
        standing
    }

    /// Renews a direction's credit as far as its peer has taken delivery; false where that is not worth it yet.
    fn renew(&self, sides: &Sides, direction: Direction) -> bool {
        let (flow, (_, to)) = (self.flow(direction), sides.along(direction));
        let asked = &self.asked[direction as usize];
        let Asked { charged, redirected } = asked.get().unwrap_or_else(|| {
            // The charge before the bytes: what is redirected meanwhile counts twice, never not at all.
            let charged = flow.charged.load(Ordering::Acquire);
            Asked { charged, redirected: flow.redirected.load(Ordering::Acquire) }
        });
        asked.set(Some(Asked { charged, redirected }));
        let in_send_buffer = || -> io::Result<Option<u64>> {
            let Start { written, redirected: before } = self.start[direction as usize].get();
            let delivered = tcp::progress(to)?.written.wrapping_sub(written) >= redirected.wrapping_sub(before);
            delivered.then(|| tcp::send_queue_memory(to)).transpose()
        };
        // A socket that cannot be asked has failed, which is noticed elsewhere.
        let Ok(Some(queued)) = in_send_buffer() else { return false };
        asked.set(None);
        let limit = (charged + CREDIT).saturating_sub(queued);
        let worthwhile = limit >= flow.limit.load(Ordering::Relaxed) + RENEWAL_MIN;
        if worthwhile {
            flow.limit.store(limit, Ordering::Release);
        }
        worthwhile
    }

    /// Takes the leave back, and waits until the user path may write. False where that does not come.
    async fn come_back(&self, sides: &Sides, closing: bool) -> bool {
        for direction in Direction::ALL {
            self.flow(direction).offload.store(0, Ordering::SeqCst);
        }
        self.settle(sides);
        let patience = if closing { CLOSING_DELIVERY_MAX } else { DELIVERY_MAX };
        let delivery = async {
            for direction in Direction::ALL {
                while !self.is_delivered(sides, direction) {
                    tokio::time::sleep(DELIVERY_RETRY).await;
                }
            }
        };
        let delivered = tokio::time::timeout(patience, delivery).await.is_ok();
        for socket in [&sides.client, &sides.upstream] {
            let restored =
                tcp::set_unsent_max(socket, UNSENT_MAX_BYTES).and_then(|()| tcp::release_send_buffer(socket));
            if let Err(error) = restored {
                // Before Linux 5.14 the buffer keeps its size, which bounds what a stream can hold in flight.
                tracing::trace!(%error, "a send buffer keeps its size");
            }
        }
        delivered || closing
    }

    /// Whether all that was redirected is in the peer's send buffer, or lost with its connection.
    fn is_delivered(&self, sides: &Sides, direction: Direction) -> bool {
        let (flow, (_, to)) = (self.flow(direction), sides.along(direction));
        let Start { written, redirected } = self.start[direction as usize].get();
        let expected = flow.redirected.load(Ordering::Acquire).wrapping_sub(redirected);
        // A socket that cannot be asked takes nothing any more.
        tcp::progress(to).map_or(true, |progress| progress.dead || progress.written.wrapping_sub(written) >= expected)
    }

    /// Takes each socket's lock once. A run of the program that began before has ended then.
    fn settle(&self, sides: &Sides) {
        for socket in [&sides.client, &sides.upstream] {
            if let Err(error) = tcp::progress(socket) {
                tracing::debug!(%error, "a socket cannot be asked for its state");
            }
        }
    }

    /// Gives the stream's places in the maps back.
    pub(super) fn leave(self, sides: &Sides, stream: &StreamGuard) {
        self.place.forget();
        // No run of the program may count into a place that is another stream's.
        self.settle(sides);
        stream.detach_kernel();
    }
}

/// How a look at the program went.
enum Standing {
    /// Nothing to do.
    Good,
    /// A credit is low, and its peer has not taken enough yet.
    CreditLow,
    /// Bytes went up to user space.
    Passing(Left),
}

/// How many bytes went up, where all of them were written to the peer.
fn nothing_passed(flow: &Flow<AtomicU64>) -> Option<u64> {
    let passed = flow.passed.load(Ordering::Acquire);
    (passed == flow.forwarded.load(Ordering::Relaxed)).then_some(passed)
}

fn credit_left(flow: &Flow<AtomicU64>) -> u64 {
    flow.limit.load(Ordering::Relaxed).saturating_sub(flow.charged.load(Ordering::Acquire))
}

/// Waits for `time`, or for ever.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => pending().await,
    }
}
