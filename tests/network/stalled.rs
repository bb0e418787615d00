//! Readers that stop.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use gateway_tests::memory;
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{PATIENCE, pause, until};

use super::{World, part, ways};

/// Where the ends speak TCP with each other, a writer is stopped by the reader's own window: nothing waits anywhere
/// between, and what the gateway and its host's sockets hold does not grow. When the reader comes back, its window
/// opens, and everything is there.
#[test]
fn a_writer_is_stopped_by_the_readers_own_window() {
    /// What the gateway may come to hold meanwhile for other reasons, in bytes. One stalled stream of `copy` may take
    /// as much, so the bytes on the way are far more.
    const GROWTH_MAX_BYTES: u64 = 1 << 20;
    const STREAMS: usize = 16;
    for way in ways().filter(|way| way.is_end_to_end()) {
        let world = way.start(|_| ());
        let streams: Vec<_> = (0..STREAMS).map(|_| world.stream()).collect();
        let resident = || match &world {
            World::Gateway(bridge) => memory::resident(bridge.gateway.pid()).unwrap(),
            World::Direct(..) => 0,
        };
        let before = resident();
        let mut numbers: Vec<_> = (0..STREAMS).map(|seed| Pattern::new(seed as u64)).collect();
        let mut written = [0; STREAMS];
        for ends in &streams {
            ends.pod.set_nonblocking(true).unwrap();
        }
        let mut last = Instant::now();
        until("the writers to be stopped", PATIENCE, || {
            for ((ends, numbers), written) in streams.iter().zip(&mut numbers).zip(&mut written) {
                let mut rest = numbers.clone();
                match (&ends.pod).write(&rest.take(64 << 10)) {
                    Ok(bytes) => {
                        let _said = numbers.take(bytes);
                        *written += bytes;
                        last = Instant::now();
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{way:?}"),
                }
            }
            let closed = world.hosts().client.counter("TcpExtTCPToZeroWindowAdv").unwrap();
            (closed >= STREAMS as u64 && last.elapsed() > Duration::from_millis(300)).then_some(())
        })
        .unwrap();
        // A time in which a relay would go on filling what it has.
        pause(Duration::from_millis(300));
        let grown = resident().saturating_sub(before);
        let total: usize = written.iter().sum();
        eprintln!("{way:?}: {total} bytes on the way, the gateway grew by {grown}");
        assert!(total as u64 > 4 * GROWTH_MAX_BYTES && grown < GROWTH_MAX_BYTES, "{way:?}: {total}, {grown}");
        for (seed, (mut ends, bytes)) in streams.into_iter().zip(written).enumerate() {
            Pattern::new(seed as u64).read(&mut ends.client, bytes).unwrap();
            ends.pod.set_nonblocking(false).unwrap();
            part(ends);
        }
    }
}
