//! A third host that knows everything about a stream, numbers included, and sends what its ends must refuse
//! (RFC 5961), and at last what they must believe.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};

use gateway_tests::capture::{Capture, LastWord};
use gateway_tests::forger::{ACK, FIN, Forger, PSH, RST, SYN, Segment};
use gateway_tests::netns::Namespace;
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{PATIENCE, until};

use super::{Way, World, converse, part, ways};

/// Farther than any window reaches, in bytes.
const FAR: u32 = 1 << 30;

/// What each conversation moves, each way.
const BYTES: usize = 10_000;

/// Resets and beginnings that nearly fit are asked about, the rest is dropped, and nothing of it is counted as the
/// stream's. A reset with the very number ends it, for both ends.
#[test]
fn only_the_very_number_resets_a_stream() {
    if Capture::is_missing() {
        return;
    }
    for way in ways() {
        let world = way.start(|hosts| {
            hosts.admit_strangers().unwrap();
            for host in [&hosts.client, hosts.gateway(), &hosts.pod] {
                // Every question counts, not one in half a second.
                host.set("ipv4/tcp_invalid_ratelimit", "0").unwrap();
            }
        });
        let mut ends = world.stream();
        let captures = [&world.hosts().client, &world.hosts().pod].map(|host| Capture::start(host).unwrap());
        converse(&ends, 11, BYTES);
        let speakers = [(&ends.client, world.hosts().client_address()), (&ends.pod, world.hosts().pod_address())];
        for (capture, (end, address)) in captures.into_iter().zip(speakers) {
            strike(way, &world, end, &capture.last_word_of(address).unwrap());
        }
        let capture = Capture::start(&world.hosts().client).unwrap();
        converse(&ends, 12, BYTES);
        let last = capture.last_word_of(world.hosts().client_address()).unwrap();
        let forged = Forged { flags: RST, sequence: last.next, acknowledged: 0, payload: b"" };
        let forger = Forger::new(&world.hosts().stranger).unwrap();
        forged.send(&forger, &ends.client);
        assert_eq!(ends.pod.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{way:?}");
        if let World::Gateway(bridge) = &world {
            let closed = |record: &serde_json::Value| record["message"] == "stream closed";
            let line = bridge.gateway.logged("the close line", PATIENCE, closed).unwrap();
            assert_eq!((&line["reason"], &line["side"]), (&"rst".into(), &"client".into()), "{way:?}: {line}");
            let bytes = 2 * BYTES;
            assert_eq!((&line["bytes_up"], &line["bytes_down"]), (&bytes.into(), &bytes.into()), "{way:?}: {line}");
        }
    }
}

/// What a stranger claims to come from the stream's end.
struct Forged<'a> {
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    payload: &'a [u8],
}

impl Forged<'_> {
    fn send(&self, forger: &Forger, end: &TcpStream) {
        let Self { flags, sequence, acknowledged, payload } = *self;
        let (from, to) = (end.local_addr().unwrap(), end.peer_addr().unwrap());
        forger.send(&Segment { from, to, sequence, acknowledged, flags, payload, is_whole: true }).unwrap();
    }
}

/// Says in the name of `end` what is not acceptable, each for another reason.
fn strike(way: Way, world: &World, end: &TcpStream, last: &LastWord) {
    let forger = Forger::new(&world.hosts().stranger).unwrap();
    let (next, acknowledged) = (last.next, last.acknowledged);
    // Far ahead of what was ever sent, and far behind.
    let [unsent, old] = [acknowledged.wrapping_add(FAR), acknowledged.wrapping_sub(FAR)];
    let strikes = |name: &str, flags: u8, numbers: &[(u32, u32)], asked: Option<&str>| {
        let (arrived, before) = (world.counted("TcpInSegs"), asked.map(|counter| world.counted(counter)));
        for &(sequence, acknowledged) in numbers {
            let payload = if flags & PSH > 0 { &b"not what was said"[..] } else { b"" };
            Forged { flags, sequence, acknowledged, payload }.send(&forger, end);
        }
        let count = numbers.len() as u64;
        let is_through = || (world.counted("TcpInSegs") >= arrived + count).then_some(());
        until("the forgeries to arrive", PATIENCE, is_through).unwrap();
        if let (Some(counter), Some(before)) = (asked, before) {
            // It is counted behind the arrival.
            let is_asked = || (world.counted(counter) >= before + count).then_some(());
            until(&format!("{way:?}: {name} to be asked about"), PATIENCE, is_asked).unwrap();
        }
    };
    let beside = |distance: u32| next.wrapping_add(distance);
    let challenge = Some("TcpExtTCPChallengeACK");
    strikes("resets that nearly fit", RST, &[(beside(1), 0), (beside(100), 0), (beside(5000), 0)], challenge);
    strikes("resets outside the window", RST, &[(beside(FAR), 0), (next.wrapping_sub(FAR), 0)], None);
    let beginnings = [(next, 0), (beside(1), 0), (beside(FAR), 0)];
    // No SYN gets through the splice; what it becomes is answered, and counted nowhere.
    let is_spliced = matches!(way, Way::Gateway(path) if path.engine == "packet");
    strikes("beginnings", SYN, &beginnings, (!is_spliced).then_some("TcpExtTCPSYNChallenge"));
    strikes("acknowledgements of what was never sent", ACK, &[(next, unsent)], None);
    strikes("ends that acknowledge the impossible", FIN | ACK, &[(next, unsent), (next, old)], None);
    strikes("ends outside the window", FIN | ACK, &[(beside(FAR), acknowledged)], None);
    strikes("bytes that acknowledge the impossible", PSH | ACK, &[(next, unsent), (next, old)], None);
    strikes("bytes outside the window", PSH | ACK, &[(beside(FAR), acknowledged)], None);
}

/// Packets from anywhere to anywhere near the stream: nothing comes of them, and there is room for others.
#[test]
fn a_flood_makes_no_streams_and_takes_no_places() {
    const PACKETS: u64 = 20_000;
    for way in ways() {
        let world = way.start(|hosts| hosts.admit_strangers().unwrap());
        let World::Gateway(bridge) = &world else { continue };
        let ends = world.stream();
        let (listener, dialled) = (ends.client.peer_addr().unwrap(), ends.pod.peer_addr().unwrap());
        flood(&world.hosts().stranger, [listener, dialled], PACKETS);
        let streams = bridge.gateway.streams().unwrap();
        assert_eq!(streams.len(), 1, "{way:?}: {streams:?}");
        converse(&ends, 21, BYTES);
        let others = [(); 10].map(|()| world.stream());
        for (seed, ends) in (22..).zip(others) {
            converse(&ends, seed, BYTES);
            part(ends);
        }
        converse(&ends, 42, BYTES);
        part(ends);
    }
}

fn flood(stranger: &Namespace, targets: [SocketAddr; 2], packets: u64) {
    let forger = Forger::new(stranger).unwrap();
    let mut numbers = Pattern::new(31);
    let mut word = || u32::try_from(numbers.number() >> 32).expect("32 bits");
    for packet in 0..packets {
        let [address, ports, sequence, acknowledged] = [(); 4].map(|()| word());
        let [one, other, _, kind] = ports.to_be_bytes();
        let port = u16::from_be_bytes([one, other]);
        let target = targets[usize::from(packet % 2 == 1)];
        // From the test networks of RFC 2544 and RFC 5180, which nobody has.
        let from = match target {
            SocketAddr::V4(_) => IpAddr::from((0xc612_0000 | address >> 15).to_be_bytes()),
            SocketAddr::V6(_) => Ipv6Addr::from((0x2001_0002 << 96) | u128::from(address)).into(),
        };
        // The stream's own ports, and any.
        let to = if kind & 1 == 0 { target } else { SocketAddr::new(target.ip(), port) };
        let flags = [RST, FIN | ACK, ACK, PSH | ACK, SYN | ACK, RST | ACK, SYN][usize::from(kind) % 7];
        let from = SocketAddr::new(from, port);
        forger.send(&Segment { from, to, sequence, acknowledged, flags, payload: b"", is_whole: true }).unwrap();
    }
}
