//! What a connection's TCP is told, and what it says of itself.

use std::io;
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// What is set on both sockets of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpTuning {
    /// Silence before the first keepalive probe (`TCP_KEEPIDLE`).
    pub keepalive_idle: Duration,
    /// Between probes (`TCP_KEEPINTVL`).
    pub keepalive_interval: Duration,
    /// Unanswered probes that end the connection (`TCP_KEEPCNT`).
    pub keepalive_probes: u32,
    /// How long sent data may stay unacknowledged (`TCP_USER_TIMEOUT`, tcp(7)); zero leaves the system's retransmission
    /// limit.
    pub user_timeout: Duration,
    /// Bytes that may wait to be sent (`TCP_NOTSENT_LOWAT`).
    pub unsent_max: u32,
    /// Bytes that may wait to be read (`SO_RCVBUF`, socket(7), which allows as much again for the kernel's own needs).
    /// The kernel otherwise lets them grow to `net.ipv4.tcp_rmem`'s maximum for each sender that is fast.
    pub unread_max: u32,
}

impl TcpTuning {
    /// Prepares `socket` for a long life.
    ///
    /// # Errors
    /// What `setsockopt(2)` says.
    pub fn apply(&self, socket: &impl AsFd) -> io::Result<()> {
        let options = SockRef::from(socket);
        let keepalive = TcpKeepalive::new()
            .with_time(self.keepalive_idle)
            .with_interval(self.keepalive_interval)
            .with_retries(self.keepalive_probes);
        options.set_tcp_keepalive(&keepalive)?;
        options.set_tcp_user_timeout((!self.user_timeout.is_zero()).then_some(self.user_timeout))?;
        set_unsent_max(socket, self.unsent_max)?;
        options.set_recv_buffer_size(self.unread_max as usize)
    }
}

/// The kernel's `struct tcp_info` as far as it is read here; the kernel fills as much as it is asked for
/// (`do_tcp_getsockopt`), and has had these fields since Linux 4.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct TcpInfo {
    pub(super) state: u8,
    other: [u8; 4],
    /// `TCPI_OPT_*`
    pub(super) options: u8,
    /// Below the peer's window scale, above ours.
    pub(super) scales: u8,
    flags: u8,
    pub(super) numbers: [u32; 24],
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
}

const _: () = assert!(size_of::<TcpInfo>() == 128);

impl TcpInfo {
    /// `TCPI_OPT_TIMESTAMPS`
    pub(super) const TIMESTAMPS: u8 = 1;

    /// What timestamps take of each segment, which `tcpi_snd_mss` and `tcpi_advmss` have taken off
    /// already (`tcp_rcv_synsent_state_process`).
    pub(super) const fn timestamps_bytes(&self) -> u32 {
        if self.options & Self::TIMESTAMPS == 0 { 0 } else { 12 }
    }
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were ever written to the socket, in a count that began at some number when it was made.
    pub written: u64,
    /// Nothing more will be delivered: the connection has failed or was reset.
    pub dead: bool,
}

/// How many bytes were written to `socket` by anybody, the kernel included.
///
/// What was acknowledged (`tcpi_bytes_acked`) and what was not yet (`SIOCOUTQ`, tcp(7)) are read one after the other,
/// and an acknowledgement may come between. It is then missing in the sum, which is read again; where that goes on, the
/// result is a lower bound.
///
/// Every caller that relies on a count not growing any more must know that nobody writes. Reading takes the socket's
/// lock (`tcp_get_info`), so what a program on it was doing when this was called has been done when it returns.
///
/// # Errors
/// What `getsockopt(2)` or `ioctl(2)` says.
pub fn progress(socket: &impl AsFd) -> io::Result<Progress> {
    /// Acknowledgements that may come between before the sum is given as it is.
    const ATTEMPTS_MAX: u32 = 4;
    /// `TCP_CLOSE` of the kernel's enum in include/net/tcp_states.h.
    const CLOSE: u8 = 7;
    let mut info = tcp_info(socket)?;
    for _ in 0..ATTEMPTS_MAX {
        let unacknowledged = unacknowledged(socket)?;
        let written = info.bytes_acked.wrapping_add(unacknowledged);
        let again = tcp_info(socket)?;
        let settled = again.bytes_acked == info.bytes_acked;
        info = again;
        if settled {
            return Ok(Progress { written, dead: info.state == CLOSE });
        }
    }
    // This order never counts a byte twice.
    let written = info.bytes_acked.wrapping_add(unacknowledged(socket)?);
    Ok(Progress { written, dead: info.state == CLOSE })
}

/// The memory in bytes that waits in the socket's send queue, sent or not (`SK_MEMINFO_WMEM_QUEUED`, sock_diag(7)).
///
/// # Errors
/// What `getsockopt(2)` says; `SO_MEMINFO` exists since Linux 4.12.
pub fn send_queue_memory(socket: &impl AsFd) -> io::Result<u64> {
    /// Position of `SK_MEMINFO_WMEM_QUEUED` in the array.
    const WMEM_QUEUED: usize = 5;
    let memory: [u32; 9] = option(socket, libc::SOL_SOCKET, libc::SO_MEMINFO)?;
    Ok(u64::from(memory[WMEM_QUEUED]))
}

/// How many bytes may wait in the send queue that were never sent (`TCP_NOTSENT_LOWAT`, tcp(7)). Beyond it a send
/// waits, however large the buffer has grown for what is on its way.
///
/// # Errors
/// What `setsockopt(2)` says.
pub fn set_unsent_max(socket: &impl AsFd, bytes: u32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, &bytes)
}

/// Fixes the send buffer's size at twice `bytes`, whatever `net.core.wmem_max` says (`SO_SNDBUFFORCE`, socket(7)).
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`.
pub fn fix_send_buffer(socket: &impl AsFd, bytes: u32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes)
}

/// Lets the kernel size the send buffer again (`SO_BUF_LOCK`).
///
/// # Errors
/// `ENOPROTOOPT` before Linux 5.14, which brought the option.
pub fn release_send_buffer(socket: &impl AsFd) -> io::Result<()> {
    /// include/uapi/asm-generic/socket.h; the crate does not name it for every target.
    const SO_BUF_LOCK: libc::c_int = 72;
    set_option(socket, libc::SOL_SOCKET, SO_BUF_LOCK, &0_u32)
}

/// The longest segment without options that gets to the peer and that it takes; `None` where that is longer than any
/// that can be asked for, as on the loopback interface.
///
/// # Errors
/// What `getsockopt(2)` says.
pub fn segment_max(socket: &impl AsFd) -> io::Result<Option<u32>> {
    /// Position of `tcpi_snd_mss` in [`TcpInfo::numbers`].
    const SND_MSS: usize = 2;
    /// `TCP_MIN_MSS` and `MAX_TCP_WINDOW` of include/net/tcp.h, the bounds of `TCP_MAXSEG`.
    const BOUNDS: RangeInclusive<u32> = 88..=32_767;
    let info = tcp_info(socket)?;
    Ok(Some(info.numbers[SND_MSS] + info.timestamps_bytes()).filter(|bytes| BOUNDS.contains(bytes)))
}

/// Tells peers to come that their segments may have this many bytes (`TCP_MAXSEG`, tcp(7)), if the route does not say
/// less.
///
/// # Errors
/// What `setsockopt(2)` says, `EINVAL` outside of 88 to 32,767.
pub fn set_segment_max(socket: &impl AsFd, bytes: u32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_MAXSEG, &bytes)
}

/// The socket's number, which no other ever gets (`SO_COOKIE`, Linux 4.12).
///
/// # Errors
/// What `getsockopt(2)` says.
pub fn cookie(socket: &impl AsFd) -> io::Result<u64> {
    SockRef::from(socket).cookie()
}

pub(super) fn tcp_info(socket: &impl AsFd) -> io::Result<TcpInfo> {
    option(socket, libc::IPPROTO_TCP, libc::TCP_INFO)
}

/// `SIOCOUTQ`
pub(super) fn unacknowledged(socket: &impl AsFd) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int (`tcp_ioctl`), and that is what it gets.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Types that any bytes the kernel writes make a value of.
pub(super) trait Plain: Copy {}

impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for [u32; 5] {}
impl Plain for [u32; 9] {}
impl Plain for TcpInfo {}

pub(super) fn option<T: Plain>(socket: &impl AsFd, level: libc::c_int, name: libc::c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    // SAFETY: the kernel writes at most `len` bytes to the value, and `len` is its size.
    let result =
        unsafe { libc::getsockopt(socket.as_fd().as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut len) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, then written by the kernel in part or whole; every bit pattern is a value of a `Plain` type.
    Ok(unsafe { value.assume_init() })
}

pub(super) fn set_option(socket: &impl AsFd, level: libc::c_int, name: libc::c_int, value: &u32) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<u32>()).expect("options are small");
    // SAFETY: the kernel reads `len` bytes, which is the size of what the pointer points to.
    let result =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn written_bytes_are_counted_read_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let base = progress(&client).unwrap().written;
        client.write_all(&[7; 100_000]).unwrap();
        assert_eq!(progress(&client).unwrap().written - base, 100_000);
        assert!(send_queue_memory(&client).unwrap() < 1 << 20);
        server.read_exact(&mut [0; 100_000]).unwrap();
        client.write_all(b"x").unwrap();
        assert_eq!(progress(&client).unwrap(), Progress { written: base + 100_001, dead: false });
    }

    #[test]
    fn a_reset_connection_is_dead() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        assert!(client.read(&mut [0]).is_err());
        assert!(progress(&client).unwrap().dead);
    }
}
