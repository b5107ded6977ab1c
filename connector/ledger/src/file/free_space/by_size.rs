//! Free runs by their lengths.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Lengths and offsets of free runs, sorted at the first query by length. Sorting takes longer than reading the whole list,
/// and a program that repeatedly opens a file to append one record next to the last one never needs it.
#[derive(Debug, Default, Clone)]
pub(super) struct BySize(OnceLock<BTreeSet<(u64, u64)>>);

impl BySize {
    /// Returns the runs of `by_offset`, the shortest first.
    pub(super) fn of(&self, by_offset: &BTreeMap<u64, u64>) -> &BTreeSet<(u64, u64)> {
        self.0.get_or_init(|| by_offset.iter().map(|(offset, length)| (*length, *offset)).collect())
    }

    /// Adds a run.
    pub(super) fn put(&mut self, offset: u64, length: u64) {
        if let Some(sorted) = self.0.get_mut() {
            sorted.insert((length, offset));
        }
    }

    /// Removes a run.
    pub(super) fn drop_run(&mut self, offset: u64, length: u64) {
        if let Some(sorted) = self.0.get_mut() {
            sorted.remove(&(length, offset));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::file::free_space::{FreeSpace, PendingFree};
    use crate::file::superblock::DATA;

    /// Alternating free runs and runs in quarantine, with used runs between them.
    fn listed(count: u64) -> FreeSpace {
        let at = |n: u64| DATA + n * 4096;
        let free: Vec<_> = (0..count).map(|n| (at(n), 32 + n * 7 % 90 * 32)).collect();
        let pending = |n| PendingFree::new((at(n) + 3072, 64), 5, 0);
        FreeSpace::listed(at(count), &free, (0..count).step_by(3).map(pending).collect()).unwrap()
    }

    #[test]
    fn an_append_after_the_last_record_sorts_no_runs() {
        let mut f = listed(500);
        let (begin, length) = f.runs.iter().find(|(_, length)| *length > 2048).unwrap();
        f.replay_use(begin, 96).unwrap();
        assert_eq!(f.take_for_record(96, Some(begin + 96), u64::MAX), Some(begin + 96));
        f.quarantine(PendingFree::new((begin, 96), 6, 0)).unwrap();
        f.trim();
        assert!(f.free_bytes() > length && f.trimmed() > begin && f.runs.up_to(begin + length).is_some());
        assert!(f.runs.by_size.0.get().is_none());
        assert!(f.take(32).is_some() && f.runs.by_size.0.get().is_some());
    }

    #[test]
    fn the_time_of_sorting_does_not_matter() {
        let (mut early, mut late) = (listed(500), listed(500));
        assert!(early.fits_before(64, u64::MAX));
        for f in [&mut early, &mut late] {
            for (offset, length) in f.runs.iter().step_by(4).collect::<Vec<_>>() {
                assert!(f.runs.carve(offset + length / 64 * 32, 32));
            }
            (0..200).for_each(|n| f.runs.add(DATA + n * 4096 + 3584, 64 + n % 5 * 32).unwrap());
        }
        let taken = |f: &mut FreeSpace| (0..2000).map(|n| f.take(32 + n % 40 * 32)).collect::<Vec<_>>();
        assert_eq!(taken(&mut early), taken(&mut late));
    }
}
