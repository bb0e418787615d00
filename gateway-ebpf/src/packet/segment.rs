//! The TCP header and its options.

use aya_ebpf::programs::TcContext;

use gateway_common::packet::TIMESTAMPS as HAS_TIMESTAMPS;

use super::network::Network;
use super::shared::{Shared, Sum, load};

pub const FIN: u32 = 0x01;
pub const SYN: u32 = 0x02;
pub const RST: u32 = 0x04;
pub const ACK: u32 = 0x10;
/// RFC 3168 section 6.1: congestion was met, and is answered.
pub const ECE: u32 = 0x40;
pub const CWR: u32 = 0x80;

/// NOP, NOP, timestamps of 10 bytes: the order that RFC 7323 appendix A recommends, and everybody uses.
const TIMESTAMPS: u32 = 0x0101_080a;
/// NOP, NOP, SACK of any length.
const SACK: u32 = 0x0101_0500;

/// What a TCP header says.
pub struct Segment {
    pub seq: u32,
    pub ack: u32,
    pub flags: u32,
    pub window: u32,
    /// Bytes of the header.
    pub header: u32,
    /// Bytes behind it.
    pub len: u32,
}

impl Segment {
    #[inline(always)]
    pub fn read(header: &[u32; 5], len: u32) -> Option<Self> {
        let fourth = u32::from_be(header[3]);
        let bytes = (fourth >> 28) * 4;
        Some(Self {
            seq: u32::from_be(header[1]),
            ack: u32::from_be(header[2]),
            flags: (fourth >> 16) & 0xff,
            window: fourth & 0xffff,
            header: bytes,
            len: len.checked_sub(bytes)?,
        })
    }
}

/// Rewrites timestamps and SACK blocks. `None` where the options come in an order that nobody uses.
#[inline(always)]
pub fn options(
    ctx: &TcContext,
    network: &Network,
    segment: &Segment,
    way: &Shared,
    back: &Shared,
    sum: &mut Sum,
) -> Option<()> {
    // What becomes of a SYN is answered whatever its options.
    if segment.flags & SYN != 0 {
        return Some(());
    }
    let mut at = network.transport + 20;
    let mut left = segment.header - 20;
    let mut first = u32::from_be(ctx.load(at).ok()?);
    if first == TIMESTAMPS && left >= 12 {
        let old: [u32; 2] = ctx.load(at + 4).ok()?;
        let value = way.timestamp(u32::from_be(old[0]));
        let echo = back.echo(u32::from_be(old[1]));
        let new = [value.to_be(), echo.to_be()];
        sum.change(old[0], new[0]);
        sum.change(old[1], new[1]);
        ctx.store(at + 4, &new, 0).ok()?;
        at += 12;
        left -= 12;
        if left == 0 {
            return Some(());
        }
        first = u32::from_be(ctx.load(at).ok()?);
    } else if load!(way, agreed) & HAS_TIMESTAMPS != 0 {
        return None;
    }
    if first & 0xffff_ff00 != SACK {
        return None;
    }
    let add = load!(way, ack_add) as u32;
    for block in 0..4 {
        if left < 12 + 8 * block {
            break;
        }
        let edges = at + 4 + 8 * block as usize;
        let old: [u32; 2] = ctx.load(edges).ok()?;
        let new = [u32::from_be(old[0]).wrapping_add(add).to_be(), u32::from_be(old[1]).wrapping_add(add).to_be()];
        sum.change(old[0], new[0]);
        sum.change(old[1], new[1]);
        ctx.store(edges, &new, 0).ok()?;
    }
    Some(())
}
