//! What arrives at the two ends, as an independent reader sees it.

use std::thread;
use std::time::Duration;

use gateway_tests::capture::{Capture, Reading};
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::pause;

use super::{World, converse, part, ways};

/// No bad checksum, nothing twice, nothing beyond a window, no timestamp that goes back: each end sees a peer that
/// keeps to the rules, whoever moves the bytes, and whenever a stream goes into the kernel.
#[test]
fn each_end_sees_a_peer_that_keeps_to_the_rules() {
    const STREAMS: u64 = 4;
    /// Each begins where the last one ended, after a moment or at once: a stream goes over when it is quiet.
    const TALKS: u64 = 8;
    const BYTES: usize = 32 << 10;
    const MOMENT_MAX_US: usize = 5000;
    if Capture::is_missing() {
        return;
    }
    for way in ways() {
        let world = way.start(|hosts| hosts.as_on_a_wire().unwrap());
        let hosts = world.hosts();
        let captures = [&hosts.client, &hosts.pod].map(|host| Capture::start(host).unwrap());
        thread::scope(|scope| {
            for seed in 0..STREAMS {
                let (world, ends) = (&world, world.stream_at_once());
                scope.spawn(move || {
                    let mut moments = Pattern::new(seed);
                    for talk in 0..TALKS {
                        pause(Duration::from_micros(moments.below(MOMENT_MAX_US) as u64));
                        converse(&ends, TALKS * seed + talk, BYTES);
                    }
                    if let World::Gateway(bridge) = world {
                        bridge.await_promotions().unwrap();
                    }
                    converse(&ends, TALKS * STREAMS + seed, BYTES);
                    part(ends);
                });
            }
        });
        let readers = [hosts.client_address(), hosts.pod_address()];
        let readings: Vec<_> =
            captures.into_iter().zip(readers).map(|(capture, reader)| capture.read(reader).unwrap()).collect();
        // On a busy machine an acknowledgement may be so late that a TCP sends something twice, and packets may find
        // no room; and what comes while a stream is taken over is dropped. All are counted, and after the captures:
        // what is caught was counted before.
        let (sent_twice, lost) = (world.counted("TcpRetransSegs"), hosts.overflowed().unwrap() as f64 + world.held());
        for (reading, reader) in readings.into_iter().zip(readers) {
            let told = format!("{way:?}, read by {reader}: {reading:?}, {sent_twice} sent twice, {lost} lost");
            assert!(reading.repeated <= sent_twice && reading.gaps as f64 <= lost, "{told}");
            assert_eq!(Reading { repeated: 0, gaps: 0, ..reading }, Reading::default(), "{told}");
        }
        for refusals in ["TcpExtPAWSEstab", "TcpExtTCPACKSkippedPAWS", "TcpInCsumErrors"] {
            assert_eq!(world.counted(refusals), 0, "{way:?}: {refusals}");
        }
    }
}
