//! The heap's free pages.

/// Gives the heap's free pages back to the system (`malloc_trim(3)`). For after a start that needed much for a moment:
/// the allocator would keep it for the thread's life.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function takes a number and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
