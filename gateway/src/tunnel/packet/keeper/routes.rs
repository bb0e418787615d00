//! Streams follow when the way to one of their ends moves to another interface. The kernel's helper looks for the route
//! of each packet, but within the interface that it is told; which one that is, is the keeper's to know.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway_common::packet::NOWHERE;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::{Keeper, Streams};
use crate::sys::{netlink, registered};
use crate::tunnel::packet::Spliced;

/// Changes within this time are looked at together. A routing daemon tells of thousands in a second.
const APART_MIN: Duration = Duration::from_millis(100);

/// A look at everything is followed by a pause this many times as long, so that routes that change all the time cost a
/// tenth of a processor.
const PAUSE_FACTOR: u32 = 10;

/// Streams that are looked at while nobody else gets at them, at some microseconds each.
const BATCH: usize = 256;

/// What has become of a direction's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It leads through another interface.
    Moved,
    /// There is none any more.
    Lost,
    /// There is one again.
    Found,
}

impl Change {
    const ALL: [Self; 3] = [Self::Moved, Self::Lost, Self::Found];

    /// The name in metrics.
    const fn label(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Lost => "lost",
            Self::Found => "found",
        }
    }

    fn between(before: u64, after: u32) -> Option<Self> {
        const NONE: u64 = NOWHERE as u64;
        match (before, after) {
            (before, after) if before == u64::from(after) => None,
            (_, NOWHERE) => Some(Self::Lost),
            (NONE, _) => Some(Self::Found),
            _ => Some(Self::Moved),
        }
    }
}

/// Ways that were asked for in one look, from our own address to the peer's: most streams share theirs with others.
type Ways = HashMap<(IpAddr, IpAddr), u32>;

/// Has streams and the program follow interfaces and routes for as long as the process runs.
///
/// # Errors
/// When the kernel's news cannot be had.
pub async fn follow(keeper: Arc<Keeper>) -> io::Result<()> {
    let changes = registered(netlink::changes()?)?;
    // Whatever has changed since the start was told to nobody.
    keeper.look_twice().await;
    loop {
        heard(&changes).await?;
        keeper.look_twice().await;
    }
}

/// Waits for news, and takes all of it.
async fn heard(changes: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut guard = changes.ready(Interest::READABLE).await?;
        // Before it is emptied: what comes meanwhile is another edge.
        guard.clear_ready();
        if netlink::take_changes(changes.get_ref())? {
            return Ok(());
        }
    }
}

impl Keeper {
    /// Looks at once, and again after a pause: the kernel tells of an interface that goes down before it takes its
    /// routes away (`__dev_notify_flags`), and of those it tells nothing.
    async fn look_twice(&self) {
        for _ in 0..2 {
            let begun = Instant::now();
            let is_done = self.splicer.follow_interfaces().unwrap_or_else(|error| {
                tracing::warn!(%error, "the packet program cannot follow the interfaces");
                true
            });
            self.follow_routes().await;
            tokio::time::sleep(APART_MIN.max(PAUSE_FACTOR * begun.elapsed())).await;
            if !is_done {
                // Setting up takes a moment. Should it take longer, the next change is the next chance.
                let _later = self.splicer.follow_interfaces().is_err();
            }
        }
    }

    /// Has every stream take the way that there is now.
    async fn follow_routes(&self) {
        let numbers: Vec<u32> = self.streams().kept.iter().copied().collect();
        let mut ways = Ways::new();
        let mut changes = [0_u64; Change::ALL.len()];
        for batch in numbers.chunks(BATCH) {
            self.follow_batch(batch, &mut ways, &mut changes);
            tokio::task::yield_now().await;
        }
        if changes.iter().any(|&count| count > 0) {
            let [moved, lost, found] = changes;
            tracing::info!(moved, lost, found, "directions of streams without sockets have another way");
        }
    }

    fn follow_batch(&self, batch: &[u32], ways: &mut Ways, changes: &mut [u64]) {
        let streams = self.streams();
        for &number in batch {
            for change in self.follow_one(&streams, number, ways).into_iter().flatten() {
                changes[change as usize] += 1;
            }
        }
    }

    /// Has a stream take the way that there is now: it may have changed while the stream was on its way here.
    pub(super) fn follow_from_the_start(&self, streams: &Streams, number: u32) {
        let _counted = self.follow_one(streams, number, &mut Ways::new());
    }

    /// What has changed, by direction. The place of a stream that is not kept may be another's.
    fn follow_one(&self, streams: &Streams, number: u32, ways: &mut Ways) -> [Option<Change>; 2] {
        if !streams.kept.contains(&number) {
            return [None; 2];
        }
        let spliced = Spliced::of(self.splicer.pair(number));
        [0, 1].map(|direction| {
            // A direction ends where the other one begins.
            let (peer, own) = spliced.ends(1 - direction);
            let device = self.way(own.ip(), peer.ip(), ways)?;
            let before = spliced.pair.way(direction).device.swap(device.into(), Ordering::Relaxed);
            let change = Change::between(before, device)?;
            self.metrics.streams().route_changed(change.label());
            Some(change)
        })
    }

    /// `None` where the kernel does not say: the way stays as it was.
    fn way(&self, own: IpAddr, peer: IpAddr, ways: &mut Ways) -> Option<u32> {
        match ways.entry((own, peer)) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(unknown) => match self.splicer.device(own, peer) {
                Ok(device) => Some(*unknown.insert(device)),
                Err(error) => {
                    tracing::debug!(%error, %peer, "the kernel does not say where packets go");
                    None
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_become_of_a_way_is_told_from_before_and_after() {
        let told = [(2, 3), (2, 2), (2, NOWHERE), (0, NOWHERE), (0, 2)];
        let changes = told.map(|(before, after)| Change::between(before, after));
        assert_eq!(changes, [Some(Change::Moved), None, Some(Change::Lost), None, Some(Change::Found)]);
    }
}
