//! What both sides of the kernel must agree on, and nothing else.
//!
//! The types are laid out by hand: `repr(C)`, padding written out, sizes asserted. The kernel copies their bytes and
//! does not know what they mean, so a difference between the two compilers would show only as wrong numbers.
#![no_std]

pub mod packet;

/// Version of everything in this crate. The program refuses a loaded object that carries another one.
pub const ABI_VERSION: u32 = 5;

/// Section of the object that holds [`ABI_VERSION`] in the kernel's byte order, and nothing else.
///
/// The name begins with `.rodata` because loaders hand out the content of such sections under their own name.
pub const ABI_SECTION: &str = ".rodata.abi";

/// One direction of an offloaded stream: the value of the map `FLOWS`, which both sides have in memory.
///
/// Both sockets of a stream have neighbouring indices in all maps, so the peer of `index` is `index ^ 1`. What arrives
/// on a socket is the direction with that socket's index.
///
/// The program runs under its socket's lock and is the only writer of the first half; user space is the only writer of
/// the second. Each half has a cache line of its own. `W` is a 64-bit word: plain in the kernel, atomic in user space.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Flow<W> {
    /// Bytes that went up to user space.
    pub passed: W,
    /// Bytes that were handed to the peer's socket.
    pub redirected: W,
    /// What the redirected socket buffers may cost the peer's send buffer, in bytes: see [`charge`].
    pub charged: W,
    /// Socket buffers that were redirected.
    pub skbs: W,
    /// When the last one was, in nanoseconds of CLOCK_MONOTONIC_COARSE.
    pub active_ns: W,
    /// [`PASSING`] or [`REDIRECTING`].
    pub state: W,
    /// The `limit` for which user space was told that little is left of it.
    pub told: W,
    /// Fills the cache line.
    pub kernel_spare: W,
    /// Bytes, out of `passed`, that user space has written to the peer.
    pub forwarded: W,
    /// What `charged` may come to.
    pub limit: W,
    /// 1 where the program may redirect as soon as nothing of the user path is outstanding, 0 where it may not.
    pub offload: W,
    /// Fills the cache line.
    pub user_spare: [W; 5],
}

const _: () = assert!(size_of::<Flow<u64>>() == 128);

/// [`Flow::state`]: everything goes up to user space.
pub const PASSING: u64 = 0;

/// [`Flow::state`]: everything goes to the peer's socket.
pub const REDIRECTING: u64 = 1;

/// What one direction's redirected bytes may cost the peer's send buffer at a time, in bytes. It bounds what a client
/// that never reads can make the kernel hold.
pub const CREDIT: u64 = 512 << 10;

/// When this little is left of the credit, user space is asked for more. A quarter is many messages, and time enough.
pub const CREDIT_LOW: u64 = CREDIT / 2;

/// The part of a socket buffer's cost that does not depend on its length: `tcp_sendmsg` makes at most two buffers of
/// its own out of each redirected one, and charges each with its head (1,280 bytes on 64-bit machines).
pub const SKB_COST: u64 = 2560;

/// What redirecting a socket buffer of `len` bytes is charged with.
#[must_use]
pub const fn charge(len: u64) -> u64 {
    len + SKB_COST
}

#[cfg(feature = "user")]
mod user {
    use core::sync::atomic::AtomicU64;

    const _: () = assert!(size_of::<super::Flow<AtomicU64>>() == size_of::<super::Flow<u64>>());
}
