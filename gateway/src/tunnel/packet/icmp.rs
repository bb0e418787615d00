//! Errors of the network about TCP segments (RFC 792, RFC 4443): which segment one is about, and the packet that says
//! it to somebody else. Bytes in, bytes out.

use std::net::{IpAddr, SocketAddr};

use super::ip::{self, TCP};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Destination unreachable, a packet that was too long among it, and time exceeded (RFC 792).
const KINDS_V4: [u8; 2] = [3, 11];
/// Destination unreachable, packet too big, time exceeded (RFC 4443 section 3).
const KINDS_V6: [u8; 3] = [1, 2, 3];

/// An error about a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkError {
    /// Type and code.
    pub kind: [u8; 2],
    /// The word behind the checksum: the MTU, where a packet was too long.
    pub detail: [u8; 4],
    /// Who sent the segment, by its own header.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// Its sequence number.
    pub seq: u32,
}

impl NetworkError {
    /// A segment that is longer than `mtu` bytes with its headers (RFC 1191 section 4, RFC 4443 section 3.2).
    #[must_use]
    pub fn too_long(source: SocketAddr, destination: SocketAddr, seq: u32, mtu: u32) -> Self {
        let [kind, detail] = if source.is_ipv4() {
            [[3, 4, 0, 0], (mtu & 0xffff).to_be_bytes()]
        } else {
            [[2, 0, 0, 0], mtu.to_be_bytes()]
        };
        Self { kind: [kind[0], kind[1]], detail, source, destination, seq }
    }

    /// The error that an IPv4 packet carries, its IP header included.
    #[must_use]
    pub fn parse_v4(packet: &[u8]) -> Option<Self> {
        let (head, quoted) = packet.get(header_len(packet)?..)?.split_at_checked(8)?;
        if !KINDS_V4.contains(&head[0]) || quoted.first()? >> 4 != 4 || *quoted.get(9)? != TCP {
            return None;
        }
        let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(quoted.get(at..at + 4)?).ok()?));
        Self::of(head, [address(12)?, address(16)?], quoted.get(header_len(quoted)?..)?)
    }

    /// The error that an ICMPv6 message says.
    #[must_use]
    pub fn parse_v6(message: &[u8]) -> Option<Self> {
        let (head, quoted) = message.split_at_checked(8)?;
        if !KINDS_V6.contains(&head[0]) || quoted.first()? >> 4 != 6 || *quoted.get(6)? != TCP {
            return None;
        }
        let address = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(quoted.get(at..at + 16)?).ok()?));
        Self::of(head, [address(8)?, address(24)?], quoted.get(40..)?)
    }

    fn of(head: &[u8], [source, destination]: [IpAddr; 2], segment: &[u8]) -> Option<Self> {
        let [a, b, c, d, seq @ ..]: [u8; 8] = segment.get(..8)?.try_into().ok()?;
        Some(Self {
            kind: [head[0], head[1]],
            detail: head[4..8].try_into().ok()?,
            source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
            destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
            seq: u32::from_be_bytes(seq),
        })
    }

    /// The packet that tells the segment's sender, from `from`. The kernel fills in the checksum of an IPv4 header
    /// (raw(7)).
    #[must_use]
    pub fn packet(&self, from: IpAddr) -> Vec<u8> {
        let segment =
            [&self.source.port().to_be_bytes()[..], &self.destination.port().to_be_bytes(), &self.seq.to_be_bytes()]
                .concat();
        let quoted = [ip::header(self.source.ip(), self.destination.ip(), TCP, segment.len()), segment].concat();
        let mut message = [&self.kind[..], &[0, 0], &self.detail, &quoted].concat();
        let to = self.source.ip();
        let (protocol, sum) = if to.is_ipv4() {
            (ICMP, ip::checksum(&message))
        } else {
            (ICMPV6, ip::checksum_between(from, to, ICMPV6, &message))
        };
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        [ip::header(from, to, protocol, message.len()), message].concat()
    }
}

/// Bytes of an IPv4 header.
fn header_len(packet: &[u8]) -> Option<usize> {
    Some(usize::from(packet.first()? & 0x0f) * 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn about(source: &str, destination: &str) -> NetworkError {
        NetworkError::too_long(source.parse().unwrap(), destination.parse().unwrap(), 0xdead_beef, 1300)
    }

    #[test]
    fn what_was_said_is_understood() {
        let error = about("192.0.2.1:4000", "198.51.100.1:80");
        assert_eq!((error.kind, error.detail), ([3, 4], [0, 0, 5, 20]));
        let packet = error.packet("198.51.100.1".parse().unwrap());
        assert_eq!(NetworkError::parse_v4(&packet), Some(error));
        assert_eq!(ip::checksum(&packet[20..]), 0);
        let error = about("[2001:db8::1]:4000", "[2001:db8:1::1]:80");
        assert_eq!((error.kind, error.detail), ([2, 0], [0, 0, 5, 20]));
        let from = "2001:db8:1::1".parse().unwrap();
        let packet = error.packet(from);
        assert_eq!(NetworkError::parse_v6(&packet[40..]), Some(error));
        assert_eq!(ip::checksum_between(from, error.source.ip(), ICMPV6, &packet[40..]), 0);
    }

    #[test]
    fn what_is_about_something_else_is_none() {
        let mut packet = about("192.0.2.1:4000", "198.51.100.1:80").packet("198.51.100.1".parse().unwrap());
        packet[20] = 8;
        assert_eq!(NetworkError::parse_v4(&packet), None, "a ping");
        packet[20] = 3;
        packet[20 + 8 + 9] = 17;
        assert_eq!(NetworkError::parse_v4(&packet), None, "about a datagram");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _either = (NetworkError::parse_v4(&bytes), NetworkError::parse_v6(&bytes));
        }

        #[test]
        fn a_packet_that_ends_early_is_none(len in 0_usize..56) {
            let packet = about("192.0.2.1:4000", "198.51.100.1:80").packet("198.51.100.1".parse().unwrap());
            prop_assert_eq!(NetworkError::parse_v4(&packet[..len]), None);
        }
    }
}
