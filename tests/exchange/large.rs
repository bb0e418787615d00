//! Bodies larger than any buffer: they pass, and the gateway does not hold them.

use gateway_tests::gateway::Gateway;
use gateway_tests::pod::{Connection, Gate, Pod};
use gateway_tests::wire::Client;
use sha1::{Digest as _, Sha1};

use crate::scene::{Scene, get};

const BLOCK_BYTES: usize = 1 << 20;
/// More than the kernel's buffers on both legs may grow to, which is 36 MiB each where `net.ipv4.tcp_rmem` allows 32.
const BLOCKS: usize = 96;
const BODY_BYTES: usize = BLOCKS * BLOCK_BYTES;

/// How much the gateway's memory may grow at most while a body passes.
const GROWTH_KIB_MAX: u64 = 16 << 10;

/// Without the kernel's side, which workers load while the first requests come.
fn scene_of(pod: Pod) -> Scene {
    Scene::with(pod, &["--engine", "copy"])
}

#[test]
fn a_large_upload_is_streamed() {
    let scene = scene_of(checking(|_| Ok(())));
    let before = resident_kib(&scene.gateway);
    let mut client = scene.client();
    client.send(post()).unwrap();
    send_body(&client);
    assert_eq!(client.answer().unwrap().text(), digest());
    assert_grew_little(&scene.gateway, before);
}

/// The pod does not read until the client cannot send any more.
#[test]
fn a_stalled_upload_waits_in_the_clients_socket() {
    let gate = Gate::default();
    let scene = scene_of({
        let gate = gate.clone();
        checking(move |_| gate.pass())
    });
    let before = resident_kib(&scene.gateway);
    let mut client = scene.client();
    client.send(post()).unwrap();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send_body(&client));
        let full = gateway_tests::wait::until("the sender to be stopped", gateway_tests::wait::PATIENCE, || {
            let queued = queued_bytes(&client);
            gateway_tests::wait::pause(std::time::Duration::from_millis(100));
            (queued > 0 && queued_bytes(&client) == queued).then_some(())
        });
        assert!(!sending.is_finished(), "the whole body went somewhere");
        full.unwrap();
        assert_grew_little(&scene.gateway, before);
        gate.open();
    });
    assert_eq!(client.answer().unwrap().text(), digest());
    assert_grew_little(&scene.gateway, before);
}

#[test]
fn a_large_download_is_streamed() {
    let pod = Pod::start(|_, connection| {
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n"))?;
        (0..BLOCKS).try_for_each(|index| connection.send(block(index)))
    });
    let scene = scene_of(pod.unwrap());
    let before = resident_kib(&scene.gateway);
    let mut client = scene.client();
    client.send(get("/vnc/1/x", "")).unwrap();
    assert_eq!(client.head().unwrap().field("content-length"), Some(BODY_BYTES.to_string().as_str()));
    let mut received = Sha1::new();
    (0..BLOCKS).for_each(|_| received.update(client.exactly(BLOCK_BYTES).unwrap()));
    assert_eq!(format!("{:02x?}", received.finalize()), digest());
    crate::scene::assert_open(&mut client);
    assert_grew_little(&scene.gateway, before);
}

#[test]
fn large_chunks_are_streamed_both_ways() {
    let pod = Pod::start(|_, connection| {
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        // The whole message, frames included, goes back as it came.
        let frame = format!("{BLOCK_BYTES:x}\r\n").len() + BLOCK_BYTES + 2;
        for _ in 0..BLOCKS {
            let bytes = connection.exactly(frame)?;
            connection.send(bytes)?;
        }
        let end = connection.exactly(5)?;
        connection.send(end)?;
        connection.wait_end()
    });
    let scene = scene_of(pod.unwrap());
    let before = resident_kib(&scene.gateway);
    let mut client = scene.client();
    client.send("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status(), 200);
    for index in 0..BLOCKS {
        let frame = [format!("{BLOCK_BYTES:x}\r\n").as_bytes(), &block(index), b"\r\n"].concat();
        client.send(&frame).unwrap();
        assert!(client.exactly(frame.len()).unwrap() == frame, "block {index}");
    }
    client.send("0\r\n\r\n").unwrap();
    assert_eq!(client.exactly(5).unwrap(), b"0\r\n\r\n");
    assert_grew_little(&scene.gateway, before);
}

/// A pod that reads the body after `first`, and answers with its digest.
fn checking(first: impl Fn(&mut Connection) -> anyhow::Result<()> + Send + Sync + 'static) -> Pod {
    Pod::start(move |_, connection| {
        first(connection)?;
        let mut received = Sha1::new();
        for _ in 0..BLOCKS {
            received.update(connection.exactly(BLOCK_BYTES)?);
        }
        let digest = format!("{:02x?}", received.finalize());
        connection.send(crate::scene::ok("Connection: close\r\n", &digest))?;
        connection.close();
        Ok(())
    })
    .unwrap()
}

fn post() -> String {
    format!("POST /vnc/1/x HTTP/1.1\r\nHost: gw.example\r\nContent-Length: {BODY_BYTES}\r\n\r\n")
}

fn send_body(client: &Client) {
    (0..BLOCKS).for_each(|index| client.send(block(index)).unwrap());
}

/// No block is like another one, and no line of 1 KiB like another line.
fn block(index: usize) -> Vec<u8> {
    const LINE_BYTES: usize = 1 << 10;
    let mut block = vec![0x5a; BLOCK_BYTES];
    for (line, bytes) in block.chunks_exact_mut(LINE_BYTES).enumerate() {
        let number = index * (BLOCK_BYTES / LINE_BYTES) + line;
        bytes[..8].copy_from_slice(&number.to_le_bytes());
    }
    block
}

fn digest() -> String {
    let mut digest = Sha1::new();
    (0..BLOCKS).for_each(|index| digest.update(block(index)));
    format!("{:02x?}", digest.finalize())
}

/// What the client's kernel holds and could not send.
fn queued_bytes(client: &Client) -> usize {
    // Its columns: number, local address, remote address, state (1 is established), "send queue:receive queue",
    // proc(5).
    const ESTABLISHED: &str = "01";
    let port = format!(":{:04X}", client.address().unwrap().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[1].ends_with(&port) && row[3] == ESTABLISHED).unwrap();
    let queues = row[4];
    usize::from_str_radix(queues.split(':').next().unwrap(), 16).unwrap()
}

/// The resident memory of the gateway now, in KiB. Its highest point is counted from here on.
fn resident_kib(gateway: &Gateway) -> u64 {
    // proc_pid_clear_refs(5): 5 resets the peak.
    std::fs::write(format!("/proc/{}/clear_refs", gateway.pid()), "5").unwrap();
    status_kib(gateway, "VmRSS:")
}

#[track_caller]
fn assert_grew_little(gateway: &Gateway, before: u64) {
    let peak = status_kib(gateway, "VmHWM:");
    assert!(peak < before + GROWTH_KIB_MAX, "from {before} KiB to {peak} KiB");
}

fn status_kib(gateway: &Gateway, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
