//! How much free memory the allocator keeps.

/// Free memory at the end of a thread's heap that is kept for later, in bytes.
#[cfg(target_env = "gnu")]
const KEPT_MAX: libc::c_int = 1 << 20;

/// Has the allocator give free memory back to the system beyond 1 MiB for each thread.
///
/// Left alone it learns from the largest block that was ever freed (`M_MMAP_THRESHOLD`, mallopt(3)): after the kernel's
/// types, 6 MB that the loader of the programs reads once, each worker would keep 10 MB for ever.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function takes two numbers, and is called before there are other threads.
    let taken = unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_MAX) };
    #[cfg(target_env = "gnu")]
    debug_assert_eq!(taken, 1, "mallopt refuses its own parameter");
}
