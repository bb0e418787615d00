//! What a stream without sockets costs where there are very many: `cargo test -p gateway --lib hundred_thousand --
//! --nocapture` prints it.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::PathBuf;
use std::time::Instant;

use aya::maps::MapData;
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use gateway_common::packet::LOOPBACK;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::state::StateDir;

use super::segment::Segment;
use super::*;
use crate::bpf::splicer::Started;
use crate::config::PacketConfig;
use crate::metrics::Metrics;
use crate::sys::TcpTuning;
use crate::sys::repair::now_ns;
use crate::tunnel::live::{Caps, LiveStreams};
use crate::tunnel::{Engine, keep};

const STREAMS: u32 = 100_000;

/// Everything that an idle stream holds, in the kernel and in the process, what the allocator keeps of what streams
/// held while they had sockets included.
const STREAM_BYTES_MAX: u64 = 1024;

/// One after another, so that whatever the program needs is in the processor's cache.
const RUNS: u32 = 1_000_000;

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

/// The client of a stream, and the gateway's end of its connection: addresses of this machine, so that packets pass up.
fn client_ends(number: u32) -> [SocketAddr; 2] {
    let [_, high, middle, low] = number.to_be_bytes();
    [SocketAddr::from(([127, high.wrapping_add(16), middle, low], 40_000)), "127.0.0.1:8080".parse().unwrap()]
}

/// What the program takes, in nanoseconds, for a segment of none of the streams and for one of a stream.
struct Costs {
    miss: u64,
    hit: u64,
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ns where it is none of theirs, {} where it is", self.miss, self.hit)
    }
}

/// The program, run by the kernel for packets that nobody has sent (`BPF_PROG_TEST_RUN`).
struct Bench(SchedClassifier);

impl Bench {
    /// Nanoseconds for a segment of the stream with this number, with timestamps and no bytes. Rewritten it is the same
    /// again, but for the timestamps, so that each run has a segment of the stream.
    fn run(&self, number: u32, repeat: u32) -> u64 {
        let [source, destination] = client_ends(number);
        let segment = Segment { source, destination, seq: 0, ack: 0, reset: false, timestamp: Some(7) };
        // The Ethernet header that the loopback interface has: no addresses, and the protocol.
        let packet = [&[0; 12], &[0x08, 0x00][..], &segment.packet()].concat();
        let options = TestRunOptions { data_in: Some(&packet), repeat, ..TestRunOptions::default() };
        u64::try_from(self.0.test_run(options).unwrap().duration.as_nanos()).unwrap()
    }

    /// One packet again and again.
    fn costs(&self) -> Costs {
        Costs { miss: self.run(u32::MAX, RUNS), hit: self.run(0, RUNS) }
    }

    /// Each packet is about another stream than the last, and nothing of it is in the processor's cache. The clock that
    /// measures a single run is in it, and what the cache lost to the system call before.
    fn cold_costs(&self) -> Costs {
        /// Odd, so that its multiples go round all numbers below a power of two.
        const STRIDE: u32 = 40_503;
        const NUMBERS: u32 = STREAMS.next_power_of_two();
        let mixed = || (0..NUMBERS).map(|step| step.wrapping_mul(STRIDE) % NUMBERS).filter(|&number| number < STREAMS);
        let mean = |first| mixed().map(|number| self.run(first + number, 1)).sum::<u64>() / u64::from(STREAMS);
        Costs { miss: mean(NUMBERS), hit: mean(0) }
    }
}

/// A stream of a client of its own, which was just spliced: entered by the code that enters all.
fn splice_one(live: &Arc<LiveStreams>, splicer: &Arc<Splicer>, number: u32) {
    let [client, gateway_to_client] = client_ends(number);
    // The same ends once more, so that a packet is rewritten into itself.
    let [gateway_to_pod, pod] = [client, gateway_to_client];
    let sandbox = number.to_string().parse().unwrap();
    let permit = live.admit(client.ip(), &sandbox).unwrap();
    let mut stream = live.open(permit, 0, client, (pod, None), Engine::Copy);
    stream.set_request_id(format!("{number:016x}"));
    let place = splicer.watch(Paths { client, gateway_to_client, gateway_to_pod, pod }).unwrap();
    for direction in [0, 1] {
        let way = place.pair().way(direction);
        way.active_ns.store(now_ns(), Ordering::Relaxed);
        // Where the kernel runs the program for packets that nobody has sent, they come from there, too.
        way.device.store(LOOPBACK.into(), Ordering::Relaxed);
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
    let bench = Bench(SchedClassifier::from_pin(&program).unwrap());
    splice_one(&live, &splicer, 0);
    let alone = bench.costs();
    let before = own_bytes();
    let begun = Instant::now();
    (1..STREAMS).for_each(|number| splice_one(&live, &splicer, number));
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
    let (crowded, cold) = (bench.costs(), bench.cold_costs());
    println!("a packet costs {alone}, beside one stream");
    println!("a packet costs {crowded}, among {STREAMS} streams; {cold}, each time of another stream");
    for number in [0, STREAMS - 1] {
        let [client, gateway] = client_ends(number);
        let (pair, direction) = splicer.find(client, gateway).unwrap();
        assert!(pair.way(direction).packets.load(Ordering::Relaxed) > 0, "stream {number}");
    }
    assert_eq!(live.len(), STREAMS as usize);
    assert!(each(kernel + own) <= STREAM_BYTES_MAX, "{} bytes", each(kernel + own));
}
