//! Thousands of streams at once, and what is left when they are gone.

use std::io::{Read, Write};
use std::time::Duration;

use gateway_tests::bridge::{Bridge, Ends, Path};
use gateway_tests::memory;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{pause, until};
use nix::unistd::Pid;

use super::on_every_path;

on_every_path!(here: five_thousand_streams_leave_nothing_behind, two_workers_carry_more_streams_than_one_table_holds);

/// Enough for a story of ten thousand sockets on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

mod stories {
    use super::*;

    pub(super) fn five_thousand_streams_leave_nothing_behind(path: Path) {
        const STREAMS: usize = 5_000;
        memory::raise_descriptor_limit().unwrap();
        let sockets_each = sockets_each(path);
        // By default there are fewer ports to dial one pod from.
        let bridge = Bridge::start(path, |gateway| gateway.args(["--packet-ports", "10000-32767"])).unwrap();
        let settled = |wanted| until_descriptors(&bridge, wanted);
        let pid = bridge.gateway.pid();
        let descriptors = descriptors_of_none(&bridge);
        let mut streams = bridge.streams(STREAMS).unwrap();
        assert_eq!(bridge.gateway.streams().unwrap().len(), STREAMS);
        settled(descriptors + sockets_each * STREAMS);
        for round in 0..2 {
            all_at_once(&mut streams, round);
        }
        let resident_full = memory::resident(pid).unwrap();
        end(streams);
        super::super::no_stream_left(&bridge);
        settled(descriptors);
        until("no connection left", LIMIT, || open_connections(&bridge).eq(&0.0).then_some(())).unwrap();
        // Memory of a second fill comes out of what the first one left: nothing grows from fill to fill.
        let again = bridge.streams(STREAMS).unwrap();
        let resident_again = memory::resident(pid).unwrap();
        assert!(resident_again < resident_full + (4 << 20), "{resident_full} bytes grew to {resident_again}");
        drop(again);
        settled(descriptors);
    }

    /// A process may have 2,000 descriptors, a stream takes two, and 1,300 streams are there.
    pub(super) fn two_workers_carry_more_streams_than_one_table_holds(path: Path) {
        const STREAMS: usize = 1_300;
        if is_missing(&[Need::Program("prlimit")]) {
            return;
        }
        memory::raise_descriptor_limit().unwrap();
        let bridge = Bridge::start(path, |gateway| gateway.through(["prlimit", "--nofile=2000:2000", "--"])).unwrap();
        let descriptors = descriptors_of_none(&bridge);
        let mut streams = bridge.streams(STREAMS).unwrap();
        // A stream is counted by its own task, which may have yet to begin when its client has the 101.
        let opened = || super::super::opened(&bridge, path) == (STREAMS + 1) as f64;
        until("all streams to be counted", LIMIT, || opened().then_some(())).unwrap();
        until_descriptors(&bridge, descriptors + sockets_each(path) * STREAMS);
        let by_worker = memory::sockets_by_worker(bridge.gateway.pid()).unwrap();
        let spread = by_worker.iter().all(|&sockets| sockets > 500);
        assert!(spread || sockets_each(path) == 0, "the kernel spreads evenly enough: {by_worker:?}");
        for round in 0..3 {
            all_at_once(&mut streams, round);
        }
        end(streams);
        super::super::no_stream_left(&bridge);
        until_descriptors(&bridge, descriptors);
        until("no connection left", LIMIT, || open_connections(&bridge).eq(&0.0).then_some(())).unwrap();
    }

    /// What a stream has in a descriptor table once it has taken the path.
    fn sockets_each(path: Path) -> usize {
        if path.engine == "packet" { 0 } else { 2 }
    }

    /// What is open when no stream is. One was there before, so that what is allocated once does not count.
    fn descriptors_of_none(bridge: &Bridge) -> usize {
        drop(bridge.stream().unwrap());
        super::super::no_stream_left(bridge);
        until("the first connection to be gone", LIMIT, || open_connections(bridge).eq(&0.0).then_some(())).unwrap();
        quiet_descriptors(bridge.gateway.pid())
    }

    /// The admin connections of a story's own questions come and go besides.
    fn until_descriptors(bridge: &Bridge, wanted: usize) {
        let pid = bridge.gateway.pid();
        until("descriptors to settle", LIMIT, || (memory::descriptors(pid).ok()? == wanted).then_some(())).unwrap();
    }

    /// Data on every stream, both ways, before any of it is read.
    fn all_at_once(streams: &mut [Ends], round: usize) {
        let up = |seed| Pattern::new((2 * seed + round) as u64);
        let down = |seed| Pattern::new(!(seed as u64));
        for (seed, ends) in streams.iter_mut().enumerate() {
            ends.client.write_all(&up(seed).take(700)).unwrap();
            ends.pod.write_all(&down(seed).take(1500)).unwrap();
        }
        for (seed, ends) in streams.iter_mut().enumerate() {
            up(seed).read(&mut ends.pod, 700).unwrap();
            down(seed).read(&mut ends.client, 1500).unwrap();
        }
    }

    /// Every second stream is ended by its pod.
    fn end(streams: Vec<Ends>) {
        for (index, ends) in streams.into_iter().enumerate() {
            let (first, mut second) = if index % 2 == 0 { (ends.client, ends.pod) } else { (ends.pod, ends.client) };
            drop(first);
            assert_eq!(second.read(&mut [0]).unwrap(), 0);
        }
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
