//! A direction's words, and the sums that its changes make.

use aya_ebpf::bindings::TC_ACT_SHOT;
use gateway_common::packet::{HELD, KNOWN, SHUT, Unspliced, WATCHED, Way};

use super::segment::{FIN, RST, SYN, Segment};
use crate::maps::UNSPLICED;
use crate::sockmap::fetch_add;

/// A direction in the memory that user space has too.
pub struct Shared {
    pub way: *mut Way<u64>,
}

/// Reads a word of a direction.
macro_rules! load {
    ($shared:expr, $field:ident) => {{
        // SAFETY: the pointer is that of a map value that was found, and the map outlives the program.
        let field = unsafe { &raw const (*$shared.way).$field };
        // SAFETY: as above; a 64-bit word is read whole.
        unsafe { core::ptr::read_volatile(field) }
    }};
}

/// Writes a word of a direction that user space only reads.
macro_rules! store {
    ($shared:expr, $field:ident, $value:expr) => {{
        let value = $value;
        // SAFETY: the pointer is that of a map value that was found, and the map outlives the program.
        let field = unsafe { &raw mut (*$shared.way).$field };
        // SAFETY: as above; a 64-bit word is written whole.
        unsafe { core::ptr::write_volatile(field, value) }
    }};
}

pub(super) use {load, store};

/// Counts a packet that is not spliced.
#[inline(always)]
pub fn count(reason: Unspliced) {
    if let Some(count) = UNSPLICED.get_ptr_mut(reason as u32) {
        // SAFETY: the pointer is that of a map value that was found; it is this processor's own.
        unsafe { *count += 1 };
    }
}

impl Shared {
    /// Whether a segment goes up to its socket. It is counted first and judged then, with a barrier between the two:
    /// user space, which shuts the direction first and reads the count then, misses none that still goes up.
    #[inline(always)]
    pub fn takes_up(&self, segment: &Segment) -> bool {
        if !matches!(load!(self, state), WATCHED | HELD | SHUT) {
            return false;
        }
        // SAFETY: the pointer is that of a map value that was found, and the map outlives the program.
        let passed = unsafe { &raw mut (*self.way).passed };
        // SAFETY: as above, and the word is aligned.
        unsafe { fetch_add(passed, 1) };
        match load!(self, state) {
            WATCHED => true,
            HELD => segment.len == 0 && segment.flags & (FIN | SYN) == 0,
            SHUT => segment.flags & RST != 0,
            _ => false,
        }
    }

    /// Drops a packet.
    #[inline(always)]
    pub fn drop(&self, reason: Unspliced) -> i32 {
        store!(self, dropped, load!(self, dropped) + 1);
        count(reason);
        TC_ACT_SHOT
    }

    /// Source and destination, new.
    #[inline(always)]
    pub fn addresses(&self) -> [u32; 8] {
        let [a, b] = load!(self, source);
        let [c, d] = load!(self, destination);
        [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32, c as u32, (c >> 32) as u32, d as u32, (d >> 32) as u32]
    }

    /// A timestamp in the clock of the receiver. The first fixes the difference of the clocks; two that come at once
    /// on two processors differ by less than what the difference leaves as room.
    #[inline(always)]
    pub fn timestamp(&self, value: u32) -> u32 {
        let mut add = load!(self, timestamp_add);
        if add & KNOWN == 0 {
            add = KNOWN | u64::from((load!(self, timestamp_start) as u32).wrapping_sub(value));
            store!(self, timestamp_add, add);
        }
        let value = value.wrapping_add(add as u32);
        store!(self, timestamp_last, u64::from(value));
        value
    }

    /// An echo of this direction's timestamp in the clock of its sender. What echoes the gateway's own clock, from
    /// before the hand-over, becomes zero, which is no echo (RFC 7323 section 3.2, `tcp_ack_update_rtt`).
    #[inline(always)]
    pub fn echo(&self, value: u32) -> u32 {
        let add = load!(self, timestamp_add);
        let is_older = value.wrapping_sub(load!(self, timestamp_start) as u32) >= 1 << 31;
        if add & KNOWN == 0 || is_older { 0 } else { value.wrapping_sub(add as u32) }
    }
}

/// A change of a checksum, in the Internet's ones' complement (RFC 1624), not yet folded.
pub struct Sum(pub u64);

impl Sum {
    #[inline(always)]
    pub fn change(&mut self, old: u32, new: u32) {
        self.0 += u64::from(!old) + u64::from(new);
    }

    /// As the helpers want a difference.
    #[inline(always)]
    pub fn folded(&self) -> u64 {
        let once = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        (once & 0xffff_ffff) + (once >> 32)
    }
}
