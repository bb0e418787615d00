//! What is left in the kernel of streams, and of gateways, that are gone.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, MapInfo, loaded_maps};
use aya::programs::loaded_programs;
use gateway_tests::bridge::{Bridge, Ends};
use gateway_tests::need::{Need, is_missing};
use gateway_tests::netns::NetNs;
use gateway_tests::process::Process;
use gateway_tests::wait::{PATIENCE, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use socket2::SockRef;

use super::{SOCKMAP, bytes_by, closing_line, id, is_unavailable, start, until_no_stream};

/// Numbers of kernel objects, which no other object ever gets again.
#[derive(Debug, Default, PartialEq, Eq)]
struct Objects {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
}

impl Objects {
    /// Those of a gateway, once both of its workers have loaded theirs.
    fn of(bridge: &Bridge) -> Self {
        until("the workers to be ready", PATIENCE, || {
            let objects = Self::held_by(bridge.gateway.pid());
            // One program, and at least the four maps of the source.
            (objects.programs.len() == 2 && objects.maps.len() >= 8).then_some(objects)
        })
        .unwrap()
    }

    /// What the threads of a process have descriptors of.
    fn held_by(pid: Pid) -> Self {
        let mut objects = Self::default();
        for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            for entry in fs::read_dir(task.unwrap().path().join("fdinfo")).unwrap() {
                // Some are of connections that come and go.
                let Ok(text) = fs::read_to_string(entry.unwrap().path()) else { continue };
                let number = |name| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok());
                objects.programs.extend(number("prog_id:"));
                objects.maps.extend(number("map_id:"));
            }
        }
        objects
    }

    /// Those of them that the kernel still has.
    fn left(&self) -> Self {
        let programs = loaded_programs().filter_map(Result::ok).map(|program| program.id());
        let maps = loaded_maps().filter_map(Result::ok).map(|map| map.id());
        Self {
            programs: programs.filter(|id| self.programs.contains(id)).collect(),
            maps: maps.filter(|id| self.maps.contains(id)).collect(),
        }
    }

    /// The sockets that have a number in the maps `INDICES`.
    fn sockets(&self) -> usize {
        let indices = |id: &&u32| MapInfo::from_id(**id).is_ok_and(|info| info.name_as_str() == Some("INDICES"));
        self.maps.iter().filter(indices).map(|&id| entries(id)).sum()
    }
}

fn entries(map: u32) -> usize {
    let map = Map::HashMap(MapData::from_id(map).unwrap());
    let map: HashMap<_, u64, u32> = map.try_into().unwrap();
    map.keys().filter(Result::is_ok).count()
}

fn is_impossible() -> bool {
    is_unavailable() || is_missing(&[Need::Root])
}

/// Says something each way, in the kernel.
fn exchange(ends: &mut Ends) {
    for (from, to) in [(&ends.client, &ends.pod), (&ends.pod, &ends.client)] {
        let (mut from, mut to) = (from, to);
        from.write_all(b"words").unwrap();
        let mut heard = [0; 5];
        to.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"words");
    }
}

#[test]
fn a_killed_gateway_leaves_no_program_and_no_map_and_the_one_beside_it_goes_on() {
    if is_impossible() {
        return;
    }
    let gateways = [start(SOCKMAP), start(SOCKMAP)];
    let mut streams = gateways.each_ref().map(|bridge| [bridge.stream().unwrap(), bridge.stream().unwrap()]);
    streams.iter_mut().flatten().for_each(exchange);
    let [killed, other] = gateways.each_ref().map(Objects::of);
    assert!(killed.programs.is_disjoint(&other.programs) && killed.maps.is_disjoint(&other.maps));
    assert_eq!((killed.sockets(), other.sockets()), (4, 4));

    gateways[0].gateway.signal(Signal::SIGKILL).unwrap();
    for ends in &mut streams[0] {
        for end in [&mut ends.client, &mut ends.pod] {
            let _end_or_reset = end.read_to_end(&mut Vec::new()).is_err();
        }
    }
    until("everything to be gone", PATIENCE, || (killed.left() == Objects::default()).then_some(())).unwrap();
    assert_eq!(other.left(), other);
    streams[1].iter_mut().for_each(exchange);
    assert_eq!((bytes_by(&gateways[1], "sockmap"), bytes_by(&gateways[1], "copy")), (40.0, 0.0));
}

#[test]
fn a_gateway_that_ends_in_order_leaves_nothing_either() {
    if is_impossible() {
        return;
    }
    let mut bridge = Bridge::start(SOCKMAP, |gateway| gateway.args(["--drain-timeout", "1s"])).unwrap();
    let mut ends = bridge.stream().unwrap();
    exchange(&mut ends);
    let objects = Objects::of(&bridge);
    bridge.gateway.signal(Signal::SIGTERM).unwrap();
    assert_eq!(bridge.gateway.wait(PATIENCE).unwrap().code(), Some(0));
    until("everything to be gone", PATIENCE, || (objects.left() == Objects::default()).then_some(())).unwrap();
}

#[test]
fn the_entries_of_a_stream_go_with_it_however_it_ends() {
    if is_impossible() {
        return;
    }
    let bridge = start(SOCKMAP);
    let objects = Objects::of(&bridge);
    assert_eq!(objects.sockets(), 0);
    let mut streams: Vec<Ends> = (0..8).map(|_| bridge.stream().unwrap()).collect();
    streams.iter_mut().for_each(exchange);
    assert_eq!(objects.sockets(), 2 * streams.len());
    for (way, ends) in streams.into_iter().enumerate() {
        let number = id(&bridge, &ends);
        let ends = if way % 2 == 0 { ends } else { ends.swapped() };
        let Ends { client: mut one, pod: mut other } = ends;
        match way / 2 {
            0 => drop((one, other)),
            1 => {
                SockRef::from(&one).set_linger(Some(Duration::ZERO)).unwrap();
                drop(one);
                assert_eq!(other.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
            }
            2 => {
                one.shutdown(Shutdown::Write).unwrap();
                assert_eq!(other.read(&mut [0]).unwrap(), 0);
                drop(other);
                assert_eq!(one.read(&mut [0]).unwrap(), 0);
            }
            _ => {
                let target = format!("/streams/{number}");
                gateway_tests::http::send(bridge.gateway.admin(), "DELETE", &target).unwrap();
                assert_eq!((one.read(&mut [0]).unwrap(), other.read(&mut [0]).unwrap()), (0, 0));
            }
        }
        closing_line(&bridge, number);
    }
    until_no_stream(&bridge);
    assert_eq!(objects.sockets(), 0);
    // And their places are as good as new.
    let mut again: Vec<Ends> = (0..8).map(|_| bridge.stream().unwrap()).collect();
    again.iter_mut().for_each(exchange);
    assert_eq!(objects.sockets(), 16);
    drop(again);
    until_no_stream(&bridge);
    assert_eq!(objects.sockets(), 0);
}

/// The only owner of one end of a stream: a process that can be killed. `cat` gives back what it reads.
fn owned_by(program: &str, arguments: &[&str], end: TcpStream) -> Process {
    let [input, output] = [end.try_clone().unwrap(), end].map(OwnedFd::from);
    let prepare = |command: &mut std::process::Command| {
        command.args(arguments).stdin(input).stdout(output);
    };
    Process::spawn(program, prepare).unwrap()
}

#[test]
fn a_pod_or_a_client_whose_process_is_killed_ends_its_stream() {
    if is_impossible() {
        return;
    }
    let bridge = start(SOCKMAP);
    let objects = Objects::of(&bridge);
    for (swap, side) in [(false, "upstream"), (true, "client")] {
        // One that has read everything, whose kernel says the end.
        let ends = bridge.stream().unwrap();
        let number = id(&bridge, &ends);
        let Ends { client: mut survivor, pod: victim } = if swap { ends.swapped() } else { ends };
        let mut echo = owned_by("cat", &[], victim);
        survivor.write_all(b"an echo").unwrap();
        survivor.read_exact(&mut [0; 7]).unwrap();
        echo.kill().unwrap();
        assert_eq!(survivor.read(&mut [0]).unwrap(), 0);
        drop(survivor);
        let line = closing_line(&bridge, number);
        let told = (&line["side"], &line["reason"], &line["kernel_bytes"]);
        assert_eq!(told, (&side.into(), &"fin".into(), &14.into()), "{line}");

        // One with bytes that nobody read, whose kernel resets.
        let ends = bridge.stream().unwrap();
        let number = id(&bridge, &ends);
        let Ends { client: mut survivor, pod: victim } = if swap { ends.swapped() } else { ends };
        let peek = victim.try_clone().unwrap();
        let mut deaf = owned_by("sleep", &["600"], victim);
        survivor.write_all(b"into the void").unwrap();
        assert!(peek.peek(&mut [0; 13]).is_ok_and(|bytes| bytes > 0));
        drop(peek);
        deaf.kill().unwrap();
        assert_eq!(survivor.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        let line = closing_line(&bridge, number);
        assert_eq!((&line["side"], &line["reason"]), (&side.into(), &"rst".into()), "{line}");
    }
    until_no_stream(&bridge);
    assert_eq!(objects.sockets(), 0);
}

/// The pod's whole network is gone, as when its node dies: nobody says an end.
#[test]
fn a_pod_whose_network_disappears_ends_its_stream() {
    if is_impossible() || is_missing(&[Need::Program("ip")]) {
        return;
    }
    let world = NetNs::joined().unwrap();
    let patience = ["--tcp-user-timeout", "2s", "--tcp-keepalive-idle", "1s", "--tcp-keepalive-interval", "1s"];
    let bridge = Bridge::start_at(SOCKMAP, world.listen().unwrap(), |gateway| gateway.args(patience)).unwrap();
    let objects = Objects::of(&bridge);
    // One whose client talks into the void, one that only waits.
    let mut streams = [bridge.stream().unwrap(), bridge.stream().unwrap()];
    streams.iter_mut().for_each(exchange);
    assert_eq!((bytes_by(&bridge, "sockmap"), bytes_by(&bridge, "copy"), objects.sockets()), (20.0, 0.0, 4));
    let numbers = streams.each_ref().map(|ends| id(&bridge, ends));
    world.cut().unwrap();
    streams[0].client.write_all(b"is anybody there").unwrap();
    for (ends, number) in streams.iter_mut().zip(numbers) {
        assert_eq!(ends.client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        let line = closing_line(&bridge, number);
        assert_eq!((&line["side"], &line["reason"]), (&"upstream".into(), &"vanished".into()), "{line}");
    }
    until_no_stream(&bridge);
    assert_eq!(objects.sockets(), 0);
}
