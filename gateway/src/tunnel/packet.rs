//! The `packet` engine: the two connections of a stream become one, and both sockets go.
//!
//! The program's side is in `gateway-ebpf/src/packet.rs`. Ours:
//!
//! - **In.** Both pumps rest. What arrives for the two connections is counted. Once everything is acknowledged and
//!   what had gone up has arrived, both directions are shut in an instant in which nothing more has gone up: what
//!   arrives then is dropped, and its sender sends it again. The connections' numbers are read, the differences are
//!   written down, the program is let go, and both sockets are closed without a word. That takes microseconds. Where
//!   anything comes in before, the user path has it, and the stream stays there.
//! - **In by force.** Ends that answer each other at once leave no such instant: a stream that was too busy for it
//!   several times is held first. Bytes are dropped until the ends have fallen silent, which costs a message of each a
//!   retransmission.
//! - **There.** The ends talk to each other. The [`Keeper`] watches for their end, sends keepalive probes in each one's
//!   name to the other, and says the last word where the gateway ends the stream: a reset to both. What it goes by
//!   stands in the kernel's maps, so that the next gateway can go on with it.
//!
//! There is no way back: a stream that was spliced stays so.

mod asked;
mod ending;
mod errors;
pub mod icmp;
mod ip;
mod keeper;
mod label;
mod numbers;
mod segment;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway_common::packet::TIMESTAMPS;

use super::Sides;
use super::half_close::{Ended, Reason, Side};
use super::live::StreamGuard;
use crate::bpf::splicer::{HoldError, Pair, Paths, Place, Splicer};
use crate::sys::repair::{self, Unrest};
use ending::low;
pub use errors::relay;
pub use keeper::{Keeper, Terms, follow};

/// How long is waited for silence at most: a peer may put an acknowledgement off for 40 ms (`TCP_DELACK_MIN`), is a
/// network away, and waiting for packets takes some 20 ms each time.
const SILENCE_MAX: Duration = Duration::from_millis(250);

/// How often is looked whether it has come, or whether it is over.
const LOOK: Duration = Duration::from_millis(2);

/// How often a stream may be found too busy before it is held by force.
pub(super) const BUSY_MAX: u32 = 3;

/// A stream without sockets, as it stands in the maps.
struct Spliced<'a> {
    pair: Pair<'a>,
    paths: Paths,
    timestamps: bool,
}

impl<'a> Spliced<'a> {
    fn of(pair: Pair<'a>) -> Self {
        let timestamps = pair.way(0).agreed.load(Ordering::Relaxed) & TIMESTAMPS != 0;
        Self { pair, paths: pair.paths(), timestamps }
    }

    /// The end where `direction` begins, and the gateway's end of its connection.
    fn ends(&self, direction: usize) -> (SocketAddr, SocketAddr) {
        let Paths { client, gateway_to_client, gateway_to_pod, pod } = self.paths;
        if direction == 0 { (client, gateway_to_client) } else { (pod, gateway_to_pod) }
    }
}

/// Whether a stream was spliced.
pub(super) enum Splicing {
    /// It was; its sockets are to be dropped, and the keeper is to look after it.
    Done(Place),
    /// Something was on its way: the user path takes it first. With the name of the reason in metrics.
    NotQuiet(&'static str),
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
    /// One end is not reached through an interface that has the program, or the other by another IP version, or by
    /// another gateway on this machine that has no sockets for it, either.
    #[error("the ways to the two ends are not known, or do not fit together")]
    Route,
    /// One end has an IPv4 address of this machine, and the other is outside.
    #[error("{0} is on this machine and takes nothing from outside, since net.ipv4.conf.lo.accept_local is 0")]
    Martian(IpAddr),
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
            Self::Martian(_) => "martian",
            Self::Port => "port",
            Self::Options => "options",
            Self::SegmentSize => "mss",
        }
    }
}

/// Takes a stream whose pumps rest away from its sockets.
pub(super) async fn splice(sides: &Sides, splicer: &Arc<Splicer>, stream: &StreamGuard, by_force: bool) -> Splicing {
    match try_splice(sides, splicer, stream, by_force).await {
        Ok(Some(place)) => Splicing::Done(place),
        Ok(None) => Splicing::NotQuiet(match unrest(sides) {
            None | Some(Unrest::Bytes) => "busy",
            Some(Unrest::End) => "fin",
            Some(Unrest::Urgent) => "urgent",
        }),
        Err(refusal) => Splicing::Refused(refusal),
    }
}

async fn try_splice(
    sides: &Sides,
    splicer: &Arc<Splicer>,
    stream: &StreamGuard,
    by_force: bool,
) -> Result<Option<Place>, Refusal> {
    let paths = numbers::paths(&sides.client, &sides.upstream)?;
    let devices = numbers::devices(&paths, splicer)?;
    if !splicer.owns_port(paths.gateway_to_pod.port()) {
        return Err(Refusal::Port);
    }
    if !is_silent(sides) {
        return Ok(None);
    }
    let place = splicer.watch(paths)?;
    if place.pair().is_chained(devices) {
        return Err(Refusal::Route);
    }
    if by_force {
        place.hold();
    }
    if !tokio::time::timeout(SILENCE_MAX, shut(sides, &place)).await.unwrap_or(Ok(false))? {
        return Ok(None);
    }
    // A reset goes up even now.
    let taken = numbers::take(sides, &paths, devices).map(|numbers| is_silent(sides).then_some(numbers));
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

/// Waits for an instant in which nothing is on its way, and shuts both directions in it. False where bytes or an end
/// have come before.
async fn shut(sides: &Sides, place: &Place) -> io::Result<bool> {
    loop {
        while !is_settled(sides)? {
            if !is_silent(sides) {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
        let passed = place.passed();
        let arrived = tokio::select! {
            arrived = place.grace() => arrived,
            () = heard(sides) => false,
        };
        if !arrived || !is_silent(sides) {
            return Ok(false);
        }
        // What went up before was acknowledgements alone, if anything.
        if is_settled(sides)? && place.shut_after(passed) {
            return Ok(true);
        }
    }
}

fn is_settled(sides: &Sides) -> io::Result<bool> {
    Ok(repair::is_settled(&sides.client)? && repair::is_settled(&sides.upstream)?)
}

/// Waits until something has come.
async fn heard(sides: &Sides) {
    while is_silent(sides) {
        tokio::time::sleep(LOOK).await;
    }
}

fn is_silent(sides: &Sides) -> bool {
    unrest(sides).is_none()
}

fn unrest(sides: &Sides) -> Option<Unrest> {
    Unrest::of(&sides.client).or_else(|| Unrest::of(&sides.upstream))
}

#[cfg(test)]
mod tests;
