//! Ends that have agreed on different things with the gateway, or with each other.

use super::{Way, converse, part, ways};

/// Each option that one end may lack, on either side.
#[test]
fn an_end_without_an_option_is_served_as_well() {
    const BYTES: usize = 256 << 10;
    for way in ways().filter(|way| matches!(way, Way::Gateway(_))) {
        let world = way.start(|_| ());
        let hosts = world.hosts();
        for option in ["ipv4/tcp_timestamps", "ipv4/tcp_sack", "ipv4/tcp_window_scaling"] {
            for host in [&hosts.client, &hosts.pod] {
                host.set(option, "0").unwrap();
                let ends = world.stream();
                converse(&ends, 3, BYTES);
                part(ends);
                host.set(option, "1").unwrap();
            }
        }
    }
}
