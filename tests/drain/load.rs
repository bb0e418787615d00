//! Under load, and with everything that can be under way when the signal comes.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use gateway_tests::gateway::Gateway;
use gateway_tests::pod::Pod;
use gateway_tests::wait::{self, PATIENCE};
use gateway_tests::wire::{Client, End};
use nix::sys::signal::Signal;
use socket2::SockRef;

use super::{REQUEST, assert_exit, gateway, kept, until_refused};
use crate::users::{Stream, named, until_metric};

const CLIENTS: usize = 8;
const STREAMS: usize = 20;

#[test]
fn under_load_every_request_that_was_accepted_is_answered() {
    let pod = busy();
    let mut gateway =
        gateway(&pod, |gateway| gateway.args(["--drain-timeout", "1h", "--log-level", "info,access=off"]));
    let mut streams: Vec<Stream> = (0..STREAMS).map(|_| Stream::open(&gateway, "1")).collect();
    let load = Load::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| load.client(&gateway))).collect();
        wait::until("the load to flow", PATIENCE, || (load.answered() >= 300).then_some(())).unwrap();
        load.is_over.store(true, Ordering::SeqCst);
        gateway.signal(Signal::SIGTERM).unwrap();
        clients.into_iter().for_each(|client| client.join().unwrap());
        until_refused(&gateway);
        streams.iter_mut().for_each(|stream| stream.echo("still here"));
    });
    drop(streams);
    assert_exit(&mut gateway, PATIENCE);
    let reached = pod.requests().iter().filter(|request| request.field("upgrade").is_none()).count();
    assert_eq!(reached, load.answered(), "what reached the pod was answered, once each");
}

/// A signal interrupts any thread of the process that lets it, and each has a descriptor table of its own.
#[test]
fn a_signal_is_heard_whatever_the_threads_are_busy_with() {
    const ROUNDS: usize = 25;
    let pod = named("pod");
    for round in 0..ROUNDS {
        let arguments = ["--workers", "2", "--drain-timeout", "0", "--log-level", "info,access=off"];
        let mut gateway = gateway(&pod, |gateway| gateway.args(arguments));
        let ended = AtomicUsize::new(0);
        thread::scope(|scope| {
            let streams: Vec<Stream> = (0..CLIENTS).map(|_| Stream::open(&gateway, "1")).collect();
            for stream in streams {
                let ended = &ended;
                scope.spawn(move || {
                    while stream.client.send([0; 1000]).is_ok() && drained(&stream.client) {}
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
            until_metric(&gateway, "gateway_stream_bytes_total", &[], 50_000.0);
            gateway.signal(Signal::SIGTERM).unwrap();
        });
        assert_eq!(ended.load(Ordering::SeqCst), CLIENTS, "in round {round}");
        assert_exit(&mut gateway, PATIENCE);
    }
}

/// Reads what has come back; false once the connection has ended.
fn drained(client: &Client) -> bool {
    let mut bytes = [0; 4096];
    matches!(io::Read::read(&mut client.stream(), &mut bytes), Ok(1..))
}

/// The gateway stands still while everything arrives that can: the signal comes behind it, and so do its consequences.
#[test]
fn what_arrived_before_the_signal_is_answered_whatever_was_waiting() {
    let blue = named("blue");
    let mut gateway = gateway(&blue, |gateway| gateway.args(["--drain-timeout", "1h"]));
    let mut idle: Vec<Client> = (0..CLIENTS).map(|_| kept(&gateway)).collect();
    let mut stream = Stream::open(&gateway, "1");
    gateway.signal(Signal::SIGSTOP).unwrap();
    idle.iter().for_each(|client| client.send(REQUEST).unwrap());
    // The kernel completes these without the gateway: they wait to be accepted.
    let mut new: Vec<Client> = (0..STREAMS).map(|_| Client::connect(gateway.addr()).unwrap()).collect();
    new.iter().for_each(|client| client.send(REQUEST).unwrap());
    stream.client.send("first").unwrap();
    gateway.signal(Signal::SIGTERM).unwrap();
    gateway.signal(Signal::SIGCONT).unwrap();
    for (number, client) in idle.iter_mut().chain(&mut new).enumerate() {
        let answer = client.answer().unwrap_or_else(|error| panic!("client {number}: {error:#}"));
        assert_eq!((answer.status(), answer.text()), (200, "blue".to_owned()));
        assert_eq!(client.end().unwrap(), (Vec::new(), End::Closed));
    }
    assert_eq!(stream.client.exactly(5).unwrap(), b"first");
    drop(stream);
    assert_exit(&mut gateway, PATIENCE);
}

/// More connections arrive than are served: what was completed before the listener stopped is served, what comes later
/// is refused, and the flood does not keep the listener open.
#[test]
fn connections_that_never_cease_to_come_are_refused() {
    let blue = named("blue");
    let mut gateway =
        gateway(&blue, |gateway| gateway.args(["--drain-timeout", "1h", "--log-level", "info,access=off"]));
    let connected = AtomicUsize::new(0);
    thread::scope(|scope| {
        let flood = || {
            while let Ok(stream) = std::net::TcpStream::connect(gateway.addr()) {
                connected.fetch_add(1, Ordering::SeqCst);
                // Nobody is waited for, and the port is not kept for a minute.
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
        };
        let flood: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(flood)).collect();
        wait::until("the flood", PATIENCE, || (connected.load(Ordering::SeqCst) > 1000).then_some(())).unwrap();
        gateway.signal(Signal::SIGTERM).unwrap();
        wait::until("refusals", PATIENCE, || flood.iter().all(ScopedJoinHandle::is_finished).then_some(())).unwrap();
    });
    assert_exit(&mut gateway, PATIENCE);
}

/// A new process on the same port, as a restart on one machine is done: no connection is refused in between.
#[test]
fn a_new_gateway_takes_over_the_port_from_one_that_drains() {
    let (old_pod, new_pod) = (named("old"), named("new"));
    let mut old = gateway(&old_pod, |gateway| gateway.args(["--drain-timeout", "1h"]));
    let mut stream = Stream::open(&old, "1");
    let new = gateway(&new_pod, |gateway| gateway.listen(old.addr().to_string()));
    old.signal(Signal::SIGSTOP).unwrap();
    let clients: Vec<Client> = (0..STREAMS).map(|_| Client::connect(old.addr()).unwrap()).collect();
    clients.iter().for_each(|client| client.send(REQUEST).unwrap());
    old.signal(Signal::SIGTERM).unwrap();
    old.signal(Signal::SIGCONT).unwrap();
    for mut client in clients {
        assert_eq!(client.answer().unwrap().status(), 200);
    }
    until_metric(&old, "gateway_drain_state", &[], 1.0);
    stream.echo("with the old one");
    let only_new = || (0..STREAMS).all(|_| answered_by(&new) == "new").then_some(());
    wait::until("everything to go to the new one", PATIENCE, only_new).unwrap();
    drop(stream);
    assert_exit(&mut old, PATIENCE);
    assert_eq!(answered_by(&new), "new");
}

fn answered_by(gateway: &Gateway) -> String {
    let ask = || Client::connect(gateway.addr())?.ask(REQUEST);
    ask().map_or_else(|error| format!("{error:#}"), |answer| answer.text())
}

/// A pod that takes a moment for each request, so that there is always one under way.
fn busy() -> Pod {
    let pod = Pod::start(|request, connection| {
        if request.field("upgrade").is_some() {
            connection.switch(request)?;
            return connection.echo();
        }
        wait::pause(Duration::from_millis(3));
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbusy")
    });
    pod.unwrap()
}

#[derive(Default)]
struct Load {
    /// Set before the signal is sent.
    is_over: AtomicBool,
    answered: AtomicUsize,
}

impl Load {
    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// Sends one request after the other, on one connection for as long as it is kept, until nobody accepts a new one.
    fn client(&self, gateway: &Gateway) {
        while let Ok(mut client) = Client::connect(gateway.addr()) {
            loop {
                let sent = client.send(REQUEST).is_ok();
                // On loopback what was sent has arrived.
                let in_time = sent && !self.is_over.load(Ordering::SeqCst);
                if !begins(&client) {
                    assert!(!in_time, "a request that was sent before the signal had no answer");
                    break;
                }
                let answer = client.answer().expect("an answer that has begun is whole");
                assert_eq!((answer.status(), answer.text()), (200, "busy".to_owned()));
                self.answered.fetch_add(1, Ordering::SeqCst);
                if answer.field("connection") == Some("close") {
                    assert!(self.is_over.load(Ordering::SeqCst), "closed for no reason");
                    break;
                }
            }
        }
    }
}

/// Whether an answer begins, rather than the connection ending without a byte.
fn begins(client: &Client) -> bool {
    match client.stream().peek(&mut [0]) {
        Ok(count) => count > 0,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => false,
        Err(error) => panic!("{error}"),
    }
}
