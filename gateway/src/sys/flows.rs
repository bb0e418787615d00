//! The arrays that a program and user space have in memory together.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use gateway_common::Flow;
use gateway_common::packet::{Label, Way};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A value made of atomic words alone, which the kernel's programs may write at any time.
pub trait Words: sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for Flow<AtomicU64> {}
impl Words for Flow<AtomicU64> {}
impl sealed::Sealed for Way<AtomicU64> {}
impl Words for Way<AtomicU64> {}
impl sealed::Sealed for Label<AtomicU64> {}
impl Words for Label<AtomicU64> {}

/// A map's array, mapped into this process. Reading a counter is a load; no system call is made.
pub struct FlowArray<T: Words = Flow<AtomicU64>> {
    start: NonNull<T>,
    len: u32,
}

impl<T: Words> FlowArray<T> {
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
    pub fn get(&self, index: u32) -> &T {
        assert!(index < self.len, "flow {index} of {}", self.len);
        // SAFETY: below the length, and the mapping holds `len` values (array elements of a multiple of 8 bytes
        // follow each other, `array_map_alloc`).
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
        len as usize * size_of::<T>()
    }
}

// SAFETY: the array is plain memory of atomics; which thread reads or writes it does not matter.
unsafe impl<T: Words> Send for FlowArray<T> {}
// SAFETY: as above.
unsafe impl<T: Words> Sync for FlowArray<T> {}

impl<T: Words> Drop for FlowArray<T> {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this size, and no reference outlives `self`.
        if let Err(error) = unsafe { munmap(self.start.cast(), Self::bytes(self.len)) } {
            tracing::warn!(%error, "could not unmap the flows");
        }
    }
}
