//! Space that tags hold: it was freed, and is not reused as long as a tag lists it.
//!
//! The free list does not distinguish it from space in quarantine. So a writer of a file without tags finds it in
//! quarantine, with the sequence at which it was freed, and frees it like any other space.

use std::sync::Arc;

use crate::file::free_space::{FreeSpace, PendingFree};
use crate::tags::Held;

impl FreeSpace {
    /// Sets the held runs. Runs that were held before and are not held any more return to the quarantine, at their old
    /// position.
    pub(crate) fn hold(&mut self, held: Arc<Held>) {
        let nothing_changes = held.is_empty() && self.held.is_empty();
        self.held = held;
        if nothing_changes {
            return;
        }
        let mut all: Vec<PendingFree> = self.waiting().collect();
        all.sort_by_key(|r| r.sequence);
        (self.quarantined, self.kept) = Default::default();
        (self.quarantined_bytes, self.kept_bytes) = (0, 0);
        all.into_iter().for_each(|r| self.queue(r));
    }

    /// Queues a run: in the quarantine, or separately if a tag holds a byte of it.
    pub(super) fn queue(&mut self, r: PendingFree) {
        if self.held.touches(r.offset, r.length) {
            self.kept_bytes += r.length;
            self.kept.push(r);
        } else {
            self.quarantined_bytes += r.length;
            self.quarantined.push_back(r);
        }
    }

    /// Returns all runs that were freed and cannot be reused yet: held runs, and runs in quarantine.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = PendingFree> + '_ {
        self.kept.iter().chain(&self.quarantined).copied()
    }

    /// Returns the number of freed bytes that tags hold.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Removes the run at `offset` from the quarantine or the held runs.
    pub(super) fn forget_waiting(&mut self, offset: u64, length: u64) {
        let held = self.kept.len();
        self.kept.retain(|r| r.offset != offset);
        if self.kept.len() < held {
            self.kept_bytes -= length;
        } else {
            self.quarantined.retain(|r| r.offset != offset);
            self.quarantined_bytes -= length;
        }
    }

    /// Returns the runs that the version of a sequence may need: all runs that are neither free nor `reserved`, and were not freed by this
    /// slot or before it.
    pub(crate) fn needed_by(&self, sequence: u64, reserved: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut unneeded: Vec<(u64, u64)> = self.runs.iter().chain(reserved.iter().copied()).collect();
        unneeded.extend(self.waiting().filter(|r| r.sequence <= sequence).map(|r| (r.offset, r.length)));
        unneeded.sort_unstable();
        let mut at = crate::file::superblock::DATA;
        let mut needed = Vec::new();
        for (offset, length) in unneeded.into_iter().chain([(self.end, 0)]) {
            if offset > at {
                needed.push((at, offset - at));
            }
            at = at.max(offset + length);
        }
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::free_space::ReclaimRule;
    use crate::file::superblock::DATA;
    use crate::tags::TagEntry;

    const NONE: ReclaimRule = ReclaimRule { least: 0, courtesy: 0 };

    fn quarantined(offset: u64, length: u64, sequence: u64) -> PendingFree {
        PendingFree::new((offset, length), sequence, 0)
    }

    fn by(runs: Vec<(u64, u64)>) -> Arc<Held> {
        Arc::new(Held::by([&TagEntry { runs, ..TagEntry::default() }]))
    }

    #[test]
    fn held_runs_are_kept_and_the_queue_continues() {
        let mut f = FreeSpace::new(DATA);
        let a = f.extend(640).unwrap();
        f.hold(by(vec![(a, 64)]));
        for (n, at) in [a, a + 64, a + 128].into_iter().enumerate() {
            f.quarantine(quarantined(at, 64, 5 + n as u64)).unwrap();
        }
        f.wake(9, 10, NONE);
        assert_eq!((f.take(128), f.take(32)), (Some(a + 64), None), "what follows the held run is free");
        assert_eq!((f.kept_bytes(), f.quarantine_state().0, f.waiting().count()), (64, 0, 1));
        assert!(f.quarantine(quarantined(a, 64, 9)).is_err(), "it is out of use already");
        assert!(!f.in_use(a, 64));
        f.hold(Arc::default());
        assert_eq!((f.kept_bytes(), f.quarantine_state().0), (0, 64));
        f.wake(4, 10, NONE);
        assert_eq!(f.take(32), None, "it has its old sequence, which a reader may pin");
        f.wake(5, 10, NONE);
        assert_eq!(f.take(64), Some(a));
    }

    #[test]
    fn an_unknown_tag_holds_everything() {
        let mut f = FreeSpace::new(DATA);
        let a = f.extend(64).unwrap();
        f.quarantine(quarantined(a, 64, 5)).unwrap();
        f.hold(Arc::new(Held::Everything));
        f.wake(9, 10, NONE);
        assert_eq!((f.take(32), f.kept_bytes()), (None, 64));
    }

    #[test]
    fn a_replayed_use_of_a_held_run_takes_it() {
        let mut f = FreeSpace::new(DATA);
        let a = f.extend(128).unwrap();
        f.hold(by(vec![(a, 64)]));
        f.quarantine(quarantined(a, 64, 5)).unwrap();
        // Another writer has deleted the tag, and reused the run.
        f.replay_use(a, 32).unwrap();
        assert_eq!((f.kept_bytes(), f.take(32)), (0, Some(a + 32)));
    }

    #[test]
    fn a_version_needs_no_runs_that_were_freed_before_it() {
        let mut f = FreeSpace::new(DATA);
        let a = f.extend(320).unwrap();
        f.runs.add(a + 64, 64).unwrap();
        f.quarantine(quarantined(a + 128, 32, 4)).unwrap();
        f.quarantine(quarantined(a + 192, 32, 6)).unwrap();
        assert_eq!(f.needed_by(5, &[]), [(a, 64), (a + 160, 160)]);
        assert_eq!(f.needed_by(6, &[]), [(a, 64), (a + 160, 32), (a + 224, 96)]);
        assert_eq!(f.needed_by(6, &[(a + 256, 64), (a, 32)]), [(a + 32, 32), (a + 160, 32), (a + 224, 32)]);
    }
}
