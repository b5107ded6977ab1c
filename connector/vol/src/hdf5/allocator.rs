//! The C library's allocator, which keeps what was freed for the next one who asks.

/// Gives freed memory back to the system. Takes some milliseconds for each hundred megabytes.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function takes any number, and locks what it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}
