//! Thousands of streams at once, and what is left when they are gone.

use std::io::{Read, Write};
use std::time::Duration;

use gateway_tests::bridge::{Bridge, Ends, Path};
use gateway_tests::memory;
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{pause, until};
use nix::unistd::Pid;

use super::on_every_path;

on_every_path!(five_thousand_streams_leave_nothing_behind);

/// Enough for a story of ten thousand sockets on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

mod stories {
    use super::*;

    pub(super) fn five_thousand_streams_leave_nothing_behind(path: Path) {
        const STREAMS: usize = 5_000;
        memory::raise_descriptor_limit().unwrap();
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        // One stream before the measurement, so that what is allocated once does not count.
        drop(bridge.stream().unwrap());
        let pid = bridge.gateway.pid();
        // The admin connections of this story's own questions come and go besides.
        let settled = |wanted: usize| {
            until("descriptors to settle", LIMIT, || (memory::descriptors(pid).ok()? == wanted).then_some(()))
        };
        super::super::no_stream_left(&bridge);
        until("the first connection to be gone", LIMIT, || open_connections(&bridge).eq(&0.0).then_some(())).unwrap();
        let descriptors = quiet_descriptors(pid);
        let mut streams: Vec<Ends> = (0..STREAMS).map(|_| bridge.stream().unwrap()).collect();
        assert_eq!(bridge.gateway.streams().unwrap().len(), STREAMS);
        settled(descriptors + 2 * STREAMS).unwrap();
        for round in 0..2 {
            for (seed, ends) in streams.iter_mut().enumerate() {
                let (up, down) =
                    (Pattern::new((2 * seed + round) as u64).take(700), Pattern::new(!(seed as u64)).take(1500));
                ends.client.write_all(&up).unwrap();
                ends.pod.write_all(&down).unwrap();
            }
            for (seed, ends) in streams.iter_mut().enumerate() {
                Pattern::new((2 * seed + round) as u64).read(&mut ends.pod, 700).unwrap();
                Pattern::new(!(seed as u64)).read(&mut ends.client, 1500).unwrap();
            }
        }
        let resident_full = memory::resident(pid).unwrap();
        for (index, ends) in streams.into_iter().enumerate() {
            // Every second stream is ended by its pod.
            let (first, mut second) = if index % 2 == 0 { (ends.client, ends.pod) } else { (ends.pod, ends.client) };
            drop(first);
            assert_eq!(second.read(&mut [0]).unwrap(), 0);
        }
        super::super::no_stream_left(&bridge);
        settled(descriptors).unwrap();
        until("no connection left", LIMIT, || open_connections(&bridge).eq(&0.0).then_some(())).unwrap();
        // Memory of a second fill comes out of what the first one left: nothing grows from fill to fill.
        let again: Vec<Ends> = (0..STREAMS).map(|_| bridge.stream().unwrap()).collect();
        let resident_again = memory::resident(pid).unwrap();
        assert!(resident_again < resident_full + (4 << 20), "{resident_full} bytes grew to {resident_again}");
        drop(again);
        settled(descriptors).unwrap();
    }

    /// The number of descriptors once it has stayed the same for a while.
    fn quiet_descriptors(pid: Pid) -> usize {
        until("descriptors to stay the same", LIMIT, || {
            let before = memory::descriptors(pid).ok()?;
            pause(Duration::from_millis(200));
            (memory::descriptors(pid).ok()? == before).then_some(before)
        })
        .unwrap()
    }

    fn open_connections(bridge: &Bridge) -> f64 {
        bridge.gateway.metric("gateway_connections_open", &[]).unwrap()
    }
}
