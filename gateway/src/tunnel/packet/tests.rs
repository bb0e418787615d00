//! What a stream without sockets costs where there are very many.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::Instant;

use aya::maps::MapData;
use aya::programs::ProgramInfo;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::state::StateDir;

use super::*;
use crate::bpf::splicer::Started;
use crate::config::PacketConfig;
use crate::metrics::Metrics;
use crate::sys::TcpTuning;
use crate::sys::repair::now_ns;
use crate::tunnel::live::{Caps, LiveStreams};
use crate::tunnel::{Engine, keep};

const STREAMS: u32 = 100_000;

/// Everything that an idle stream holds, in the kernel and in the process.
const STREAM_BYTES_MAX: u64 = 1024;

/// The number behind a name in a file of proc(5).
fn number(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn of_descriptor(object: &impl AsFd, name: &str) -> u64 {
    number(&format!("/proc/self/fdinfo/{}", object.as_fd().as_raw_fd()), name)
}

/// The process's own memory; what it has in common with the kernel's maps is theirs.
fn own_bytes() -> u64 {
    1024 * number("/proc/self/status", "RssAnon:")
}

/// A stream of a client of its own, which was just spliced.
fn splice_one(live: &Arc<LiveStreams>, splicer: &Arc<Splicer>, number: u32) {
    let [_, high, middle, low] = number.to_be_bytes();
    let client = SocketAddr::from(([10, high, middle, low], 40_000));
    let gateway_to_client = "192.0.2.1:8080".parse().unwrap();
    let pod = SocketAddr::from(([198, 51, 100, u8::try_from(number % 250).unwrap()], 6080));
    let port = 61_000 + u16::try_from(number / 250).unwrap();
    let gateway_to_pod = SocketAddr::from(([192, 0, 2, 1], port));
    let sandbox = number.to_string().parse().unwrap();
    let permit = live.admit(client.ip(), &sandbox).unwrap();
    let mut stream = live.open(permit, 0, client, (pod, None), Engine::Copy);
    stream.set_request_id(format!("{number:016x}"));
    let place = splicer.watch(Paths { client, gateway_to_client, gateway_to_pod, pod }).unwrap();
    for direction in [0, 1] {
        place.pair().way(direction).active_ns.store(now_ns(), Ordering::Relaxed);
    }
    label::write(place.pair().label(), &stream);
    place.splice();
    keep(stream, place);
}

#[test]
fn a_hundred_thousand_streams_cost_a_kibibyte_each() {
    if is_missing(&[Need::Root]) {
        return;
    }
    let state = StateDir::default();
    let config = PacketConfig {
        state_dir: state.path().to_owned(),
        streams_max: STREAMS,
        interfaces: vec!["lo".to_owned()],
        ..PacketConfig::default()
    };
    let Started { splicer, .. } = Splicer::start(&config).unwrap();
    let live = LiveStreams::new(1, Caps::default());
    let day = Duration::from_secs(86_400);
    let keepalive = TcpTuning {
        keepalive_idle: day,
        keepalive_interval: day,
        keepalive_probes: 3,
        user_timeout: day,
        unsent_max: 0,
        unread_max: 0,
    };
    let terms = Terms { keepalive, idle_timeout: day, lifetime_max: day };
    let keeper = Keeper::new(Arc::clone(&splicer), terms, Arc::new(Metrics::new()), live.ids());
    live.set_keeper(&keeper, Vec::new());

    let before = own_bytes();
    let begun = Instant::now();
    (0..STREAMS).for_each(|number| splice_one(&live, &splicer, number));
    let entering = begun.elapsed() / STREAMS;
    let own = own_bytes().saturating_sub(before);
    let begun = Instant::now();
    keeper.sweep();
    let sweeping = begun.elapsed();
    let files: Vec<_> = state.files().into_iter().map(|file| state.path().join(file)).collect();
    let maps = files.iter().filter_map(|path| MapData::from_pin(path).ok());
    let kernel: u64 = maps.map(|map| of_descriptor(map.fd(), "memlock:")).sum();
    let each = |bytes: u64| bytes / u64::from(STREAMS);
    println!(
        "{} bytes of maps and {} of the process for each of {STREAMS} streams; {entering:?} to enter one, {sweeping:?} \
         to look at all",
        each(kernel),
        each(own)
    );
    let program = files.iter().find_map(|path| ProgramInfo::from_pin(path).ok()).unwrap().fd().unwrap();
    println!("the program has run {} times", of_descriptor(&program, "run_cnt:"));
    assert_eq!(live.len(), STREAMS as usize);
    assert!(each(kernel + own) <= STREAM_BYTES_MAX, "{} bytes", each(kernel + own));
}
