//! Addresses as the program sees them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use gateway_common::packet::WayKey;

/// A direction as its packets name it.
pub(super) fn way_key(source: SocketAddr, destination: SocketAddr) -> WayKey {
    let mut key = WayKey::default();
    for (half, address) in key.chunks_mut(4).zip([source, destination]) {
        for (word, bytes) in half.iter_mut().zip(mapped(address.ip()).chunks(4)) {
            *word = u32::from_ne_bytes(bytes.try_into().expect("four bytes"));
        }
    }
    key[8] = port_word(source, destination);
    key
}

/// Both ports as the first four bytes of a TCP header.
pub(super) fn port_word(source: SocketAddr, destination: SocketAddr) -> u32 {
    let ([a, b], [c, d]) = (source.port().to_be_bytes(), destination.port().to_be_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// An address in the IPv6-mapped form, as two words in memory's order.
pub(super) fn address_words(address: IpAddr) -> [u64; 2] {
    let octets = mapped(address);
    let word = |at: usize| u64::from_ne_bytes(octets[at..at + 8].try_into().expect("eight bytes"));
    [word(0), word(8)]
}

/// The address that [`address_words`] made two words of.
pub(super) fn address_of([first, second]: [u64; 2]) -> IpAddr {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&first.to_ne_bytes());
    octets[8..].copy_from_slice(&second.to_ne_bytes());
    Ipv6Addr::from(octets).to_canonical()
}

/// The ports that [`port_word`] made a word of.
pub(super) fn ports_of(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_ne_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_back() {
        for (source, destination) in [("192.0.2.1:80", "192.0.2.2:61000"), ("[2001:db8::1]:8080", "[2001:db8::2]:1")] {
            let (source, destination): (SocketAddr, SocketAddr) =
                (source.parse().unwrap(), destination.parse().unwrap());
            assert_eq!(address_of(address_words(source.ip())), source.ip());
            assert_eq!(ports_of(port_word(source, destination)), [source.port(), destination.port()]);
        }
    }
}
