//! Segments of connections that have no socket here any more. Bytes out.

use std::net::SocketAddr;

use super::ip::{self, TCP};

const RST_ACK: u8 = 0x14;
const ACK: u8 = 0x10;

/// A segment that carries nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// From whom, by appearance; an address of this machine.
    pub(super) source: SocketAddr,
    /// To whom.
    pub(super) destination: SocketAddr,
    /// Its sequence number.
    pub(super) seq: u32,
    /// Its acknowledgement number.
    pub(super) ack: u32,
    /// Whether it resets the connection.
    pub(super) reset: bool,
    /// A timestamp, where the connection has them.
    pub(super) timestamp: Option<u32>,
}

impl Segment {
    /// With its IP header, of which the kernel fills in an IPv4 checksum.
    pub(super) fn packet(&self) -> Vec<u8> {
        let tcp = self.header();
        [ip::header(self.source.ip(), self.destination.ip(), TCP, tcp.len()), tcp].concat()
    }

    /// RFC 9293 section 3.1, and RFC 7323 section 3.2.
    fn header(&self) -> Vec<u8> {
        let Self { source, destination, seq, ack, reset, timestamp } = *self;
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
        let sum = ip::checksum_between(source.ip(), destination.ip(), TCP, &header);
        header[16..18].copy_from_slice(&sum.to_be_bytes());
        header
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
                let (source, destination): (SocketAddr, SocketAddr) =
                    (source.parse().unwrap(), destination.parse().unwrap());
                let segment = Segment { source, destination, seq: 0xfeed_beef, ack: 7, reset: true, timestamp };
                let packet = segment.packet();
                let tcp = &packet[if source.is_ipv4() { 20 } else { 40 }..];
                assert_eq!(ip::checksum_between(source.ip(), destination.ip(), TCP, tcp), 0, "{segment:?}");
                assert_eq!(tcp.len(), if timestamp.is_some() { 32 } else { 20 });
            }
        }
    }
}
