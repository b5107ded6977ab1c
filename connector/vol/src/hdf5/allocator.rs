//! The C library's allocator, which keeps freed memory for later allocations.

/// Returns freed memory to the system. Takes some milliseconds for each hundred megabytes.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function takes any number, and locks the memory that it examines.
    unsafe {
        libc::malloc_trim(0);
    }
}
