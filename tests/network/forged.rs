//! A third host that knows the addresses and ports of a stream, and guesses the numbers.

use std::net::TcpStream;
use std::thread;

use gateway_tests::capture::Capture;
use gateway_tests::forger::{ACK, FIN, Forger, PSH, RST, SYN, Segment};
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{PATIENCE, until};

use super::{Way, World, converse, part, ways};

/// Segments of each kind on each half of a stream. A guess is right by chance once in 2^32 for a reset, and hardly more
/// often for what needs a fitting acknowledgement besides.
const GUESSES: u64 = 200;

/// Resets, ends, beginnings and bytes with numbers from all over: the stream is not ended, and says nothing that its
/// ends did not say.
#[test]
fn a_stranger_who_guesses_numbers_changes_nothing() {
    if Capture::is_missing() {
        return;
    }
    for way in ways() {
        let world = way.start(|hosts| hosts.admit_strangers().unwrap());
        let ends = world.stream();
        converse(&ends, 5, 10_000);
        // The reader of captures is seen to notice what is wrong where nobody stands between it and the stranger.
        let capture = matches!(way, Way::Direct(_)).then(|| Capture::start(&world.hosts().pod).unwrap());
        let (checksums, segments) = (world.counted("TcpInCsumErrors"), world.counted("TcpInSegs"));
        // The four directions of the stream's two connections, or the two of its only one, twice.
        let sent: u64 = [&ends.client, &ends.pod].map(|end| forge(&world, end)).iter().sum();
        let is_through = || (world.counted("TcpInSegs") >= segments + sent).then_some(());
        until("the forgeries to arrive", PATIENCE, is_through).unwrap();
        assert!(world.counted("TcpInCsumErrors") > checksums, "{way:?}");
        // And while bytes are on their way, among which a guess may fall.
        thread::scope(|scope| {
            let guessing = [&ends.client, &ends.pod].map(|end| scope.spawn(|| forge(&world, end)));
            converse(&ends, 6, 3 << 20);
            assert!(guessing.into_iter().all(|guesses| guesses.join().unwrap() > 0));
        });
        converse(&ends, 7, 10_000);
        part(ends);
        if let Some(capture) = capture {
            let reading = capture.read(world.hosts().pod_address()).unwrap();
            assert!(reading.bad_checksums > 0 && reading.beyond_window > 0, "{reading:?}");
        }
    }
}

/// Forges both directions of the connection that has this end; how many segments were sent.
fn forge(world: &World, end: &TcpStream) -> u64 {
    let forger = Forger::new(&world.hosts().stranger).unwrap();
    let (near, far) = (end.local_addr().unwrap(), end.peer_addr().unwrap());
    let mut numbers = Pattern::new(u64::from(near.port()));
    let mut sent = 0;
    for (from, to) in [(near, far), (far, near)] {
        for _ in 0..GUESSES {
            for (flags, payload, is_whole) in [
                (RST, &b""[..], true),
                (RST | ACK, b"", true),
                (FIN | ACK, b"", true),
                (SYN, b"", true),
                (SYN | ACK, b"", true),
                (PSH | ACK, b"not what was said", true),
                (PSH | ACK, b"not even whole", false),
            ] {
                let [sequence, acknowledged] =
                    [(); 2].map(|()| u32::try_from(numbers.number() >> 32).expect("32 bits"));
                forger.send(&Segment { from, to, sequence, acknowledged, flags, payload, is_whole }).unwrap();
                sent += 1;
            }
        }
    }
    sent
}
