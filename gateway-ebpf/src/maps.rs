//! The maps: who owns each, what its key is, and how long an entry lives.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use gateway_common::Passed;

/// What the verdict program let through to user space, over all sockets.
///
/// - Owner: the process that loaded the object. The programs add, user space sums over the CPUs and never writes.
/// - Key: always 0.
/// - Lifetime: begins at zero with the object, ends with the owner; no entry is ever deleted.
#[map]
pub static PASSED: PerCpuArray<Passed> = PerCpuArray::with_max_entries(1, 0);
