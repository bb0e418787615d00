//! The packet engine: segments of two spliced TCP connections are rewritten, and sent on.
//!
//! The connections become one. Its ends judge everything themselves: what is out of their window, acknowledges what was
//! never sent, or resets without the right number, is for them to refuse, so it is sent on like everything else. What
//! is noted here is noted only if they would accept it.
//!
//! Segments of no stream are left to whoever comes next (`TC_ACT_UNSPEC`). So are fragments, and what has IP options.

use core::ptr::{null_mut, read_volatile, write_volatile};

use aya_ebpf::bindings::{BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_redirect_neigh};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use gateway_common::packet::{HELD, KNOWN, SPLICED, Way, WayKey};

use crate::maps::{WAY_EVENTS, WAY_INDICES, WAYS};

/// Behind an Ethernet header, which the loopback interface has, too.
const NETWORK: usize = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;

const FIN: u32 = 0x01;
const SYN: u32 = 0x02;
const RST: u32 = 0x04;
const ACK: u32 = 0x10;

/// NOP, NOP, timestamps of 10 bytes: the order that RFC 7323 appendix A recommends, and everybody uses.
const TIMESTAMPS: u32 = 0x0101_080a;
/// NOP, NOP, SACK of any length.
const SACK: u32 = 0x0101_0500;

/// The longest segment, in bytes.
const SEGMENT_MAX: u64 = 64 << 10;

/// `BPF_F_IPV6` (Linux 6.16): the addresses' change is no change of the packet's sum, since IPv6 has none of its own.
const CSUM_IPV6: u64 = 1 << 7;

/// A direction in the memory that user space has too.
struct Shared {
    way: *mut Way<u64>,
}

/// Reads a word of a direction.
macro_rules! load {
    ($shared:expr, $field:ident) => {{
        // SAFETY: the pointer is that of a map value that was found, and the map outlives the program.
        let field = unsafe { &raw const (*$shared.way).$field };
        // SAFETY: as above; a 64-bit word is read whole.
        unsafe { read_volatile(field) }
    }};
}

/// Writes a word of a direction that user space only reads.
macro_rules! store {
    ($shared:expr, $field:ident, $value:expr) => {{
        let value = $value;
        // SAFETY: the pointer is that of a map value that was found, and the map outlives the program.
        let field = unsafe { &raw mut (*$shared.way).$field };
        // SAFETY: as above; a 64-bit word is written whole.
        unsafe { write_volatile(field, value) }
    }};
}

/// A packet's addresses, and what is to be known of its network header.
struct Network {
    key: WayKey,
    /// Where the TCP header is.
    transport: usize,
    /// Bytes from there on.
    len: u32,
    hops: u8,
    is_ipv4: bool,
}

/// Runs for every packet that arrives on an interface.
#[classifier]
pub fn packet_ingress(ctx: TcContext) -> i32 {
    splice(&ctx).unwrap_or(TC_ACT_UNSPEC)
}

#[inline(always)]
fn splice(ctx: &TcContext) -> Option<i32> {
    // SAFETY: the program's own context.
    let protocol = unsafe { (*ctx.skb.skb).protocol };
    let mut network = match u16::from_be(protocol as u16) {
        IPV4 => ipv4(ctx)?,
        IPV6 => ipv6(ctx)?,
        _ => return None,
    };
    let header: [u32; 5] = ctx.load(network.transport).ok()?;
    network.key[8] = header[0];
    // SAFETY: the value is copied at once, and entries are only ever added and removed whole.
    let index = unsafe { WAY_INDICES.get(network.key) }.copied()?;
    let way = Shared { way: WAYS.get_ptr_mut(index)? };
    let back = Shared { way: WAYS.get_ptr_mut(index ^ 1)? };
    let segment = Segment::read(&header, network.len)?;
    match load!(way, state) {
        HELD if segment.len > 0 || segment.flags & (FIN | SYN) != 0 => Some(way.drop()),
        SPLICED => Some(forward(ctx, &network, &header, &segment, index, &way, &back)),
        _ => None,
    }
}

#[inline(always)]
fn ipv4(ctx: &TcContext) -> Option<Network> {
    /// More fragments, or not the first one.
    const FRAGMENT: u32 = 0x3fff;
    let header: [u32; 5] = ctx.load(NETWORK).ok()?;
    let [first, fragment, third, source, destination] = header;
    let [version_and_length, _, total_high, total_low] = first.to_ne_bytes();
    let [hops, protocol, _, _] = third.to_ne_bytes();
    if version_and_length != 0x45 || u32::from_be(fragment) & FRAGMENT != 0 || protocol != TCP {
        return None;
    }
    let mapped = 0xffff_u32.to_be();
    let total = u32::from(u16::from_be_bytes([total_high, total_low]));
    // A packet that receive offloads made larger than its length field can say has none.
    let len = if total == 0 { ctx.len() - NETWORK as u32 } else { total };
    Some(Network {
        key: [0, 0, mapped, source, 0, 0, mapped, destination, 0],
        transport: NETWORK + 20,
        len: len.checked_sub(20)?,
        hops,
        is_ipv4: true,
    })
}

#[inline(always)]
fn ipv6(ctx: &TcContext) -> Option<Network> {
    let [_, second]: [u32; 2] = ctx.load(NETWORK).ok()?;
    let [len_high, len_low, next, hops] = second.to_ne_bytes();
    if next != TCP {
        return None;
    }
    let [a, b, c, d]: [u32; 4] = ctx.load(NETWORK + 8).ok()?;
    let [e, f, g, h]: [u32; 4] = ctx.load(NETWORK + 24).ok()?;
    let len = u32::from(u16::from_be_bytes([len_high, len_low]));
    let key = [a, b, c, d, e, f, g, h, 0];
    Some(Network { key, transport: NETWORK + 40, len, hops, is_ipv4: false })
}

/// What a TCP header says.
struct Segment {
    seq: u32,
    ack: u32,
    flags: u32,
    window: u32,
    /// Bytes of the header.
    header: u32,
    /// Bytes behind it.
    len: u32,
}

impl Segment {
    #[inline(always)]
    fn read(header: &[u32; 5], len: u32) -> Option<Self> {
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

/// Rewrites a segment and sends it on.
#[inline(always)]
fn forward(
    ctx: &TcContext,
    network: &Network,
    header: &[u32; 5],
    segment: &Segment,
    index: u32,
    way: &Shared,
    back: &Shared,
) -> i32 {
    let device = load!(way, device) as u32;
    if device != 0 && network.hops <= 1 {
        return way.drop();
    }
    let mut sum = Sum(0);
    let ack = segment.ack.wrapping_add(load!(way, ack_add) as u32);
    let window = segment.window << (load!(way, scale_in) & 15);
    let scaled = (window >> (load!(way, scale_out) & 15)).min(0xffff);
    let shown = if segment.flags & SYN == 0 { scaled } else { segment.window };
    let new = [
        load!(way, ports) as u32,
        segment.seq.wrapping_add(load!(way, seq_add) as u32).to_be(),
        // Without the flag the number means nothing.
        if segment.flags & ACK == 0 { header[2] } else { ack.to_be() },
        ((u32::from_be(header[3]) & 0xffff_0000) | shown).to_be(),
    ];
    for (old, new) in header.iter().zip(&new) {
        sum.change(*old, *new);
    }
    if segment.header > 20 && options(ctx, network, segment, way, back, &mut sum).is_none() {
        return way.drop();
    }
    if ctx.store(network.transport, &new, 0).is_err()
        || ctx.l4_csum_replace(network.transport + 16, 0, sum.folded(), 0).is_err()
        || addresses(ctx, network, way, device != 0).is_none()
    {
        return way.drop();
    }
    note(segment, ack, window, index, way, back);
    if device == 0 {
        return TC_ACT_UNSPEC;
    }
    // SAFETY: without parameters the helper looks the neighbour up by the packet's destination.
    unsafe { bpf_redirect_neigh(device, null_mut(), 0, 0) as i32 }
}

/// Rewrites timestamps and SACK blocks. `None` where the options come in an order that nobody uses.
#[inline(always)]
fn options(
    ctx: &TcContext,
    network: &Network,
    segment: &Segment,
    way: &Shared,
    back: &Shared,
    sum: &mut Sum,
) -> Option<()> {
    // The ends answer a SYN within a connection with an acknowledgement (RFC 5961 section 4), whatever its options.
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
    } else if load!(way, timestamps) != 0 {
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

/// Rewrites the addresses, and takes a hop where the packet leaves the machine.
#[inline(always)]
fn addresses(ctx: &TcContext, network: &Network, way: &Shared, leaves: bool) -> Option<()> {
    let mut pseudo = Sum(0);
    let new = way.addresses();
    for (old, new) in network.key.iter().zip(&new) {
        pseudo.change(*old, *new);
    }
    let checksum = network.transport + 16;
    if network.is_ipv4 {
        ctx.store(NETWORK + 12, &[new[3], new[7]], 0).ok()?;
        let mut header = Sum(pseudo.0);
        if leaves {
            header.change(u32::from(network.hops), u32::from(network.hops - 1));
            ctx.store(NETWORK + 8, &(network.hops - 1), 0).ok()?;
        }
        ctx.l3_csum_replace(NETWORK + 10, 0, header.folded(), 0).ok()?;
        return ctx.l4_csum_replace(checksum, 0, pseudo.folded(), u64::from(BPF_F_PSEUDO_HDR)).ok();
    }
    ctx.store(NETWORK + 8, &new, 0).ok()?;
    if leaves {
        ctx.store(NETWORK + 7, &(network.hops - 1), 0).ok()?;
    }
    let flags = u64::from(BPF_F_PSEUDO_HDR);
    // A kernel that does not know the flag refuses it, and changes nothing.
    let known = ctx.l4_csum_replace(checksum, 0, pseudo.folded(), flags | CSUM_IPV6);
    known.or_else(|_| ctx.l4_csum_replace(checksum, 0, pseudo.folded(), flags)).ok()
}

/// Notes what the receiver will accept of a segment.
#[inline(always)]
fn note(segment: &Segment, ack: u32, window: u32, index: u32, way: &Shared, back: &Shared) {
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    store!(way, active_ns, now);
    store!(way, packets, load!(way, packets) + 1);
    let mut tell = false;
    // Newer than the last acknowledgement, and not beyond what could be sent. Two processors may note segments of one
    // direction at a time, of which one is lost then: its acknowledgement makes up for it.
    let allowed = load!(way, window) + SEGMENT_MAX;
    if segment.flags & ACK != 0 && u64::from(ack.wrapping_sub(load!(way, acked) as u32)) <= allowed {
        store!(way, acked, u64::from(ack));
        let sent = load!(back, end);
        let unseen = ack.wrapping_sub(sent as u32);
        if unseen != 0 && unseen < 1 << 31 {
            store!(back, end, sent + u64::from(unseen));
        }
        store!(way, window, u64::from(window));
        tell |= load!(back, fin) != 0;
    }
    let acked = load!(back, acked) as u32;
    let finned = u32::from(segment.flags & FIN != 0);
    let end = segment.seq.wrapping_add(segment.len).wrapping_add(finned);
    let before = load!(way, end);
    let new = end.wrapping_sub(before as u32);
    // Linux takes all of a segment that begins in the window (`tcp_sequence`, until 6.17).
    let fits = u64::from(end.wrapping_sub(acked)) <= load!(back, window) + SEGMENT_MAX;
    if fits && new != 0 && new < 1 << 31 {
        store!(way, end, before + u64::from(new));
    }
    if fits && finned != 0 && load!(way, fin) == 0 {
        store!(way, fin, KNOWN | u64::from(end));
        if load!(way, end_ns) == 0 {
            store!(way, end_ns, now);
        }
        tell = true;
    }
    if segment.flags & RST != 0 && segment.seq.wrapping_sub(acked) <= (before as u32).wrapping_sub(acked) {
        store!(way, reset, 1);
        if load!(way, end_ns) == 0 {
            store!(way, end_ns, now);
        }
        tell = true;
    }
    if tell {
        let _lost = WAY_EVENTS.output::<u32>(index, 0).is_err();
    }
}

/// A change of a checksum, in the Internet's ones' complement (RFC 1624), not yet folded.
struct Sum(u64);

impl Sum {
    #[inline(always)]
    fn change(&mut self, old: u32, new: u32) {
        self.0 += u64::from(!old) + u64::from(new);
    }

    /// As the helpers want a difference.
    #[inline(always)]
    fn folded(&self) -> u64 {
        let once = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        (once & 0xffff_ffff) + (once >> 32)
    }
}

impl Shared {
    #[inline(always)]
    fn drop(&self) -> i32 {
        store!(self, dropped, load!(self, dropped) + 1);
        TC_ACT_SHOT
    }

    /// Source and destination, new.
    #[inline(always)]
    fn addresses(&self) -> [u32; 8] {
        let [a, b] = load!(self, source);
        let [c, d] = load!(self, destination);
        [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32, c as u32, (c >> 32) as u32, d as u32, (d >> 32) as u32]
    }

    /// A timestamp in the clock of the receiver. The first fixes the difference of the clocks; two that come at once
    /// on two processors differ by less than what the difference leaves as room.
    #[inline(always)]
    fn timestamp(&self, value: u32) -> u32 {
        let mut add = load!(self, timestamp_add);
        if add & KNOWN == 0 {
            add = KNOWN | u64::from((load!(self, timestamp_start) as u32).wrapping_sub(value));
            store!(self, timestamp_add, add);
        }
        let value = value.wrapping_add(add as u32);
        store!(self, timestamp_last, u64::from(value));
        value
    }

    /// An echo of this direction's timestamp in the clock of its sender. Zero is no echo (RFC 7323 section 3.2): it
    /// would be one of the gateway's own clock.
    #[inline(always)]
    fn echo(&self, value: u32) -> u32 {
        let add = load!(self, timestamp_add);
        if add & KNOWN == 0 { 0 } else { value.wrapping_sub(add as u32) }
    }
}
