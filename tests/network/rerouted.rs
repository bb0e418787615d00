//! Routes that move to another interface or next hop under a stream, and interfaces that come and go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use gateway_tests::bridge::{Bridge, Ends, Path, SANDBOX};
use gateway_tests::gateway::Gateway;
use gateway_tests::hosts::{Cable, Family, Hosts, Route};
use gateway_tests::state::StateDir;
use gateway_tests::wait::{PATIENCE, until};
use nix::sys::signal::Signal;

use super::{converse, part};

/// Ends a conversation, also where the story fails meanwhile.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The paths without sockets that this machine has.
fn paths() -> impl Iterator<Item = Path> {
    [Family::V4, Family::V6]
        .map(|family| Path::on_hosts("packet", "uring", family))
        .into_iter()
        .filter(|path| !path.is_missing())
}

/// Both ends talk for as long as `meanwhile` runs.
fn converse_while(ends: &Ends, meanwhile: impl FnOnce()) {
    const BYTES: usize = 64 << 10;
    let is_over = &AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(is_over);
        scope.spawn(move || {
            (100..).take_while(|_| !is_over.load(Ordering::Relaxed)).for_each(|seed| converse(ends, seed, BYTES));
        });
        meanwhile();
    });
}

fn route_changes(bridge: &Bridge, change: &str) -> f64 {
    bridge.gateway.metric("gateway_stream_route_changes_total", &[("change", change)]).unwrap()
}

/// Moves a route, and waits until the stream has followed.
fn reroute(bridge: &Bridge, cable: Cable, route: Route, change: &str) {
    let before = route_changes(bridge, change);
    bridge.hosts().route(cable, route).unwrap();
    let told = format!("the way over {cable:?} to be {change} by {route:?}");
    until(&told, PATIENCE, || (route_changes(bridge, change) > before).then_some(())).unwrap();
}

/// Waits until the second cable carries the stream both ways.
fn await_packets(hosts: &Hosts, cable: Cable) {
    /// More than neighbours say to find each other.
    const PACKETS: u64 = 20;
    let before = hosts.carried_by_spare(cable).unwrap();
    until("the second cable to carry the stream", PATIENCE, || {
        let now = hosts.carried_by_spare(cable).unwrap();
        now.iter().zip(before).all(|(now, before)| *now > before + PACKETS).then_some(())
    })
    .unwrap();
}

/// The route to either end moves to another cable and back, under traffic: no byte is lost. So it is where the route is
/// gone for a while, and where it only leads to another neighbour.
#[test]
fn a_stream_follows_its_routes() {
    for path in paths() {
        let hosts = Hosts::joined(path.hosts.unwrap()).unwrap();
        let cables = [Cable::Clients, Cable::Pods];
        cables.iter().for_each(|&cable| hosts.plug_spare(cable).unwrap());
        let bridge = Bridge::start_on(path, hosts, |gateway| gateway).unwrap();
        let (ends, hosts) = (bridge.stream().unwrap(), bridge.hosts());
        let dropped = || bridge.gateway.metric("gateway_packets_unspliced_total", &[("reason", "no_route")]).unwrap();
        converse_while(&ends, || {
            for cable in cables {
                reroute(&bridge, cable, Route::Second, "moved");
                await_packets(hosts, cable);
                reroute(&bridge, cable, Route::First, "moved");
                let before = dropped();
                reroute(&bridge, cable, Route::None, "lost");
                until("packets without a route", PATIENCE, || (dropped() > before).then_some(())).unwrap();
                reroute(&bridge, cable, Route::First, "found");
                assert!(!hosts.knows_neighbour(cable).unwrap());
                hosts.route_by_neighbour(cable).unwrap();
                until("the neighbour to be asked", PATIENCE, || hosts.knows_neighbour(cable).unwrap().then_some(()))
                    .unwrap();
            }
        });
        part(ends);
    }
}

/// A route moves while no gateway runs, and with it an interface comes. The next gateway looks for the way of each stream
/// that it takes over.
#[test]
fn a_route_that_moved_meanwhile_is_followed_by_the_next_gateway() {
    for path in paths() {
        let state: Arc<StateDir> = Arc::default();
        let hosts = Hosts::joined(path.hosts.unwrap()).unwrap();
        let mut bridge = Bridge::start_on(path, hosts, |gateway| gateway.state(&state)).unwrap();
        let ends = bridge.stream().unwrap();
        bridge.gateway.signal(Signal::SIGKILL).unwrap();
        bridge.gateway.wait(PATIENCE).unwrap();
        let hosts = bridge.hosts();
        hosts.plug_spare(Cable::Pods).unwrap();
        hosts.route(Cable::Pods, Route::Second).unwrap();
        let any_port = |address| SocketAddr::new(address, 0).to_string();
        let builder = Gateway::builder().state(&state).args(["--engine", path.engine, "--io", path.io]);
        let builder = builder.sandbox(SANDBOX, ends.pod.local_addr().unwrap()).through(hosts.at_gateway());
        let builder = builder.listen(any_port(hosts.gateway_address())).admin(any_port(hosts.admin_address()));
        let next = builder.start().unwrap();
        let changed = |change| next.metric("gateway_stream_route_changes_total", &[("change", change)]).unwrap();
        until("the stream to follow", PATIENCE, || (changed("moved") > 0.0).then_some(())).unwrap();
        converse_while(&ends, || await_packets(hosts, Cable::Pods));
        part(ends);
        until("no stream left", PATIENCE, || next.streams().unwrap().is_empty().then_some(())).unwrap();
    }
}

/// An interface that comes after the start carries streams, those that were there before it as well as new ones. When
/// it goes, nothing of it stays: a stream takes the way that is left, or, where an end has gone with it, is over when
/// TCP would give that end up.
#[test]
fn an_interface_that_comes_later_carries_streams() {
    const ASK: [&str; 6] =
        ["--tcp-keepalive-idle", "2s", "--tcp-keepalive-interval", "1s", "--tcp-keepalive-probes", "2"];
    for path in paths() {
        let state: Arc<StateDir> = Arc::default();
        let hosts = Hosts::joined(path.hosts.unwrap()).unwrap();
        let bridge = Bridge::start_on(path, hosts, |gateway| gateway.state(&state).args(ASK)).unwrap();
        let (before, hosts) = (bridge.stream().unwrap(), bridge.hosts());
        let links = || {
            let mut links = state.files();
            links.retain(|file| file.parent().is_some_and(|folder| folder.ends_with("links")));
            links.sort();
            links
        };
        let at_first = links();
        hosts.plug_spare(Cable::Clients).unwrap();
        until("the program to be on it", PATIENCE, || (links().len() > at_first.len()).then_some(())).unwrap();
        reroute(&bridge, Cable::Clients, Route::Second, "moved");
        // The client's address on it is that of the second cable.
        let after = bridge.stream().unwrap();
        for ends in [&before, &after] {
            converse_while(ends, || await_packets(hosts, Cable::Clients));
        }
        let [moved, lost] = ["moved", "lost"].map(|change| route_changes(&bridge, change));
        hosts.unplug_spare(Cable::Clients).unwrap();
        until("nothing of it to be left", PATIENCE, || (links() == at_first).then_some(())).unwrap();
        let changed = || route_changes(&bridge, "moved") > moved && route_changes(&bridge, "lost") > lost;
        until("the streams to notice", PATIENCE, || changed().then_some(())).unwrap();
        converse(&before, 7, 256 << 10);
        let closed = |record: &serde_json::Value| record["message"] == "stream closed";
        let line = bridge.gateway.logged("the close line", PATIENCE, closed).unwrap();
        assert_eq!(line["reason"], "vanished", "{line}");
        part(before);
    }
}
