//! The identity of this process. A forked child may read containers that its parent opened, and must not change them.
//!
//! Each change checks the process id, and the system call takes longer than the change. A program that detects forks
//! can have the id cached.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The cached process id, or 0.
static KNOWN: AtomicU32 = AtomicU32::new(0);
static FORKS_ARE_REPORTED: AtomicBool = AtomicBool::new(false);
/// The number of forks by this process and its ancestors.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// Returns the id of this process.
pub fn id() -> u32 {
    match KNOWN.load(Ordering::Relaxed) {
        0 => ask(),
        known => known,
    }
}

fn ask() -> u32 {
    let id = std::process::id();
    if FORKS_ARE_REPORTED.load(Ordering::Relaxed) {
        KNOWN.store(id, Ordering::Relaxed);
    }
    id
}

/// Returns how often this process and its ancestors were forked, as far as the forks were reported. After a fork the
/// child still reads the files that its parent opened, without pins of its own.
pub fn forks() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Reports that a child is about to be forked. May be called between a program's call of `fork` and the fork itself.
pub fn forks_now() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Enables the cache of the process id. From then on, each forked child must call [`forked`] before anything else.
pub fn keep() {
    FORKS_ARE_REPORTED.store(true, Ordering::Relaxed);
}

/// Clears the cached id of the parent. May be called between a fork and the first action of the child.
pub fn forked() {
    KNOWN.store(0, Ordering::Relaxed);
}
