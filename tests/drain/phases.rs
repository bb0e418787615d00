//! What happens in which order, and what ends the process.

use std::time::{Duration, Instant};

use gateway_tests::gateway::Gateway;
use gateway_tests::http;
use gateway_tests::pod::{Gate, Pod};
use gateway_tests::wait::{self, PATIENCE};
use gateway_tests::wire::{Client, End, UPGRADE_FIELDS};
use nix::sys::signal::Signal;

use super::{REQUEST, assert_exit, closing_lines, gateway, kept, terminate, until_refused};
use crate::users::{Stream, named, until_metric, who};

#[test]
fn an_idle_gateway_ends_at_once() {
    let mut gateway = Gateway::builder().args(["--drain-timeout", "1h"]).start().unwrap();
    gateway.signal(Signal::SIGTERM).unwrap();
    assert_exit(&mut gateway, PATIENCE);
}

#[test]
fn an_interrupt_is_as_good_as_a_termination() {
    let blue = named("blue");
    let mut gateway = gateway(&blue, |gateway| gateway.args(["--drain-timeout", "1h"]));
    let stream = Stream::open(&gateway, "1");
    gateway.signal(Signal::SIGINT).unwrap();
    until_refused(&gateway);
    drop(stream);
    assert_exit(&mut gateway, PATIENCE);
}

#[test]
fn streams_go_on_after_the_listeners_and_idle_connections_are_closed() {
    let blue = named("blue");
    let mut gateway = gateway(&blue, |gateway| gateway.args(["--drain-timeout", "1h"]));
    let mut streams = [Stream::open(&gateway, "1"), Stream::open(&gateway, "1")];
    let mut idle = kept(&gateway);
    terminate(&gateway);
    let ready = http::get(gateway.admin(), "/readyz").unwrap();
    assert_eq!((ready.status, ready.body.as_str()), (503, "draining\n"));
    until_refused(&gateway);
    assert_eq!(idle.end().unwrap(), (Vec::new(), End::Closed));
    streams.iter_mut().for_each(|stream| stream.echo("while draining"));
    // Whoever watches still can.
    assert_eq!(http::get(gateway.admin(), "/healthz").unwrap().status, 200);
    assert_eq!(gateway.metric("gateway_drain_state", &[]).unwrap(), 1.0);
    assert_eq!(gateway.streams().unwrap().len(), 2);

    // The last one to leave ends the process, an hour before its deadline.
    let [first, mut second] = streams;
    drop(first);
    until_metric(&gateway, "gateway_streams_closed_total", &[("side", "client")], 1.0);
    second.echo("the last one");
    drop(second);
    assert_exit(&mut gateway, PATIENCE);
    assert!(closing_lines(&gateway).iter().all(|line| line["side"] == "client"), "{:?}", gateway.log());
}

#[test]
fn the_deadline_closes_what_is_left() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let blue = named("blue");
    let mut gateway = gateway(&blue, |gateway| gateway.args(["--drain-timeout", "1s"]));
    let mut streams: Vec<Stream> = (0..20).map(|_| Stream::open(&gateway, "1")).collect();
    let signalled_at = Instant::now();
    gateway.signal(Signal::SIGTERM).unwrap();
    streams.iter_mut().for_each(|stream| stream.echo("before the deadline"));
    for stream in &mut streams {
        assert_eq!(stream.client.end().unwrap().0, b"");
        assert!(signalled_at.elapsed() >= TIMEOUT, "closed after {:?}", signalled_at.elapsed());
    }
    assert_exit(&mut gateway, PATIENCE);
    let lines = closing_lines(&gateway);
    assert_eq!(lines.len(), 20, "{:?}", gateway.log());
    for line in lines {
        assert_eq!(
            (&line["side"], &line["reason"], &line["bytes_up"]),
            (&"gateway".into(), &"drain".into(), &25.into())
        );
    }
    let stopped = gateway.logged("the last line", PATIENCE, |record| record["message"] == "stopped").unwrap();
    assert_eq!(stopped["closed_by_deadline"], 20);
}

#[test]
fn a_deadline_of_nothing_closes_at_once() {
    let blue = named("blue");
    let mut gateway = gateway(&blue, |gateway| gateway.args(["--drain-timeout", "0"]));
    let mut stream = Stream::open(&gateway, "1");
    gateway.signal(Signal::SIGTERM).unwrap();
    assert_eq!(stream.client.end().unwrap().0, b"");
    assert_exit(&mut gateway, PATIENCE);
    assert_eq!(closing_lines(&gateway)[0]["reason"], "drain");
}

#[test]
fn a_client_that_does_not_read_does_not_hold_the_process() {
    let pod = Pod::start(|request, connection| {
        connection.switch(request)?;
        loop {
            connection.send([0; 1 << 16])?;
        }
    });
    let pod = pod.unwrap();
    let mut gateway = gateway(&pod, |gateway| gateway.args(["--drain-timeout", "200ms"]));
    let mut deaf = Client::connect(gateway.addr()).unwrap();
    deaf.send(format!("GET /vnc/1/ HTTP/1.1\r\nHost: g\r\n{UPGRADE_FIELDS}\r\n")).unwrap();
    assert_eq!(deaf.head().unwrap().status(), 101);
    let carried = || gateway.metric("gateway_stream_bytes_total", &[("direction", "down")]).unwrap();
    let mut last = 0.0;
    wait::until("the stream to be stuck", PATIENCE, || {
        wait::pause(Duration::from_millis(50));
        let before = std::mem::replace(&mut last, carried());
        (last > 0.0 && last == before).then_some(())
    })
    .unwrap();
    gateway.signal(Signal::SIGTERM).unwrap();
    assert_exit(&mut gateway, PATIENCE);
}

#[test]
fn a_second_signal_ends_at_once() {
    let blue = named("blue");
    let mut gateway = gateway(&blue, |gateway| gateway.args(["--drain-timeout", "1h"]));
    let mut stream = Stream::open(&gateway, "1");
    terminate(&gateway);
    stream.echo("between the signals");
    gateway.signal(Signal::SIGTERM).unwrap();
    assert_exit(&mut gateway, PATIENCE);
    assert_eq!(stream.client.end().unwrap().0, b"");
}

#[test]
fn during_the_delay_readiness_is_red_and_clients_are_served() {
    let blue = named("blue");
    let mut gateway = gateway(&blue, |gateway| gateway.args(["--drain-delay", "1h", "--drain-timeout", "1h"]));
    let mut before = kept(&gateway);
    terminate(&gateway);
    for _ in 0..20 {
        assert_eq!(who(&gateway, "1"), "200 blue");
        assert_eq!(before.ask(REQUEST).unwrap().status(), 200, "a kept connection is kept");
    }
    let mut stream = Stream::open(&gateway, "1");
    stream.echo("opened during the delay");
    assert_eq!(gateway.readiness().unwrap(), 503);
    gateway.signal(Signal::SIGTERM).unwrap();
    assert_exit(&mut gateway, PATIENCE);
}

#[test]
fn after_the_delay_connections_are_refused() {
    let blue = named("blue");
    let mut gateway = gateway(&blue, |gateway| gateway.args(["--drain-delay", "500ms", "--drain-timeout", "1h"]));
    let mut stream = Stream::open(&gateway, "1");
    let signalled_at = Instant::now();
    terminate(&gateway);
    until_refused(&gateway);
    assert!(signalled_at.elapsed() >= Duration::from_millis(500), "refused after {:?}", signalled_at.elapsed());
    stream.echo("while draining");
    drop(stream);
    assert_exit(&mut gateway, PATIENCE);
}

#[test]
fn an_upload_that_was_begun_is_finished() {
    let pod = Pod::start(|request, connection| {
        let body = connection.body(request)?;
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()))?;
        connection.send(body)
    });
    let pod = pod.unwrap();
    let mut gateway = gateway(&pod, |gateway| gateway.args(["--drain-timeout", "1h"]));
    let mut client = Client::connect(gateway.addr()).unwrap();
    client.send("POST /vnc/1/upload HTTP/1.1\r\nHost: g\r\nContent-Length: 10\r\n\r\nfirst").unwrap();
    wait::until("half of the body", PATIENCE, || pod.received().ends_with(b"first").then_some(())).unwrap();
    terminate(&gateway);
    until_refused(&gateway);
    client.send_slowly(["l", "at", "er"], Duration::from_millis(50)).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!((answer.status(), answer.text()), (200, "firstlater".to_owned()));
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(client.end().unwrap(), (Vec::new(), End::Closed));
    assert_exit(&mut gateway, PATIENCE);
}

#[test]
fn a_download_that_was_begun_is_finished() {
    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |_, connection| {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")?;
            gate.pass()?;
            connection.send("later")
        })
    };
    let pod = pod.unwrap();
    let mut gateway = gateway(&pod, |gateway| gateway.args(["--drain-timeout", "1h"]));
    let mut client = Client::connect(gateway.addr()).unwrap();
    client.send(REQUEST).unwrap();
    client.until("first").unwrap();
    terminate(&gateway);
    until_refused(&gateway);
    gate.open();
    assert_eq!(client.end().unwrap(), (b"later".to_vec(), End::Closed));
    assert_exit(&mut gateway, PATIENCE);
}

#[test]
fn a_request_whose_head_was_begun_is_served() {
    let blue = named("blue");
    let mut gateway = gateway(&blue, |gateway| gateway.args(["--drain-timeout", "1h"]));
    let (mut first, mut next) = (Client::connect(gateway.addr()).unwrap(), kept(&gateway));
    let (begun, rest) = REQUEST.split_at(20);
    first.send(begun).unwrap();
    next.send(begun).unwrap();
    let mut unused = Client::connect(gateway.addr()).unwrap();
    terminate(&gateway);
    until_refused(&gateway);
    for client in [&mut first, &mut next] {
        client.send(rest).unwrap();
    }
    // Nor is one left out that was accepted and has yet to speak.
    unused.send(REQUEST).unwrap();
    for client in [&mut first, &mut next, &mut unused] {
        let answer = client.answer().unwrap();
        assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    }
    assert_exit(&mut gateway, PATIENCE);
}

#[test]
fn an_upgrade_that_was_asked_for_becomes_a_stream() {
    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |request, connection| {
            gate.pass()?;
            connection.switch(request)?;
            connection.echo()
        })
    };
    let pod = pod.unwrap();
    let mut gateway = gateway(&pod, |gateway| gateway.args(["--drain-timeout", "1h"]));
    let mut client = Client::connect(gateway.addr()).unwrap();
    client.send(format!("GET /vnc/1/ HTTP/1.1\r\nHost: g\r\n{UPGRADE_FIELDS}\r\n")).unwrap();
    wait::until("the upgrade to reach the pod", PATIENCE, || (pod.requests().len() == 1).then_some(())).unwrap();
    terminate(&gateway);
    until_refused(&gateway);
    gate.open();
    assert_eq!(client.head().unwrap().status(), 101);
    client.send("hello").unwrap();
    assert_eq!(client.exactly(5).unwrap(), b"hello");
    drop(client);
    assert_exit(&mut gateway, PATIENCE);
}

#[test]
fn an_exchange_that_outlasts_the_deadline_is_cut() {
    let gate = Gate::default();
    let pod = {
        let gate = gate.clone();
        Pod::start(move |_, _| gate.pass())
    };
    let pod = pod.unwrap();
    let mut gateway = gateway(&pod, |gateway| gateway.args(["--drain-timeout", "500ms"]));
    let mut client = Client::connect(gateway.addr()).unwrap();
    client.send(REQUEST).unwrap();
    wait::until("the request to reach the pod", PATIENCE, || (pod.requests().len() == 1).then_some(())).unwrap();
    gateway.signal(Signal::SIGTERM).unwrap();
    assert_exit(&mut gateway, PATIENCE);
    assert_eq!(client.end().unwrap().0, b"");
    gate.open();
}
