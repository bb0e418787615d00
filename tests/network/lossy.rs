//! Cables that lose packets.

use gateway_tests::hosts::Hosts;
use gateway_tests::need::{Need, is_missing};

use super::{converse, part, ways};

/// One packet in a hundred, at both ends. Everything arrives, and what was lost is found by selective acknowledgement.
#[test]
fn what_a_cable_loses_is_sent_again() {
    const ONE_IN: u32 = 100;
    const BYTES: usize = 3 << 20;
    if is_missing(&[Need::Program("nft")]) {
        return;
    }
    for way in ways() {
        let world = way.start(|hosts| {
            hosts.as_on_a_wire().unwrap();
            for host in [&hosts.client, &hosts.pod] {
                Hosts::lose(host, ONE_IN).unwrap();
            }
        });
        let ends = world.stream();
        converse(&ends, 1, BYTES);
        part(ends);
        let lost = [&world.hosts().client, &world.hosts().pod].map(|host| Hosts::lost(host).unwrap());
        assert!(lost.iter().all(|&packets| packets > 0), "{way:?}: lost {lost:?}");
        let by_sack = "TcpExtTCPSackRecovery";
        let recovered = if way.is_end_to_end() { world.counted_at_ends(by_sack) } else { world.counted(by_sack) };
        eprintln!("{way:?}: lost {lost:?}, {recovered} recoveries by SACK");
        assert!(recovered > 0, "{way:?}: {lost:?} packets were lost, and SACK found none");
        assert_eq!(world.counted("TcpInCsumErrors"), 0, "{way:?}");
    }
}
