//! A worker's receive memory: a fixed number of chunks in two sizes, lent to the kernel and to the engine in turn.
//!
//! With io_uring the free chunks sit in two provided-buffer rings (`IORING_REGISTER_PBUF_RING`, Linux 5.19): the kernel
//! takes one at the moment data arrives, so a socket that waits holds none. Without io_uring the same memory is handed
//! out from a free list. A chunk in use is owned by one [`Chunk`], which gives it back when it is dropped.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use tokio::sync::Notify;

/// Which of the two sizes a receive asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkSize {
    /// 4 KiB: heads, input events, most screen updates.
    Small,
    /// 64 KiB: chosen after a small chunk came back full.
    Large,
}

impl ChunkSize {
    /// Capacity in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Small => 4 << 10,
            Self::Large => 64 << 10,
        }
    }

    /// Chunks per worker; a power of two, as the kernel wants of a provided-buffer ring. Together 5 MiB a worker. A
    /// chunk is in use only between the arrival of its bytes and the first attempt to send them on, so the number
    /// bounds what one pass over the completions handles, not the number of streams.
    const fn count(self) -> u16 {
        match self {
            Self::Small => 256,
            Self::Large => 64,
        }
    }

    /// The kernel's name of the group.
    pub(super) const fn group_id(self) -> u16 {
        match self {
            Self::Small => 0,
            Self::Large => 1,
        }
    }

    /// The size to ask for after `self` came back with `received` bytes.
    #[must_use]
    pub fn after(self, received: usize) -> Self {
        match self {
            Self::Small if received == Self::Small.bytes() => Self::Large,
            Self::Large if received <= Self::Small.bytes() => Self::Small,
            same => same,
        }
    }
}

const _: () = assert!(ChunkSize::Small.count().is_power_of_two() && ChunkSize::Large.count().is_power_of_two());
const _: () = assert!(size_of::<BufRingEntry>() == 16, "struct io_uring_buf of the kernel's uapi");

const PAGE_BYTES: usize = 4096;

/// Page-aligned memory that is never moved.
struct Pages {
    start: NonNull<u8>,
    layout: Layout,
}

impl Pages {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("a few MiB at page alignment fit");
        // SAFETY: the layout has a size above zero, both callers pass one.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        Self { start, layout }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and nothing outlives the pool: chunks hold an `Rc` on it.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// Where a group's free chunks wait.
enum Free {
    /// In a ring that the kernel takes from; `tail` counts what was ever put in.
    Provided { ring: Pages, tail: Cell<u16> },
    /// In a list.
    Listed(RefCell<Vec<u16>>),
}

struct Group {
    size: ChunkSize,
    memory: Pages,
    free: Free,
    free_count: Cell<u16>,
}

impl Group {
    fn new(size: ChunkSize, provided: bool) -> Self {
        let memory = Pages::new(size.bytes() * usize::from(size.count()));
        let free = if provided {
            let ring = Pages::new(size_of::<BufRingEntry>() * usize::from(size.count()));
            Free::Provided { ring, tail: Cell::new(0) }
        } else {
            Free::Listed(RefCell::new(Vec::with_capacity(usize::from(size.count()))))
        };
        let group = Self { size, memory, free, free_count: Cell::new(0) };
        (0..size.count()).for_each(|id| group.put(id));
        group
    }

    fn start_of(&self, id: u16) -> NonNull<u8> {
        debug_assert!(id < self.size.count());
        // SAFETY: the group's memory holds `count` chunks and ids are below that.
        unsafe { self.memory.start.add(usize::from(id) * self.size.bytes()) }
    }

    fn put(&self, id: u16) {
        self.free_count.set(self.free_count.get() + 1);
        match &self.free {
            Free::Listed(list) => list.borrow_mut().push(id),
            Free::Provided { ring, tail } => {
                let slot = usize::from(tail.get() & (self.size.count() - 1));
                let entries = ring.start.cast::<BufRingEntry>();
                // SAFETY: the slot is below the ring's entry count by the mask.
                let entry = unsafe { entries.add(slot) };
                // SAFETY: the kernel reads an entry only below the tail, which still excludes this one; one thread
                // writes.
                let entry = unsafe { &mut *entry.as_ptr() };
                entry.set_addr(self.start_of(id).as_ptr() as u64);
                entry.set_len(u32::try_from(self.size.bytes()).expect("64 KiB at most"));
                entry.set_bid(id);
                tail.set(tail.get().wrapping_add(1));
                // SAFETY: `entries` is the first entry of an initialised ring.
                let shared = unsafe { BufRingEntry::tail(entries.as_ptr()) };
                // SAFETY: the field lives as long as the ring's pages, is aligned for u16, and both sides access it
                // atomically.
                let shared = unsafe { AtomicU16::from_ptr(shared.cast_mut()) };
                // Release: the kernel's acquire load of the tail must see the entry's fields.
                shared.store(tail.get(), Ordering::Release);
            }
        }
    }
}

/// A worker's chunks.
pub(super) struct Pool {
    small: Group,
    large: Group,
    /// Signalled when a chunk comes back, for receives that found none.
    returned: Notify,
}

impl Pool {
    pub(super) fn provided() -> Rc<Self> {
        Rc::new(Self::new(true))
    }

    pub(super) fn listed() -> Rc<Self> {
        Rc::new(Self::new(false))
    }

    fn new(provided: bool) -> Self {
        Self {
            small: Group::new(ChunkSize::Small, provided),
            large: Group::new(ChunkSize::Large, provided),
            returned: Notify::new(),
        }
    }

    fn group(&self, size: ChunkSize) -> &Group {
        match size {
            ChunkSize::Small => &self.small,
            ChunkSize::Large => &self.large,
        }
    }

    /// Address, entry count and id of a provided ring, for `IORING_REGISTER_PBUF_RING`.
    pub(super) fn registration(&self, size: ChunkSize) -> Option<(u64, u16, u16)> {
        match &self.group(size).free {
            Free::Provided { ring, .. } => Some((ring.start.as_ptr() as u64, size.count(), size.group_id())),
            Free::Listed(_) => None,
        }
    }

    /// Waits until a chunk may be free, if none of that size is.
    pub(super) async fn room(&self, size: ChunkSize) {
        if self.group(size).free_count.get() == 0 {
            // Chunks come back on this thread alone, so none does between the look and the wait.
            self.returned.notified().await;
        }
    }

    /// Takes over the chunk that the kernel filled with `len` bytes.
    pub(super) fn filled(self: &Rc<Self>, size: ChunkSize, id: u16, len: usize) -> Chunk {
        let group = self.group(size);
        group.free_count.set(group.free_count.get() - 1);
        Chunk { pool: Rc::clone(self), size, id, start: 0, end: len.min(size.bytes()) }
    }

    /// Takes an empty chunk from the list; `None` when all are in use or the kernel hands them out.
    pub(super) fn take(self: &Rc<Self>, size: ChunkSize) -> Option<Chunk> {
        match &self.group(size).free {
            Free::Listed(list) => {
                let id = list.borrow_mut().pop()?;
                Some(self.filled(size, id, 0))
            }
            Free::Provided { .. } => None,
        }
    }
}

/// Received bytes, in pool memory. Dropping it gives the memory back.
pub struct Chunk {
    pool: Rc<Pool>,
    size: ChunkSize,
    id: u16,
    start: usize,
    end: usize,
}

impl Chunk {
    /// The size class it came from, to choose the next one by.
    #[must_use]
    pub fn next_size(&self) -> ChunkSize {
        self.size.after(self.end)
    }

    /// Drops `bytes` from its beginning.
    pub fn advance(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }

    /// Where a receive call writes: the whole chunk.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        let start = self.pool.group(self.size).start_of(self.id);
        // SAFETY: the chunk owns this memory until it is dropped, it is initialised (zeroed at least), and `&mut self`
        // is exclusive.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.size.bytes()) }
    }

    /// Says that the first `bytes` of the spare memory now hold data.
    pub(super) fn set_filled(&mut self, bytes: usize) {
        self.start = 0;
        self.end = bytes.min(self.size.bytes());
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let memory = self.pool.group(self.size).start_of(self.id);
        // SAFETY: start <= end <= the chunk's size.
        let memory = unsafe { memory.add(self.start) };
        // SAFETY: the chunk owns this memory until it is dropped: the kernel filled it before the completion arrived
        // and takes it again only after `put`.
        unsafe { std::slice::from_raw_parts(memory.as_ptr(), self.end - self.start) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.pool.group(self.size).put(self.id);
        self.pool.returned.notify_waiters();
    }
}
