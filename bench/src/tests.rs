//! The generator is measured with pods whose faults are known.

#![expect(
    clippy::disallowed_methods,
    reason = "a pod's fault is that it is late; what is asserted does not depend on it"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use gateway_tests::bridge::read_head;
use nix::time::{ClockId, clock_gettime};

use crate::analysis::Ratio;
use crate::load::client::Client;
use crate::load::pattern::Pattern;
use crate::load::size::Size;
use crate::load::{Run, Tally, pod};

const BYTES: u32 = 64;

/// What is wrong with a pod: what happens before the answer to the n-th message.
type Fault = fn(u32, &mut Vec<u8>);

/// A pod for one stream, simple enough to be right: it answers message by message, after the fault.
fn pod(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        read_head(&mut socket).unwrap();
        socket.write_all(pod::ANSWER).unwrap();
        answer(&mut socket, fault);
    });
    address
}

fn answer(socket: &mut TcpStream, fault: Fault) {
    let pattern = Pattern::new();
    let mut message = [0; BYTES as usize];
    for number in 0.. {
        if socket.read_exact(&mut message).is_err() {
            return;
        }
        let seed = pod::fields(*message.first_chunk().unwrap())[2];
        let mut answer = pattern.at(u64::from(seed + number * BYTES), BYTES as usize).to_vec();
        fault(number, &mut answer);
        if socket.write_all(&answer).is_err() {
            return;
        }
    }
}

fn run(fault: Fault, per_second: Option<f64>, millis: u64) -> anyhow::Result<Tally> {
    let mut client = Client::new()?;
    client.open(pod(fault), "37579", 4711)?;
    client.run(&Run { up: BYTES, down: Size::Exactly(BYTES), per_second, millis, ..Run::default() })
}

fn count(tally: &Tally, is_counted: impl Fn(u64) -> bool) -> u64 {
    tally.latencies.iter().filter(|(nanos, _)| is_counted(*nanos)).map(|(_, count)| count).sum()
}

#[test]
fn a_known_latency_is_reported() {
    const DELAY: Duration = Duration::from_millis(30);
    let tally = run(|_, _| thread::sleep(DELAY), None, 300).unwrap();
    let all = count(&tally, |_| true);
    assert!((1..=11).contains(&all), "{tally:?}");
    assert_eq!(count(&tally, |nanos| nanos >= 30_000_000), all, "{tally:?}");
    // At least one was not held up by the machine: what is reported is the delay, not a multiple of it.
    assert!(count(&tally, |nanos| nanos < 60_000_000) > 0, "{tally:?}");
}

#[test]
fn a_stall_is_charged_with_all_that_it_delays() {
    const STALL: Duration = Duration::from_millis(500);
    let stall: Fault = |number, _| {
        if number == 10 {
            thread::sleep(STALL);
        }
    };
    // Some 50 of the 100 messages were meant to be sent while the pod slept; most of them waited for long.
    let tally = run(stall, Some(100.0), 1000).unwrap();
    assert_eq!(count(&tally, |_| true), 100, "every intended message counts: {tally:?}");
    assert!(count(&tally, |nanos| nanos > 100_000_000) >= 35, "{tally:?}");
}

#[test]
fn a_wrong_byte_fails_the_run() {
    let corrupt: Fault = |number, answer| {
        if number == 3 {
            answer[17] ^= 0x40;
        }
    };
    let error = run(corrupt, None, 200).unwrap_err();
    assert_eq!(error.to_string(), "a wrong byte in an answer");
}

#[test]
fn a_wrong_byte_in_a_message_ends_the_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || pod::serve(&listener));
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    read_head(&mut socket).unwrap();
    let mut message = [0; BYTES as usize];
    message[3] = 64;
    message[7] = 64;
    socket.write_all(&message).unwrap();
    assert_eq!(socket.read(&mut message).unwrap_or(0), 0);
}

#[test]
fn what_is_slowed_is_seen_as_slower() {
    // A hundred times what a message takes, so that the machine cannot make it vanish.
    let slowed: Fault = |_, _| thread::sleep(Duration::from_millis(2));
    let rates = |fault: Fault| -> Vec<f64> { (0..5).map(|_| run(fault, None, 50).unwrap().messages as f64).collect() };
    let ratio = Ratio::of(&rates(slowed), &rates(|_, _| ()));
    assert!(ratio.is_seen() && ratio.median < 0.5, "{ratio:?}");
}

/// What a proxy needs more than it should, for every message.
const BURN: Duration = Duration::from_micros(20);

/// Rounds until the verdict has to be there. In nearly every one the slowed proxy is slower by a third, so that it
/// takes a handful; on a machine that does much else at the same time, some more.
const ROUNDS_MAX: usize = 200;

/// A proxy for one stream, which burns processor time before it passes a message on.
fn proxy(to: SocketAddr, burn: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut pod = TcpStream::connect(to).unwrap();
        client.set_nodelay(true).unwrap();
        pod.set_nodelay(true).unwrap();
        let (mut from_pod, mut to_client) = (pod.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from_pod, &mut to_client));
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            spin(burn);
            if pod.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    });
    address
}

/// Until this thread has been on a processor for so long: what others take of it meanwhile does not count.
fn spin(time: Duration) {
    let ran = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let end = ran() + time;
    while ran() < end {
        std::hint::spin_loop();
    }
}

#[test]
fn a_proxy_that_burns_20_us_per_message_is_seen_as_slower() {
    let through = |burn| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || pod::serve(&listener));
        let mut client = Client::new().unwrap();
        client.open(proxy(address, burn), "37579", 4711).unwrap();
        client
    };
    let (mut plain, mut slowed) = (through(Duration::ZERO), through(BURN));
    let run = Run { up: BYTES, down: Size::Exactly(BYTES), millis: 20, ..Run::default() };
    let cost = |client: &mut Client| 20e3 / client.run(&run).unwrap().messages.max(1) as f64;
    let (mut base, mut costs) = (Vec::new(), Vec::new());
    let verdict = loop {
        // Each round begins with the other one.
        if base.len() % 2 == 0 {
            base.push(cost(&mut plain));
            costs.push(cost(&mut slowed));
        } else {
            costs.push(cost(&mut slowed));
            base.push(cost(&mut plain));
        }
        let ratio = Ratio::of(&costs, &base);
        if base.len() >= ROUNDS_MAX || base.len() >= 10 && ratio.is_seen() {
            break ratio;
        }
    };
    assert!(verdict.low > 1.0, "{verdict:?} after {} rounds", base.len());
}

#[test]
fn updates_are_asked_for_one_after_the_other_and_of_every_size() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || pod::serve(&listener));
    let mut client = Client::new().unwrap();
    for seed in 1..=4 {
        client.open(address, "37579", seed).unwrap();
    }
    let down = Size::LogNormal { median: 20_000, deviation: 0.7, least: 5000, most: 80_000 };
    let pull = Run { up: 24, down, per_second: Some(400.0), is_pull: true, millis: 300, ..Run::default() };
    assert_eq!(count(&client.run(&pull).unwrap(), |_| true), 120, "every intended update comes");
    // Two of the four at a time, as a search for the number that is carried does.
    let half = Run { streams: Some(2), per_second: Some(200.0), ..pull.clone() };
    assert_eq!(count(&client.run(&half).unwrap(), |_| true), 60);
    // At 20 kB/s, what was asked for is there at the end only, when all of it is taken at once.
    let slow = Run { is_pull: false, reads_per_second: Some(20_000), ..pull };
    let tally = client.run(&slow).unwrap();
    assert_eq!(count(&tally, |_| true), 120);
    assert!(tally.messages < 20, "{} of 120 updates were read in time", tally.messages);
}

#[test]
fn the_pod_answers_what_the_client_asks_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || pod::serve(&listener));
    let mut client = Client::new().unwrap();
    for seed in 1..=20 {
        client.open(address, "37579", seed).unwrap();
    }
    for (up, down, per_second) in [(16, 16, None), (100, 300_000, None), (300_000, 100, None), (64, 64, Some(500.0))] {
        let tally =
            client.run(&Run { up, down: Size::Exactly(down), per_second, millis: 100, ..Run::default() }).unwrap();
        assert!(count(&tally, |_| true) >= 20, "{up} {down}: {tally:?}");
    }
}

/// Somebody who ends WebSocket before a pod, for one stream: what is in frames goes on, and comes back in frames.
fn ending_websocket(pod: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let head = read_head(&mut client).unwrap();
        assert!(head.starts_with("GET /websockify?token=37579 "), "{head}");
        client.write_all(pod::ANSWER).unwrap();
        let pod = TcpStream::connect(pod).unwrap();
        let (from_pod, to_client) = (pod.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || wrap(from_pod, to_client));
        unwrap(client, pod);
    });
    address
}

fn unwrap(mut client: TcpStream, mut pod: TcpStream) {
    let mut head = [0; 2];
    while client.read_exact(&mut head).is_ok() {
        assert_eq!((head[0], head[1] & 0x80), (0x82, 0x80));
        let mut long = [0; 8];
        let length = match head[1] & 0x7f {
            126 => client.read_exact(&mut long[6..]).map(|()| u64::from_be_bytes(long)).unwrap(),
            127 => client.read_exact(&mut long).map(|()| u64::from_be_bytes(long)).unwrap(),
            short => short.into(),
        };
        let mut payload = vec![0; 4 + usize::try_from(length).unwrap()];
        client.read_exact(&mut payload).unwrap();
        let (mask, payload) = payload.split_at_mut(4);
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        pod.write_all(payload).unwrap();
    }
}

fn wrap(mut pod: TcpStream, mut client: TcpStream) {
    let mut buffer = [0; 3000];
    while let Ok(count @ 1..) = pod.read(&mut buffer) {
        let length = u16::try_from(count).unwrap().to_be_bytes();
        let short = [0x82, u8::try_from(count).unwrap_or(0)];
        let head = if count < 126 { short.to_vec() } else { vec![0x82, 126, length[0], length[1]] };
        if client.write_all(&[&head[..], &buffer[..count]].concat()).is_err() {
            return;
        }
    }
}

#[test]
fn messages_can_be_frames_that_somebody_takes_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || pod::serve(&listener));
    let mut client = Client::new().unwrap();
    client.open_framed(ending_websocket(address), "37579", 4711).unwrap();
    for (up, down) in [(16, 16), (200, 5000), (70_000, 100)] {
        let down = Size::Exactly(down);
        let tally = client.run(&Run { up, down, millis: 100, ..Run::default() }).unwrap();
        assert!(count(&tally, |_| true) > 0, "{up} {down:?}: {tally:?}");
    }
}
