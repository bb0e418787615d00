//! What goes on beside a sandbox does not reach it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gateway_tests::pod::Pod;
use gateway_tests::wire::{Client, UPGRADE_FIELDS};

use crate::scene::{OK, builder, get, until};

/// Streams of one sandbox that send as much as is taken, and whose clients take nothing.
const STALLED: usize = 48;

/// Downloads of one sandbox whose clients take all there is.
const BULK: usize = 2;

const ROUND_TRIPS: usize = 50;

/// Trap 40: each message of a sandbox has a connection of its own, so that none waits behind another sandbox's. If one
/// did, it would wait for ever: nobody reads what the stalled streams bring.
#[test]
fn many_slow_and_bulky_streams_of_one_sandbox_delay_no_other() {
    let stops = Arc::new(AtomicBool::new(false));
    let flood = {
        let stops = Arc::clone(&stops);
        Pod::start(move |request, connection| {
            if request.field("upgrade").is_some() {
                connection.switch(request)?;
            } else {
                connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            }
            while !stops.load(Ordering::Relaxed) {
                connection.send([b'x'; 64 << 10])?;
            }
            connection.close();
            Ok(())
        })
        .unwrap()
    };
    let quiet = Pod::start(|request, connection| {
        if request.field("upgrade").is_some() {
            connection.switch(request)?;
            return connection.echo();
        }
        connection.send(OK)
    })
    .unwrap();
    let gateway = builder().sandbox("1", flood.address()).sandbox("2", quiet.address()).start().unwrap();
    let stalled: Vec<Client> = (0..STALLED)
        .map(|_| {
            let mut client = Client::connect(gateway.addr()).unwrap();
            client.send(get("/vnc/1/ws", UPGRADE_FIELDS)).unwrap();
            assert_eq!(client.head().unwrap().status(), 101);
            client
        })
        .collect();
    let reading: Vec<_> = (0..BULK)
        .map(|_| {
            let (mut client, stops) = (Client::connect(gateway.addr()).unwrap(), Arc::clone(&stops));
            client.send(get("/vnc/1/bulk", "")).unwrap();
            std::thread::spawn(move || {
                let mut blocks = 0_usize;
                assert_eq!(client.head().unwrap().status(), 200);
                while !stops.load(Ordering::Relaxed) && client.exactly(64 << 10).is_ok() {
                    blocks += 1;
                }
                blocks
            })
        })
        .collect();
    let mut stream = Client::connect(gateway.addr()).unwrap();
    assert_eq!(stream.ask(get("/vnc/2/ws", UPGRADE_FIELDS)).unwrap().status(), 101);
    let moved = || gateway.metric("gateway_stream_bytes_total", &[("direction", "down")]).unwrap();
    until("the flood to fill what it can", || moved() > 1e6);
    let mut client = Client::connect(gateway.addr()).unwrap();
    for count in 0..ROUND_TRIPS {
        let line = format!("{count}\n");
        stream.send(&line).unwrap();
        assert_eq!(stream.until("\n").unwrap(), line.as_bytes());
        assert_eq!(client.ask(get("/vnc/2/x", "")).unwrap().text(), "ok");
    }
    assert_eq!(gateway.streams().unwrap().len(), STALLED + 1, "all of them were there to the end");
    stops.store(true, Ordering::Relaxed);
    drop(stalled);
    for reading in reading {
        assert!(reading.join().unwrap() > 0, "the downloads went on meanwhile");
    }
    assert_eq!(quiet.connections().len(), 2, "one for the stream, one for fifty exchanges");
}
