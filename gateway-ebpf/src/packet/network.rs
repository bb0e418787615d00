//! The network headers.

use aya_ebpf::bindings::{BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM};
use aya_ebpf::programs::TcContext;
use gateway_common::packet::{Unspliced, WayKey};

use super::shared::{Shared, Sum, count};

/// Behind an Ethernet header, which the loopback interface has, too.
const NETWORK: usize = 14;
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
/// RFC 8200 section 4: hop-by-hop options, routing, fragment, destination options.
const IPV6_HOPS: u8 = 0;
const IPV6_ROUTING: u8 = 43;
const IPV6_FRAGMENT: u8 = 44;
const IPV6_DESTINATION: u8 = 60;

/// `BPF_F_IPV6` (Linux 6.16): the addresses' change is no change of the packet's sum, since IPv6 has none of its own.
const CSUM_IPV6: u64 = 1 << 7;

/// A packet's addresses, and what is to be known of its network header.
pub struct Network {
    /// The header's first word, as it stands there.
    first: u32,
    pub key: WayKey,
    /// Where the TCP header is.
    pub transport: usize,
    /// Bytes from there on.
    pub len: u32,
    pub hops: u8,
    pub is_ipv4: bool,
}

impl Network {
    /// The two bits of the first word that tell of congestion (RFC 3168 section 5).
    #[inline(always)]
    fn ecn_bits(&self) -> u32 {
        let bits: u32 = if self.is_ipv4 { 0x0003_0000 } else { 0x0030_0000 };
        bits.to_be()
    }

    /// Whether a router on the way was congested.
    #[inline(always)]
    pub fn is_marked(&self) -> bool {
        self.first & self.ecn_bits() == self.ecn_bits()
    }
}

#[inline(always)]
pub fn ipv4(ctx: &TcContext) -> Option<Network> {
    /// More fragments, or not the first one.
    const FRAGMENT: u32 = 0x3fff;
    let header: [u32; 5] = ctx.load(NETWORK).ok()?;
    let [first, fragment, third, source, destination] = header;
    let [version_and_length, _, total_high, total_low] = first.to_ne_bytes();
    let [hops, protocol, _, _] = third.to_ne_bytes();
    if protocol != TCP {
        return None;
    }
    if u32::from_be(fragment) & FRAGMENT != 0 {
        count(Unspliced::Fragment);
        return None;
    }
    if version_and_length != 0x45 {
        count(Unspliced::IpOptions);
        return None;
    }
    let mapped = 0xffff_u32.to_be();
    let total = u32::from(u16::from_be_bytes([total_high, total_low]));
    // A packet that receive offloads made larger than its length field can say has none.
    let len = if total == 0 { ctx.len() - NETWORK as u32 } else { total };
    Some(Network {
        first,
        key: [0, 0, mapped, source, 0, 0, mapped, destination, 0],
        transport: NETWORK + 20,
        len: len.checked_sub(20)?,
        hops,
        is_ipv4: true,
    })
}

#[inline(always)]
pub fn ipv6(ctx: &TcContext) -> Option<Network> {
    let [first, second]: [u32; 2] = ctx.load(NETWORK).ok()?;
    let [len_high, len_low, next, hops] = second.to_ne_bytes();
    match next {
        TCP => {}
        IPV6_FRAGMENT => {
            count(Unspliced::Fragment);
            return None;
        }
        IPV6_HOPS | IPV6_ROUTING | IPV6_DESTINATION => {
            count(Unspliced::IpOptions);
            return None;
        }
        _ => return None,
    }
    let [a, b, c, d]: [u32; 4] = ctx.load(NETWORK + 8).ok()?;
    let [e, f, g, h]: [u32; 4] = ctx.load(NETWORK + 24).ok()?;
    let len = u32::from(u16::from_be_bytes([len_high, len_low]));
    let key = [a, b, c, d, e, f, g, h, 0];
    Some(Network { first, key, transport: NETWORK + 40, len, hops, is_ipv4: false })
}

/// Rewrites the addresses, and takes a hop where the packet leaves the machine.
#[inline(always)]
pub fn addresses(ctx: &TcContext, network: &Network, way: &Shared, leaves: bool) -> Option<()> {
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

/// Says to the routers that what congests them is to be dropped, not marked.
#[inline(always)]
pub fn not_capable(ctx: &TcContext, network: &Network) -> Option<()> {
    let first = network.first & !network.ecn_bits();
    if first == network.first {
        return Some(());
    }
    // IPv4 has a sum of its own, whose change makes up for this one.
    let flags = if network.is_ipv4 { 0 } else { u64::from(BPF_F_RECOMPUTE_CSUM) };
    ctx.store(NETWORK, &first, flags).ok()?;
    if network.is_ipv4 {
        let mut header = Sum(0);
        header.change(network.first, first);
        ctx.l3_csum_replace(NETWORK + 10, 0, header.folded(), 0).ok()?;
    }
    Some(())
}
