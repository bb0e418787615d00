//! How a spliced stream ends: by its ends, by the silence of one of them, or by us.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gateway_common::packet::{KNOWN, RESET, Way};

use super::asked::{Asked, Question};
use super::segment::Segment;
use super::{Ended, Reason, Side, Spliced};
use crate::sys::TcpTuning;
use crate::sys::repair::{now_ns, since};

/// By direction.
const SIDES: [Side; 2] = [Side::Client, Side::Upstream];

/// How long after a reset that may have been refused nothing is on its way any more that its receiver said before.
const DOUBT: Duration = Duration::from_secs(1);

/// Whether the stream is over. Asks an end that was silent for too long whether it is there.
pub(super) fn look(spliced: &Spliced<'_>, keepalive: &TcpTuning) -> Option<Ended> {
    [0, 1].iter().for_each(|&direction| spliced.tell_of_length(direction));
    let ways = [0, 1].map(|direction| spliced.pair.way(direction));
    over(ways).or_else(|| (0..2).find_map(|direction| spliced.ask(direction, ways, keepalive)))
}

/// Whether both ends have ended, or one has broken the stream off. Who ended first, and how, is what counts: a reset
/// behind the other's FIN is how that one says that it takes nothing any more. Two resets of which each may have been
/// refused are taken for one that was not.
fn over(ways: [&Way<AtomicU64>; 2]) -> Option<Ended> {
    let [up, down] = ways;
    let is_reset = ways.iter().any(|way| load(&way.reset) == RESET) || ways.iter().all(|way| load(&way.reset) != 0);
    let finished = |fin: &AtomicU64, other: &Way<AtomicU64>| load(fin) == KNOWN | load(&other.acked);
    let both_finished = finished(&up.fin, down) && finished(&down.fin, up);
    if !is_reset && !both_finished {
        return None;
    }
    // Zero is no end.
    let ended = |way: &Way<AtomicU64>| {
        let times = [load(&way.end_ns), doubtful(way).unwrap_or(0)];
        times.map(|time| time.wrapping_sub(1)).into_iter().min()
    };
    let first = usize::from(ended(down) < ended(up));
    let reason = if load(&ways[first].fin) == 0 { Reason::Reset } else { Reason::Fin };
    Some(Ended { side: SIDES[first], reason })
}

/// When a direction was reset by a number of which its receiver alone knows whether it was the right one.
fn doubtful(way: &Way<AtomicU64>) -> Option<u64> {
    Some(load(&way.reset)).filter(|&word| word > RESET)
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}

impl Spliced<'_> {
    /// Asks an end that was silent for too long, or that may have been reset, and gives it up where it does not answer.
    fn ask(&self, direction: usize, ways: [&Way<AtomicU64>; 2], keepalive: &TcpTuning) -> Option<Ended> {
        let way = ways[direction];
        let is_doubted = is_doubted(way, ways[1 - direction]);
        let idle = if is_doubted { Duration::ZERO } else { keepalive.keepalive_idle };
        let asked = Asked::of(load(&way.asked));
        match asked.next(now_ns(), load(&way.active_ns), idle, keepalive) {
            Question::None => None,
            Question::Ask(asked) => {
                way.asked.store(asked.word(), Ordering::Relaxed);
                self.probe(direction);
                None
            }
            Question::Vain => Some(Ended { side: SIDES[direction], reason: Reason::Vanished }),
        }
    }

    /// Asks the end where `direction` begins for a sign of life, as a keepalive does (RFC 9293 section 3.8.4): with the
    /// number before the one that it waits for. The answer goes to the other end, which knows it already.
    fn probe(&self, direction: usize) {
        let number = self.expected_by(direction)[0].wrapping_sub(1);
        self.say(direction, number, false);
    }

    /// Whether an end may not know that the stream is over: we have ended it, or it was reset by numbers that may have
    /// been wrong.
    pub(super) fn is_untold(&self, ended: Ended) -> bool {
        let is_certain = || [0, 1].iter().any(|&direction| load(&self.pair.way(direction).reset) == RESET);
        match ended.reason {
            Reason::Fin => false,
            Reason::Reset => !is_certain(),
            _ => true,
        }
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
        if let Err(error) = self.pair.splicer().sender().send(&segment.packet(), destination.ip()) {
            tracing::debug!(%error, "a segment could not be sent");
        }
    }
}

/// Whether it is time to ask an end, whose packets `way` has, if the reset that `back` brought it has ended it. Where
/// it has been heard since, it has refused it, and the reset is forgotten.
fn is_doubted(way: &Way<AtomicU64>, back: &Way<AtomicU64>) -> bool {
    let Some(then) = doubtful(back) else { return false };
    let doubt_ns = u64::try_from(DOUBT.as_nanos()).expect("a second");
    if load(&way.active_ns) >= then.saturating_add(doubt_ns) {
        // One that came meanwhile stays.
        let _other = back.reset.compare_exchange(then, 0, Ordering::AcqRel, Ordering::Relaxed).is_err();
        return false;
    }
    since(then) >= DOUBT
}

/// A number of 32 bits in a word.
pub(super) fn low(word: &AtomicU64) -> u32 {
    u32::try_from(load(word) & 0xffff_ffff).expect("32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both directions, of which the first begins at the client.
    #[derive(Default)]
    struct Stream([Way<AtomicU64>; 2]);

    impl Stream {
        fn over(&self) -> Option<(Side, Reason)> {
            over(self.0.each_ref()).map(|ended| (ended.side, ended.reason))
        }

        fn set(&self, direction: usize, word: fn(&Way<AtomicU64>) -> &AtomicU64, value: u64) {
            word(&self.0[direction]).store(value, Ordering::Relaxed);
        }
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_stream_is_over_when_both_ends_are_acknowledged_and_the_first_of_them_counts() {
        let stream = Stream::default();
        for (direction, fin, end_ns) in [(0, 100, 2 * SECOND), (1, 200, SECOND)] {
            stream.set(direction, |way| &way.fin, KNOWN | fin);
            stream.set(direction, |way| &way.end_ns, end_ns);
        }
        assert_eq!(stream.over(), None);
        stream.set(1, |way| &way.acked, 100);
        assert_eq!(stream.over(), None);
        stream.set(0, |way| &way.acked, 200);
        assert_eq!(stream.over(), Some((Side::Upstream, Reason::Fin)));
    }

    #[test]
    fn a_certain_reset_is_the_end_and_a_doubtful_one_is_none() {
        let stream = Stream::default();
        stream.set(0, |way| &way.reset, 5 * SECOND);
        assert_eq!(stream.over(), None);
        // The answer of the pod's host, which had accepted it: the client was first.
        stream.set(1, |way| &way.reset, RESET);
        stream.set(1, |way| &way.end_ns, 6 * SECOND);
        assert_eq!(stream.over(), Some((Side::Client, Reason::Reset)));
    }

    #[test]
    fn two_doubtful_resets_are_an_end() {
        let stream = Stream::default();
        stream.set(0, |way| &way.reset, 6 * SECOND);
        stream.set(1, |way| &way.reset, 5 * SECOND);
        assert_eq!(stream.over(), Some((Side::Upstream, Reason::Reset)));
    }

    #[test]
    fn whoever_is_heard_long_after_a_reset_has_refused_it() {
        let stream = Stream::default();
        let [up, down] = &stream.0;
        let then = now_ns().wrapping_sub(3 * SECOND);
        assert!(!is_doubted(down, up), "nobody was reset");
        stream.set(0, |way| &way.reset, then);
        stream.set(1, |way| &way.active_ns, then.wrapping_add(SECOND / 2));
        assert!(is_doubted(down, up), "it was on its way before");
        stream.set(1, |way| &way.active_ns, then.wrapping_add(SECOND));
        assert!(!is_doubted(down, up) && load(&up.reset) == 0);
        // Just now: there is nothing to ask yet.
        stream.set(0, |way| &way.reset, now_ns());
        assert!(!is_doubted(down, up) && load(&up.reset) != 0);
    }
}
