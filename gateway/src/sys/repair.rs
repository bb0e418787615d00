//! Taking a quiet connection over from the kernel: its numbers are read, and its socket is closed without a word.
//!
//! A socket in repair mode (`TCP_REPAIR`, Linux 3.5) tells the next sequence number of each queue, and its close sends
//! nothing (`__tcp_close` disconnects it instead).

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::sync::LazyLock;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;

use super::tcp::{TcpInfo, option, set_option, tcp_info, unacknowledged};

/// Options that both connections must have in common: timestamps, SACK and window scaling
/// (`TCPI_OPT_*` in include/uapi/linux/tcp.h).
const COMMON_OPTIONS: u8 = 1 | 2 | 4;
/// `TCPI_OPT_ECN`
const ECN: u8 = 8;
/// `TCP_ESTABLISHED` of include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;
/// Positions in [`TcpInfo::numbers`].
const UNACKED: usize = 4;
const PMTU: usize = 13;
const ADVMSS: usize = 19;
/// `TCP_RECV_QUEUE` and `TCP_SEND_QUEUE` of include/uapi/linux/tcp.h.
const RECV_QUEUE: u32 = 1;
const SEND_QUEUE: u32 = 2;
/// `TCP_REPAIR_ON`, and `TCP_REPAIR_OFF_NO_WP` (Linux 4.19), which sends no probe.
const ON: u32 = 1;
const OFF: u32 = u32::MAX;

/// Where a quiet connection stands, as its gateway's end sees it.
#[derive(Debug, Clone, Copy)]
pub struct Numbers {
    /// The next sequence number of ours.
    pub send: u32,
    /// The next one of the peer's.
    pub receive: u32,
    /// Bytes behind `receive` that the peer may send.
    pub window: u32,
    /// Our clock for timestamps.
    pub clock: u32,
    /// The scale of the windows that the peer sends.
    pub peer_scale: u8,
    /// The scale of those that it gets.
    pub own_scale: u8,
    /// Which were agreed (`TCPI_OPT_*`).
    options: u8,
    /// The longest segment that the peer takes (`TCP_MAXSEG` in repair mode).
    pub peer_mss: u32,
    /// The longest that it was told it may send; both without options (RFC 6691).
    pub own_mss: u32,
    /// The largest packet that gets to the peer.
    pub path_mtu: u32,
}

impl Numbers {
    /// Whether segments have timestamps.
    #[must_use]
    pub const fn has_timestamps(&self) -> bool {
        self.options & TcpInfo::TIMESTAMPS != 0
    }

    /// Whether both ends tell each other of congestion (RFC 3168).
    #[must_use]
    pub const fn has_ecn(&self) -> bool {
        self.options & ECN != 0
    }

    /// What has to be the same for two connections that become one.
    #[must_use]
    pub const fn common_options(&self) -> u8 {
        self.options & COMMON_OPTIONS
    }
}

/// What a connection has for its reader, which must take it before the connection can be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrest {
    /// Bytes, or an error.
    Bytes,
    /// The peer's end.
    End,
    /// Urgent data (RFC 9293 section 3.8.5), which only its reader can tell from others.
    Urgent,
}

impl Unrest {
    /// What there is now, if anything. Takes nothing, not even an error.
    pub fn of(socket: &impl AsFd) -> Option<Self> {
        let end = PollFlags::from_bits_retain(libc::POLLRDHUP) | PollFlags::POLLHUP;
        let asked = PollFlags::POLLIN | PollFlags::POLLPRI | end;
        let mut socket = [PollFd::new(socket.as_fd(), asked)];
        let answered = poll(&mut socket, PollTimeout::ZERO);
        let [socket] = socket;
        let found = socket.revents().unwrap_or(PollFlags::empty());
        match answered {
            Ok(0) => None,
            _ if found.contains(PollFlags::POLLPRI) => Some(Self::Urgent),
            _ if found.intersects(end) => Some(Self::End),
            _ => Some(Self::Bytes),
        }
    }
}

/// Whether nothing is on its way: what was sent is acknowledged. What was received is acknowledged as well, as soon as
/// this returns.
///
/// # Errors
/// When the socket cannot be asked.
pub fn is_settled(socket: &impl AsFd) -> io::Result<bool> {
    // A delayed acknowledgement goes out now.
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_QUICKACK, &1)?;
    let TcpInfo { state, numbers, .. } = tcp_info(socket)?;
    Ok(state == ESTABLISHED && numbers[UNACKED] == 0 && unacknowledged(socket)? == 0)
}

/// Puts a socket into repair mode and reads where it stands. Its close is silent from then on.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`.
pub fn take(socket: &impl AsFd) -> io::Result<Numbers> {
    let tcp = libc::IPPROTO_TCP;
    set_option(socket, tcp, libc::TCP_REPAIR, &ON)?;
    let queue = |queue: u32| -> io::Result<u32> {
        set_option(socket, tcp, libc::TCP_REPAIR_QUEUE, &queue)?;
        option(socket, tcp, libc::TCP_QUEUE_SEQ)
    };
    let (send, receive) = (queue(SEND_QUEUE)?, queue(RECV_QUEUE)?);
    // `struct tcp_repair_window`: the first three numbers are of the peer's window, the last two of ours.
    let [_, _, _, window, updated]: [u32; 5] = option(socket, tcp, libc::TCP_REPAIR_WINDOW)?;
    let info = tcp_info(socket)?;
    Ok(Numbers {
        send,
        receive,
        window: updated.wrapping_add(window).wrapping_sub(receive),
        clock: option(socket, tcp, libc::TCP_TIMESTAMP)?,
        peer_scale: info.scales & 15,
        own_scale: info.scales >> 4,
        options: info.options,
        peer_mss: option(socket, tcp, libc::TCP_MAXSEG)?,
        own_mss: info.numbers[ADVMSS] + info.timestamps_bytes(),
        path_mtu: info.numbers[PMTU],
    })
}

/// Leaves repair mode: the kernel goes on with the connection.
///
/// # Errors
/// What `setsockopt(2)` says.
pub fn give_back(socket: &impl AsFd) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_REPAIR, &OFF)?;
    // Repair mode forgets that the address may be used by others, as the listeners do.
    SockRef::from(socket).set_reuse_address(true)
}

/// Waits until every packet that the kernel was taking from an interface to a socket has arrived there
/// (`MEMBARRIER_CMD_GLOBAL`, Linux 4.3).
///
/// # Errors
/// `ENOSYS`, or `EINVAL` where a processor is kept free of the scheduler's ticks (`nohz_full`).
pub fn wait_for_packets() -> io::Result<()> {
    // SAFETY: the system call takes three numbers and no memory.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// How long `then_ns` is ago on the clock of [`now_ns`]; no time for what is yet to come. A time from before the
/// clock's beginning is below zero, and as long ago as that says.
#[must_use]
pub fn since(then_ns: u64) -> Duration {
    Duration::from_nanos(now_ns().wrapping_sub(then_ns).cast_signed().try_into().unwrap_or(0))
}

/// Now, on the clock with which the programs note when packets came: nanoseconds of CLOCK_MONOTONIC_COARSE, as the
/// kernel counts them itself.
#[must_use]
pub fn now_ns() -> u64 {
    /// By how much this process's clock is ahead of the kernel's. It never changes (time_namespaces(7)).
    static AHEAD: LazyLock<u64> =
        LazyLock::new(|| ahead_ns(&fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default()).unwrap_or(0));
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the system call writes one `timespec`, and that is what it gets.
    let _never_fails = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    let number = |part: i64| u64::try_from(part).unwrap_or(0);
    (number(now.tv_sec) * SECOND_NS + number(now.tv_nsec)).wrapping_sub(*AHEAD)
}

const SECOND_NS: u64 = 1_000_000_000;

/// Reads the offsets of a time namespace, which programs do not see: `monotonic 86400 0` are seconds and nanoseconds.
/// Of one that is behind it is the complement.
fn ahead_ns(offsets: &str) -> Option<u64> {
    let monotonic = offsets.lines().find_map(|line| line.strip_prefix("monotonic"))?;
    let mut words = monotonic.split_ascii_whitespace();
    let (seconds, nanoseconds): (i64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(seconds.cast_unsigned().wrapping_mul(SECOND_NS).wrapping_add(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_otherwise_is_set_right() {
        assert_eq!(ahead_ns("monotonic           0         0\nboottime            0         0\n"), Some(0));
        assert_eq!(ahead_ns("monotonic        7200         5\n"), Some(7200 * SECOND_NS + 5));
        assert_eq!(ahead_ns("monotonic          -1         0\n").map(u64::wrapping_neg), Some(SECOND_NS));
        // As before Linux 5.6.
        assert_eq!(ahead_ns(""), None);
    }

    #[test]
    fn what_was_is_ago_and_what_comes_is_not() {
        assert!(since(now_ns()) < Duration::from_secs(60));
        assert!(since(now_ns().wrapping_sub(7200 * SECOND_NS)) >= Duration::from_secs(7200));
        assert_eq!(since(now_ns().wrapping_add(60 * SECOND_NS)), Duration::ZERO);
    }
}
