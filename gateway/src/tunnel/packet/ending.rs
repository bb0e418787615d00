//! How a spliced stream ends: by its ends, by the silence of one of them, or by us.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gateway_common::packet::{KNOWN, Way};

use super::{Ended, Reason, Side, Spliced};
use crate::sys::TcpTuning;
use crate::sys::raw::Segment;
use crate::sys::repair::now_ns;

/// By direction.
const SIDES: [Side; 2] = [Side::Client, Side::Upstream];

/// Probes sent to each end since it was last heard of.
pub(super) type Probes = [u8; 2];

/// Whether the stream is over. Asks an end that was silent for too long whether it is there.
pub(super) fn look(spliced: &Spliced<'_>, keepalive: &TcpTuning, probes: &mut Probes) -> Option<Ended> {
    [0, 1].iter().for_each(|&direction| spliced.tell_of_length(direction));
    let ways = [0, 1].map(|direction| spliced.pair.way(direction));
    over(ways).or_else(|| {
        (0..2).find_map(|direction| spliced.ask(direction, ways[direction], keepalive, &mut probes[direction]))
    })
}

/// Whether both ends have ended, or one has broken the stream off. Who ended first, and how, is what counts: a reset
/// behind the other's FIN is how that one says that it takes nothing any more.
fn over(ways: [&Way<AtomicU64>; 2]) -> Option<Ended> {
    let [up, down] = ways;
    let is_reset = ways.iter().any(|way| load(&way.reset) != 0);
    let finished = |fin: &AtomicU64, other: &Way<AtomicU64>| load(fin) == KNOWN | load(&other.acked);
    let both_finished = finished(&up.fin, down) && finished(&down.fin, up);
    if !is_reset && !both_finished {
        return None;
    }
    // Zero is no end.
    let ended = |way: &Way<AtomicU64>| load(&way.end_ns).wrapping_sub(1);
    let first = usize::from(ended(down) < ended(up));
    let reason = if load(&ways[first].fin) == 0 { Reason::Reset } else { Reason::Fin };
    Some(Ended { side: SIDES[first], reason })
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}

impl Spliced<'_> {
    /// Asks an end that was silent for too long, and gives it up where it does not answer.
    fn ask(&self, direction: usize, way: &Way<AtomicU64>, keepalive: &TcpTuning, probes: &mut u8) -> Option<Ended> {
        let silence = Duration::from_nanos(now_ns().saturating_sub(load(&way.active_ns)));
        let TcpTuning { keepalive_idle, keepalive_interval, keepalive_probes, .. } = *keepalive;
        let sent = u32::from(*probes);
        if silence < keepalive_idle {
            *probes = 0;
        } else if silence >= keepalive_idle + keepalive_interval * sent {
            if sent >= keepalive_probes {
                return Some(Ended { side: SIDES[direction], reason: Reason::Vanished });
            }
            *probes += 1;
            self.probe(direction);
        }
        None
    }

    /// Asks the end where `direction` begins for a sign of life, as a keepalive does (RFC 9293 section 3.8.4): with the
    /// number before the one that it waits for. The answer goes to the other end, which knows it already.
    fn probe(&self, direction: usize) {
        let number = self.expected_by(direction)[0].wrapping_sub(1);
        self.say(direction, number, false);
    }

    /// Resets both connections. A reset must have the number that its receiver waits for (RFC 5961 section 3.2): that
    /// is behind what it acknowledged, or, where it puts an acknowledgement off, behind what was sent to it.
    pub(super) fn reset_both(&self) {
        for direction in [0, 1] {
            let [acknowledged, sent] = self.expected_by(direction);
            self.say(direction, acknowledged, true);
            if sent != acknowledged {
                self.say(direction, sent, true);
            }
        }
    }

    fn expected_by(&self, direction: usize) -> [u32; 2] {
        let (way, back) = (self.pair.way(direction), self.pair.way(1 - direction));
        [low(&way.acked).wrapping_sub(low(&way.ack_add)), low(&back.end).wrapping_add(low(&back.seq_add))]
    }

    /// Sends a segment to the end where `direction` begins, in the other's name. It acknowledges what the other has.
    fn say(&self, direction: usize, seq: u32, reset: bool) {
        let back = self.pair.way(1 - direction);
        let (destination, source) = self.ends(direction);
        let timestamp = self.timestamps.then(|| low(&back.timestamp_last));
        let segment = Segment { source, destination, seq, ack: low(&back.acked), reset, timestamp };
        if let Err(error) = self.pair.splicer().sender().send(&segment) {
            tracing::debug!(%error, "a segment could not be sent");
        }
    }
}

/// A number of 32 bits in a word.
pub(super) fn low(word: &AtomicU64) -> u32 {
    u32::try_from(load(word) & 0xffff_ffff).expect("32 bits")
}
