//! From the numbers of two connections to the differences between them.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_common::packet::{LOOPBACK, NO_ECN, NOWHERE, TIMESTAMPS, Way};
use socket2::SockRef;

use super::{Refusal, Sides};
use crate::bpf::splicer::{Pair, Paths, Splicer};
use crate::sys::Socket;
use crate::sys::repair::{self, Numbers, now_ns};

/// Ticks by which a direction's first timestamp is ahead of the gateway's last one. Segments that overtake each other
/// just then do not fall behind it, and no receiver takes them for old ones (RFC 7323 section 5).
const TIMESTAMP_ROOM: u32 = 1000;

/// The four ends of a stream's connections.
pub(super) fn paths(client: &Socket, upstream: &Socket) -> io::Result<Paths> {
    Ok(Paths {
        client: peer(client)?,
        gateway_to_client: local(client)?,
        gateway_to_pod: local(upstream)?,
        pod: peer(upstream)?,
    })
}

/// The interfaces to the client and to the pod.
pub(super) fn devices(paths: &Paths, splicer: &Splicer) -> Result<[u32; 2], Refusal> {
    let client = splicer.device(paths.gateway_to_client.ip(), paths.client.ip())?;
    let pod = splicer.device(paths.gateway_to_pod.ip(), paths.pod.ip())?;
    let devices = [client, pod];
    if paths.client.is_ipv4() != paths.pod.is_ipv4() || devices.contains(&NOWHERE) {
        return Err(Refusal::Route);
    }
    let is_mixed = (client == LOOPBACK) != (pod == LOOPBACK);
    let here = if client == LOOPBACK { paths.client.ip() } else { paths.pod.ip() };
    // A packet from outside gets a route to an address of 127.0.0.0/8 or of IPv6 on its way; to others it needs leave.
    if is_mixed && here.is_ipv4() && !here.is_loopback() && !accepts_local() {
        return Err(Refusal::Martian(here));
    }
    Ok(devices)
}

/// Whether the loopback interface takes packets whose source is an address of this machine (`IN_DEV_ACCEPT_LOCAL`).
fn accepts_local() -> bool {
    ["all", "lo"].iter().any(|scope| is_set(&format!("conf/{scope}/accept_local"), |value| value != 0))
}

/// Whether connections of this machine may have agreed on ECN that counts (RFC 9768): 3 and above are its modes.
fn may_count_congestion() -> bool {
    is_set("tcp_ecn", |value| value >= 3)
}

/// What holds for a parameter of this network.
fn is_set(parameter: &str, holds: impl FnOnce(u32) -> bool) -> bool {
    let value = fs::read_to_string(format!("/proc/sys/net/ipv4/{parameter}"));
    value.is_ok_and(|value| value.trim().parse().is_ok_and(holds))
}

fn local(socket: &impl AsFd) -> io::Result<SocketAddr> {
    SockRef::from(socket).local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

fn peer(socket: &impl AsFd) -> io::Result<SocketAddr> {
    SockRef::from(socket).peer_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Puts both sockets into repair mode and compares what they agreed on with their peers.
pub(super) fn take(sides: &Sides, paths: &Paths, devices: [u32; 2]) -> Result<[Numbers; 2], Refusal> {
    let (client, upstream) = (repair::take(&sides.client)?, repair::take(&sides.upstream)?);
    if client.common_options() != upstream.common_options() {
        return Err(Refusal::Options);
    }
    // Each counts the marks of its own connection, and would read the other's count as its own.
    if (client.has_ecn() || upstream.has_ecn()) && may_count_congestion() {
        return Err(Refusal::Options);
    }
    // RFC 6691 section 2: the segment size leaves room for the headers of TCP and IP without options.
    let headers = if paths.client.is_ipv4() { 40 } else { 60 };
    let fits = |from: &Numbers, to: &Numbers, device| {
        // Over the loopback interface comes whatever its MTU allows; and where we have asked a peer for short segments,
        // the kernel gives the same number for the other direction (`tcp_parse_options`).
        let is_taken = device == LOOPBACK || from.own_mss <= to.peer_mss;
        is_taken && from.own_mss + headers <= to.path_mtu
    };
    if !(fits(&client, &upstream, devices[1]) && fits(&upstream, &client, devices[0])) {
        tracing::debug!(?client, ?upstream, "segment sizes");
        return Err(Refusal::SegmentSize);
    }
    Ok([client, upstream])
}

/// Writes both directions down, but for the ends, which are there; `devices` and `numbers` begin with the client's.
pub(super) fn write(pair: Pair<'_>, devices: [u32; 2], numbers: [&Numbers; 2]) {
    let [client, upstream] = numbers;
    write_way(pair.way(0), [client, upstream], devices[1]);
    write_way(pair.way(1), [upstream, client], devices[0]);
}

fn write_way(way: &Way<AtomicU64>, numbers: [&Numbers; 2], device: u32) {
    let [from, to] = numbers;
    let set = |word: &AtomicU64, value: u64| word.store(value, Ordering::Relaxed);
    set(&way.seq_add, to.send.wrapping_sub(from.receive).into());
    set(&way.ack_add, to.receive.wrapping_sub(from.send).into());
    set(&way.scale_in, from.peer_scale.into());
    set(&way.scale_out, to.own_scale.into());
    set(&way.device, device.into());
    let timestamps = if from.has_timestamps() { TIMESTAMPS } else { 0 };
    let no_ecn = if from.has_ecn() == to.has_ecn() { 0 } else { NO_ECN };
    set(&way.agreed, timestamps | no_ecn);
    set(&way.timestamp_start, to.clock.wrapping_add(TIMESTAMP_ROOM).into());
    set(&way.timestamp_last, to.clock.into());
    set(&way.begin, from.receive.into());
    set(&way.end, from.receive.into());
    set(&way.acked, to.receive.into());
    set(&way.window, to.window.into());
    set(&way.active_ns, now_ns());
}
