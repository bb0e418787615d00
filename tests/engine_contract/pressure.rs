//! Readers that stop and peers that vanish.

use std::io::Write;
use std::time::Duration;

use gateway_tests::bridge::{Bridge, Ends, Path};
use gateway_tests::gateway::GatewayBuilder;
use gateway_tests::memory;
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{PATIENCE, pause, until};

use super::on_every_path;

on_every_path!(a_reader_that_stops_for_seconds, stalled_readers_cost_a_fixed_amount);

mod stories {
    use super::*;

    /// The writer is held back, not served from memory, and nothing is lost when the reader comes back.
    pub(super) fn a_reader_that_stops_for_seconds(path: Path) {
        const BYTES: usize = 64 << 20;
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        let mut ends = bridge.stream().unwrap();
        let mut writer = ends.pod.try_clone().unwrap();
        let before = memory::resident(bridge.gateway.pid()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || Pattern::new(11).write(&mut writer, BYTES, 100_000, &mut Pattern::new(12)).unwrap());
            pause(Duration::from_secs(2));
            let grown = memory::resident(bridge.gateway.pid()).unwrap().saturating_sub(before);
            assert!(grown < 8 << 20, "one stalled reader made the gateway grow by {grown} bytes");
            Pattern::new(11).read(&mut ends.client, BYTES).unwrap();
        });
    }

    /// Trap 23.
    /// A hundred clients that never read, before pods that write as fast as they can: each costs the gateway at most a
    /// chunk (64 KiB) per direction, and other streams go on as if they were not there.
    pub(super) fn stalled_readers_cost_a_fixed_amount(path: Path) {
        const STALLED: usize = 100;
        const CAP_BYTES: u64 = STALLED as u64 * (128 << 10) + (8 << 20);
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        // One stream first, so that what is allocated once does not count.
        drop(bridge.stream().unwrap());
        let before = memory::resident(bridge.gateway.pid()).unwrap();
        let stalled: Vec<_> = (0..STALLED).map(|_| bridge.stream().unwrap()).collect();
        let mut written = 0_u64;
        for ends in &stalled {
            ends.pod.set_nonblocking(true).unwrap();
        }
        // Until no pod can write any more: every buffer on the way is full.
        let block = vec![7; 256 << 10];
        until("the pods to be held back", PATIENCE, || {
            let taken: usize = stalled.iter().filter_map(|ends| (&ends.pod).write(&block).ok()).sum();
            written += taken as u64;
            (taken == 0).then(|| pause(Duration::from_millis(50)))?;
            stalled.iter().all(|ends| (&ends.pod).write(&block).is_err()).then_some(())
        })
        .unwrap();
        let grown = memory::resident(bridge.gateway.pid()).unwrap().saturating_sub(before);
        assert!(grown < CAP_BYTES, "the gateway grew by {grown} bytes while {written} were written");
        let mut ends = bridge.stream().unwrap();
        let mut writer = ends.pod.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || Pattern::new(13).write(&mut writer, 1 << 20, 5000, &mut Pattern::new(14)).unwrap());
            Pattern::new(13).read(&mut ends.client, 1 << 20).unwrap();
        });
    }
}

/// A client's whole network disappears: no end, no reset. Keepalive notices.
#[test]
fn a_peer_that_vanishes_is_noticed() {
    use gateway_tests::need::{Need, is_missing};
    use gateway_tests::netns::NetNs;
    if is_missing(&[Need::Root, Need::Program("ip")]) {
        return;
    }
    // `packet` joins a client elsewhere with a pod elsewhere only.
    for path in super::PATHS.into_iter().filter(|path| path.engine != "packet" && !path.is_missing()) {
        let world = NetNs::joined().unwrap();
        let listen = format!("{}:0", world.host_address());
        let bridge = Bridge::start(path, |gateway| impatient(gateway.listen(listen))).unwrap();
        let client = world.connect(bridge.gateway.addr()).unwrap();
        let ends = bridge.stream_from(client, b"", b"").unwrap();
        assert_noticed(&bridge, ends, || world.cut().unwrap());
    }
    for path in super::ON_HOSTS.into_iter().filter(|path| !path.is_missing()) {
        let bridge = Bridge::start(path, impatient).unwrap();
        let ends = bridge.stream().unwrap();
        assert_noticed(&bridge, ends, || bridge.hosts().cut_client().unwrap());
    }
}

/// A gateway that asks soon, and not for long.
fn impatient(gateway: GatewayBuilder) -> GatewayBuilder {
    gateway.args(["--tcp-keepalive-idle", "1s", "--tcp-keepalive-interval", "1s"]).args([
        "--tcp-keepalive-probes",
        "2",
        "--tcp-user-timeout",
        "2s",
    ])
}

fn assert_noticed(bridge: &Bridge, mut ends: Ends, cut: impl FnOnce()) {
    Pattern::new(1).write(&mut ends.pod, 1000, 100, &mut Pattern::new(2)).unwrap();
    Pattern::new(1).read(&mut ends.client, 1000).unwrap();
    cut();
    let line = super::close_line(bridge);
    assert_eq!((&line["side"], &line["reason"]), (&"client".into(), &"vanished".into()), "{line}");
    super::no_stream_left(bridge);
}
