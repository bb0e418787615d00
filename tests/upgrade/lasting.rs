//! Streams that last longer than anything that HTTP waits for, and upgrades of which nothing lasts.

use std::time::Duration;

use gateway_tests::pod::Pod;
use gateway_tests::wait::pause;
use gateway_tests::wire::{Client, UPGRADE_FIELDS};

use crate::scene::{Scene, get, until};

/// Trap 19: every time of HTTP is over while the stream is silent, and then it goes on both ways.
#[test]
fn a_stream_outlives_every_time_of_http() {
    const OVER: Duration = Duration::from_millis(200);
    let limits = ["head-timeout", "keepalive-timeout", "body-timeout", "response-timeout", "pool-idle-timeout"];
    let arguments: Vec<String> = limits.into_iter().map(|limit| format!("--{limit}=200ms")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let scene = Scene::with(Pod::echoing().unwrap(), &arguments);
    let mut client = scene.client();
    assert_eq!(client.ask(get("/vnc/1/ws", UPGRADE_FIELDS)).unwrap().status(), 101);
    // Twice the limits, and two turns of the sweeper that looks for what is idle.
    pause(OVER * 2 + Duration::from_secs(2));
    client.send("still there\n").unwrap();
    assert_eq!(client.until("\n").unwrap(), b"still there\n");
    assert_eq!(scene.gateway.streams().unwrap().len(), 1);
}

/// Trap 22: clients that leave before the 101 and after it, and pods that refuse and that break off.
#[test]
fn a_thousand_aborted_upgrades_leave_no_descriptor() {
    const ABORTED: usize = 1000;
    let pod = Pod::start(|request, connection| match request.target() {
        "/silent" => connection.wait_end(),
        "/refused" => connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
        "/broken" => connection.reset(),
        _ => {
            connection.switch(request)?;
            connection.echo()
        }
    });
    let scene = Scene::of(pod.unwrap());
    let abort = |number: usize| {
        let mut client = Client::connect(scene.gateway.addr()).unwrap();
        match number % 4 {
            0 => {
                client.send(get("/vnc/1/silent", UPGRADE_FIELDS)).unwrap();
                client.reset().unwrap();
            }
            1 => assert_eq!(client.ask(get("/vnc/1/refused", UPGRADE_FIELDS)).unwrap().status(), 403),
            2 => assert_eq!(client.ask(get("/vnc/1/broken", UPGRADE_FIELDS)).unwrap().status(), 502),
            _ => {
                assert_eq!(client.ask(get("/vnc/1/ws", UPGRADE_FIELDS)).unwrap().status(), 101);
                client.reset().unwrap();
            }
        }
    };
    let open = || scene.gateway.metric("process_open_fds", &[]).unwrap();
    let settled = || {
        until("the connections to end", || scene.gateway.metric("gateway_connections_open", &[]).unwrap() == 0.0);
        until("the pod's connections to end", || scene.pod.open() == 0);
    };
    // What is opened once has been opened.
    (0..4).for_each(abort);
    settled();
    let before = open();
    (0..ABORTED).for_each(abort);
    settled();
    until("the descriptors to be closed", || open() <= before);
    assert_eq!(scene.gateway.metric("gateway_streams_opened_total", &[]).unwrap(), (ABORTED / 4 + 1) as f64);
}
