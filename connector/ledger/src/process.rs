//! Which process this is: what a parent has opened, a forked child may read, and not change.
//!
//! The system is asked before each change, and that takes longer than the change. Whoever can tell of forks may have the
//! answer kept.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The answer, or 0.
static KNOWN: AtomicU32 = AtomicU32::new(0);
static IS_TOLD: AtomicBool = AtomicBool::new(false);
/// Children that this process, or one before it, has forked.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// The number of this process.
pub fn id() -> u32 {
    match KNOWN.load(Ordering::Relaxed) {
        0 => ask(),
        known => known,
    }
}

fn ask() -> u32 {
    let id = std::process::id();
    if IS_TOLD.load(Ordering::Relaxed) {
        KNOWN.store(id, Ordering::Relaxed);
    }
    id
}

/// How often this process, or one before it, was forked, as far as anybody told. Who has a file open reads it after a fork as well,
/// and pins nothing of its own.
pub fn forks() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// A child is about to be forked. May be called between a program's call of `fork` and the fork itself.
pub fn forks_now() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// From now on the answer is kept. Each forked child calls [`forked`] before all else.
pub fn keep() {
    IS_TOLD.store(true, Ordering::Relaxed);
}

/// Forgets what the parent was. May be called between a fork and whatever the child does first.
pub fn forked() {
    KNOWN.store(0, Ordering::Relaxed);
}
