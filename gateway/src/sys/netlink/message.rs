//! Messages of rtnetlink(7), as far as they are needed: the question for a route, and its answer. Bytes in, bytes out.

use std::net::IpAddr;

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// `struct rtmsg`.
const ROUTE: usize = 12;
/// `struct rtattr`: length and type.
const ATTRIBUTE: usize = 4;
/// Where `rtm_type` is in [`ROUTE`].
const KIND: usize = 7;
/// Of include/uapi/linux/rtnetlink.h; the kernel knows it since 4.18.
const RTA_IP_PROTO: u16 = 27;

/// What the kernel says about a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// An error by its number.
    Error(i32),
    /// A route of this kind (`RTN_*`), through this interface.
    Route { kind: u8, device: u32 },
}

/// Asks how TCP packets get from `source`, an address of this machine, to `destination`.
pub(super) fn question(number: u32, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let (family, bits) = if destination.is_ipv4() { (libc::AF_INET, 32) } else { (libc::AF_INET6, 128) };
    let family = u8::try_from(family).expect("families are small");
    let mut route = [0; ROUTE];
    route[..3].copy_from_slice(&[family, bits, bits]);
    let body = [
        &route[..],
        &attribute(libc::RTA_DST, &octets(destination)),
        &attribute(libc::RTA_SRC, &octets(source)),
        // Padded, as every attribute is.
        &attribute(RTA_IP_PROTO, &[u8::try_from(libc::IPPROTO_TCP).expect("it is 6")]),
        &[0; 3],
    ]
    .concat();
    let len = u32::try_from(HEADER + body.len()).expect("a question is short");
    let flags = u16::try_from(libc::NLM_F_REQUEST).expect("it is 1");
    let header = [
        &len.to_ne_bytes()[..],
        &libc::RTM_GETROUTE.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &number.to_ne_bytes(),
        &[0; 4],
    ];
    [header.concat(), body].concat()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(ATTRIBUTE + value.len()).expect("attributes are short");
    [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The answer to the question with this number; `None` where it is something else.
pub(super) fn answer(number: u32, message: &[u8]) -> Option<Answer> {
    let (header, body) = message.split_at_checked(HEADER)?;
    let len = usize::try_from(u32_at(header, 0)?).ok()?;
    let body = body.get(..len.checked_sub(HEADER)?)?;
    if u32_at(header, 8)? != number {
        return None;
    }
    match u16_at(header, 4)? {
        kind if i32::from(kind) == libc::NLMSG_ERROR => {
            Some(Answer::Error(u32_at(body, 0)?.cast_signed().checked_neg()?))
        }
        libc::RTM_NEWROUTE => {
            let (route, attributes) = body.split_at_checked(ROUTE)?;
            let device = value_of(libc::RTA_OIF, attributes).and_then(|value| u32_at(value, 0)).unwrap_or(0);
            Some(Answer::Route { kind: route[KIND], device })
        }
        _ => None,
    }
}

/// The value of the first attribute of this kind.
fn value_of(wanted: u16, mut attributes: &[u8]) -> Option<&[u8]> {
    loop {
        let (len, kind) = (usize::from(u16_at(attributes, 0)?), u16_at(attributes, 2)?);
        let value = attributes.get(ATTRIBUTE..len)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer of the kernel's: `kind` with `body`.
    fn said(kind: u16, number: u32, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(HEADER + body.len()).unwrap();
        [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 2], &number.to_ne_bytes(), &[0; 4], body].concat()
    }

    fn a_route() -> Vec<u8> {
        let mut route = [0; ROUTE];
        route[KIND] = libc::RTN_UNICAST;
        let table = attribute(libc::RTA_TABLE, &254_u32.to_ne_bytes());
        [&route[..], &table, &attribute(libc::RTA_OIF, &7_u32.to_ne_bytes())].concat()
    }

    #[test]
    fn a_route_is_read_behind_other_attributes() {
        let route = Answer::Route { kind: libc::RTN_UNICAST, device: 7 };
        assert_eq!(answer(3, &said(libc::RTM_NEWROUTE, 3, &a_route())), Some(route));
        assert_eq!(answer(4, &said(libc::RTM_NEWROUTE, 3, &a_route())), None, "the answer to another question");
        assert_eq!(answer(3, &said(libc::RTM_NEWLINK, 3, &a_route())), None);
    }

    #[test]
    fn an_error_is_read() {
        let error = [&(-libc::ENETUNREACH).to_ne_bytes()[..], &[0; HEADER]].concat();
        let kind = u16::try_from(libc::NLMSG_ERROR).unwrap();
        assert_eq!(answer(9, &said(kind, 9, &error)), Some(Answer::Error(libc::ENETUNREACH)));
    }

    #[test]
    fn a_question_has_whole_attributes() {
        for (source, destination) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
            let (source, destination): (IpAddr, IpAddr) = (source.parse().unwrap(), destination.parse().unwrap());
            let question = question(1, source, destination);
            assert_eq!(u32_at(&question, 0), u32::try_from(question.len()).ok());
            let attributes = &question[HEADER + ROUTE..];
            assert_eq!(value_of(libc::RTA_SRC, attributes), Some(&octets(source)[..]));
            assert_eq!(value_of(libc::RTA_DST, attributes), Some(&octets(destination)[..]));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _either = answer(0, &bytes);
        }

        #[test]
        fn attributes_of_any_length_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _either = answer(1, &said(libc::RTM_NEWROUTE, 1, &[&[0; ROUTE][..], &bytes].concat()));
        }
    }
}
