//! A request that waits for hours. Nobody else does: what is written down of a stream's times is moved back, all of it
//! by as much, which is what a clock that has gone on would show.

use std::io::{ErrorKind, Read as _, Write as _};
use std::mem::offset_of;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use gateway_common::packet::{Label, Way as Direction};
use gateway_tests::bridge::{Bridge, Ends, Path as Route};
use gateway_tests::hosts::{Family, Hosts};
use gateway_tests::need::{Need, is_missing};
use gateway_tests::state::StateDir;
use gateway_tests::wait::{PATIENCE, until};
use serde_json::Value;

use super::{World, converse, part};

const TWO_HOURS: Duration = Duration::from_secs(2 * 60 * 60);

/// A gateway on three hosts whose streams have no sockets, and what it writes down of them.
struct Site {
    world: World,
    state: Arc<StateDir>,
}

impl Site {
    /// `None` on a machine that cannot have it; the story returns then.
    fn new(family: Family, arguments: &[&str]) -> Option<Self> {
        let route = Route::on_hosts("packet", "uring", family);
        if route.is_missing() || is_missing(&[Need::Program("nft")]) {
            return None;
        }
        let state = Arc::<StateDir>::default();
        let bridge = Bridge::start(route, |gateway| gateway.state(&state).args(arguments.iter().copied())).unwrap();
        Some(Self { world: World::Gateway(bridge), state })
    }

    fn bridge(&self) -> &Bridge {
        match &self.world {
            World::Gateway(bridge) => bridge,
            World::Direct(..) => unreachable!("a site has a gateway"),
        }
    }

    /// What the gateway says of a stream that it has.
    fn listed(&self, ends: &Ends) -> Option<Value> {
        let client = ends.client.local_addr().unwrap().to_string();
        self.bridge().gateway.streams().unwrap().into_iter().find(|stream| stream["client"] == client.as_str())
    }

    /// The segments that arrived at the client's and the pod's host so far.
    fn heard(&self) -> [u64; 2] {
        let hosts = self.world.hosts();
        [&hosts.client, &hosts.pod].map(|host| host.counter("TcpInSegs").unwrap())
    }

    fn close_line(&self) -> Value {
        let closed = |record: &Value| record["message"] == "stream closed";
        self.bridge().gateway.logged("the close line", PATIENCE, closed).unwrap()
    }

    /// Lets time pass for all streams, which are silent.
    fn pass(&self, time: Duration) {
        /// Words of a value.
        const DIRECTION: usize = size_of::<Direction<u64>>() / 8;
        const LABEL: usize = size_of::<Label<u64>>() / 8;
        let back = u64::try_from(time.as_nanos()).unwrap();
        let map = |name| MapData::from_pin(self.file(name)).unwrap();
        let mut directions = Array::<_, [u64; DIRECTION]>::try_from(Map::Array(map("WAYS"))).unwrap();
        let mut labels = Array::<_, [u64; LABEL]>::try_from(Map::Array(map("LABELS"))).unwrap();
        for number in 0..labels.len() {
            let label = labels.get(&number, 0).unwrap();
            if label[offset_of!(Label<u64>, owner) / 8] == 0 {
                continue;
            }
            for index in [2 * number, 2 * number + 1] {
                let times = [offset_of!(Direction<u64>, asked), offset_of!(Direction<u64>, active_ns)];
                directions.set(index, moved(directions.get(&index, 0).unwrap(), &times, back), 0).unwrap();
            }
            // The label last: with it the gateway may find the stream over.
            let times = [offset_of!(Label<u64>, opened_ns), offset_of!(Label<u64>, active_ns)];
            labels.set(number, moved(label, &times, back), 0).unwrap();
        }
    }

    /// A pinned map, wherever below the directory.
    fn file(&self, name: &str) -> PathBuf {
        let found = self.state.files().into_iter().find(|file| file.ends_with(name)).unwrap();
        self.state.path().join(found)
    }
}

/// The value with these of its words earlier. One that is zero is no time.
fn moved<const N: usize>(mut value: [u64; N], offsets: &[usize], back_ns: u64) -> [u64; N] {
    for word in offsets.iter().map(|offset| offset / 8) {
        if value[word] != 0 {
            // A machine that was started an hour ago counts from there: two hours ago is below zero.
            value[word] = value[word].wrapping_sub(back_ns);
        }
    }
    value
}

/// The stream has its port all the time, and both ends are asked whether they are there. What the pod says at last
/// gets to the client, and the stream is as good as any.
#[test]
fn a_pod_that_answers_after_two_hours_is_heard() {
    /// Room for the stream and one more.
    const PORTS: [&str; 4] = ["--stream-idle-timeout", "3h", "--packet-ports", "61000-61001"];
    for family in [Family::V4, Family::V6] {
        let Some(site) = Site::new(family, &PORTS) else { return };
        let mut ends = site.world.stream();
        converse(&ends, 71, 1000);
        let other = site.world.stream();
        ends.client.write_all(b"how long does it take?").unwrap();
        ends.pod.read_exact(&mut [0; 22]).unwrap();
        let bytes_of = |stream: &Value| [stream["bytes_up"].clone(), stream["bytes_down"].clone()];
        // So that the sweep has seen the request, and does not take it for one of just now.
        let counted = || site.listed(&ends).filter(|stream| stream["bytes_up"] == 1022);
        let before = until("the request to be counted", PATIENCE, counted).unwrap();
        let heard = site.heard();
        site.pass(TWO_HOURS);
        let asked = || site.heard().iter().zip(heard).all(|(after, before)| *after > before).then_some(());
        until("both ends to be asked", PATIENCE, asked).unwrap();
        let waiting = site.listed(&ends).unwrap();
        for name in ["idle_seconds", "age_seconds"] {
            assert!(waiting[name].as_f64().unwrap() >= TWO_HOURS.as_secs_f64(), "{family:?}: {waiting}");
        }
        assert_eq!(bytes_of(&waiting), bytes_of(&before), "{family:?}: questions are no bytes");
        // Both ports are taken, so a third stream keeps its sockets.
        let third = site.world.stream_refused("port");
        converse(&third, 72, 1000);
        part(third);
        ends.pod.write_all(b"two hours").unwrap();
        let mut answer = [0; 9];
        ends.client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"two hours");
        for ends in [ends, other] {
            converse(&ends, 73, 1000);
            part(ends);
        }
        // And are free again.
        let gateway = &site.bridge().gateway;
        until("no stream to be left", PATIENCE, || gateway.streams().unwrap().is_empty().then_some(())).unwrap();
        let next = site.world.stream();
        converse(&next, 74, 1000);
        part(next);
    }
}

/// The stream was ended before, and the pod's host has not heard of it. Its answer gets the reset that it missed.
#[test]
fn a_pod_that_answers_after_the_idle_limit_is_reset() {
    for family in [Family::V4, Family::V6] {
        let Some(site) = Site::new(family, &["--stream-idle-timeout", "1h"]) else { return };
        let mut ends = site.world.stream();
        converse(&ends, 75, 1000);
        ends.client.write_all(b"how long does it take?").unwrap();
        ends.pod.read_exact(&mut [0; 22]).unwrap();
        until("the request to be counted", PATIENCE, || site.listed(&ends).filter(|stream| stream["bytes_up"] == 1022))
            .unwrap();
        let pod = &site.world.hosts().pod;
        Hosts::lose_what(pod, "tcp flags & rst == rst").unwrap();
        site.pass(TWO_HOURS);
        assert_eq!(ends.client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{family:?}");
        let line = site.close_line();
        let told = (&line["reason"], &line["side"], &line["bytes_up"], &line["bytes_down"]);
        assert_eq!(told, (&"idle".into(), &"gateway".into(), &1022.into(), &1000.into()), "{family:?}: {line}");
        until("the reset to be lost", PATIENCE, || (Hosts::lost(pod).unwrap() > 0).then_some(())).unwrap();
        Hosts::lose_nothing(pod).unwrap();
        let told = ends.pod.write_all(b"two hours").and_then(|()| ends.pod.read(&mut [0]));
        assert_eq!(told.unwrap_err().kind(), ErrorKind::ConnectionReset, "{family:?}");
    }
}
