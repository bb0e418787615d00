//! What is remembered of a segment.

use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use gateway_common::packet::{KNOWN, RESET};

use super::segment::{ACK, FIN, RST, SYN, Segment};
use super::shared::{Shared, load, store};
use crate::maps::WAY_EVENTS;

/// The longest segment, in bytes.
const SEGMENT_MAX: u64 = 64 << 10;

/// How far an acknowledgement may lag behind a later one, in bytes: the largest window that Linux offers (`tcp_rmem`),
/// and more.
const OLD_MAX: u32 = 8 << 20;

/// Notes what the receiver will accept of a segment.
#[inline(always)]
pub fn note(segment: &Segment, ack: u32, window: u32, index: u32, way: &Shared, back: &Shared) {
    store!(way, packets, load!(way, packets) + 1);
    let acked = load!(back, acked) as u32;
    let finned = u32::from(segment.flags & FIN != 0);
    let end = segment.seq.wrapping_add(segment.len).wrapping_add(finned);
    // Linux takes all of a segment that begins in the window (`tcp_sequence`, until 6.17).
    let fits = u64::from(end.wrapping_sub(acked)) <= load!(back, window) + SEGMENT_MAX;
    // What begins a connection was made a question.
    if !fits || segment.flags & SYN != 0 {
        return;
    }
    if segment.flags & RST != 0 {
        note_reset(segment, acked, index, way);
        return;
    }
    // Newer than the last acknowledgement, and not beyond what could be sent. Two processors may note segments of one
    // direction at a time, of which one is lost then: its acknowledgement makes up for it.
    let ahead = ack.wrapping_sub(load!(way, acked) as u32);
    let acknowledges = segment.flags & ACK != 0;
    let is_newer = acknowledges && u64::from(ahead) <= load!(way, window) + SEGMENT_MAX;
    let is_older = acknowledges && ahead.wrapping_neg() <= OLD_MAX;
    // Its receiver drops a segment that acknowledges what it cannot have sent, or nothing (RFC 5961 section 5.2).
    if !is_newer && !is_older {
        return;
    }
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    store!(way, active_ns, now);
    let mut tell = false;
    if is_newer {
        store!(way, acked, u64::from(ack));
        let sent = load!(back, end);
        let unseen = ack.wrapping_sub(sent as u32);
        if unseen != 0 && unseen < 1 << 31 {
            store!(back, end, sent + u64::from(unseen));
        }
        store!(way, window, u64::from(window));
        tell |= load!(back, fin) != 0;
    }
    let before = load!(way, end);
    let new = end.wrapping_sub(before as u32);
    if new != 0 && new < 1 << 31 {
        store!(way, end, before + u64::from(new));
    }
    if finned != 0 && load!(way, fin) == 0 {
        store!(way, fin, KNOWN | u64::from(end));
        ended(way);
        tell = true;
    }
    if tell {
        let _lost = WAY_EVENTS.output::<u32>(index, 0).is_err();
    }
}

/// A reset is no sign of life, and what else it says counts only where its receiver accepts it: nobody then wants to
/// know.
///
/// The number that the receiver waits for (RFC 5961 section 3.2) is what it has acknowledged where nothing is on its
/// way to it. Where something is, it is that number, or the one behind everything, or one between the two. That one is
/// not worth as many guesses as the window has numbers: the keepalive finds out. And which of the two it was, user
/// space finds out, by whether the receiver lives on.
#[inline(always)]
fn note_reset(segment: &Segment, acked: u32, index: u32, way: &Shared) {
    let behind = load!(way, end) as u32;
    if load!(way, reset) == RESET || (segment.seq != acked && segment.seq != behind) {
        return;
    }
    if acked == behind {
        store!(way, reset, RESET);
        ended(way);
    } else {
        store!(way, reset, exactly_now());
    }
    let _lost = WAY_EVENTS.output::<u32>(index, 0).is_err();
}

/// Notes the time of a direction's first end.
#[inline(always)]
fn ended(way: &Shared) {
    if load!(way, end_ns) == 0 {
        store!(way, end_ns, exactly_now());
    }
}

/// Two ends may come within a tick of the coarse clock, and the first of them is the one that counts.
#[inline(always)]
fn exactly_now() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() }
}
