//! A worker's own io_uring beside the runtime's: receives from provided buffers, sends, polls.
//!
//! tokio-uring has no receive that takes its buffer only when data is there, and no poll; both are what keeps an idle
//! connection free of memory. So this ring lives in the same thread and signals the same runtime.
//!
//! Ownership: a submitted operation keeps its payload and its socket in the table until its completion arrives,
//! whatever happens to the future that waits for it. Dropping that future asks the kernel to cancel; what a cancelled
//! receive had already taken is dropped with it, so a receive is abandoned only where the connection is given up.
//!
//! Batching: operations are queued while tasks run and go to the kernel together, once, when [`drive`] gets its turn at
//! the end of the run queue.

mod submitted;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{Ordering, fence};
use std::task::Waker;

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use nix::sys::eventfd::{EfdFlags, EventFd};
use slab::Slab;
use tokio::io::Interest;
use tokio::sync::Notify;

use super::pool::{Chunk, ChunkSize, Pool};
pub(super) use submitted::Submitted;

/// Submission queue entries. A full queue is flushed early, so this bounds a batch, not the work.
const SUBMISSION_ENTRIES: u32 = 512;

/// Completion queue entries. Beyond it the kernel keeps completions in a list of its own (`IORING_FEAT_NODROP`, Linux
/// 5.5).
const COMPLETION_ENTRIES: u32 = 8192;

/// Completions whose operation is nobody's concern: cancellations.
const NO_OPERATION: u64 = u64::MAX;

/// How often the kernel is entered because it says that work waits (`IORING_SQ_TASKRUN`) while no completion comes. It
/// works in portions, so once may not be enough. But the mark may be late and stay: it is put up after the work was
/// queued, which this thread may have done by then, and taken down only where there is work (`io_ctx_mark_taskrun`).
/// What comes while signals are on makes one, so giving up loses nothing that is not done in the next turn.
const MARKED_ENTERS_MAX: u32 = 16;

/// What an operation owns while the kernel works on it.
pub(super) enum Payload {
    /// A receive from provided buffers of that size, or a poll.
    None,
    /// A send out of pool memory.
    Chunk(Chunk),
    /// A send out of ordinary memory.
    Bytes(Vec<u8>),
}

/// What a completed operation gives back.
pub(super) struct Completed {
    pub(super) result: io::Result<usize>,
    pub(super) payload: Payload,
    /// The received chunk, where the operation was a receive.
    pub(super) chunk: Option<Chunk>,
    /// More data waits in the socket (`IORING_CQE_F_SOCK_NONEMPTY`, Linux 5.19).
    pub(super) more: bool,
    /// No further completion comes of the operation. Of most there is one; a watch goes on.
    pub(super) last: bool,
}

struct Operation {
    /// Keeps the descriptor open: a number that was closed and reused must not receive this operation.
    _socket: Rc<dyn AsRawFd>,
    payload: Payload,
    receives: Option<ChunkSize>,
    waker: Option<Waker>,
    completed: Option<Completed>,
    abandoned: bool,
    generation: u32,
}

struct State {
    uring: IoUring,
    operations: Slab<Operation>,
    generation: u32,
}

/// The ring.
pub(super) struct Ring {
    state: RefCell<State>,
    pub(super) pool: Rc<Pool>,
    /// Operations wait in the submission queue.
    queued: Notify,
    has_queued: Cell<bool>,
}

impl Ring {
    /// Makes the ring and registers the pool with it.
    pub(super) fn new() -> io::Result<Rc<Self>> {
        let uring = setup()?;
        let pool = Pool::provided();
        for size in [ChunkSize::Small, ChunkSize::Large] {
            let (address, entries, group) = pool.registration(size).expect("a provided pool has its rings");
            // SAFETY: the ring's pages are page-aligned and hold `entries` entries; they live as long as `pool`, which
            // this `Ring` holds and declares after `state`, so that the kernel's side is torn down first.
            unsafe { uring.submitter().register_buf_ring_with_flags(address, entries, group, 0)? };
        }
        let state = RefCell::new(State { uring, operations: Slab::with_capacity(1024), generation: 0 });
        Ok(Rc::new(Self { state, pool, queued: Notify::new(), has_queued: Cell::new(false) }))
    }

    /// A descriptor that becomes readable whenever completions can be had. The ring's own would not do: with deferred
    /// task running, work that waits for this thread to ask for it does not wake a poll of the ring
    /// (`io_req_local_work_add`).
    fn signal(&self) -> io::Result<OwnedFd> {
        let signal = OwnedFd::from(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        self.state.borrow().uring.submitter().register_eventfd(signal.as_raw_fd())?;
        Ok(signal)
    }

    /// Receives into a provided chunk. `wait_first` skips the attempt that is known to find nothing
    /// (`IORING_RECVSEND_POLL_FIRST`, Linux 5.19).
    pub(super) fn recv<S: AsRawFd + 'static>(
        self: &Rc<Self>,
        socket: &Rc<S>,
        size: ChunkSize,
        wait_first: bool,
    ) -> Submitted {
        /// `IORING_RECVSEND_POLL_FIRST` of the kernel's uapi; the crate does not name it.
        const POLL_FIRST: u16 = 1;
        let entry = opcode::Recv::new(types::Fd(socket.as_raw_fd()), std::ptr::null_mut(), 0)
            .buf_group(size.group_id())
            .ioprio(if wait_first { POLL_FIRST } else { 0 })
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.submit(entry, Rc::<S>::clone(socket), Payload::None, Some(size))
    }

    /// Sends a payload from `offset`. With `wait` false it fails with `WouldBlock` instead of waiting for room.
    pub(super) fn send<S: AsRawFd + 'static>(
        self: &Rc<Self>,
        socket: &Rc<S>,
        payload: Payload,
        offset: usize,
        wait: bool,
    ) -> Submitted {
        let bytes: &[u8] = match &payload {
            Payload::None => &[],
            Payload::Chunk(chunk) => chunk,
            Payload::Bytes(bytes) => bytes,
        };
        let bytes = &bytes[offset.min(bytes.len())..];
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        // The memory stays where it is while the payload moves: a chunk points into the pool, a vector to its heap
        // block.
        let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), len)
            .flags(libc::MSG_NOSIGNAL | if wait { 0 } else { libc::MSG_DONTWAIT })
            .build();
        self.submit(entry, Rc::<S>::clone(socket), payload, None)
    }

    /// Waits for poll(2) events; the result is the set that came. Takes nothing from the socket, so it may be dropped
    /// freely.
    pub(super) fn poll<S: AsRawFd + 'static>(self: &Rc<Self>, socket: &Rc<S>, events: libc::c_short) -> Submitted {
        let flags = u32::try_from(events).expect("poll events are small positive numbers");
        let entry = opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), flags).build();
        self.submit(entry, Rc::<S>::clone(socket), Payload::None, None)
    }

    /// Reports poll(2) events again and again, each arrival once (a multishot poll, Linux 5.13). Awaited anew for each
    /// report, until one is the last.
    pub(super) fn watch<S: AsRawFd + 'static>(self: &Rc<Self>, socket: &Rc<S>, events: libc::c_short) -> Submitted {
        let flags = u32::try_from(events).expect("poll events are small positive numbers");
        let entry = opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), flags).multi(true).build();
        self.submit(entry, Rc::<S>::clone(socket), Payload::None, None)
    }

    fn submit(
        self: &Rc<Self>,
        entry: squeue::Entry,
        socket: Rc<dyn AsRawFd>,
        payload: Payload,
        receives: Option<ChunkSize>,
    ) -> Submitted {
        let mut state = self.state.borrow_mut();
        state.generation = state.generation.wrapping_add(1);
        let generation = state.generation;
        let operation = Operation {
            _socket: socket,
            payload,
            receives,
            waker: None,
            completed: None,
            abandoned: false,
            generation,
        };
        let index = state.operations.insert(operation);
        let entry = entry.user_data(user_data(index, generation));
        state.push(&entry);
        drop(state);
        self.wake_driver();
        Submitted { ring: Rc::clone(self), index, finished: false }
    }

    /// Asks the kernel to give an operation back. Its completion still comes, with what it had taken by then.
    fn cancel(&self, index: usize) {
        let mut state = self.state.borrow_mut();
        let target = user_data(index, state.operations[index].generation);
        let cancel = opcode::AsyncCancel::new(target).build().user_data(NO_OPERATION);
        state.push(&cancel);
        drop(state);
        self.wake_driver();
    }

    fn wake_driver(&self) {
        if !self.has_queued.replace(true) {
            self.queued.notify_one();
        }
    }

    fn abandon(&self, index: usize) {
        let mut state = self.state.borrow_mut();
        let operation = &mut state.operations[index];
        if operation.completed.as_ref().is_some_and(|completed| completed.last) {
            state.operations.remove(index);
            return;
        }
        operation.abandoned = true;
        operation.waker = None;
        drop(state);
        self.cancel(index);
    }

    /// Hands queued operations to the kernel and completions to their waiters.
    fn turn(&self) -> io::Result<()> {
        self.has_queued.set(false);
        loop {
            let mut wakers = smallvec::SmallVec::<[Waker; 64]>::new();
            let mut state = self.state.borrow_mut();
            state.enter()?;
            state.reap(&self.pool, &mut wakers);
            let again = state.has_news()?;
            let refused = !state.uring.submission().is_empty();
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
            if !again {
                if refused {
                    self.wake_driver();
                }
                return Ok(());
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel ends a closed ring's operations in its own time (`io_ring_exit_work`), and until then it may still
        // write into the pool. So they are cancelled and waited for here; where that is not possible (before Linux 6.0)
        // the pool stays allocated for good, which only happens when the process ends.
        let uring = &self.state.get_mut().uring;
        if uring.submitter().register_sync_cancel(None, types::CancelBuilder::any()).is_err() {
            std::mem::forget(Rc::clone(&self.pool));
        }
    }
}

/// Deferred task running (Linux 6.1) lets completions run where this thread asks for them and never interrupts it;
/// Linux 6.0 gets the cooperative kind.
fn setup() -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(COMPLETION_ENTRIES).setup_single_issuer().setup_taskrun_flag();
    let deferred = builder.clone().setup_defer_taskrun().build(SUBMISSION_ENTRIES);
    deferred.or_else(|_| builder.setup_coop_taskrun().build(SUBMISSION_ENTRIES))
}

const fn user_data(index: usize, generation: u32) -> u64 {
    (index as u64) << 32 | generation as u64
}

impl State {
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: what the entry points to is the operation's payload, which stays in the table until the
            // completion.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return;
            }
            // The queue is full. Handing it over makes room; a failure to do so would repeat for ever, so it ends the
            // worker.
            self.enter().expect("the kernel takes submissions of a ring that it made");
        }
    }

    fn enter(&self) -> io::Result<()> {
        loop {
            match self.uring.submit() {
                Ok(_) => return Ok(()),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // EBUSY: completions wait to be reaped first; EAGAIN: the kernel is short of memory for requests.
                    // What was not taken stays queued.
                    Some(libc::EBUSY | libc::EAGAIN) => return Ok(()),
                    _ => return Err(error),
                },
            }
        }
    }

    /// Whether the kernel has something for us after all, with its signals on if it has not. Signals are off while this
    /// thread works, since it looks by itself, and what arrives between its last look and their coming back makes none.
    fn has_news(&mut self) -> io::Result<bool> {
        self.uring.completion().enable_eventfd();
        // The kernel writes its flags and then reads ours; we write ours and then read its.
        fence(Ordering::SeqCst);
        for _ in 0..MARKED_ENTERS_MAX {
            let submission = self.uring.submission();
            let marked = submission.taskrun() || submission.cq_overflow();
            drop(submission);
            if !marked || !self.uring.completion().is_empty() {
                break;
            }
            self.enter()?;
        }
        let completion = self.uring.completion();
        let news = !completion.is_empty();
        if news {
            completion.disable_eventfd();
        }
        Ok(news)
    }

    fn reap(&mut self, pool: &Rc<Pool>, wakers: &mut smallvec::SmallVec<[Waker; 64]>) {
        let Self { uring, operations, .. } = self;
        for entry in uring.completion() {
            if entry.user_data() == NO_OPERATION {
                continue;
            }
            let index = usize::try_from(entry.user_data() >> 32).expect("an index of 32 bits");
            let operation = &mut operations[index];
            let chunk = operation.receives.and_then(|size| {
                let id = cqueue::buffer_select(entry.flags())?;
                Some(pool.filled(size, id, usize::try_from(entry.result()).unwrap_or(0)))
            });
            let last = !cqueue::more(entry.flags());
            if operation.abandoned {
                if last {
                    operations.remove(index);
                }
                continue;
            }
            operation.completed = Some(Completed {
                result: usize::try_from(entry.result()).map_err(|_| io::Error::from_raw_os_error(-entry.result())),
                payload: std::mem::replace(&mut operation.payload, Payload::None),
                chunk,
                more: cqueue::sock_nonempty(entry.flags()),
                last,
            });
            wakers.extend(operation.waker.take());
        }
    }
}

/// Runs the ring for as long as its thread's runtime does.
///
/// # Errors
/// When the ring's descriptor cannot be polled or the kernel refuses a submission: the worker cannot go on.
pub(super) async fn drive(ring: Rc<Ring>) -> io::Error {
    let signal = match ring.signal().and_then(super::driver::registered) {
        Ok(signal) => signal,
        Err(error) => return error,
    };
    loop {
        tokio::select! {
            biased;
            () = ring.queued.notified() => {}
            guard = signal.ready(Interest::READABLE) => match guard {
                // Cleared before the queue is emptied: epoll reports edges, and one that comes while completions are
                // being handled must not be lost. The counter is never read: it only ever rises, and each rise is an
                // edge.
                Ok(mut guard) => guard.clear_ready(),
                Err(error) => return error,
            }
        }
        ring.state.borrow_mut().uring.completion().disable_eventfd();
        if let Err(error) = ring.turn() {
            return error;
        }
    }
}
