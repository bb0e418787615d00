//! What arrives at the two ends, as an independent reader sees it.

use std::thread;

use gateway_tests::capture::{Capture, Reading};

use super::{converse, part, ways};

/// No bad checksum, nothing twice, nothing beyond a window, no timestamp that goes back: each end sees a peer that
/// keeps
/// to the rules, whoever moves the bytes.
#[test]
fn each_end_sees_a_peer_that_keeps_to_the_rules() {
    const STREAMS: u64 = 4;
    const BYTES: usize = 256 << 10;
    if Capture::is_missing() {
        return;
    }
    for way in ways() {
        let world = way.start(|hosts| hosts.as_on_a_wire().unwrap());
        let hosts = world.hosts();
        let captures = [&hosts.client, &hosts.pod].map(|host| Capture::start(host).unwrap());
        thread::scope(|scope| {
            for seed in 0..STREAMS {
                let ends = world.stream();
                scope.spawn(move || {
                    converse(&ends, seed, BYTES);
                    part(ends);
                });
            }
        });
        // On a busy machine an acknowledgement may be so late that a TCP sends something twice. It counts that.
        let sent_twice = world.counted("TcpRetransSegs");
        let readers = [hosts.client_address(), hosts.pod_address()];
        for (capture, reader) in captures.into_iter().zip(readers) {
            let reading = capture.read(reader).unwrap();
            assert!(reading.repeated <= sent_twice, "{way:?}, read by {reader}: {reading:?}, {sent_twice} sent twice");
            assert_eq!(Reading { repeated: 0, ..reading }, Reading::default(), "{way:?}, read by {reader}");
        }
        for refusals in ["TcpExtPAWSEstab", "TcpExtTCPACKSkippedPAWS", "TcpInCsumErrors"] {
            assert_eq!(world.counted(refusals), 0, "{way:?}: {refusals}");
        }
    }
}
