//! What ends a stream from outside, while the kernel alone sees its traffic.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gateway_tests::bridge::Bridge;
use gateway_tests::gateway::Gateway;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::pattern::Pattern;
use gateway_tests::redis::RedisServer;
use gateway_tests::wait::{self, PATIENCE, pause};
use nix::sys::signal::Signal;

use super::talk::Talk;
use super::{SOCKMAP, bytes_by, closing_line, id, is_unavailable, until_no_stream};
use crate::users::{Stream, named, until_metric, until_ready};

/// Between messages: long enough for a worker that has to wait for its core to renew the credit in time.
const BREATH: Duration = Duration::from_millis(4);

#[test]
fn traffic_that_only_the_kernel_sees_keeps_a_stream_alive_and_silence_ends_it() {
    /// Attempts in which this machine had better things to do for a second than to let the active stream talk.
    const FAILURES_MAX: usize = 4;
    if is_unavailable() {
        return;
    }
    let failures = (0..).take_while(|_| !outlives_idle_ones()).take(FAILURES_MAX).count();
    assert!(failures < FAILURES_MAX, "this machine stands still for seconds again and again");
}

/// An active stream, beside two idle ones: the second is opened when the first has been closed, so that the active one
/// is under the sweeper's eyes for twice the time. False where it was silent itself, since its thread did not run.
fn outlives_idle_ones() -> bool {
    const SILENCE_MAX: Duration = Duration::from_secs(1);
    let bridge = Bridge::start(SOCKMAP, |gateway| gateway.args(["--stream-idle-timeout", "3s"])).unwrap();
    let talk = Talk::small(bridge.stream().unwrap(), 1);
    let active = id(&bridge, &talk.ends);
    let is_over = AtomicBool::new(false);
    let (said, silence) = thread::scope(|scope| {
        let talking = scope.spawn(|| chat(talk, &is_over));
        for _ in 0..2 {
            let mut idle = bridge.stream().unwrap();
            let number = id(&bridge, &idle);
            assert_eq!(idle.client.read(&mut [0]).unwrap(), 0);
            assert_eq!(closing_line(&bridge, number)["reason"], "idle");
        }
        is_over.store(true, Ordering::Relaxed);
        talking.join().unwrap()
    });
    if silence >= SILENCE_MAX {
        return false;
    }
    let line = closing_line(&bridge, active);
    let told = (&line["reason"], &line["promotions"], &line["kernel_bytes"]);
    assert_eq!(told, (&"fin".into(), &1.into(), &said.into()), "{line}, silent for at most {silence:?}");
    assert_eq!(bytes_by(&bridge, "copy"), 0.0);
    true
}

/// Keeps a stream talking. What was said, and the longest silence in between.
fn chat(mut talk: Talk, is_over: &AtomicBool) -> (usize, Duration) {
    let (mut dice, mut buffer) = (Pattern::new(2), vec![0; 64 << 10]);
    let mut silence = Duration::ZERO;
    let mut spoke_at = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let before = talk.sent();
        talk.step(&mut dice, &mut buffer);
        if talk.sent() > before {
            silence = silence.max(spoke_at.elapsed());
            spoke_at = Instant::now();
        }
        pause(BREATH);
    }
    talk.hear_out(&mut buffer);
    let said = talk.sent();
    drop(talk.end(&mut buffer));
    (said, silence.max(spoke_at.elapsed()))
}

#[test]
fn a_stream_in_the_kernel_lives_no_longer_than_it_may() {
    if is_unavailable() {
        return;
    }
    let bridge = Bridge::start(SOCKMAP, |gateway| gateway.args(["--stream-lifetime-max", "2s"])).unwrap();
    let mut ends = bridge.stream().unwrap();
    let number = id(&bridge, &ends);
    let mut pod = ends.pod.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            while pod.write_all(b"tick").is_ok() {
                pause(BREATH);
            }
        });
        // An end or a reset, as the pod happened to have something on its way.
        let _reset = ends.client.read_to_end(&mut Vec::new()).is_err();
    });
    let line = closing_line(&bridge, number);
    let told = (&line["side"], &line["reason"], &line["promotions"]);
    assert_eq!(told, (&"gateway".into(), &"lifetime".into(), &1.into()), "{line}");
    assert!(bytes_by(&bridge, "sockmap") > 0.0);
    eprintln!(
        "{}",
        bridge
            .gateway
            .metrics()
            .unwrap()
            .lines()
            .filter(|l| l.contains("motions_total"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert_eq!(bytes_by(&bridge, "copy"), 0.0);
}

#[test]
fn a_sandbox_that_leaves_the_directory_takes_its_streams_out_of_the_kernel() {
    if is_unavailable() || is_missing(&[Need::Program("redis-server")]) {
        return;
    }
    let redis = RedisServer::start().unwrap();
    let set = |sandbox: &str, endpoint: String| {
        hash(&redis, &["HSET", "vnc_sandboxes", &format!("Sandbox_ID_{sandbox}"), &endpoint]);
    };
    let blue = named("blue");
    set("1", blue.address().to_string());
    set("2", blue.address().to_string());
    let gateway = Gateway::builder().redis(redis.url()).args(["--engine", "sockmap", "--io", "uring"]).start().unwrap();
    until_ready(&gateway, 200);
    let [mut leaving, mut staying] = ["1", "2"].map(|sandbox| Stream::open(&gateway, sandbox));
    until_metric(&gateway, "gateway_stream_promotions_total", &[], 2.0);
    for stream in [&mut leaving, &mut staying] {
        stream.echo("in the kernel");
    }
    // A message in the instant of the switch brings a stream back for a moment.
    let in_kernel = || gateway.metric("gateway_streams_open", &[("engine", "sockmap")]).is_ok_and(|open| open == 2.0);
    wait::until("both streams to be in the kernel", PATIENCE, || in_kernel().then_some(())).unwrap();
    hash(&redis, &["HDEL", "vnc_sandboxes", "Sandbox_ID_1"]);
    assert_eq!(leaving.client.end().unwrap().0, b"");
    let labels = [("engine", "sockmap"), ("side", "gateway"), ("reason", "sandbox_gone")];
    until_metric(&gateway, "gateway_streams_closed_total", &labels, 1.0);
    staying.echo("still there");
    assert_eq!(gateway.streams().unwrap()[0]["engine"], "sockmap");
}

fn hash(redis: &RedisServer, words: &[&str]) {
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut connection).unwrap();
}

#[test]
fn a_drain_lets_streams_go_on_in_the_kernel_until_its_deadline() {
    if is_unavailable() {
        return;
    }
    let mut bridge = Bridge::start(SOCKMAP, |gateway| gateway.args(["--drain-timeout", "2s"])).unwrap();
    let mut talk = Talk::small(bridge.stream().unwrap(), 5);
    let mut other = bridge.stream().unwrap();
    let number = id(&bridge, &talk.ends);
    let other_number = id(&bridge, &other);
    bridge.gateway.signal(Signal::SIGTERM).unwrap();
    until_ready(&bridge.gateway, 503);
    let (mut dice, mut buffer) = (Pattern::new(6), vec![0; 64 << 10]);
    for _ in 0..200 {
        talk.step(&mut dice, &mut buffer);
    }
    talk.hear_out(&mut buffer);
    assert_eq!(bytes_by(&bridge, "copy"), 0.0);
    let said = talk.sent();
    drop(talk.end(&mut buffer));
    assert_eq!(closing_line(&bridge, number)["kernel_bytes"], said);
    // The one that stays is closed.
    assert_eq!(other.client.read(&mut [0]).unwrap(), 0);
    assert_eq!(closing_line(&bridge, other_number)["reason"], "drain");
    assert_eq!(bridge.gateway.wait(PATIENCE).unwrap().code(), Some(0));
}

/// What an operator closes is closed, wherever it is.
#[test]
fn closing_everything_at_once_leaves_no_stream() {
    if is_unavailable() {
        return;
    }
    let bridge = Bridge::start(SOCKMAP, |gateway| gateway).unwrap();
    let mut streams: Vec<_> = (0..20).map(|_| bridge.stream().unwrap()).collect();
    for ends in &streams {
        let target = format!("/streams/{}", id(&bridge, ends));
        assert_eq!(gateway_tests::http::send(bridge.gateway.admin(), "DELETE", &target).unwrap().status, 204);
    }
    for ends in &mut streams {
        assert_eq!(ends.client.read(&mut [0]).unwrap(), 0);
        assert_eq!(ends.pod.read(&mut [0]).unwrap(), 0);
    }
    until_no_stream(&bridge);
    assert_eq!(super::demotions(&bridge, "closed"), 20.0);
}
