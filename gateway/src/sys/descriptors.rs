//! Descriptor tables, and how many connections fit into them.
//!
//! `RLIMIT_NOFILE` bounds one table, not one process (`alloc_fd` in fs/file.c looks at the table of the calling thread
//! only). Threads share their process's table until one asks for a copy, as each worker does (`worker::parting`).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::sched::{CloneFlags, unshare};

/// Gives the calling thread a descriptor table of its own: a copy, in which every number means what it meant before.
/// Threads that it starts later share the copy.
///
/// # Errors
/// `EPERM` and its like where a seccomp profile refuses both ways, `EMFILE` or `ENOMEM` where the table cannot be
/// copied.
pub fn own_table() -> io::Result<()> {
    // First the way that container runtimes' default profiles leave open: they refuse unshare(2) to whoever lacks
    // CAP_SYS_ADMIN, because it makes namespaces, too.
    close_nothing_in_an_own_table().or_else(|_| Ok(unshare(CloneFlags::CLONE_FILES)?))
}

/// `close_range(2)` of a range in which nothing is open, with `CLOSE_RANGE_UNSHARE` (Linux 5.9).
fn close_nothing_in_an_own_table() -> io::Result<()> {
    // SAFETY: the system call takes three numbers and no memory. It closes nothing, since no descriptor is numbered
    // 2^32-1 (fs/file.c has `sysctl_nr_open_max` far below it).
    let result = unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, libc::CLOSE_RANGE_UNSHARE) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Why threads of this process cannot have tables of their own, if they cannot.
#[must_use]
pub fn own_table_refused() -> Option<io::Error> {
    // A thread that ends at once: what is tried here cannot be taken back.
    let trial = std::thread::Builder::new().name("trial".to_owned()).spawn(own_table);
    let tried = trial.and_then(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("the trial failed"))));
    tried.err()
}

/// Closes in this thread's table what other threads own in theirs. To be called right after the tables have parted:
/// then these numbers are left over from the copy, and nobody uses them here.
pub fn close_left_over(numbers: impl IntoIterator<Item = RawFd>) {
    for number in numbers {
        // SAFETY: the number was open when the tables parted, and its one owner closes it in another table. In this one
        // it has no owner but the value made here.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
}

/// What a table holds beside the connections of clients: standard streams, listeners, the signal pipe, clients that are
/// being turned away, and on the control thread's side the directory and the admin port's connections.
const RESERVE: u64 = 256;

/// What each worker's runtime holds: two descriptors of its epoll, its waker, its end of the signal pipe, two rings and
/// the signal of one of them, and one to spare. Every table has those of all workers (`worker::parting`).
const RESERVE_PER_WORKER: u64 = 8;

/// A stream's two sockets. A connection that is none yet may become one.
const PER_CONNECTION: u64 = 2;

/// How many connections of clients fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Into one table.
    pub per_table: usize,
    /// Tables that hold connections: one per worker, or one.
    pub tables: usize,
    /// Each worker has one of its own.
    pub own_tables: bool,
}

impl Capacity {
    /// With a limit of so many `descriptors` (`RLIMIT_NOFILE`).
    #[must_use]
    pub fn new(descriptors: u64, workers: usize, own_tables: bool) -> Self {
        let reserve = RESERVE + RESERVE_PER_WORKER.saturating_mul(u64::try_from(workers).unwrap_or(u64::MAX));
        let per_table = descriptors.saturating_sub(reserve) / PER_CONNECTION;
        let tables = if own_tables { workers } else { 1 };
        Self { per_table: usize::try_from(per_table).unwrap_or(usize::MAX), tables, own_tables }
    }

    /// Into all tables.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.per_table.saturating_mul(self.tables)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn each_table_has_room_for_its_own_connections() {
        let capacity = |descriptors, workers, own| {
            let capacity = Capacity::new(descriptors, workers, own);
            (capacity.per_table, capacity.total())
        };
        assert_eq!(capacity(20_000, 2, true), (9_864, 19_728));
        assert_eq!(capacity(20_000, 2, false), (9_864, 9_864));
        assert_eq!(capacity(20_000, 64, true), (9_616, 615_424));
        assert_eq!(capacity(256, 2, true), (0, 0));
        assert_eq!(capacity(0, 1, false), (0, 0));
        assert!(capacity(u64::MAX, 64, true).1 >= usize::MAX / 2);
    }

    /// Both ways, each with the proof that the tables have parted: a port is free again only when its socket is closed
    /// in all of them.
    #[test]
    fn a_thread_with_a_table_of_its_own_keeps_what_others_close() {
        let ways: [fn() -> io::Result<()>; 2] =
            [close_nothing_in_an_own_table, || Ok(unshare(CloneFlags::CLONE_FILES)?)];
        for way in ways {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let (address, number) = (listener.local_addr().unwrap(), listener.as_raw_fd());
            let (parted, has_parted) = mpsc::channel();
            let (close, told) = mpsc::channel::<()>();
            std::thread::scope(|scope| {
                let thread = scope.spawn(move || {
                    parted.send(way()).unwrap();
                    told.recv().unwrap();
                    close_left_over([number]);
                });
                has_parted.recv().unwrap().unwrap();
                drop(listener);
                assert!(TcpListener::bind(address).is_err(), "closed in one table of two");
                close.send(()).unwrap();
                thread.join().unwrap();
            });
            // Other tests' threads may have a copy for a moment, too.
            let deadline = Instant::now() + Duration::from_secs(10);
            while let Err(error) = TcpListener::bind(address) {
                assert!(Instant::now() < deadline, "{error}");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn nobody_refuses_it_here() {
        assert!(own_table_refused().is_none());
    }
}
