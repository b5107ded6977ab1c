//! What each library was told of its tasks, as far as it matters for what it is told next.
//!
//! libhdf5's event sets lose operations if one is told finished while an earlier one stays: `H5ES__list_remove`
//! (H5ESlist.c) leaves `tail` where it was, and the next operation is appended behind what was freed. So within one walk
//! over a set nothing is told finished behind what is not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use h5lake_ledger::locks::Mutex;
use h5lake_plugin_abi::MAX_LIBRARIES;

/// What one library was told.
#[derive(Debug)]
struct Told {
    walk: Mutex<Walk>,
    /// Whether it was told of a failure. Its set then refuses each further operation (`H5ES__insert_request`), whose token
    /// would be lost and whose buffer the program may free.
    failure: AtomicBool,
    numbers: AtomicU64,
}

/// Nanoseconds that may be left of a walk's time behind a task that stayed: libhdf5 counts whole microseconds.
const MAX_REMAINDER: u64 = 100_000;

/// The walk over an event set that goes on: sets are walked in the order of their operations.
#[derive(Debug, Default)]
pub(super) struct Walk {
    last: u64,
    is_blocked: bool,
}

impl Walk {
    /// Whether this walk may still tell that tasks have ended, once it has come to the task of a number, for which it waits some
    /// nanoseconds at most. A task that stayed has used up the time of its walk (`H5ES__wait_cb`, H5ESint.c): who waits is another one.
    pub(super) fn comes_to(&mut self, number: u64, timeout: u64) -> bool {
        if number <= self.last || timeout > MAX_REMAINDER {
            self.is_blocked = false;
        }
        self.last = number;
        !self.is_blocked
    }

    /// The task that it came to last stays in the set.
    pub(super) fn block(&mut self) {
        self.is_blocked = true;
    }
}

static TOLD: [Told; MAX_LIBRARIES] = [const {
    Told {
        walk: Mutex::new(Walk { last: 0, is_blocked: false }),
        failure: AtomicBool::new(false),
        numbers: AtomicU64::new(1),
    }
}; MAX_LIBRARIES];

/// The number of a library's next task: they grow in the order in which tasks enter event sets.
pub fn next_number(slot: usize) -> u64 {
    TOLD[slot].numbers.fetch_add(1, Ordering::Relaxed)
}

/// Whether a walk over an event set of the library that has come to this task may tell that it ended. It waits some nanoseconds.
pub fn may_tell(slot: usize, number: u64, timeout: u64) -> bool {
    TOLD[slot].walk.lock().comes_to(number, timeout)
}

/// The task that the walk came to last stays in the set: nothing behind it is told finished.
pub fn stays(slot: usize) {
    TOLD[slot].walk.lock().block();
}

/// The library was told of a failure.
pub fn note_failure(slot: usize) {
    TOLD[slot].failure.store(true, Ordering::Relaxed);
}

/// Whether the library was told of a failure since it started.
pub fn was_told_of_failure(slot: usize) -> bool {
    TOLD[slot].failure.load(Ordering::Relaxed)
}

/// The library shuts down, and its event sets go.
pub fn forget(slot: usize) {
    TOLD[slot].failure.store(false, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_finished_behind_what_stays() {
        let mut walk = Walk::default();
        assert!(walk.comes_to(1, 0));
        walk.block();
        assert!(!walk.comes_to(2, 0) && !walk.comes_to(5, 0));
        // The next walk begins again, and finds the first one finished meanwhile.
        assert!(walk.comes_to(1, 0) && walk.comes_to(2, 0));
        walk.block();
        assert!(!walk.comes_to(5, 0));
    }

    #[test]
    fn a_walk_over_another_set_is_another_one() {
        let mut walk = Walk::default();
        assert!(walk.comes_to(4, 0));
        walk.block();
        assert!(walk.comes_to(3, 0), "its first number is behind the last one");
        // It is not seen where it is not: then one more walk finds what has ended.
        walk.block();
        assert!(!walk.comes_to(9, 0));
        assert!(walk.comes_to(9, 0));
    }

    #[test]
    fn who_waits_is_another_walk() {
        let mut walk = Walk::default();
        assert!(walk.comes_to(1, 5_000_000));
        walk.block();
        assert!(!walk.comes_to(2, 0) && !walk.comes_to(3, 1000), "what is left of the time");
        assert!(walk.comes_to(4, 5_000_000));
    }
}
