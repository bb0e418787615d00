//! The sockmap engine: what happens to data that arrives on a socket of the socket map.
//!
//! Bytes take one of two ways, and never both at a time. On the user path they go up (`SK_PASS`), and the gateway
//! writes them to the peer. On the kernel path they are handed to the peer's socket here (`bpf_sk_redirect_map`).
//!
//! - Onto the kernel path: only while user space allows it (`offload`), and only when it has written everything to the
//!   peer that ever went up (`forwarded == passed`). Nothing can then be overtaken.
//! - Back: when user space takes its leave back, or the credit is used up. What goes up from then on waits in the
//!   socket's receive queue, accounted, and closes the sender's window. User space writes none of it before what was
//!   redirected is in the peer's send buffer.
//!
//! The credit is what makes the kernel path safe. Redirected buffers are queued on the peer without a limit and
//! charged to nobody (`sk_psock_skb_redirect` in net/core/skmsg.c). User space gives a send buffer that is larger than
//! the credit, and renews the credit only as far as the peer has taken delivery. So that queue is always about to
//! empty, and what a peer that never reads can cost is bounded.

use core::arch::asm;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::sk_action::SK_PASS;
use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::stream_verdict;
use aya_ebpf::programs::SkBuffContext;
use aya_log_ebpf::debug;
use gateway_common::{CREDIT_LOW, Flow, PASSING, REDIRECTING, charge};

use crate::maps::{EVENTS, FLOWS, INDICES, PEERS};

/// Runs for every socket buffer that arrives, under its socket's lock.
///
/// `SK_PASS` without a redirection is always right, which is why it is the answer wherever anything is missing.
#[stream_verdict]
pub fn sockmap_verdict(ctx: SkBuffContext) -> u32 {
    let len = u64::from(ctx.len());
    // An empty buffer is a FIN. `sk_psock_backlog` would take the 0 bytes that it sends for an error and report EPIPE
    // to the peer.
    if len > 0 {
        verdict(&ctx, len);
    }
    SK_PASS
}

/// Redirects the buffer, or lets it go up.
fn verdict(ctx: &SkBuffContext, len: u64) {
    // SAFETY: the helper takes the program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: the value is copied at once, and entries are only ever added and removed whole.
    let Some(index) = unsafe { INDICES.get(cookie) }.copied() else {
        debug!(ctx, "a socket of no stream: {} bytes go up", len);
        return;
    };
    let Some(flow) = FLOWS.get_ptr_mut(index) else {
        return;
    };
    let flow = Shared { flow };
    if flow.may_redirect(len) && flow.redirect(ctx, index, len) {
        return;
    }
    if flow.leave_kernel_path() {
        debug!(ctx, "socket {} passes: {} bytes go up", index, len);
    }
    flow.pass(index, len);
}

/// A flow in the memory that user space has too.
struct Shared {
    flow: *mut Flow<u64>,
}

/// Reads a field of a flow.
macro_rules! load {
    ($shared:expr, $field:ident) => {{
        // SAFETY: the pointer is that of a map value that was found, and the map outlives the program.
        let field = unsafe { &raw const (*$shared.flow).$field };
        // SAFETY: as above; a 64-bit word is read whole.
        unsafe { read_volatile(field) }
    }};
}

/// Writes a field of a flow that user space only reads.
macro_rules! store {
    ($shared:expr, $field:ident, $value:expr) => {{
        let value = $value;
        // SAFETY: the pointer is that of a map value that was found, and the map outlives the program.
        let field = unsafe { &raw mut (*$shared.flow).$field };
        // SAFETY: as above; a 64-bit word is written whole.
        unsafe { write_volatile(field, value) }
    }};
}

impl Shared {
    /// Whether nothing is in the way of redirecting `len` bytes.
    #[inline(always)]
    fn may_redirect(&self, len: u64) -> bool {
        // In this order: user space writes `forwarded` before it allows anything.
        let allowed = load!(self, offload) != 0;
        let nothing_outstanding = load!(self, state) == REDIRECTING || load!(self, forwarded) == load!(self, passed);
        allowed && nothing_outstanding && load!(self, charged) + charge(len) <= load!(self, limit)
    }

    /// Hands the buffer to the peer. False where there is none.
    #[inline(always)]
    fn redirect(&self, ctx: &SkBuffContext, index: u32, len: u64) -> bool {
        // SAFETY: the helper takes the program's own context and the map; without the flag for ingress it is the peer's
        // way out.
        let found = unsafe { PEERS.redirect_skb(ctx, index ^ 1, 0) };
        if found != i64::from(SK_PASS) {
            return false;
        }
        let charged = load!(self, charged) + charge(len);
        store!(self, charged, charged);
        store!(self, redirected, load!(self, redirected) + len);
        store!(self, skbs, load!(self, skbs) + 1);
        // SAFETY: the helper takes nothing.
        let now = unsafe { bpf_ktime_get_coarse_ns() };
        store!(self, active_ns, now);
        store!(self, state, REDIRECTING);
        let limit = load!(self, limit);
        if limit - charged < CREDIT_LOW && load!(self, told) != limit {
            store!(self, told, limit);
            tell(index);
        }
        true
    }

    /// Whether the flow was on the kernel path until now.
    #[inline(always)]
    fn leave_kernel_path(&self) -> bool {
        let was_redirecting = load!(self, state) == REDIRECTING;
        store!(self, state, PASSING);
        was_redirecting
    }

    /// Counts what goes up. The addition is a full barrier: user space allows redirecting and then looks at `passed`,
    /// we count and then look at what is allowed, so that at least one of the two sees the other.
    #[inline(always)]
    fn pass(&self, index: u32, len: u64) {
        // SAFETY: the pointer is that of a map value that was found, and the map outlives the program.
        let passed = unsafe { &raw mut (*self.flow).passed };
        // SAFETY: as above; the word is aligned.
        unsafe { fetch_add(passed, len) };
        if load!(self, offload) != 0 {
            tell(index);
        }
    }
}

/// Tells user space that the flow wants it. There is nothing to be done about a full ring.
#[inline(always)]
fn tell(index: u32) {
    let _lost = EVENTS.output::<u32>(index, 0).is_err();
}

/// The target has this instruction, but `AtomicU64` has no read-modify-write on it, because the first BPF machines had
/// no compare-and-exchange. With a result it is fully ordered on every architecture, without one it is not.
///
/// # Safety
///
/// `counter` must be valid for writes and aligned.
#[inline(always)]
pub unsafe fn fetch_add(counter: *mut u64, amount: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        asm!(
            "{1} = atomic_fetch_add((u64 *)({0} + 0), {1})",
            in(reg) counter,
            inout(reg) amount => _,
            options(nostack)
        );
    }
}
