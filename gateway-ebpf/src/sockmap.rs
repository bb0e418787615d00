//! The sockmap engine: what happens to data that arrives on a socket of the socket map.

use core::arch::asm;

use aya_ebpf::bindings::sk_action::SK_PASS;
use aya_ebpf::macros::stream_verdict;
use aya_ebpf::programs::SkBuffContext;

use crate::maps::PASSED;

/// Runs for every socket buffer that arrives, a FIN's empty one included, before user space can read it.
///
/// `SK_PASS` puts the data in the socket's own receive queue: accounted, in order, and with the TCP window closing when
/// nobody reads. That is always right, which is why it is also the answer when the counter is missing.
#[stream_verdict]
pub fn sockmap_verdict(ctx: SkBuffContext) -> u32 {
    count_passed(u64::from(ctx.len()));
    SK_PASS
}

/// The value belongs to this CPU, and yet the addition is atomic: behind a socket's backlog the program runs in process
/// context, where a soft interrupt may run it again on the same CPU for another socket.
fn count_passed(bytes: u64) {
    let Some(passed) = PASSED.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a lookup that succeeds points to a whole value, aligned to 8 bytes, and the map outlives the program.
    unsafe { atomic_add(&raw mut (*passed).bytes, bytes) };
    // SAFETY: as above.
    unsafe { atomic_add(&raw mut (*passed).skbs, 1) };
}

/// The target has this instruction, but `AtomicU64` has no read-modify-write on it, because the first BPF machines had
/// no compare-and-exchange.
///
/// # Safety
///
/// `counter` must be valid for writes and aligned.
unsafe fn atomic_add(counter: *mut u64, amount: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) amount, options(nostack)) };
}
