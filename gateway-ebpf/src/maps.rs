//! The maps: who owns each, what its key is, and how long an entry lives.
//!
//! Each worker of the gateway loads an object of its own for the socket maps, and the process one for spliced
//! connections. The sizes are those of a test; whoever loads the object sets its own.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf, SockMap};
use gateway_common::Flow;
use gateway_common::packet::{Unspliced, Way, WayKey};

/// Sockets of a worker in the worker's own numbers; two for each stream.
const SOCKETS: u32 = 64;

/// Which index a socket has.
///
/// - Owner: the worker enters both sockets of a stream when it is first offloaded, and removes them when it ends.
/// - Key: the socket's cookie (`sock_gen_cookie` in net/core/sock_diag.c), which is never used again.
/// - Lifetime: as long as the stream. Entries are allocated one by one, since most workers have far fewer than fit.
#[map]
pub static INDICES: HashMap<u64, u32> = HashMap::with_max_entries(SOCKETS, BPF_F_NO_PREALLOC);

/// The sockets, and the place where the program hangs on them.
///
/// - Owner: the worker enters them; the kernel removes a socket when it is closed.
/// - Key: the index.
#[map]
pub static PEERS: SockMap = SockMap::with_max_entries(SOCKETS, 0);

/// What is known and allowed for what arrives on a socket.
///
/// - Owner: the program of one half of each value, the worker of the other, which has the array in its memory.
/// - Key: the index.
/// - Lifetime: a value begins at zero with its stream; the array ends with the worker.
#[map]
pub static FLOWS: Array<Flow<u64>> = Array::with_max_entries(SOCKETS, BPF_F_MMAPABLE);

/// Indices for which the worker has something to do: bytes went up although it had left the way to us, or the credit
/// runs low. An event that finds no room is lost; the worker looks at all its flows once a second besides.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(64 << 10, 0);

/// Which index a direction of two spliced connections has.
///
/// - Owner: the process; the program only looks up.
/// - Key: [`WayKey`], as its packets arrive.
/// - Lifetime: from the hand-over to the stream's end. The memory is there from the start, like that of [`WAYS`]: an
///   entry allocated by itself would take a third more, and could fail.
#[map]
pub static WAY_INDICES: HashMap<WayKey, u32> = HashMap::with_max_entries(SOCKETS, 0);

/// How each direction is rewritten, and what was seen of it.
///
/// - Owner: the process until the hand-over, then the program, but for the state.
/// - Key: the index.
#[map]
pub static WAYS: Array<Way<u64>> = Array::with_max_entries(SOCKETS, BPF_F_MMAPABLE);

/// Indices of directions that have come nearer to their end. The process looks at all of them once a second besides.
#[map]
pub static WAY_EVENTS: RingBuf = RingBuf::with_byte_size(64 << 10, 0);

/// How many packets were not spliced.
///
/// - Owner: the program, on each processor of its own value.
/// - Key: [`Unspliced`].
#[map]
pub static UNSPLICED: PerCpuArray<u64> = PerCpuArray::with_max_entries(Unspliced::ALL.len() as u32, 0);
