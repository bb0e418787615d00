//! Errors of routers about packets of spliced streams. A router tells the gateway, whose address the packet had; we
//! tell the end that sent it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::Instant;

use super::icmp::NetworkError;
use super::{Spliced, low};
use crate::bpf::splicer::Splicer;
use crate::sys::{raw, registered};

/// Errors of each IP version that are looked at in a second. Anybody can send them; TCP does without.
const SECOND_MAX: u32 = 1000;

/// An error and what it quotes, with room for the options of IPv4: more is not looked at.
const MESSAGE_BYTES: usize = 256;

/// Passes errors on for as long as the process runs.
///
/// # Errors
/// When a socket for them cannot be opened (`EPERM` without `CAP_NET_RAW`) or waited for.
pub async fn relay(splicer: Arc<Splicer>) -> io::Result<()> {
    let v4 = receive(raw::icmp_v4()?, NetworkError::parse_v4, &splicer);
    // Absent where the kernel has no IPv6.
    let Ok(v6) = raw::icmp_v6() else { return v4.await };
    let v6 = receive(v6, NetworkError::parse_v6, &splicer);
    tokio::try_join!(v4, v6).map(drop)
}

async fn receive(receiver: OwnedFd, parse: fn(&[u8]) -> Option<NetworkError>, splicer: &Splicer) -> io::Result<()> {
    let receiver = registered(receiver)?;
    let (mut second, mut seen) = (Instant::now(), 0);
    let mut message = [0; MESSAGE_BYTES];
    loop {
        let mut guard = receiver.ready(Interest::READABLE).await?;
        let Ok(received) = guard.try_io(|receiver| raw::receive(receiver.get_ref(), &mut message)) else { continue };
        if let Some(error) = parse(&message[..received?]) {
            pass_on(splicer, error);
        }
        seen += 1;
        if seen == SECOND_MAX {
            // The kernel drops what its buffer does not hold.
            tokio::time::sleep_until(second + Duration::from_secs(1)).await;
            (second, seen) = (Instant::now(), 0);
        }
    }
}

/// An error is believed if it is about bytes that are on their way (RFC 5927 section 4.1).
fn pass_on(splicer: &Splicer, error: NetworkError) {
    // The segment went to where the direction begins that is found.
    let Some((pair, back)) = splicer.find(error.destination, error.source) else { return };
    let spliced = Spliced::of(pair);
    let way = pair.way(1 - back);
    let seq = error.seq.wrapping_sub(low(&way.seq_add));
    let acked = low(&pair.way(back).acked);
    if seq.wrapping_sub(acked) <= low(&way.end).wrapping_sub(acked) {
        let (source, destination) = spliced.ends(1 - back);
        spliced.tell(&NetworkError { source, destination, seq, ..error });
    }
}

impl Spliced<'_> {
    /// Tells the end where `direction` begins that its packets are too long, where the program has found them so.
    pub(super) fn tell_of_length(&self, direction: usize) {
        let way = self.pair.way(direction);
        let mtu = take(&way.mtu);
        if mtu != 0 {
            let (source, destination) = self.ends(direction);
            let seq = low(&self.pair.way(1 - direction).acked);
            self.tell(&NetworkError::too_long(source, destination, seq, mtu));
        }
    }

    fn tell(&self, error: &NetworkError) {
        let packet = error.packet(error.destination.ip());
        if let Err(error) = self.pair.splicer().sender().send(&packet, error.source.ip()) {
            tracing::debug!(%error, "an error could not be passed on");
        }
    }
}

fn take(word: &AtomicU64) -> u32 {
    u32::try_from(word.swap(0, Ordering::AcqRel)).unwrap_or(u32::MAX)
}
