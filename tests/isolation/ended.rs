//! A sandbox that ends, or moves, has no connection a moment later.

use gateway_tests::need::{Need, is_missing};
use gateway_tests::pod::Pod;
use gateway_tests::wire::{Client, End, UPGRADE_FIELDS};

use super::{Book, Tenant, client, resets};
use crate::scene::{builder, get, until};

/// Trap 32: idle connections, requests that wait and responses that have begun, all at once.
fn an_end_reaches_everything(book: &Book) {
    let tenant = Tenant::at(1, 0);
    book.place(&tenant.pod);
    let gateway = book.start();
    let port = tenant.pod.address().port();
    let [mut held, mut begun, mut idle] = [(); 3].map(|()| client(&gateway));
    held.send(book.get("/held", port, "")).unwrap();
    begun.send(book.get("/begun", port, "")).unwrap();
    assert!(begun.until("begun\r\n").unwrap().ends_with(b"5\r\nbegun\r\n"));
    until("the request to be held", || tenant.pod.requests().len() == 2);
    assert_eq!(idle.ask(book.get("/idle", port, "")).unwrap().text(), "ok");
    until("three connections", || tenant.pod.requests().len() == 3);

    book.remove();
    let answer = held.answer().unwrap();
    assert_eq!((answer.status(), answer.field("x-gateway-error").unwrap()), book.told());
    assert_eq!(begun.end().unwrap(), (Vec::new(), End::Reset), "the client must not take it for whole");
    until("the idle connection to be reset", || tenant.resets() == [true]);
    assert_eq!((resets(&gateway, "idle"), resets(&gateway, "busy")), (1.0, 2.0));
    gateway.logged("the cut", gateway_tests::wait::PATIENCE, |record| record["cut"] == "sandbox gone").unwrap();
    // The client's own connection goes on, and what it asks now finds no sandbox.
    let answer = idle.ask(book.get("/idle", port, "")).unwrap();
    assert_eq!((answer.status(), answer.field("x-gateway-error").unwrap()), book.told());
    assert_eq!(tenant.pod.requests().len(), 3);
    tenant.gate.open();
}

#[test]
fn a_sandbox_that_leaves_redis_loses_every_connection_at_once() {
    if !is_missing(&[Need::Program("redis-server")]) {
        an_end_reaches_everything(&Book::redis());
    }
}

#[test]
fn a_sandbox_that_the_control_plane_has_stopped_loses_every_connection() {
    an_end_reaches_everything(&Book::control_plane());
}

#[test]
fn a_sandbox_whose_name_is_gone_loses_every_connection() {
    an_end_reaches_everything(&Book::dns());
}

/// Trap 32, for streams of the cluster's names: what ends without a word is ended by the second answer without it.
#[test]
fn a_sandbox_whose_name_is_gone_loses_its_streams() {
    let book = Book::dns();
    let pod = Pod::echoing().unwrap();
    book.place(&pod);
    let gateway = book.builder().args(["--allow-loopback-pod-ip", "true"]).start().unwrap();
    let (mut by_name, mut by_address) = (client(&gateway), client(&gateway));
    let request = |more: &str| book.get("/ws", pod.address().port(), &format!("{UPGRADE_FIELDS}{more}"));
    assert_eq!(by_name.ask(request("")).unwrap().status(), 101);
    assert_eq!(by_address.ask(request("X-Sandbox-Pod-IP: 127.0.0.1\r\n")).unwrap().status(), 101);
    book.remove();
    by_name.end().unwrap();
    let gone = [("reason", "sandbox_gone")];
    until("the stream to be counted", || gateway.metric("gateway_streams_closed_total", &gone).unwrap() == 1.0);
    by_address.send("still here\n").unwrap();
    assert_eq!(by_address.until("\n").unwrap(), b"still here\n", "nobody but its client has placed it");
}

/// A pod that switches, sends one line back, and then notes how its connection ends.
fn noting_echo() -> (Pod, std::sync::Arc<std::sync::Mutex<Vec<End>>>) {
    let ends = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = std::sync::Arc::clone(&ends);
    let pod = Pod::start(move |request, connection| {
        connection.switch(request)?;
        let line = connection.exactly("hello\n".len())?;
        connection.send(line)?;
        let (_, end) = connection.end()?;
        noted.lock().unwrap().push(end);
        Ok(())
    });
    (pod.unwrap(), ends)
}

/// Streams are reset towards the pod, whoever moves their bytes: nobody who has its address later hears of them.
#[test]
fn a_stream_of_a_sandbox_that_ends_is_reset_towards_the_pod() {
    for engine in ["copy", "splice", "sockmap"] {
        if is_missing(&[Need::Engine(engine)]) {
            continue;
        }
        let book = Book::control_plane();
        let (pod, ends) = noting_echo();
        book.place(&pod);
        let gateway = book.builder().args(["--engine", engine]).start().unwrap();
        let mut stream = client(&gateway);
        assert_eq!(stream.ask(book.get("/ws", 0, UPGRADE_FIELDS)).unwrap().status(), 101);
        stream.send("hello\n").unwrap();
        assert_eq!(stream.until("\n").unwrap(), b"hello\n");
        let promoted = || gateway.metric("gateway_stream_promotions_total", &[("engine", "sockmap")]).unwrap() > 0.0;
        until("the engine to have it", || engine != "sockmap" || promoted());
        book.remove();
        stream.end().unwrap();
        until("the pod to hear of it", || *ends.lock().unwrap() == [End::Reset]);
    }
}

/// An idle connection to where the sandbox was is reset, and a request that is on its way may end there.
fn a_move_resets_what_is_idle(book: &Book) {
    let (before, after) = {
        let before = Tenant::at(1, 0);
        let port = before.pod.address().port();
        (before, Tenant::at(2, port))
    };
    book.place(&before.pod);
    let gateway = book.start();
    let port = before.pod.address().port();
    let (mut held, mut idle) = (client(&gateway), client(&gateway));
    held.send(book.get("/held", port, "")).unwrap();
    // Were the other one first, its connection would serve this request, too.
    until("the request to be held", || before.pod.requests().len() == 1);
    assert_eq!(idle.ask(book.get("/idle", port, "")).unwrap().text(), "ok");
    until("two connections", || before.pod.requests().len() == 2);

    book.place(&after.pod);
    until("the idle connection to be reset", || before.resets() == [true]);
    assert_eq!((resets(&gateway, "idle"), resets(&gateway, "busy")), (1.0, 0.0));
    before.gate.open();
    assert_eq!(held.answer().unwrap().text(), "ok");
    until("its connection to end, which nobody keeps", || before.pod.open() == 0);
    assert_eq!(idle.ask(book.get("/idle", port, "")).unwrap().text(), "ok");
    assert_eq!((before.pod.requests().len(), after.pod.requests().len()), (2, 1));
}

#[test]
fn a_sandbox_that_moves_in_redis_keeps_no_idle_connection() {
    if !is_missing(&[Need::Program("redis-server")]) {
        a_move_resets_what_is_idle(&Book::redis());
    }
}

#[test]
fn a_sandbox_that_the_control_plane_moves_keeps_no_idle_connection() {
    a_move_resets_what_is_idle(&Book::control_plane());
}

#[test]
fn a_sandbox_whose_name_moves_keeps_no_idle_connection() {
    a_move_resets_what_is_idle(&Book::dns());
}

/// An upgrade that waits for its 101 is a request in progress as well.
#[test]
fn an_upgrade_that_waits_is_cut_with_its_sandbox() {
    let book = Book::control_plane();
    let tenant = Tenant::at(1, 0);
    book.place(&tenant.pod);
    let gateway = book.start();
    let mut waiting = client(&gateway);
    waiting.send(book.get("/held", 0, UPGRADE_FIELDS)).unwrap();
    until("the upgrade to arrive", || tenant.pod.requests().len() == 1);
    book.remove();
    assert_eq!(waiting.answer().unwrap().field("x-gateway-error"), Some("sandbox_stopped"));
    assert_eq!(resets(&gateway, "busy"), 1.0);
    tenant.gate.open();
}

/// One sandbox by two ways in: what Redis does not know was not placed by it.
#[test]
fn a_directory_ends_only_what_it_has_placed() {
    if is_missing(&[Need::Program("redis-server")]) {
        return;
    }
    let (redis, dns) = (Book::redis(), Book::dns());
    let pod = Pod::echoing().unwrap();
    let other = Tenant::at(1, 0);
    redis.place(&other.pod);
    dns.place(&pod);
    let (Book::Redis(server), Book::Dns(names)) = (&redis, &dns) else { unreachable!("made above") };
    let gateway = builder()
        .redis(server.url())
        .args(["--source", "path,header", "--allow-unauthenticated", "true"])
        .args(["--dns-server", &names.address().to_string()])
        .start()
        .unwrap();
    until("the directory to be there", || gateway.readiness().unwrap() == 200);
    let mut stream = client(&gateway);
    assert_eq!(stream.ask(dns.get("/ws", pod.address().port(), UPGRADE_FIELDS)).unwrap().status(), 101);
    let mut idle: Client = client(&gateway);
    assert_eq!(idle.ask(get("/vnc/1/idle", "")).unwrap().text(), "ok");
    redis.remove();
    until("the connection that Redis placed to be reset", || other.resets() == [true]);
    stream.send("still here\n").unwrap();
    assert_eq!(stream.until("\n").unwrap(), b"still here\n");
}
