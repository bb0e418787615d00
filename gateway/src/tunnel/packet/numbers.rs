//! From the numbers of two connections to the differences between them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_common::packet::Way;
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

/// The interfaces to the client and to the pod. Either both are on this machine, or neither is: the IP stack takes a
/// packet from outside with a source address of this machine for a forgery.
pub(super) fn devices(paths: &Paths, splicer: &Splicer) -> Option<[u32; 2]> {
    let client = splicer.device(paths.gateway_to_client.ip(), paths.client.ip())?;
    let pod = splicer.device(paths.gateway_to_pod.ip(), paths.pod.ip())?;
    let fits = paths.client.is_ipv4() == paths.pod.is_ipv4() && (client == 0) == (pod == 0);
    fits.then_some([client, pod])
}

fn local(socket: &impl AsFd) -> io::Result<SocketAddr> {
    SockRef::from(socket).local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

fn peer(socket: &impl AsFd) -> io::Result<SocketAddr> {
    SockRef::from(socket).peer_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Puts both sockets into repair mode and compares what they agreed on with their peers.
pub(super) fn take(sides: &Sides, paths: &Paths) -> Result<[Numbers; 2], Refusal> {
    let (client, upstream) = (repair::take(&sides.client)?, repair::take(&sides.upstream)?);
    if client.options != upstream.options {
        return Err(Refusal::Options);
    }
    // RFC 6691 section 2: the segment size leaves room for the headers of TCP and IP without options.
    let headers = if paths.client.is_ipv4() { 40 } else { 60 };
    let fits = |from: &Numbers, to: &Numbers| from.own_mss <= to.peer_mss && from.own_mss + headers <= to.path_mtu;
    if !(fits(&client, &upstream) && fits(&upstream, &client)) {
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
    set(&way.timestamps, from.has_timestamps().into());
    set(&way.timestamp_start, to.clock.wrapping_add(TIMESTAMP_ROOM).into());
    set(&way.timestamp_last, to.clock.into());
    set(&way.begin, from.receive.into());
    set(&way.end, from.receive.into());
    set(&way.acked, to.receive.into());
    set(&way.window, to.window.into());
    set(&way.active_ns, now_ns());
}
