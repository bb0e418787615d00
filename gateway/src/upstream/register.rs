//! Which sandboxes have connections to their pods, so that one that ends or moves loses them at once.
//!
//! Workers enter each connection when it was dialled, and a kept one stays entered: a request on it costs nothing here.
//! The control thread, which hears of changes first, marks the entries of a sandbox. Who waits for an answer on a
//! connection of a sandbox that is no more gives it up, and the worker resets those that nobody uses.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use tokio::sync::Notify;

use crate::config::AddressBook;
use crate::route::SandboxId;

/// The connections of every worker.
pub struct Register {
    shards: Box<[Shard]>,
}

type Entries = HashMap<SandboxId, Vec<Arc<Entry>>>;

/// One worker's, so that workers meet only the control thread here.
#[derive(Default)]
struct Shard {
    entries: Mutex<Entries>,
    marked: Notify,
}

struct Entry {
    /// Who said where the sandbox is; `None` for an address that the client named.
    book: Option<AddressBook>,
    generation: u64,
    mark: AtomicU8,
    ended: Notify,
}

/// Nobody has said anything about the sandbox.
const OPEN: u8 = 0;
/// It has moved: a request on the connection may end, and none may begin.
const MOVED: u8 = 1;
/// It is no more.
const ENDED: u8 = 2;

impl Register {
    /// An empty register for `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self { shards: (0..workers.max(1)).map(|_| Shard::default()).collect() })
    }

    /// Enters a connection of a worker, which leaves when the lease is dropped. `generation` is that of the answer by
    /// which its address was found.
    #[must_use]
    pub fn enter(
        self: &Arc<Self>,
        worker: usize,
        sandbox: &SandboxId,
        book: Option<AddressBook>,
        generation: u64,
    ) -> Lease {
        let entry = Arc::new(Entry { book, generation, mark: AtomicU8::new(OPEN), ended: Notify::new() });
        let shard = worker % self.shards.len();
        self.shards[shard].entries().entry(sandbox.clone()).or_default().push(Arc::clone(&entry));
        Lease { register: Arc::clone(self), shard, sandbox: sandbox.clone(), entry }
    }

    /// The sandboxes from `book` that have connections; one of several workers more than once.
    #[must_use]
    pub fn sandboxes(&self, book: AddressBook) -> Vec<SandboxId> {
        let of_shard = |shard: &Shard| {
            let entries = shard.entries();
            let from_book = entries.iter().filter(|(_, own)| own.iter().any(|entry| entry.book == Some(book)));
            from_book.map(|(id, _)| id.clone()).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(of_shard).collect()
    }

    /// Ends the connections of a sandbox that `book` no longer has.
    pub fn end(&self, sandbox: &SandboxId, book: AddressBook) {
        self.mark(sandbox, ENDED, |entry| entry.book == Some(book));
    }

    /// Ends those of a sandbox that were made by another answer of `book` than that of `generation`, as soon as nobody
    /// uses them.
    pub fn supersede(&self, sandbox: &SandboxId, book: AddressBook, generation: u64) {
        self.mark(sandbox, MOVED, |entry| entry.book == Some(book) && entry.generation != generation);
    }

    /// Waits until connections of a worker may have been marked since the last time.
    pub async fn marked(&self, worker: usize) {
        self.shards[worker % self.shards.len()].marked.notified().await;
    }

    fn mark(&self, sandbox: &SandboxId, mark: u8, concerns: impl Fn(&Entry) -> bool) {
        for shard in &self.shards {
            let mut news = false;
            for entry in shard.entries().get(sandbox).into_iter().flatten().filter(|entry| concerns(entry)) {
                if entry.mark.fetch_max(mark, Ordering::AcqRel) < mark {
                    entry.ended.notify_one();
                    news = true;
                }
            }
            if news {
                shard.marked.notify_one();
            }
        }
    }
}

impl Shard {
    /// The table is consistent between any two statements that could panic.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place in the register.
pub struct Lease {
    register: Arc<Register>,
    shard: usize,
    sandbox: SandboxId,
    entry: Arc<Entry>,
}

impl Lease {
    /// Waits until the sandbox is no more.
    pub async fn ended(&self) {
        while self.entry.mark.load(Ordering::Acquire) != ENDED {
            self.entry.ended.notified().await;
        }
    }

    /// Whether the connection may carry another request of its sandbox.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.entry.mark.load(Ordering::Acquire) == OPEN
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut entries = self.register.shards[self.shard].entries();
        if let Some(own) = entries.get_mut(&self.sandbox) {
            own.retain(|entry| !Arc::ptr_eq(entry, &self.entry));
            if own.is_empty() {
                entries.remove(&self.sandbox);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: AddressBook = AddressBook::Directory;

    fn id(text: &str) -> SandboxId {
        text.parse().unwrap()
    }

    #[test]
    fn what_ends_or_moves_is_one_sandbox_of_one_book() {
        let register = Register::new(2);
        let enter = |worker, name, book, generation| register.enter(worker, &id(name), book, generation);
        let (old, new) = (enter(0, "a", Some(DIRECTORY), 1), enter(1, "a", Some(DIRECTORY), 2));
        let other = enter(0, "b", Some(DIRECTORY), 1);
        let (by_dns, by_client) = (enter(0, "a", Some(AddressBook::Dns), 1), enter(1, "a", None, 0));
        let holds = || [&old, &new, &other, &by_dns, &by_client].map(Lease::holds);
        register.supersede(&id("a"), DIRECTORY, 2);
        assert_eq!(holds(), [false, true, true, true, true]);
        register.end(&id("a"), DIRECTORY);
        assert_eq!(holds(), [false, false, true, true, true]);
    }

    #[test]
    fn a_sandbox_is_listed_while_it_has_a_connection() {
        let register = Register::new(2);
        let enter = |(worker, name)| register.enter(worker, &id(name), Some(DIRECTORY), 1);
        let leases = [(0, "a"), (1, "a"), (1, "b")].map(enter);
        let listed = || {
            let mut sandboxes = register.sandboxes(DIRECTORY);
            sandboxes.sort_unstable();
            sandboxes.dedup();
            sandboxes
        };
        assert_eq!(listed(), [id("a"), id("b")]);
        assert_eq!(register.sandboxes(AddressBook::Dns), []);
        drop(leases);
        assert_eq!(listed(), []);
        assert!(register.shards.iter().all(|shard| shard.entries().is_empty()), "nothing is left behind");
    }

    #[tokio::test]
    async fn who_waits_hears_of_the_end_and_of_nothing_else() {
        let register = Register::new(1);
        let lease = register.enter(0, &id("a"), Some(DIRECTORY), 1);
        register.supersede(&id("a"), DIRECTORY, 2);
        register.marked(0).await;
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(10), lease.ended()).await;
        assert!(waiting.is_err(), "a request on it may go on");
        register.end(&id("a"), DIRECTORY);
        lease.ended().await;
        register.marked(0).await;
    }
}
