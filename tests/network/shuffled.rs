//! Cables on which packets overtake each other, and some come twice.

use gateway_tests::hosts::Hosts;

use super::{converse, part, ways};

/// On both cables, both ways. Everything arrives in its order and once, and each end tells the other by selective
/// acknowledgements what came out of order (RFC 2018) and what came twice (RFC 2883): numbers of its own, in which the
/// other finds its own again.
#[test]
fn what_a_cable_shuffles_comes_in_order() {
    const BYTES: usize = 3 << 20;
    for way in ways() {
        let hosts = Hosts::shuffled(way.family(), 7).unwrap();
        hosts.as_on_a_wire().unwrap();
        let world = way.start_on(hosts);
        let ends = world.stream();
        let at_gateway = |name| world.hosts().gateway().counter(name).unwrap();
        let delivered_before = at_gateway("TcpInSegs");
        converse(&ends, 1, BYTES);
        part(ends);
        for shuffler in world.hosts().shufflers() {
            let (overtaken, doubled) = (shuffler.overtaken(), shuffler.doubled());
            eprintln!("{way:?}: {overtaken} packets overtaken, {doubled} doubled");
            assert!(overtaken > 0 && doubled > 0, "{way:?}: nothing was shuffled");
        }
        if way.is_end_to_end() {
            // None of it was for the gateway's own TCP, but what came for its admin port.
            let delivered = at_gateway("TcpInSegs") - delivered_before;
            assert!(delivered < 100, "{way:?}: {delivered} segments of a stream that was to pass by");
        }
        for proof in ["TcpExtTCPOFOQueue", "TcpExtTCPDSACKOldSent", "TcpExtTCPDSACKRecv"] {
            let count = if way.is_end_to_end() { world.counted_at_ends(proof) } else { world.counted(proof) };
            eprintln!("{way:?}: {proof} {count}");
            assert!(count > 0, "{way:?}: {proof}");
        }
        assert_eq!(world.counted("TcpInCsumErrors"), 0, "{way:?}");
    }
}
