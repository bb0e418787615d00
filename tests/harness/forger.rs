//! TCP segments that nobody's TCP has sent: any sender, any numbers, from any host.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;
use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::Namespace;

/// A host's way to send what it likes, over IPv4.
pub struct Forger {
    socket: Socket,
}

/// A segment without options.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    /// Who is said to have sent it.
    pub from: SocketAddrV4,
    /// Who gets it.
    pub to: SocketAddrV4,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledged: u32,
    /// The byte of flags, RFC 9293 section 3.1.
    pub flags: u8,
    /// What it carries.
    pub payload: &'a [u8],
    /// Whether the checksum is that of the segment.
    pub is_whole: bool,
}

/// Flags of a segment.
pub const FIN: u8 = 0x01;
/// See [`FIN`].
pub const SYN: u8 = 0x02;
/// See [`FIN`].
pub const RST: u8 = 0x04;
/// See [`FIN`].
pub const PSH: u8 = 0x08;
/// See [`FIN`].
pub const ACK: u8 = 0x10;

impl Forger {
    /// On `host`.
    pub fn new(host: &Namespace) -> Result<Self> {
        /// `IPPROTO_RAW` of raw(7): the packet comes with its IP header.
        const RAW: i32 = 255;
        let socket = host.there(|| Ok(Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))?))?;
        Ok(Self { socket })
    }

    /// Sends one.
    pub fn send(&self, segment: &Segment<'_>) -> Result<()> {
        self.socket.send_to(&segment.packet()?, &segment.to.into())?;
        Ok(())
    }
}

impl Segment<'_> {
    /// RFC 791 section 3.1 and RFC 9293 section 3.1. The kernel fills in length, id and checksum of the IP header.
    fn packet(&self) -> Result<Vec<u8>> {
        const IP_HEADER_BYTES: usize = 20;
        const TCP_HEADER_BYTES: usize = 20;
        const TTL: u8 = 64;
        const TCP: u8 = 6;
        const WINDOW: u16 = 1000;
        let mut tcp = Vec::new();
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledged.to_be_bytes());
        // Five words of header, then the flags.
        tcp.extend([5 << 4, self.flags]);
        tcp.extend(WINDOW.to_be_bytes());
        // Checksum and urgent pointer.
        tcp.extend([0; 4]);
        tcp.extend(self.payload);
        let checksum = checksum(*self.from.ip(), *self.to.ip(), &tcp);
        let written = if self.is_whole { checksum } else { checksum ^ 0x5555 };
        tcp[16..18].copy_from_slice(&written.to_be_bytes());

        let mut packet = vec![0; IP_HEADER_BYTES];
        packet[0] = 4 << 4 | 5;
        let length = u16::try_from(IP_HEADER_BYTES + TCP_HEADER_BYTES + self.payload.len())?;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[8] = TTL;
        packet[9] = TCP;
        packet[12..16].copy_from_slice(&self.from.ip().octets());
        packet[16..20].copy_from_slice(&self.to.ip().octets());
        packet.extend(tcp);
        Ok(packet)
    }
}

/// RFC 9293 section 3.1: the pseudo-header and the segment, in ones' complement.
fn checksum(from: Ipv4Addr, to: Ipv4Addr, tcp: &[u8]) -> u16 {
    const TCP: u32 = 6;
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
    };
    let length = u32::try_from(tcp.len()).expect("a segment is at most 64 KiB");
    let mut sum = words(&from.octets()) + words(&to.octets()) + TCP + length + words(tcp);
    while sum >> 16 > 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}
