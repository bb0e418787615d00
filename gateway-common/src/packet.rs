//! One direction of two spliced TCP connections: the value of the map `WAYS`, which both sides have in memory.
//!
//! Both directions of a stream have neighbouring indices, so the other direction of `index` is `index ^ 1`; the one
//! that begins at the client is even. Sequence numbers are 32 bits in a word of 64. `W` is that word: plain in the
//! kernel, atomic in user space.

/// How a direction's packets are rewritten, and what was seen of them.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Way<W> {
    /// [`WATCHED`], [`HELD`], [`SHUT`], [`SPLICED`], or 0 where there is no stream. User space writes everything else
    /// up to `spare` before it lets the program splice, and afterwards this word, `device`, `asked`,
    /// and what says so.
    pub state: W,
    /// The new source address in network order; an IPv4 address in its IPv6-mapped form (RFC 4291 section 2.5.5.2).
    pub source: [W; 2],
    /// The new destination address.
    pub destination: [W; 2],
    /// The new ports as the first four bytes of a TCP header.
    pub ports: W,
    /// What is added to a sequence number.
    pub seq_add: W,
    /// What is added to an acknowledgement number, and to the edges of SACK blocks.
    pub ack_add: W,
    /// The window scale in which the packets come.
    pub scale_in: W,
    /// The one in which their receiver reads them.
    pub scale_out: W,
    /// The interface that packets leave through: [`LOOPBACK`] where the receiver is on this machine, [`NOWHERE`] where
    /// there is no route to it.
    pub device: W,
    /// What both connections agreed on: [`TIMESTAMPS`], [`NO_ECN`].
    pub agreed: W,
    /// What the first timestamp becomes.
    pub timestamp_start: W,
    /// The first sequence number that the program sees.
    pub begin: W,
    /// When the end where the direction begins was last asked for a sign of life, in nanoseconds of
    /// CLOCK_MONOTONIC_COARSE without the last 8 bits, which say how often since it gave one. No program reads it.
    pub asked: W,
    /// Fills the cache line.
    pub spare: W,
    /// What is added to timestamps, with [`KNOWN`] as soon as the first was seen.
    pub timestamp_add: W,
    /// The timestamp that went out last.
    pub timestamp_last: W,
    /// One behind the highest sequence number that came, continued to 64 bits; a FIN counts as one.
    pub end: W,
    /// The acknowledgement that went out last: in the numbers of the other direction's sender.
    pub acked: W,
    /// Bytes behind it that the sender of this direction is ready to take.
    pub window: W,
    /// When the last packet came that was no RST, in nanoseconds of CLOCK_MONOTONIC_COARSE.
    pub active_ns: W,
    /// The sequence number of the FIN, with [`KNOWN`].
    pub fin: W,
    /// When the first end of this direction came, FIN or [`RESET`], in nanoseconds of CLOCK_MONOTONIC.
    pub end_ns: W,
    /// [`RESET`] after an RST that its receiver accepts. After one that it accepts only if what is on its way arrives
    /// before, or was lost, the time of that. User space takes such a time back where it turns out that the receiver
    /// has refused.
    pub reset: W,
    /// Packets that were sent on.
    pub packets: W,
    /// Packets that were dropped, for whatever reason but the first three of [`Unspliced`].
    pub dropped: W,
    /// Packets that went up before the direction was spliced.
    pub passed: W,
    /// The longest packet that the interface takes, in bytes, once one was longer.
    pub mtu: W,
    /// Fills the cache line.
    pub kernel_spare: [W; 3],
}

const _: () = assert!(size_of::<Way<u64>>() == 256);

/// [`Way::state`]: packets go up, and are counted.
pub const WATCHED: u64 = 1;

/// [`Way::state`]: bytes and ends are dropped, so that their sender sends them again later; what has neither goes up,
/// and is counted.
pub const HELD: u64 = 2;

/// [`Way::state`]: everything is dropped but resets, which go up and are counted.
pub const SHUT: u64 = 3;

/// [`Way::state`]: packets are rewritten and sent on.
pub const SPLICED: u64 = 4;

/// [`Way::device`]: there is no route to the receiver.
pub const NOWHERE: u32 = 0;

/// [`Way::device`]: the loopback interface, which has this number in every network (`LOOPBACK_IFINDEX` of
/// include/net/flow.h).
pub const LOOPBACK: u32 = 1;

/// [`Way::agreed`]: segments have timestamps.
pub const TIMESTAMPS: u64 = 1;

/// [`Way::agreed`]: only one of the two connections can tell of congestion (RFC 3168), so neither direction may say
/// that it can.
pub const NO_ECN: u64 = 2;

/// [`Way::reset`]: the direction was reset for certain. No time is that early.
pub const RESET: u64 = 1;

/// Marks a 32-bit number in a word of 64 as known.
pub const KNOWN: u64 = 1 << 32;

/// What is to be known of a spliced stream besides its two directions: the value of the array `LABELS`, whose index is
/// half of theirs. No program reads it. It lies beside the directions in the kernel so that a gateway that starts finds
/// the streams of the one before.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Label<W> {
    /// The number of the process that watches over the stream; 0 where the place is free.
    pub owner: W,
    /// The stream's number.
    pub id: W,
    /// When it was opened, in nanoseconds of CLOCK_MONOTONIC.
    pub opened_ns: W,
    /// When its byte count was last seen to have grown, on the same clock.
    pub active_ns: W,
    /// That count, both directions together.
    pub active_bytes: W,
    /// Bytes by direction that were carried before the two connections became one.
    pub carried: [W; 2],
    /// Bytes of `carried` that other engines of the kernel moved, both directions together.
    pub carried_by_kernel: W,
    /// Bytes by direction, out of those that the directions count, that are part of a process's counters already.
    pub counted: [W; 2],
    /// How often the stream went into the kernel.
    pub promotions: W,
    /// Who knows the sandbox's address; 0 is nobody. What the numbers mean is user space's own business.
    pub book: W,
    /// Bytes of [`Self::text`] that name the sandbox, and above bit 16 those behind them, which name the request.
    pub lengths: W,
    /// Both names, in memory's order.
    pub text: [W; LABEL_WORDS],
}

/// Words of [`Label::text`]: a sandbox's name has 127 bytes at most.
pub const LABEL_WORDS: usize = 16;

const _: () = assert!(size_of::<Label<u64>>() == 232);

/// A direction as its packets name it: source address, destination address, ports, all in network order, and IPv4
/// addresses in their IPv6-mapped form.
pub type WayKey = [u32; 9];

/// Why a packet was not spliced: the index of its count in the map `UNSPLICED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Unspliced {
    /// Part of a packet, of whatever connection: it went up.
    Fragment,
    /// With options of IPv4 or extension headers of IPv6, of whatever connection: it went up.
    IpOptions,
    /// Shorter than its headers say: it went up. Or a SYN with bytes in a stream: dropped.
    Malformed,
    /// Dropped while its direction was being taken over; its sender sends it again.
    Held,
    /// Dropped, since its TCP options come in an order that nobody uses, or lack what was agreed.
    TcpOptions,
    /// Dropped at the end of its hops.
    Hops,
    /// Dropped, since the interface takes no packet that long; its sender is told.
    TooLong,
    /// Dropped, since the kernel refused to change it.
    Refused,
    /// Dropped, since there is no route to the receiver.
    NoRoute,
    /// Dropped, since it was marked by a congested router and its receiver cannot say so (RFC 6040 section 4.2): its
    /// sender hears of the congestion by the loss.
    Congested,
}

impl Unspliced {
    /// Every reason, in the order of the counts.
    pub const ALL: [Self; 10] = [
        Self::Fragment,
        Self::IpOptions,
        Self::Malformed,
        Self::Held,
        Self::TcpOptions,
        Self::Hops,
        Self::TooLong,
        Self::Refused,
        Self::NoRoute,
        Self::Congested,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Fragment => "fragment",
            Self::IpOptions => "ip_options",
            Self::Malformed => "malformed",
            Self::Held => "held",
            Self::TcpOptions => "tcp_options",
            Self::Hops => "hops",
            Self::TooLong => "too_long",
            Self::Refused => "refused",
            Self::NoRoute => "no_route",
            Self::Congested => "congested",
        }
    }
}
