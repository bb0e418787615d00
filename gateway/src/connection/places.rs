//! Room for connections: in the process, and in the descriptor table that holds their sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many clients of one table may be told at one time that they cannot be served. Each keeps its socket until it has
/// read that, and the table's reserve has room for this many.
const REFUSALS_MAX: usize = 64;

/// So many places and no more.
pub struct Places {
    taken: AtomicUsize,
    max: usize,
}

/// A place that was taken. Dropping it gives it back.
pub struct Place(Arc<Places>);

impl Places {
    /// `max` free places.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), max })
    }

    /// Takes a place; `None` if there is none.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        (before < self.max).then_some(place)
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many there are.
    #[must_use]
    pub const fn max(&self) -> usize {
        self.max
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one descriptor table has room for: a worker's own, or the one that all workers share.
pub struct Table {
    /// Connections of clients. Each may become a stream, which has a second socket.
    pub connections: Arc<Places>,
    /// Clients that are being turned away.
    pub refusals: Arc<Places>,
    workers: usize,
}

impl Table {
    /// With room for so many `connections`, of so many `workers`.
    #[must_use]
    pub fn new(connections: usize, workers: usize) -> Self {
        Self { connections: Places::new(connections), refusals: Places::new(REFUSALS_MAX), workers }
    }

    /// How many idle upstream connections one worker may keep, so that every client that has come could still have a
    /// stream: two for each client that could yet come.
    #[must_use]
    pub fn idle_max(&self) -> usize {
        let free = self.connections.max().saturating_sub(self.connections.taken());
        free.saturating_mul(2) / self.workers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_given_back_can_be_taken_again() {
        let places = Places::new(2);
        let first = places.take().unwrap();
        let _second = places.take().unwrap();
        assert!(places.take().is_none());
        assert_eq!(places.taken(), 2, "a refusal takes nothing");
        drop(first);
        assert!(places.take().is_some());
        assert_eq!(places.taken(), 1);
    }

    #[test]
    fn idle_connections_have_the_room_that_clients_leave() {
        let table = Table::new(3, 1);
        assert_eq!(table.idle_max(), 6);
        let _taken: Vec<_> = (0..3).map(|_| table.connections.take().unwrap()).collect();
        assert_eq!(table.idle_max(), 0);
        assert_eq!(Table::new(3, 2).idle_max(), 3, "a shared table is divided");
    }
}
