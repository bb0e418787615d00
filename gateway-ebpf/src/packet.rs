//! The packet engine: segments of two spliced TCP connections are rewritten, and sent on.
//!
//! The connections become one. Its ends judge everything themselves: what is out of their window, acknowledges what was
//! never sent, or resets it without the right number, is for them to refuse, so it is sent on like everything else.
//! What is noted here is noted only if they would accept it.
//!
//! But no SYN gets to an end. One that has no connection any more would begin another one with it, past the gateway.
//! The SYN becomes a question, as a keepalive asks it, and the end's answer is the one that a SYN within a connection
//! gets (RFC 5961 section 4.2): a sender that has begun anew denies it with a reset.
//!
//! Segments of no stream are left to whoever comes next (`TC_ACT_UNSPEC`). So are fragments, and what has IP options.

mod network;
mod note;
mod segment;
mod shared;

use core::ptr::null_mut;

use aya_ebpf::bindings::{TC_ACT_UNSPEC, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1 as Next};
use aya_ebpf::helpers::{bpf_check_mtu, bpf_redirect_neigh};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use gateway_common::packet::{HELD, LOOPBACK, NO_ECN, NOWHERE, SHUT, SPLICED, Unspliced};

use crate::maps::{WAY_EVENTS, WAY_INDICES, WAYS};
use network::{IPV4, IPV6, Network};
use segment::{ACK, CWR, ECE, SYN, Segment};
use shared::{Shared, Sum, count, load, store};

/// `BPF_MTU_CHK_SEGS`: of a packet that is to be cut into segments, those count.
const SEGMENTS: u64 = 1;

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
        IPV4 => network::ipv4(ctx)?,
        IPV6 => network::ipv6(ctx)?,
        _ => return None,
    };
    let header: [u32; 5] = ctx.load(network.transport).ok()?;
    network.key[8] = header[0];
    // SAFETY: the value is copied at once, and entries are only ever added and removed whole.
    let index = unsafe { WAY_INDICES.get(network.key) }.copied()?;
    let way = Shared { way: WAYS.get_ptr_mut(index)? };
    let back = Shared { way: WAYS.get_ptr_mut(index ^ 1)? };
    let Some(segment) = Segment::read(&header, network.len) else {
        count(Unspliced::Malformed);
        return None;
    };
    if way.takes_up(&segment) {
        return None;
    }
    match load!(way, state) {
        HELD | SHUT => Some(way.drop(Unspliced::Held)),
        SPLICED => Some(forward(ctx, &network, &header, &segment, index, &way, &back)),
        _ => None,
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
    let leaves = device != LOOPBACK;
    let no_ecn = load!(way, agreed) & NO_ECN != 0;
    if no_ecn && network.is_marked() {
        return way.drop(Unspliced::Congested);
    }
    if leaves && let Some(reason) = stays(ctx, network, device, index, way) {
        return way.drop(reason);
    }
    let mut sum = Sum(0);
    let ack = segment.ack.wrapping_add(load!(way, ack_add) as u32);
    let window = segment.window << (load!(way, scale_in) & 15);
    let scaled = (window >> (load!(way, scale_out) & 15)).min(0xffff);
    let mut new = [
        load!(way, ports) as u32,
        segment.seq.wrapping_add(load!(way, seq_add) as u32).to_be(),
        // Without the flag the number means nothing.
        if segment.flags & ACK == 0 { header[2] } else { ack.to_be() },
        ((u32::from_be(header[3]) & 0xffff_0000) | scaled).to_be(),
    ];
    if segment.flags & SYN != 0 {
        if segment.len > 0 {
            return way.drop(Unspliced::Malformed);
        }
        // Before what the end has acknowledged, so it can only be answered (RFC 9293 section 3.10.7.4).
        let known = (load!(back, acked) as u32).wrapping_sub(1).wrapping_add(load!(way, seq_add) as u32);
        new[1] = known.to_be();
        new[2] = (load!(way, acked) as u32).to_be();
        new[3] = ((segment.header << 26) | (ACK << 16) | segment.window).to_be();
    }
    if no_ecn {
        new[3] &= !((ECE | CWR) << 16).to_be();
    }
    for (old, new) in header.iter().zip(&new) {
        sum.change(*old, *new);
    }
    if segment.header > 20 && segment::options(ctx, network, segment, way, back, &mut sum).is_none() {
        return way.drop(Unspliced::TcpOptions);
    }
    if ctx.store(network.transport, &new, 0).is_err()
        || ctx.l4_csum_replace(network.transport + 16, 0, sum.folded(), 0).is_err()
        || network::addresses(ctx, network, way, leaves).is_none()
        || (no_ecn && network::not_capable(ctx, network).is_none())
    {
        return way.drop(Unspliced::Refused);
    }
    note::note(segment, ack, window, index, way, back);
    // SAFETY: the program's own context.
    let arrived_through = unsafe { (*ctx.skb.skb).ifindex };
    match device {
        // What was sent on this machine has its route with it.
        LOOPBACK if arrived_through == LOOPBACK => TC_ACT_UNSPEC,
        LOOPBACK => bring_home(network, way),
        // SAFETY: without parameters the helper looks for the route, and for the neighbour on it.
        _ => unsafe { bpf_redirect_neigh(device, null_mut(), 0, 0) as i32 },
    }
}

/// Brings a packet from outside to its receiver on this machine. The IP stack takes none from there whose source is an
/// address of its own machine, so it goes out once more through the loopback interface.
#[inline(always)]
fn bring_home(network: &Network, way: &Shared) -> i32 {
    /// As include/linux/socket.h has it.
    const AF_INET: u32 = 2;
    const LOOPBACK_NETWORK: u8 = 127;
    let destination = way.addresses()[7];
    if !network.is_ipv4 || destination.to_ne_bytes()[0] == LOOPBACK_NETWORK {
        // The route that the helper finds on the way out stays with the packet, and nobody asks for its source.
        // SAFETY: as above.
        return unsafe { bpf_redirect_neigh(LOOPBACK, null_mut(), 0, 0) as i32 };
    }
    // Other addresses have no route through this interface (`fib_lookup_good_nhc`); their packets get theirs as they
    // come in again, where net.ipv4.conf.lo.accept_local lets them.
    let mut next = bpf_redir_neigh { nh_family: AF_INET, __bindgen_anon_1: Next { ipv4_nh: destination } };
    // SAFETY: the helper reads the parameters, whose size is told.
    unsafe { bpf_redirect_neigh(LOOPBACK, &raw mut next, size_of::<bpf_redir_neigh>() as i32, 0) as i32 }
}

/// Why a packet cannot leave the machine, if it cannot.
#[inline(always)]
fn stays(ctx: &TcContext, network: &Network, device: u32, index: u32, way: &Shared) -> Option<Unspliced> {
    if device == NOWHERE {
        Some(Unspliced::NoRoute)
    } else if network.hops <= 1 {
        Some(Unspliced::Hops)
    } else if !fits(ctx, device, index, way) {
        Some(Unspliced::TooLong)
    } else {
        None
    }
}

/// Whether the interface takes a packet of this length. Sending on past the IP stack does not ask.
#[inline(always)]
fn fits(ctx: &TcContext, device: u32, index: u32, way: &Shared) -> bool {
    let mut mtu = 0;
    // SAFETY: the helper reads and writes the number, and takes the program's own context.
    let too_long = unsafe { bpf_check_mtu(ctx.skb.skb.cast(), device, &raw mut mtu, 0, SEGMENTS) };
    // What it cannot tell (a negative number) it does not forbid.
    if too_long <= 0 {
        return true;
    }
    store!(way, mtu, u64::from(mtu));
    let _lost = WAY_EVENTS.output::<u32>(index, 0).is_err();
    false
}
