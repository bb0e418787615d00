//! The contract of `gateway/src/tunnel.rs`, story by story, for each engine and each way to wait.

mod capacity;
mod ends;
mod pipes;
mod pressure;

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use gateway_tests::bridge::{Bridge, Path};
use gateway_tests::hosts::Family;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{PATIENCE, until};

/// Every way to move bytes in this build.
pub(crate) const PATHS: [Path; 7] = [
    Path::on_loopback("copy", "uring"),
    Path::on_loopback("copy", "epoll"),
    Path::on_loopback("splice", "uring"),
    Path::on_loopback("splice", "epoll"),
    Path::on_loopback("sockmap", "uring"),
    Path::on_loopback("packet", "uring"),
    Path::on_loopback("packet", "epoll"),
];

/// The same contract where client, gateway and pod are three hosts.
pub(crate) const ON_HOSTS: [Path; 4] = [
    Path::on_hosts("copy", "uring", Family::V4),
    Path::on_hosts("sockmap", "uring", Family::V6),
    Path::on_hosts("packet", "uring", Family::V4),
    Path::on_hosts("packet", "epoll", Family::V6),
];

/// Tells a story once for each path, and proves by the gateway's own counter that its streams took it.
macro_rules! on_every_path {
    ($($story:ident),+ $(,)?) => {
        $crate::engine_contract::on_every_path!(@ $crate::engine_contract::ON_HOSTS; $($story),+);
    };
    // What is about descriptors and memory of the gateway's own needs no other hosts.
    (here: $($story:ident),+ $(,)?) => {
        $crate::engine_contract::on_every_path!(@ []; $($story),+);
    };
    (@ $more:expr; $($story:ident),+) => {
        $(
            #[test]
            fn $story() {
                for path in $crate::engine_contract::PATHS.into_iter().chain($more) {
                    if !path.is_missing() {
                        stories::$story(path);
                    }
                }
            }
        )+
    };
}
pub(crate) use on_every_path;

/// With `auto` a stream begins with sockets, and loses them without being asked for it.
#[test]
fn auto_reaches_packet() {
    if is_missing(&[Need::Engine("packet")]) {
        return;
    }
    let bridge = Bridge::start(Path::on_loopback("auto", "uring"), |gateway| gateway).unwrap();
    let mut ends = bridge.stream().unwrap();
    let engine = || Some(bridge.gateway.streams().unwrap().first()?["engine"].clone());
    assert_eq!(engine(), Some("copy".into()));
    until("the stream to lose its sockets", PATIENCE, || (engine()? == "packet").then_some(())).unwrap();
    for seed in 0..10 {
        Pattern::new(seed).write(&mut ends.client, 1000, 100, &mut Pattern::new(0)).unwrap();
        Pattern::new(seed).read(&mut ends.pod, 1000).unwrap();
    }
    let moved = || bridge.gateway.metric("gateway_stream_bytes_total", &[("engine", "packet")]).unwrap();
    until("the bytes to be counted", PATIENCE, || (moved() == 10_000.0).then_some(())).unwrap();
}

/// Ends that never fall silent leave no instant in which nothing is on its way; they are held for one in the end.
#[test]
fn a_stream_that_is_never_quiet_loses_its_sockets_as_well() {
    for path in PATHS.into_iter().filter(|path| path.engine == "packet" && !path.is_missing()) {
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        let ends = bridge.stream_at_once().unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let talking = scope.spawn(|| {
                let mut seed = 0;
                while !is_over.load(Ordering::Relaxed) {
                    for (mut one, mut other) in [(&ends.client, &ends.pod), (&ends.pod, &ends.client)] {
                        std::io::Write::write_all(&mut one, &Pattern::new(seed).take(10)).unwrap();
                        let mut heard = [0; 10];
                        std::io::Read::read_exact(&mut other, &mut heard).unwrap();
                        assert_eq!(heard[..], Pattern::new(seed).take(10));
                        seed += 1;
                    }
                }
            });
            let spliced =
                until("the stream to lose its sockets", PATIENCE, || (opened(&bridge, path) == 1.0).then_some(()));
            is_over.store(true, Ordering::Relaxed);
            talking.join().unwrap();
            spliced.unwrap();
        });
    }
}

on_every_path!(chunks_of_any_size, bytes_behind_both_heads, dribble, counts_are_exact);

/// Streams that took the path, as the gateway counts them.
fn opened(bridge: &Bridge, path: Path) -> f64 {
    let count = if path.is_kernel() { "gateway_stream_promotions_total" } else { "gateway_streams_opened_total" };
    bridge.gateway.metric(count, &[("engine", path.engine)]).unwrap()
}

/// The close line of the only stream.
fn close_line(bridge: &Bridge) -> serde_json::Value {
    bridge.gateway.logged("the close line", PATIENCE, |record| record["message"] == "stream closed").unwrap()
}

fn no_stream_left(bridge: &Bridge) {
    until("no stream left", PATIENCE, || bridge.gateway.streams().unwrap().is_empty().then_some(())).unwrap();
}

mod stories {
    use super::*;

    /// Both directions at once, in random pieces from one byte to more than a pool chunk.
    pub(super) fn chunks_of_any_size(path: Path) {
        const STREAMS: u64 = 8;
        const BYTES: usize = 3 << 20;
        const PIECE_MAX: usize = 100_000;
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        thread::scope(|scope| {
            for seed in 0..STREAMS {
                let ends = bridge.stream().unwrap();
                for (one, other, seed) in [(&ends.client, &ends.pod, 2 * seed), (&ends.pod, &ends.client, 2 * seed + 1)]
                {
                    let (mut writer, mut reader) = (one.try_clone().unwrap(), other.try_clone().unwrap());
                    scope.spawn(move || {
                        let mut sizes = Pattern::new(!seed);
                        Pattern::new(seed).write(&mut writer, BYTES, PIECE_MAX, &mut sizes).unwrap();
                        writer.shutdown(Shutdown::Write).unwrap();
                    });
                    scope.spawn(move || Pattern::new(seed).read_to_end(&mut reader, BYTES).unwrap());
                }
            }
        });
        assert_eq!(opened(&bridge, path), STREAMS as f64);
        no_stream_left(&bridge);
    }

    /// Trap 12: what came in one segment with a head is delivered first, in both directions.
    pub(super) fn bytes_behind_both_heads(path: Path) {
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        for (up, down) in [(1, 1), (0, 3000), (3000, 0), (60_000, 60_000)] {
            let (mut from_client, mut from_pod) = (Pattern::new(up as u64 + 1), Pattern::new(down as u64 + 2));
            let mut ends = bridge.stream_with(&from_client.take(up), &from_pod.take(down)).unwrap();
            std::io::Write::write_all(&mut ends.client, &from_client.take(500)).unwrap();
            std::io::Write::write_all(&mut ends.pod, &from_pod.take(500)).unwrap();
            Pattern::new(up as u64 + 1).read(&mut ends.pod, up + 500).unwrap();
            Pattern::new(down as u64 + 2).read(&mut ends.client, down + 500).unwrap();
        }
        assert_eq!(opened(&bridge, path), 4.0);
    }

    /// One byte at a time, answered byte by byte.
    pub(super) fn dribble(path: Path) {
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        let mut ends = bridge.stream().unwrap();
        for round in 0..500_u64 {
            Pattern::new(round).write(&mut ends.client, 1, 1, &mut Pattern::new(0)).unwrap();
            Pattern::new(round).read(&mut ends.pod, 1).unwrap();
            Pattern::new(!round).write(&mut ends.pod, 1, 1, &mut Pattern::new(0)).unwrap();
            Pattern::new(!round).read(&mut ends.client, 1).unwrap();
        }
        assert_eq!(opened(&bridge, path), 1.0);
    }

    /// The close line and the metrics name the bytes of each direction, glued ones included.
    pub(super) fn counts_are_exact(path: Path) {
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        let mut ends = bridge.stream_with(&[1; 10], &[2; 20]).unwrap();
        Pattern::new(1).write(&mut ends.client, 100_000, 7000, &mut Pattern::new(2)).unwrap();
        Pattern::new(3).write(&mut ends.pod, 50_000, 7000, &mut Pattern::new(4)).unwrap();
        ends.client.shutdown(Shutdown::Write).unwrap();
        ends.pod.shutdown(Shutdown::Write).unwrap();
        std::io::copy(&mut ends.client, &mut std::io::sink()).unwrap();
        std::io::copy(&mut ends.pod, &mut std::io::sink()).unwrap();
        let line = close_line(&bridge);
        assert_eq!((&line["bytes_up"], &line["bytes_down"]), (&100_010.into(), &50_020.into()), "{line}");
        assert_eq!((&line["engine"], &line["reason"]), (&path.engine.into(), &"fin".into()), "{line}");
        let total =
            |direction| bridge.gateway.metric("gateway_stream_bytes_total", &[("direction", direction)]).unwrap();
        assert_eq!((total("up"), total("down")), (100_010.0, 50_020.0));
    }
}
