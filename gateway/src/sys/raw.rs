//! Segments without a socket: what the gateway has to say on connections that it has given away.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A segment that carries nothing.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// From whom, by appearance; an address of this machine.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// Its sequence number.
    pub seq: u32,
    /// Its acknowledgement number.
    pub ack: u32,
    /// Whether it resets the connection.
    pub reset: bool,
    /// A timestamp, where the connection has them.
    pub timestamp: Option<u32>,
}

/// Sends segments. It receives none: `IPPROTO_RAW` is the protocol of no packet (raw(7)).
pub struct RawSender {
    v4: Socket,
    /// Absent where the kernel has no IPv6.
    v6: Option<Socket>,
}

const TCP: u8 = 6;
const HOPS: u8 = 64;
const RST_ACK: u8 = 0x14;
const ACK: u8 = 0x10;

impl RawSender {
    /// Opens its sockets.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let raw = |domain| Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::from(libc::IPPROTO_RAW)));
        let v6 = raw(Domain::IPV6).and_then(|socket| socket.set_header_included_v6(true).map(|()| socket));
        Ok(Self { v4: raw(Domain::IPV4)?, v6: v6.ok() })
    }

    /// Sends `segment`.
    ///
    /// # Errors
    /// What `sendto(2)` says, `EAFNOSUPPORT` where there is no IPv6.
    pub fn send(&self, segment: &Segment) -> io::Result<()> {
        let tcp = tcp_header(segment);
        self.send_packet(&[ip_header(segment, tcp.len()), tcp].concat(), segment.destination.ip())
    }

    /// Sends a packet that has its IP header.
    ///
    /// # Errors
    /// As above.
    pub fn send_packet(&self, packet: &[u8], destination: IpAddr) -> io::Result<()> {
        let socket = if destination.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() };
        let socket = socket.ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
        // The port of a raw socket's destination has to be zero.
        socket.send_to(packet, &SockAddr::from(SocketAddr::new(destination, 0))).map(drop)
    }
}

/// A socket that gets a copy of every ICMP packet for this machine, with its IP header (raw(7)).
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW`.
pub fn icmp_v4() -> io::Result<OwnedFd> {
    Socket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(Protocol::ICMPV4)).map(Into::into)
}

/// A socket that gets a copy of every ICMPv6 message for this machine, without the IP header.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW`, `EAFNOSUPPORT` where there is no IPv6.
pub fn icmp_v6() -> io::Result<OwnedFd> {
    Socket::new(Domain::IPV6, Type::RAW.nonblocking(), Some(Protocol::ICMPV6)).map(Into::into)
}

/// Receives as much of a packet as there is room for; how much.
///
/// # Errors
/// `EAGAIN` where there is none.
pub fn receive(socket: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
    Ok(recv(socket.as_raw_fd(), bytes, MsgFlags::empty())?)
}

/// RFC 791 section 3.1, of which the kernel fills in the checksum (raw(7)), or RFC 8200 section 3.
fn ip_header(segment: &Segment, len: usize) -> Vec<u8> {
    let len = u16::try_from(len).expect("a header is short");
    match (segment.source.ip(), segment.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = (20 + len).to_be_bytes();
            let head = [0x45, 0, total[0], total[1], 0, 0, 0x40, 0, HOPS, TCP, 0, 0];
            [&head[..], &source.octets(), &destination.octets()].concat()
        }
        (source, destination) => {
            let [high, low] = len.to_be_bytes();
            let head = [0x60, 0, 0, 0, high, low, TCP, HOPS];
            [&head[..], &octets(source), &octets(destination)].concat()
        }
    }
}

/// RFC 9293 section 3.1, and RFC 7323 section 3.2.
fn tcp_header(segment: &Segment) -> Vec<u8> {
    let Segment { source, destination, seq, ack, reset, timestamp } = *segment;
    let mut header = Vec::with_capacity(32);
    header.extend(source.port().to_be_bytes());
    header.extend(destination.port().to_be_bytes());
    header.extend(seq.to_be_bytes());
    header.extend(ack.to_be_bytes());
    let words = if timestamp.is_some() { 8 } else { 5 };
    header.extend([words << 4, if reset { RST_ACK } else { ACK }]);
    // A window of nothing would stop the peer; one that it knows is not changed by a number that it knows.
    header.extend([0xff, 0xff, 0, 0, 0, 0]);
    if let Some(timestamp) = timestamp {
        header.extend([1, 1, 8, 10]);
        header.extend(timestamp.to_be_bytes());
        header.extend([0; 4]);
    }
    let sum = checksum(source.ip(), destination.ip(), &header);
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    header
}

/// RFC 9293 section 3.1, with the pseudo-header of either IP version.
fn checksum(source: IpAddr, destination: IpAddr, segment: &[u8]) -> u16 {
    let len = u32::try_from(segment.len()).expect("a header is short");
    let pseudo = [octets(source), octets(destination), vec![0, 0, 0, TCP], len.to_be_bytes().to_vec()].concat();
    let words = pseudo.chunks(2).chain(segment.chunks(2));
    let mut sum: u32 = words.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A receiver sums up everything, the checksum included, and gets nothing.
    #[test]
    fn a_segment_sums_up_to_nothing() {
        for (source, destination) in [("192.0.2.1:80", "192.0.2.2:4000"), ("[2001:db8::1]:80", "[2001:db8::2]:4000")] {
            for timestamp in [None, Some(0x0102_0304)] {
                let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
                let segment = Segment { source, destination, seq: 0xfeed_beef, ack: 7, reset: true, timestamp };
                assert_eq!(checksum(source.ip(), destination.ip(), &tcp_header(&segment)), 0, "{segment:?}");
            }
        }
    }
}
