//! The `packet` engine: the two connections of a stream become one, and both sockets go.
//!
//! The program's side is in `gateway-ebpf/src/packet.rs`. Ours:
//!
//! - **In.** Both pumps rest. Both directions are held: bytes that arrive are dropped, and their senders send them
//!   again. What was on its way to the sockets arrives; if it was bytes, the user path takes them, and the stream stays
//!   there. Else, with everything acknowledged on both connections, their numbers are read, the differences are written
//!   down, the program is let go, and both sockets are closed without a word.
//! - **There.** The ends talk to each other. The [`Keeper`] watches for their end, sends keepalive probes in each one's
//!   name to the other, and says the last word where the gateway ends the stream: a reset to both. What it goes by
//!   stands in the kernel's maps, so that the next gateway can go on with it.
//!
//! There is no way back: a stream that was spliced stays so.

mod ending;
mod keeper;
mod label;
mod numbers;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Sides;
use super::half_close::{Ended, Reason, Side};
use super::live::StreamGuard;
use crate::bpf::splicer::{HoldError, Pair, Paths, Place, Splicer};
use crate::sys::{Socket, repair};
pub use keeper::{Keeper, Terms};

/// How long both connections are held at most, for the last acknowledgements to come: a peer may put one off for 40 ms
/// (`TCP_DELACK_MIN`), and is a network away.
const HELD_MAX: Duration = Duration::from_millis(150);

/// How often is looked whether they have.
const LOOK: Duration = Duration::from_millis(2);

/// A stream without sockets, as it stands in the maps.
struct Spliced<'a> {
    pair: Pair<'a>,
    paths: Paths,
    timestamps: bool,
}

impl<'a> Spliced<'a> {
    fn of(pair: Pair<'a>) -> Self {
        let timestamps = pair.way(0).timestamps.load(Ordering::Relaxed) != 0;
        Self { pair, paths: pair.paths(), timestamps }
    }
}

/// Whether a stream was spliced.
pub(super) enum Splicing {
    /// It was; its sockets are to be dropped, and the keeper is to look after it.
    Done(Place),
    /// Something was on its way: the user path takes it first.
    NotQuiet,
    /// It cannot be.
    Refused(Refusal),
}

/// Why a stream cannot be spliced.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// No place in the maps.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// A socket could not be asked.
    #[error("a connection cannot be taken over: {0}")]
    Socket(#[from] io::Error),
    /// The two ends are not reached in the same way, or by none that is known.
    #[error("the ways to the two ends do not fit together")]
    Route,
    /// The pod was dialled from a port that others may get.
    #[error("the connection to the pod has a port that is not kept")]
    Port,
    /// The two connections agreed on different options.
    #[error("the two connections agreed on different TCP options")]
    Options,
    /// One end sends segments that are too long for the other.
    #[error("one end sends longer segments than get to the other")]
    SegmentSize,
}

impl Refusal {
    /// The name in metrics.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Hold(HoldError::Full(_)) => "full",
            Self::Hold(HoldError::Refused(_) | HoldError::Closed) | Self::Socket(_) => "refused",
            Self::Route => "route",
            Self::Port => "port",
            Self::Options => "options",
            Self::SegmentSize => "mss",
        }
    }
}

/// Takes a stream whose pumps rest away from its sockets.
pub(super) async fn splice(sides: &Sides, splicer: &Arc<Splicer>, stream: &StreamGuard) -> Splicing {
    match try_splice(sides, splicer, stream).await {
        Ok(Some(place)) => Splicing::Done(place),
        Ok(None) => Splicing::NotQuiet,
        Err(refusal) => Splicing::Refused(refusal),
    }
}

async fn try_splice(
    sides: &Sides,
    splicer: &Arc<Splicer>,
    stream: &StreamGuard,
) -> Result<Option<Place>, Refusal> {
    let paths = numbers::paths(&sides.client, &sides.upstream)?;
    let devices = numbers::devices(&paths, splicer).ok_or(Refusal::Route)?;
    if !splicer.owns_port(paths.gateway_to_pod.port()) {
        return Err(Refusal::Port);
    }
    if !is_silent(sides) {
        return Ok(None);
    }
    let place = splicer.hold(paths)?;
    if !splicer.grace().await || !tokio::time::timeout(HELD_MAX, settled(sides)).await.unwrap_or(Ok(false))? {
        return Ok(None);
    }
    // A reset is not held.
    let taken = numbers::take(sides, &paths).map(|numbers| is_silent(sides).then_some(numbers));
    let Ok(Some([client, upstream])) = taken else {
        for socket in [&sides.client, &sides.upstream] {
            repair::give_back(socket)?;
        }
        return taken.map(|_| None);
    };
    numbers::write(place.pair(), devices, [&client, &upstream]);
    label::write(place.pair().label(), stream);
    place.splice();
    Ok(Some(place))
}

fn is_silent(sides: &Sides) -> bool {
    sides.client.is_silent() && sides.upstream.is_silent()
}

/// Waits until everything is acknowledged; false where something has arrived meanwhile.
async fn settled(sides: &Sides) -> io::Result<bool> {
    let is_settled = |socket: &Socket| repair::is_settled(socket);
    while is_silent(sides) {
        if is_settled(&sides.client)? && is_settled(&sides.upstream)? {
            return Ok(is_silent(sides));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
}
