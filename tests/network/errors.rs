//! What routers say about packets, and packets that are too long for a cable behind the gateway.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::thread;

use gateway_tests::hosts::{Cable, DEVICE, Family};
use gateway_tests::need::{Need, is_missing};
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{PATIENCE, until};

use super::{Way, World, ways};

/// The pod's cable takes shorter packets than when the stream began. Whoever sends is told, and sends shorter ones.
#[test]
fn packets_that_became_too_long_are_sent_shorter() {
    const BYTES: usize = 256 << 10;
    for way in ways() {
        let world = way.start(|hosts| hosts.as_on_a_wire().unwrap());
        let mut ends = world.stream();
        let hosts = world.hosts();
        for (host, device) in [(hosts.gateway(), Cable::Pods.device()), (&hosts.pod, DEVICE)] {
            host.ip(&["link", "set", device, "mtu", "1300"]).unwrap();
        }
        let mut writer = ends.client.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                writer.write_all(&Pattern::new(1).take(BYTES)).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut heard = Vec::new();
            ends.pod.read_to_end(&mut heard).unwrap();
            assert!(heard == Pattern::new(1).take(BYTES), "{way:?}: {} bytes", heard.len());
        });
        if let World::Gateway(bridge) = &world
            && bridge.path().engine == "packet"
        {
            let too_long = [("reason", "too_long")];
            assert!(bridge.gateway.metric("gateway_packets_unspliced_total", &too_long).unwrap() > 0.0, "{way:?}");
        }
    }
}

/// The pod's host refuses the stream's packets from now on. The client hears of it, as it would without a gateway.
#[test]
fn what_a_router_says_gets_to_the_end_that_sent_the_packet() {
    if is_missing(&[Need::Program("nft")]) {
        return;
    }
    let hears = |way: &Way| match way {
        Way::Direct(_) => true,
        Way::Gateway(path) => path.engine == "packet",
    };
    for way in ways().filter(hears) {
        let world = way.start(|_| ());
        let mut ends = world.stream();
        let hosts = world.hosts();
        let (unreachable, wrong, reject) = match way.family() {
            Family::V4 => ("IcmpInDestUnreachs", "IcmpInCsumErrors", "icmp type host-unreachable"),
            Family::V6 => ("Icmp6InDestUnreachs", "Icmp6InCsumErrors", "icmpv6 type addr-unreachable"),
        };
        let heard = || hosts.client.counter(unreachable).unwrap();
        let before = heard();
        let rules = format!(
            "table inet walled {{ chain arriving {{ type filter hook input priority 0; \
             meta l4proto tcp reject with {reject}; }}; }}"
        );
        hosts.pod.run("nft", &[&rules]).unwrap();
        ends.client.write_all(b"is anybody there?").unwrap();
        until("the error to arrive", PATIENCE, || (heard() > before).then_some(())).unwrap();
        assert_eq!(hosts.client.counter(wrong).unwrap(), 0, "{way:?}");
        // Such an error is a hint, and no end: what was said arrives when it may.
        hosts.pod.run("nft", &["delete", "table", "inet", "walled"]).unwrap();
        let mut heard = [0; 17];
        ends.pod.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"is anybody there?");
    }
}
