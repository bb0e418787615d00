//! What a stream without sockets costs where there are very many.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::{Path, PathBuf};
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

/// Everything that an idle stream holds, in the kernel and in the process: a kibibyte, and what the allocator keeps of
/// what streams held while they had sockets.
const STREAM_BYTES_MAX: u64 = 1024 + 64;

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

/// What the program takes for a segment that is none of its streams'; nothing where the kernel does not measure
/// (sysctl kernel.bpf_stats_enabled).
fn nanoseconds_per_run(program: &Path) -> Option<u64> {
    const ROUNDS: usize = 20_000;
    let program = ProgramInfo::from_pin(program).unwrap().fd().unwrap();
    let spent = || ["run_time_ns:", "run_cnt:"].map(|name| of_descriptor(&program, name));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let before = spent();
    for _ in 0..ROUNDS {
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
    }
    let after = spent();
    (after[0] - before[0]).checked_div(after[1] - before[1])
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

    let files = || state.files().into_iter().map(|file| state.path().join(file));
    let program = files().find(|path| path.ends_with("packet_ingress")).unwrap();
    let alone = nanoseconds_per_run(&program);
    let before = own_bytes();
    let begun = Instant::now();
    (0..STREAMS).for_each(|number| splice_one(&live, &splicer, number));
    let entering = begun.elapsed() / STREAMS;
    let own = own_bytes().saturating_sub(before);
    let begun = Instant::now();
    keeper.sweep();
    let sweeping = begun.elapsed();
    // The others are the program and its links.
    let is_map = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_uppercase());
    let maps = files().filter(is_map).map(|path| MapData::from_pin(path).unwrap());
    let kernel: u64 = maps.map(|map| of_descriptor(map.fd(), "memlock:")).sum();
    let each = |bytes: u64| bytes / u64::from(STREAMS);
    println!(
        "{} bytes of maps and {} of the process for each of {STREAMS} streams; {entering:?} to enter one, {sweeping:?} \
         to look at all",
        each(kernel),
        each(own)
    );
    let crowded = nanoseconds_per_run(&program);
    println!("a packet of none costs {crowded:?} ns, and {alone:?} where there are none");
    assert_eq!(live.len(), STREAMS as usize);
    assert!(each(kernel + own) <= STREAM_BYTES_MAX, "{} bytes", each(kernel + own));
}
