//! Ends that have agreed on different things with the gateway, or with each other.

use gateway_tests::hosts::DEVICE;

use super::{Way, converse, part, ways};

/// Each option that one end may lack, on either side. Such connections cannot be made one; their stream keeps both.
#[test]
fn an_end_without_an_option_is_served_as_well() {
    const BYTES: usize = 256 << 10;
    for way in ways().filter(|way| matches!(way, Way::Gateway(_))) {
        let world = way.start(|_| ());
        let hosts = world.hosts();
        for option in ["ipv4/tcp_timestamps", "ipv4/tcp_sack", "ipv4/tcp_window_scaling"] {
            for host in [&hosts.client, &hosts.pod] {
                host.set(option, "0").unwrap();
                let ends = world.stream_refused("options");
                converse(&ends, 3, BYTES);
                part(ends);
                host.set(option, "1").unwrap();
            }
        }
    }
}

/// An end whose cable takes shorter packets than the other's.
#[test]
fn an_end_with_a_shorter_mtu_is_served_as_well() {
    const BYTES: usize = 256 << 10;
    for way in ways().filter(|way| matches!(way, Way::Gateway(_))) {
        for at_client in [true, false] {
            let world = way.start(|hosts| {
                let host = if at_client { &hosts.client } else { &hosts.pod };
                host.ip(&["link", "set", DEVICE, "mtu", "1400"]).unwrap();
            });
            let ends = world.stream_refused("mss");
            converse(&ends, 4, BYTES);
            part(ends);
        }
    }
}
