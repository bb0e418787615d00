//! The array of flows that a verdict program and its worker have in memory together.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use gateway_common::Flow;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The map `FLOWS` of one worker, mapped into this process. Reading a counter is a load; no system call is made.
pub struct FlowArray {
    start: NonNull<Flow<AtomicU64>>,
    len: u32,
}

impl FlowArray {
    /// Maps a map with `len` values, created with `BPF_F_MMAPABLE` (Linux 5.5).
    ///
    /// # Errors
    /// What `mmap(2)` says: `EPERM` where the map may not be mapped, `EINVAL` where it is shorter than `len` values.
    pub fn map(map: &impl AsFd, len: u32) -> io::Result<Self> {
        let bytes = NonZeroUsize::new(Self::bytes(len)).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing that exists is replaced.
        let start = unsafe { mmap(None, bytes, access, MapFlags::MAP_SHARED, map, 0)? };
        Ok(Self { start: start.cast(), len })
    }

    /// The flow with this index.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn get(&self, index: u32) -> &Flow<AtomicU64> {
        assert!(index < self.len, "flow {index} of {}", self.len);
        // SAFETY: below the length, and the mapping holds `len` values (array elements of 128 bytes follow each other,
        // `array_map_alloc`).
        let flow = unsafe { self.start.add(index as usize) };
        // SAFETY: the mapping lives as long as `self`, is page-aligned, and all of a flow's words are atomics, which
        // may be shared with the kernel's stores of whole words.
        unsafe { flow.as_ref() }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    const fn bytes(len: u32) -> usize {
        len as usize * size_of::<Flow<AtomicU64>>()
    }
}

// SAFETY: the array is plain memory of atomics; which thread reads or writes it does not matter.
unsafe impl Send for FlowArray {}
// SAFETY: as above.
unsafe impl Sync for FlowArray {}

impl Drop for FlowArray {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this size, and no reference outlives `self`.
        if let Err(error) = unsafe { munmap(self.start.cast(), Self::bytes(self.len)) } {
            tracing::warn!(%error, "could not unmap the flows");
        }
    }
}
