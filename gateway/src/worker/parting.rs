//! How each worker gets a descriptor table of its own.
//!
//! Some descriptors are used by number from several threads: tokio wakes a runtime by writing to its eventfd in the
//! table of whoever wakes it, a signal's handler writes to tokio's pipe in the table of whichever thread it interrupts,
//! and workers ask an epoll of the directory's whether Redis has spoken. All these have to have the same number in
//! every table, for ever. Sockets are the opposite: one that is closed in its owner's table stays open, listening and
//! all, while another table has a copy of it. So the threads meet three times:
//!
//! ```text
//!  control thread                                  worker
//!  listeners, directory, signals are made          its runtime is made
//!  ----------------------------- every runtime exists -----------------------------
//!                                                  copies the table, closes the others' sockets in it
//!  ------------------------------ the tables have parted ---------------------------
//!  closes the workers' listeners, counts           waits
//!  --------------------- from here on a number means what its table says -----------
//!  opens Redis and the admin port's connections    accepts
//! ```
//!
//! Nothing that came into being before the first meeting is ever closed in a table but by its one owner, except those
//! sockets. A runtime's descriptors may close in any table: they do so with the last reference to it, when nobody can
//! wake it any more.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Pid, gettid};
use tokio::sync::Barrier;

use crate::sys::descriptors;

/// The meeting of the control thread with all workers.
pub struct Parting {
    barrier: Barrier,
    own_tables: bool,
    /// By worker.
    listeners: Vec<Vec<RawFd>>,
    /// Of the control thread.
    admin: RawFd,
    /// The workers' threads, or why one has not parted.
    parted: Mutex<Vec<io::Result<Pid>>>,
}

impl Parting {
    /// For as many workers as there are lists of `listeners`. Without `own_tables` they meet all the same, and go on
    /// sharing the one that they have.
    #[must_use]
    pub fn new(listeners: Vec<Vec<RawFd>>, admin: RawFd, own_tables: bool) -> Self {
        let barrier = Barrier::new(listeners.len() + 1);
        Self { barrier, own_tables, listeners, admin, parted: Mutex::default() }
    }

    /// The worker's side, on its own runtime. Where a table could not be copied, this waits for the process's end: what
    /// a worker that fails closes must not be missing in the tables that others are about to copy.
    pub async fn worker(&self, index: usize) {
        self.barrier.wait().await;
        if self.own_tables {
            let parted = descriptors::own_table().map(|()| gettid());
            if parted.is_ok() {
                let others = self.listeners.iter().enumerate().filter(|(other, _)| *other != index);
                let others = others.flat_map(|(_, listeners)| listeners).copied();
                descriptors::close_left_over(others.chain([self.admin]));
            }
            self.parted.lock().unwrap_or_else(PoisonError::into_inner).push(parted);
        }
        self.barrier.wait().await;
        self.barrier.wait().await;
    }

    /// The control thread's side. `count` is told the threads that have tables of their own now, while nothing is
    /// opened or closed in any.
    ///
    /// # Errors
    /// When a worker could not copy the table. The workers then wait in vain: the process has to end.
    pub async fn control(&self, count: impl FnOnce(&[Pid])) -> io::Result<()> {
        self.barrier.wait().await;
        self.barrier.wait().await;
        let parted = std::mem::take(&mut *self.parted.lock().unwrap_or_else(PoisonError::into_inner));
        let threads = parted.into_iter().collect::<io::Result<Vec<_>>>()?;
        if self.own_tables {
            descriptors::close_left_over(self.listeners.iter().flatten().copied());
        }
        count(&threads);
        self.barrier.wait().await;
        Ok(())
    }
}
