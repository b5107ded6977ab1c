//! The results of tasks that each library has received, as far as they matter for the next result.
//!
//! libhdf5's event sets lose operations if one operation is reported finished while an earlier one remains:
//! `H5ES__list_remove` (H5ESlist.c) leaves `tail` where it was, and the next operation is appended behind a freed
//! entry. So within one walk over a set, no task is reported finished behind a task that is not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use h5lake_ledger::locks::Mutex;
use h5lake_plugin_abi::MAX_LIBRARIES;

/// The results that one library has received.
#[derive(Debug)]
struct Reported {
    walk: Mutex<Walk>,
    /// True if a failure was reported to the library. Its event set then refuses each further operation
    /// (`H5ES__insert_request`): that operation's token would be lost, and the program may free its buffer.
    failure: AtomicBool,
    numbers: AtomicU64,
}

/// The most nanoseconds that can be left of a walk's time behind an unfinished task: libhdf5 counts whole
/// microseconds.
const MAX_REMAINDER: u64 = 100_000;

/// The current walk over an event set: sets are walked in the order of their operations.
#[derive(Debug, Default)]
pub(super) struct Walk {
    last: u64,
    is_blocked: bool,
}

impl Walk {
    /// Notes that the walk has reached the task `number`, for which it waits at most `timeout` nanoseconds, and
    /// returns whether it may still report finished tasks. An unfinished task has used up the time of its walk
    /// (`H5ES__wait_cb`, H5ESint.c), so a call with a longer timeout belongs to another walk.
    pub(super) fn comes_to(&mut self, number: u64, timeout: u64) -> bool {
        if number <= self.last || timeout > MAX_REMAINDER {
            self.is_blocked = false;
        }
        self.last = number;
        !self.is_blocked
    }

    /// Notes that the task the walk reached last remains in the set.
    pub(super) fn block(&mut self) {
        self.is_blocked = true;
    }
}

static REPORTED: [Reported; MAX_LIBRARIES] = [const {
    Reported {
        walk: Mutex::new(Walk { last: 0, is_blocked: false }),
        failure: AtomicBool::new(false),
        numbers: AtomicU64::new(1),
    }
}; MAX_LIBRARIES];

/// Returns the number of a library's next task. Numbers grow in the order in which tasks enter event sets.
pub fn next_number(slot: usize) -> u64 {
    REPORTED[slot].numbers.fetch_add(1, Ordering::Relaxed)
}

/// Returns whether a walk over an event set of the library that has reached this task may report that the task
/// finished. The walk waits at most `timeout` nanoseconds for the task.
pub fn may_report(slot: usize, number: u64, timeout: u64) -> bool {
    REPORTED[slot].walk.lock().comes_to(number, timeout)
}

/// Notes that the task which the walk reached last remains in the set: no task behind it is reported finished.
pub fn stays(slot: usize) {
    REPORTED[slot].walk.lock().block();
}

/// Notes that a failure was reported to the library.
pub fn note_failure(slot: usize) {
    REPORTED[slot].failure.store(true, Ordering::Relaxed);
}

/// Returns whether a failure was reported to the library since it started.
pub fn has_failure(slot: usize) -> bool {
    REPORTED[slot].failure.load(Ordering::Relaxed)
}

/// Forgets the reported failure when the library shuts down, because its event sets are freed.
pub fn forget(slot: usize) {
    REPORTED[slot].failure.store(false, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_task_is_reported_finished_behind_an_unfinished_one() {
        let mut walk = Walk::default();
        assert!(walk.comes_to(1, 0));
        walk.block();
        assert!(!walk.comes_to(2, 0) && !walk.comes_to(5, 0));
        // The next walk begins again, and finds that the first task has finished meanwhile.
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
        // A walk over another set is not always recognized: then one more walk finds the finished tasks.
        walk.block();
        assert!(!walk.comes_to(9, 0));
        assert!(walk.comes_to(9, 0));
    }

    #[test]
    fn a_call_with_a_longer_timeout_is_another_walk() {
        let mut walk = Walk::default();
        assert!(walk.comes_to(1, 5_000_000));
        walk.block();
        assert!(!walk.comes_to(2, 0) && !walk.comes_to(3, 1000), "what is left of the time");
        assert!(walk.comes_to(4, 5_000_000));
    }
}
