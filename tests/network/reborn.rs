//! Hosts that forget a connection, and come back; ends that go at once, and that are silent for long.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use gateway_tests::bridge::{Bridge, Ends, Path};
use gateway_tests::hosts::{Family, Hosts};
use gateway_tests::need::{Need, is_missing};
use gateway_tests::wait::{PATIENCE, pause, until};
use socket2::{Domain, SockRef, Socket, Type};

use super::{World, converse, part, ways};

/// A client whose host has forgotten the stream begins another one from the same port. Its SYN is answered with an
/// acknowledgement by whoever still has the connection, which it denies (RFC 5961 section 4.2): the old stream ends for
/// the pod, and the new one is served.
#[test]
fn a_port_that_is_used_again_ends_the_old_stream() {
    if is_missing(&[Need::Program("nft")]) {
        return;
    }
    for way in ways() {
        let world = way.start(|_| ());
        let World::Gateway(bridge) = &world else { continue };
        let mut ends = world.stream();
        converse(&ends, 51, 1000);
        let (from, to) = (ends.client.local_addr().unwrap(), ends.client.peer_addr().unwrap());
        forget(&world.hosts().client, ends.client);
        let again = world.hosts().client.there(|| {
            let socket = Socket::new(Domain::for_address(from), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&from.into())?;
            socket.connect(&to.into())?;
            Ok(TcpStream::from(socket))
        });
        let new = bridge.stream_from(again.unwrap(), b"", b"").unwrap();
        assert_eq!(ends.pod.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{way:?}");
        converse(&new, 52, 1000);
        part(new);
        none_left(bridge);
    }
}

/// The host of one end restarts. The other end is told as soon as it speaks.
#[test]
fn an_end_that_has_forgotten_the_stream_resets_it() {
    if is_missing(&[Need::Program("nft")]) {
        return;
    }
    for way in ways() {
        for side in ["client", "upstream"] {
            let world = way.start(|_| ());
            let ends = world.stream();
            converse(&ends, 53, 1000);
            let hosts = world.hosts();
            let (lost, mut left, host) = match side {
                "client" => (ends.client, ends.pod, &hosts.client),
                _ => (ends.pod, ends.client, &hosts.pod),
            };
            forget(host, lost);
            // An acknowledgement that was put off may have spoken before.
            let told = left.write_all(b"anybody there?").and_then(|()| left.read(&mut [0]));
            assert_eq!(told.unwrap_err().kind(), ErrorKind::ConnectionReset, "{way:?}, {side}");
            if let World::Gateway(bridge) = &world {
                let closed = |record: &serde_json::Value| record["message"] == "stream closed";
                let line = bridge.gateway.logged("the close line", PATIENCE, closed).unwrap();
                assert_eq!((&line["reason"], &line["side"]), (&"rst".into(), &side.into()), "{way:?}: {line}");
                none_left(bridge);
            }
        }
    }
}

/// Both ends go at the same time, each in its own way. Whatever crosses what on the cables, nothing stays.
#[test]
fn ends_that_cross_leave_nothing() {
    /// Each way to leave against each, three times.
    const STREAMS: usize = 27;
    for way in ways() {
        let world = way.start(|_| ());
        let World::Gateway(bridge) = &world else { continue };
        for (number, ends) in bridge.streams(STREAMS).unwrap().into_iter().enumerate() {
            let at_once = &Barrier::new(2);
            thread::scope(|scope| {
                for (end, how) in [(ends.client, number % 3), (ends.pod, number / 3 % 3)] {
                    scope.spawn(move || {
                        at_once.wait();
                        leave(end, how);
                    });
                }
            });
        }
        none_left(bridge);
    }
}

fn leave(mut end: TcpStream, how: usize) {
    match how {
        // Hears the other out, however that one leaves.
        0 => {
            let _gone = end.shutdown(Shutdown::Write).is_err();
            let _reset = io::copy(&mut end, &mut io::sink()).is_err();
        }
        1 => SockRef::from(&end).set_linger(Some(Duration::ZERO)).unwrap(),
        // The other may have reset it already.
        _ => drop(end.write_all(b"and never hears what comes of it")),
    }
}

/// The end's socket goes, and its host says nothing.
fn forget(host: &gateway_tests::netns::Namespace, end: TcpStream) {
    Hosts::mute(host).unwrap();
    SockRef::from(&end).set_linger(Some(Duration::ZERO)).unwrap();
    drop(end);
    Hosts::unmute(host).unwrap();
}

fn none_left(bridge: &Bridge) {
    until("no stream left", PATIENCE, || bridge.gateway.streams().unwrap().is_empty().then_some(())).unwrap();
}

/// A gateway that asks an end after a second, once, and gives it a second to answer.
const IMPATIENT: [&str; 6] =
    ["--tcp-keepalive-idle", "1s", "--tcp-keepalive-interval", "1s", "--tcp-keepalive-probes", "1"];

/// Where the ends speak TCP with each other and the gateway asks them.
const PACKET: [Path; 2] =
    [Path::on_hosts("packet", "uring", Family::V4), Path::on_hosts("packet", "uring", Family::V6)];

/// Ends that say nothing for several times as long as it takes to miss one that has vanished: both are asked, both
/// answer in time, and the stream is as good as new.
#[test]
fn silent_ends_are_asked_and_stay() {
    const SILENCE: Duration = Duration::from_secs(7);
    if PACKET.iter().any(|path| path.is_missing()) {
        return;
    }
    let worlds = PACKET.map(|path| World::Gateway(Bridge::start(path, |gateway| gateway.args(IMPATIENT)).unwrap()));
    let streams: Vec<_> = worlds.iter().map(World::stream).collect();
    let heard = |world: &World| {
        let hosts = world.hosts();
        [&hosts.client, &hosts.pod].map(|host| host.counter("TcpInSegs").unwrap())
    };
    let before: Vec<_> = worlds.iter().map(heard).collect();
    pause(SILENCE);
    for ((world, ends), before) in worlds.iter().zip(streams).zip(before) {
        let asked: Vec<_> = heard(world).iter().zip(before).map(|(after, before)| after - before).collect();
        assert!(asked.iter().all(|&segments| segments >= 2), "{asked:?} segments");
        converse(&ends, 55, 100_000);
        part(ends);
    }
}

/// The host of one end has forgotten the stream, and the other end waits for it. Nobody says anything but the gateway,
/// whose question is answered by a reset.
#[test]
fn a_forgotten_stream_of_silent_ends_is_found_by_a_question() {
    if is_missing(&[Need::Program("nft")]) || PACKET.iter().any(|path| path.is_missing()) {
        return;
    }
    for path in PACKET {
        for side in ["client", "upstream"] {
            let bridge = Bridge::start(path, |gateway| gateway.args(IMPATIENT)).unwrap();
            let ends = bridge.stream().unwrap();
            converse(&ends, 56, 1000);
            let hosts = bridge.hosts();
            let (lost, mut left, host) = match side {
                "client" => (ends.client, ends.pod, &hosts.client),
                _ => (ends.pod, ends.client, &hosts.pod),
            };
            forget(host, lost);
            assert_eq!(left.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{path:?}, {side}");
            let closed = |record: &serde_json::Value| record["message"] == "stream closed";
            let line = bridge.gateway.logged("the close line", PATIENCE, closed).unwrap();
            assert_eq!((&line["reason"], &line["side"]), (&"rst".into(), &side.into()), "{path:?}: {line}");
            none_left(&bridge);
        }
    }
}

/// The pod ends its streams first, so that its host remembers each for a minute (TIME_WAIT). The gateway has one port,
/// and dials from it again at once: the new connection is none that the pod's host takes for the old one, nor does it
/// get anything of it.
#[test]
fn a_port_that_the_pods_host_remembers_is_dialled_from_again() {
    const PORT: u16 = 61_000;
    if is_missing(&[Need::Program("ss")]) || PACKET.iter().any(|path| path.is_missing()) {
        return;
    }
    for path in PACKET {
        let bridge = Bridge::start(path, |gateway| gateway.args(["--packet-ports", "61000-61000"])).unwrap();
        let pod = &bridge.hosts().pod;
        for seed in 57..60 {
            let Ends { mut client, pod: mut end } = bridge.stream().unwrap();
            assert_eq!(end.peer_addr().unwrap().port(), PORT, "{path:?}");
            let id = bridge.gateway.streams().unwrap()[0]["id"].clone();
            let ends = Ends { client: client.try_clone().unwrap(), pod: end.try_clone().unwrap() };
            converse(&ends, seed, 100_000);
            end.shutdown(Shutdown::Write).unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(end.read(&mut [0]).unwrap(), 0);
            none_left(&bridge);
            let closed = |record: &serde_json::Value| record["message"] == "stream closed" && record["stream"] == id;
            let line = bridge.gateway.logged("the close line", PATIENCE, closed).unwrap();
            assert_eq!((&line["reason"], &line["side"]), (&"fin".into(), &"upstream".into()), "{path:?}: {line}");
            let remembered = pod.run("ss", &["-tanH", "state", "time-wait"]).unwrap();
            assert!(remembered.contains(&format!(":{PORT}")), "{path:?}: {remembered}");
        }
        let again = [("reason", "port")];
        let refused = bridge.gateway.metric("gateway_stream_promotions_refused_total", &again).unwrap();
        assert_eq!(refused, 0.0, "{path:?}");
    }
}
