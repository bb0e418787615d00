//! Packets without a connection's socket: what the gateway has to say on connections that it has given away, and what
//! routers say about them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Sends packets that have their IP header. It receives none: `IPPROTO_RAW` is the protocol of no packet (raw(7)).
pub struct RawSender {
    v4: Socket,
    /// Absent where the kernel has no IPv6.
    v6: Option<Socket>,
}

impl RawSender {
    /// Opens its sockets.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let raw = |domain| Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::from(libc::IPPROTO_RAW)));
        let v6 = raw(Domain::IPV6).and_then(|socket| socket.set_header_included_v6(true).map(|()| socket));
        Ok(Self { v4: raw(Domain::IPV4)?, v6: v6.ok() })
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// What `sendto(2)` says, `EAFNOSUPPORT` where there is no IPv6.
    pub fn send(&self, packet: &[u8], destination: IpAddr) -> io::Result<()> {
        let socket = if destination.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() };
        let socket = socket.ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
        // The port of a raw socket's destination has to be zero.
        socket.send_to(packet, &SockAddr::from(SocketAddr::new(destination, 0))).map(drop)
    }
}

/// A socket that gets a copy of every ICMP packet for this machine, with its IP header (raw(7)).
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW`.
pub fn icmp_v4() -> io::Result<OwnedFd> {
    Socket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(Protocol::ICMPV4)).map(Into::into)
}

/// A socket that gets a copy of every ICMPv6 message for this machine, without the IP header.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW`, `EAFNOSUPPORT` where there is no IPv6.
pub fn icmp_v6() -> io::Result<OwnedFd> {
    Socket::new(Domain::IPV6, Type::RAW.nonblocking(), Some(Protocol::ICMPV6)).map(Into::into)
}

/// Receives as much of a packet as there is room for; how much.
///
/// # Errors
/// `EAGAIN` where there is none.
pub fn receive(socket: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
    Ok(recv(socket.as_raw_fd(), bytes, MsgFlags::empty())?)
}
