//! How many connections fit into a process, and what the descriptor tables of its workers hold.

use gateway_tests::gateway::{Gateway, GatewayBuilder};
use gateway_tests::memory;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::wait::{self, PATIENCE};
use gateway_tests::wire::{Client, UPGRADE_FIELDS};
use nix::sys::signal::Signal;

use crate::users::{Stream, named, request_to, until_metric, until_ready};

/// tokio's signal pipe: what wakes a runtime is written in the table of whichever thread the signal interrupts.
const SHARED_SOCKETS: usize = 2;

/// A worker's table has room for 64 connections, and its idle connections to pods are more than that.
#[test]
fn a_worker_whose_table_is_full_says_so_and_serves_on() {
    const PER_WORKER: usize = 64;
    const SANDBOXES: usize = 300;
    /// The listener, both ends of the signal pipe, and the end that each of three runtimes has of its own.
    const OTHER_SOCKETS: usize = 6;
    if is_missing(&[Need::Program("prlimit")]) {
        return;
    }
    let pod = named("pod");
    let gateway = (0..SANDBOXES)
        .fold(Gateway::builder(), |gateway, sandbox| gateway.sandbox(&sandbox.to_string(), pod.address()))
        .args(["--workers", "2"])
        .through(["prlimit", "--nofile=400:400", "--"])
        .start()
        .unwrap();
    let limits = gateway.logged("the limits", PATIENCE, |record| record["message"] == "limits").unwrap();
    assert_eq!((&limits["per_table"], &limits["connections_max"]), (&PER_WORKER.into(), &(2 * PER_WORKER).into()));
    for _ in 0..6 {
        let mut client = Client::connect(gateway.addr()).unwrap();
        for sandbox in 0..SANDBOXES {
            assert_eq!(client.ask(request_to(&sandbox.to_string(), "")).unwrap().status(), 200);
        }
    }

    let (mut streams, mut refused) = (Vec::new(), 0);
    while refused < PER_WORKER {
        let mut client = Client::connect(gateway.addr()).unwrap();
        // The gateway may have told it already.
        let _told_before = client.send(request_to("1", UPGRADE_FIELDS)).is_err();
        let head = client.head().unwrap();
        match (head.status(), head.field("x-gateway-error")) {
            (101, None) => streams.push(Stream { client }),
            (503, Some("overloaded")) => refused += 1,
            unexpected => panic!("{unexpected:?}"),
        }
    }
    assert!((PER_WORKER..=2 * PER_WORKER).contains(&streams.len()), "{} streams", streams.len());
    streams.iter_mut().for_each(|stream| stream.echo("still here"));
    // Idle connections to pods have made room; those who were refused have left.
    wait::until("no worker to hold more sockets than it has room for", PATIENCE, || {
        let most = memory::sockets_by_worker(gateway.pid()).ok()?.into_iter().max()?;
        (most <= 2 * PER_WORKER + OTHER_SOCKETS).then_some(())
    })
    .unwrap();
    let metric = |name, labels: &[(&str, &str)]| gateway.metric(name, labels).unwrap();
    let rejected = "gateway_connections_rejected_total";
    assert_eq!(metric(rejected, &[("reason", "connections_max")]), refused as f64);
    assert_eq!(metric(rejected, &[("reason", "descriptors")]), 0.0);
    assert_eq!(metric("gateway_upstream_dials_total", &[("outcome", "error")]), 0.0);

    drop(streams);
    wait::until("the streams to end", PATIENCE, || gateway.streams().unwrap().is_empty().then_some(())).unwrap();
    let _another = Stream::open(&gateway, "1");
}

#[test]
fn a_socket_is_in_one_table_and_every_table_is_counted() {
    const STREAMS: usize = 40;
    let pod = named("pod");
    let gateway = two_workers().sandbox("1", pod.address()).listen("127.0.0.1:0").listen("127.0.0.1:0");
    let mut gateway = gateway.start().unwrap();
    until_ready(&gateway, 200);
    let open = || gateway.metric("process_open_fds", &[]).unwrap();
    let before = open();
    let streams: Vec<_> = (0..STREAMS).map(|_| Stream::open(&gateway, "1")).collect();
    assert_eq!(memory::shared_sockets(gateway.pid()).unwrap().len(), SHARED_SOCKETS);
    assert_eq!(open() - before, 2.0 * STREAMS as f64);
    let one_table = limit();
    assert_eq!(gateway.metric("process_max_fds", &[]).unwrap(), 2.0 * one_table);
    drop(streams);
    wait::until("the descriptors to be closed", PATIENCE, || (open() - before).eq(&0.0).then_some(())).unwrap();
    // An address is free as soon as its listeners are closed in every table.
    let addresses = gateway.addrs().to_vec();
    gateway.signal(Signal::SIGTERM).unwrap();
    assert_eq!(gateway.wait(PATIENCE).unwrap().code(), Some(0));
    assert!(addresses.iter().all(|address| std::net::TcpListener::bind(address).is_ok()));
}

/// As under a seccomp profile that knows neither way to a table of one's own.
#[test]
fn workers_that_may_not_have_tables_of_their_own_share_one() {
    if is_missing(&[Need::Program("strace")]) {
        return;
    }
    let pod = named("pod");
    let refusing = "--inject=close_range,unshare:error=EPERM";
    let strace = ["strace", "-D", "--follow-forks", "--seccomp-bpf", "--trace=close_range,unshare", refusing];
    let gateway = two_workers().sandbox("1", pod.address()).through(strace.into_iter().chain(["--output=/dev/null"]));
    let mut gateway = gateway.start().unwrap();
    until_ready(&gateway, 200);
    let warnings = gateway.log().iter().filter(|line| line.contains("share one")).count();
    assert_eq!(warnings, 1, "{:?}", gateway.log());
    let limits = gateway.logged("the limits", PATIENCE, |record| record["message"] == "limits").unwrap();
    assert_eq!((&limits["tables"], &limits["connections_max"]), (&1.into(), &limits["per_table"]));
    assert_eq!(gateway.metric("process_max_fds", &[]).unwrap(), limit());
    let mut streams: Vec<_> = (0..40).map(|_| Stream::open(&gateway, "1")).collect();
    streams.iter_mut().for_each(|stream| stream.echo("one table"));
    drop(streams);
    until_metric(&gateway, "gateway_streams_closed_total", &[], 40.0);
    gateway.signal(Signal::SIGTERM).unwrap();
    assert_eq!(gateway.wait(PATIENCE).unwrap().code(), Some(0));
}

/// Without the kernel's side, which takes descriptors of its own once the gateway is ready.
fn two_workers() -> GatewayBuilder {
    Gateway::builder().args(["--workers", "2", "--engine", "copy"])
}

/// What the gateway raises its limit to.
fn limit() -> f64 {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).unwrap().1 as f64
}
