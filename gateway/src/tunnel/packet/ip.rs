//! What every packet begins with that the gateway writes itself, and the checksum of what is behind it. Bytes in,
//! bytes out.

use std::net::IpAddr;

/// The protocol's number in a header.
pub(super) const TCP: u8 = 6;

const HOPS: u8 = 64;

/// The IP header before `len` bytes: RFC 791 section 3.1, of which the kernel fills in the checksum (raw(7)), or RFC
/// 8200 section 3.
pub(super) fn header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let is_v4 = source.is_ipv4();
    let [high, low] = u16::try_from(if is_v4 { 20 + len } else { len }).expect("the packet is short").to_be_bytes();
    let head: &[u8] = if is_v4 {
        // Not to be fragmented.
        &[0x45, 0, high, low, 0, 0, 0x40, 0, HOPS, protocol, 0, 0]
    } else {
        &[0x60, 0, 0, 0, high, low, protocol, HOPS]
    };
    [head, &octets(source), &octets(destination)].concat()
}

/// The checksum of a message whose sum is about the addresses, too (RFC 9293 section 3.1, RFC 4443 section 2.3).
pub(super) fn checksum_between(source: IpAddr, destination: IpAddr, protocol: u8, message: &[u8]) -> u16 {
    let len = u32::try_from(message.len()).expect("the packet is short").to_be_bytes();
    checksum(&[&octets(source)[..], &octets(destination), &len, &[0, 0, 0, protocol], message].concat())
}

/// RFC 1071. Zero for what has its own checksum in it, as a receiver finds it.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    let mut sum: u32 = words.map(u32::from).sum();
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

    /// The example of RFC 1071 section 3.
    #[test]
    fn a_sum_is_that_of_the_standard() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes), !0xddf2);
        // An odd byte is the high one of its word.
        assert_eq!(checksum(&[0x12]), !0x1200);
    }

    #[test]
    fn a_header_has_the_length_of_what_is_behind_it() {
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        let packet = header(one, other, TCP, 300);
        assert_eq!((packet.len(), &packet[2..4]), (20, &320_u16.to_be_bytes()[..]));
        let [one, other] = ["2001:db8::1", "2001:db8::2"].map(|address| address.parse().unwrap());
        let packet = header(one, other, TCP, 300);
        assert_eq!((packet.len(), &packet[4..6]), (40, &300_u16.to_be_bytes()[..]));
    }
}
