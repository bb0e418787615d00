//! TCP segments that nobody's TCP has sent: any sender, any numbers, from any host.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::Namespace;

/// A host's way to send what it likes.
pub struct Forger {
    v4: Socket,
    v6: Socket,
}

/// A segment without options.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    /// Who is said to have sent it.
    pub from: SocketAddr,
    /// Who gets it.
    pub to: SocketAddr,
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

const TCP: u8 = 6;
const HOPS: u8 = 64;

impl Forger {
    /// On `host`.
    pub fn new(host: &Namespace) -> Result<Self> {
        /// `IPPROTO_RAW` of raw(7): the packet comes with its IP header.
        const RAW: i32 = 255;
        let raw = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(RAW)));
        let (v4, v6) = host.there(|| Ok((raw(Domain::IPV4)?, raw(Domain::IPV6)?)))?;
        v6.set_header_included_v6(true)?;
        Ok(Self { v4, v6 })
    }

    /// Sends one.
    pub fn send(&self, segment: &Segment<'_>) -> Result<()> {
        let socket = if segment.to.is_ipv4() { &self.v4 } else { &self.v6 };
        // The port of a raw socket's destination has to be zero (`rawv6_sendmsg`).
        let to = SocketAddr::new(segment.to.ip(), 0);
        socket.send_to(&segment.packet()?, &to.into())?;
        Ok(())
    }
}

impl Segment<'_> {
    fn packet(&self) -> Result<Vec<u8>> {
        let tcp = self.tcp();
        Ok([ip_header(self.from.ip(), self.to.ip(), tcp.len())?, tcp].concat())
    }

    /// RFC 9293 section 3.1.
    fn tcp(&self) -> Vec<u8> {
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
        let checksum = checksum(self.from.ip(), self.to.ip(), &tcp);
        let written = if self.is_whole { checksum } else { checksum ^ 0x5555 };
        tcp[16..18].copy_from_slice(&written.to_be_bytes());
        tcp
    }
}

/// RFC 791 section 3.1, of which the kernel fills in length, id and checksum, or RFC 8200 section 3.
fn ip_header(from: IpAddr, to: IpAddr, length: usize) -> Result<Vec<u8>> {
    ensure!(from.is_ipv4() == to.is_ipv4(), "{from} and {to} do not speak the same IP");
    let length = u16::try_from(length)?;
    let mut header = Vec::new();
    if from.is_ipv4() {
        header.extend([4 << 4 | 5, 0]);
        header.extend((20 + length).to_be_bytes());
        header.extend([0, 0, 0, 0, HOPS, TCP, 0, 0]);
    } else {
        header.extend([6 << 4, 0, 0, 0]);
        header.extend(length.to_be_bytes());
        header.extend([TCP, HOPS]);
    }
    header.extend(octets(from));
    header.extend(octets(to));
    Ok(header)
}

/// RFC 9293 section 3.1: the pseudo-header and the segment, in ones' complement.
fn checksum(from: IpAddr, to: IpAddr, tcp: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
    };
    let length = u32::try_from(tcp.len()).expect("a segment is at most 64 KiB");
    let mut sum = words(&octets(from)) + words(&octets(to)) + u32::from(TCP) + length + words(tcp);
    while sum >> 16 > 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
