//! Forged resets while bytes are on their way, by somebody who knows all numbers. A number may be that of the next byte
//! for one who has heard less, or more, than another.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use gateway_tests::capture::{Capture, LastWord};
use gateway_tests::forger::{Forger, RST, Segment};
use gateway_tests::hosts::Hosts;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::wait::{PATIENCE, until};

use super::{Way, World, converse, part, ways};

/// What each conversation moves, each way.
const BYTES: usize = 10_000;

/// What is on its way.
const UNDER_WAY: &[u8] = &[7; 1000];

/// What carries bytes to the pod's host is lost there.
fn lose_bytes(world: &World) {
    Hosts::lose_what(&world.hosts().pod, "tcp flags & psh == psh").unwrap();
}

/// The client has said something, and the pod's host has lost it: the number that comes behind it is not the one that
/// the pod waits for. The pod asks about each such reset, and nothing has happened.
#[test]
fn a_reset_from_behind_what_is_on_its_way_ends_nothing() {
    if Capture::is_missing() || is_missing(&[Need::Program("nft")]) {
        return;
    }
    for way in ways().filter(|way| way.is_end_to_end()) {
        let world = world(way);
        let hosts = world.hosts();
        let mut ends = world.stream();
        converse(&ends, 61, BYTES);
        let last = say_in_vain(&world, &ends.client);
        let asked = || hosts.pod.counter("TcpExtTCPChallengeACK").unwrap();
        let before = asked();
        let behind = last.next;
        let middle = behind.wrapping_sub(500);
        let resets = [middle, behind.wrapping_sub(1), behind, behind.wrapping_add(1), behind.wrapping_add(5000)];
        for sequence in resets {
            forge(&world, &ends.client, sequence);
        }
        let all = || (asked() >= before + resets.len() as u64).then_some(());
        until(&format!("{way:?}: the resets to be asked about"), PATIENCE, all).unwrap();
        if matches!(way, Way::Gateway(_)) {
            // One of them had a number that may have been right, so the gateway asks the pod. Nobody else is heard.
            let heard = || hosts.pod.counter("TcpInSegs").unwrap();
            let before = heard();
            until(&format!("{way:?}: the pod to be asked"), PATIENCE, || (heard() > before).then_some(())).unwrap();
        }
        Hosts::lose_nothing(&hosts.pod).unwrap();
        let mut heard = vec![0; UNDER_WAY.len()];
        ends.pod.read_exact(&mut heard).unwrap();
        assert_eq!(heard, UNDER_WAY, "{way:?}");
        if let World::Gateway(bridge) = &world {
            // A number that was ahead of everything is not taken for bytes.
            let streams = bridge.gateway.streams().unwrap();
            assert_eq!(streams[0]["bytes_up"], BYTES + UNDER_WAY.len(), "{way:?}: {streams:?}");
        }
        converse(&ends, 62, BYTES);
        part(ends);
        if let World::Gateway(bridge) = &world {
            let closed = |record: &serde_json::Value| record["message"] == "stream closed";
            let line = bridge.gateway.logged("the close line", PATIENCE, closed).unwrap();
            let bytes = (2 * BYTES + UNDER_WAY.len(), 2 * BYTES);
            let told = (&line["reason"], &line["bytes_up"], &line["bytes_down"]);
            assert_eq!(told, (&"fin".into(), &bytes.0.into(), &bytes.1.into()), "{way:?}: {line}");
        }
    }
}

/// The number that the pod waits for is the right one, whatever is on its way to it. The client, which has said nothing
/// of the kind, is told when it repeats what was lost.
#[test]
fn a_reset_from_before_what_is_on_its_way_ends_the_stream() {
    if Capture::is_missing() || is_missing(&[Need::Program("nft")]) {
        return;
    }
    for way in ways().filter(|way| way.is_end_to_end()) {
        let world = world(way);
        let hosts = world.hosts();
        let mut ends = world.stream();
        converse(&ends, 63, BYTES);
        let last = say_in_vain(&world, &ends.client);
        let length = u32::try_from(UNDER_WAY.len()).unwrap();
        forge(&world, &ends.client, last.next.wrapping_sub(length));
        assert_eq!(ends.pod.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{way:?}");
        Hosts::lose_nothing(&hosts.pod).unwrap();
        assert_eq!(ends.client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{way:?}");
        if let World::Gateway(bridge) = &world {
            let closed = |record: &serde_json::Value| record["message"] == "stream closed";
            let line = bridge.gateway.logged("the close line", PATIENCE, closed).unwrap();
            assert_eq!((&line["reason"], &line["side"]), (&"rst".into(), &"client".into()), "{way:?}: {line}");
        }
    }
}

fn world(way: Way) -> World {
    way.start(|hosts| {
        hosts.admit_strangers().unwrap();
        // Every question counts, not one in half a second.
        hosts.pod.set("ipv4/tcp_invalid_ratelimit", "0").unwrap();
    })
}

/// The client says what does not get to the pod; where it stands then.
fn say_in_vain(world: &World, mut client: &TcpStream) -> LastWord {
    let hosts = world.hosts();
    let capture = Capture::start(&hosts.client).unwrap();
    lose_bytes(world);
    client.write_all(UNDER_WAY).unwrap();
    until("the bytes to be lost", PATIENCE, || (Hosts::lost(&hosts.pod).unwrap() > 0).then_some(())).unwrap();
    capture.last_word_of(hosts.client_address()).unwrap()
}

fn forge(world: &World, client: &TcpStream, sequence: u32) {
    let (from, to) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let forger = Forger::new(&world.hosts().stranger).unwrap();
    let segment = Segment { from, to, sequence, acknowledged: 0, flags: RST, payload: b"", is_whole: true };
    forger.send(&segment).unwrap();
}
