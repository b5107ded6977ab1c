//! The data that a shared writer has read since its last flush.
//!
//! Two writers that write equal bytes to the same element agree, unless one of them has read the element before: that
//! writer may have computed its value from a value that is no longer there. The set is bounded. Beyond its limits it
//! first becomes imprecise about the elements of a block, then about the blocks of a dataset, then about the datasets.

use crate::OnConflict;
use crate::chunk::grid::CopyRun;
use crate::chunk::range_set::RangeSet;
use h5lake_ledger::Writers;
use h5lake_ledger::locks::Mutex;
use h5lake_records::keys;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Maximum number of ranges of one block.
const MAX_RANGES_OF_BLOCK: usize = 64;
/// Maximum number of ranges of all blocks.
const MAX_RANGES: usize = 1 << 14;
/// Maximum number of datasets, and of names.
const MAX_IDS: usize = 1 << 14;

/// The set, or nothing if it is not needed.
pub(crate) struct Reads(Option<Mutex<ReadSets>>);

#[derive(Default)]
struct ReadSets {
    since: ReadSet,
    /// Reads before a commit with an unknown outcome.
    outcome_unknown: ReadSet,
}

#[derive(Default)]
struct ReadSet {
    blocks: HashMap<Vec<u8>, RangeSet>,
    /// Number of ranges in `blocks`.
    ranges: usize,
    /// Datasets in which any element may have been read.
    datasets: HashSet<u64>,
    /// Keys of read attributes, and of headers with a read comment.
    names: HashSet<Vec<u8>>,
    everything: bool,
}

impl ReadSet {
    fn insert(&mut self, key: &[u8], runs: impl ExactSizeIterator<Item = Range<usize>> + Clone) {
        let id = keys::id(key).unwrap_or_default();
        if runs.len() == 0 || self.everything || self.datasets.contains(&id) {
            return;
        }
        if !self.blocks.contains_key(key) {
            self.blocks.insert(key.to_vec(), RangeSet::default());
        }
        let Some(spans) = self.blocks.get_mut(key) else { return };
        let before = spans.count();
        if runs.len() > MAX_RANGES_OF_BLOCK {
            let start = runs.clone().map(|r| r.start).min().unwrap_or(0);
            spans.insert(start..runs.map(|r| r.end).max().unwrap_or(start));
        } else {
            runs.for_each(|r| spans.insert(r));
        }
        if spans.count() > MAX_RANGES_OF_BLOCK {
            spans.fill_gaps();
        }
        self.ranges = self.ranges + spans.count() - before;
        if self.ranges > MAX_RANGES {
            self.forget_blocks(id);
        }
    }

    /// Replaces blocks by their datasets: those of the dataset `id`, and those of all datasets if this saves too
    /// little.
    fn forget_blocks(&mut self, id: u64) {
        self.datasets.insert(id);
        self.blocks.retain(|key, _| keys::id(key) != Some(id));
        self.ranges = self.blocks.values().map(RangeSet::count).sum();
        if self.ranges > MAX_RANGES / 2 {
            self.datasets.extend(self.blocks.drain().filter_map(|(key, _)| keys::id(&key)));
            self.ranges = 0;
        }
        self.bound_datasets();
    }

    fn bound_datasets(&mut self) {
        if self.datasets.len() > MAX_IDS {
            *self = Self { everything: true, ..Self::default() };
        }
    }

    fn insert_name(&mut self, key: &[u8]) {
        if self.everything || self.names.contains(key) {
            return;
        }
        if self.names.len() >= MAX_IDS {
            *self = Self { everything: true, ..Self::default() };
        } else {
            self.names.insert(key.to_vec());
        }
    }

    /// Adds the content of another set.
    fn join(&mut self, other: Self) {
        self.everything |= other.everything;
        self.datasets.extend(other.datasets);
        self.blocks.retain(|key, _| keys::id(key).is_none_or(|id| !self.datasets.contains(&id)));
        self.ranges = self.blocks.values().map(RangeSet::count).sum();
        self.bound_datasets();
        for (key, spans) in other.blocks {
            self.insert(&key, spans.iter().collect::<Vec<_>>().into_iter());
        }
        other.names.iter().for_each(|key| self.insert_name(key));
    }

    fn has(&self, key: &[u8]) -> bool {
        self.everything || keys::id(key).is_some_and(|id| self.datasets.contains(&id))
    }
}

/// The read bytes of one block.
pub(crate) enum ReadOf {
    All,
    Parts(RangeSet),
}

impl ReadOf {
    /// Returns whether some of these bytes were read.
    pub(crate) fn overlaps(&self, r: &Range<usize>) -> bool {
        match self {
            Self::All => true,
            Self::Parts(spans) => spans.overlaps(r),
        }
    }
}

impl Reads {
    /// Creates the set. Reads are noted only if other writers may change the data and conflicts are reported.
    pub(crate) fn new(writers: Writers, on_conflict: OnConflict) -> Self {
        Self((writers == Writers::Many && on_conflict != OnConflict::Last).then(Mutex::default))
    }

    /// Returns whether reads are noted.
    pub(crate) fn are_noted(&self) -> bool {
        self.0.is_some()
    }

    /// Notes reads of runs of a block.
    pub(crate) fn of_block(&self, key: &[u8], runs: &[CopyRun]) {
        if let Some(set) = &self.0 {
            set.lock().since.insert(key, runs.iter().map(|r| r.block..r.block + r.len));
        }
    }

    /// Notes a read of an attribute's value, or of a header's comment.
    pub(crate) fn of_name(&self, key: &[u8]) {
        if let Some(set) = &self.0 {
            set.lock().since.insert_name(key);
        }
    }

    /// Returns the read bytes of a block.
    pub(crate) fn block(&self, key: &[u8]) -> ReadOf {
        let Some(set) = &self.0 else { return ReadOf::Parts(RangeSet::default()) };
        let set = &set.lock().since;
        match set.has(key) {
            true => ReadOf::All,
            false => ReadOf::Parts(set.blocks.get(key).cloned().unwrap_or_default()),
        }
    }

    /// Returns whether an attribute's value, or a header's comment, was read.
    pub(crate) fn has_name(&self, key: &[u8]) -> bool {
        let is_in = |set: &ReadSet| set.everything || set.names.contains(key);
        self.0.as_ref().is_some_and(|sets| is_in(&sets.lock().since))
    }

    /// Clears the set, because a new batch begins.
    pub(crate) fn clear(&self) {
        if let Some(set) = &self.0 {
            *set.lock() = ReadSets::default();
        }
    }

    /// Sets aside the reads before a commit with an unknown outcome.
    pub(crate) fn set_aside(&self) {
        if let Some(sets) = &self.0 {
            let mut sets = sets.lock();
            sets.outcome_unknown = std::mem::take(&mut sets.since);
        }
    }

    /// Forgets the reads that were set aside if the commit was made; otherwise they count again.
    pub(crate) fn settle(&self, is_committed: bool) {
        let Some(sets) = &self.0 else { return };
        let mut sets = sets.lock();
        let before = std::mem::take(&mut sets.outcome_unknown);
        if !is_committed {
            sets.since.join(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(block: usize, len: usize) -> CopyRun {
        CopyRun { block, buffer: 0, len }
    }

    #[test]
    fn small_read_sets_are_exact() {
        let reads = Reads::new(Writers::Many, OnConflict::Fail);
        let key = keys::block(7, &[3]);
        reads.of_block(&key, &[run(0, 4), run(8, 4)]);
        let of = reads.block(&key);
        assert!(of.overlaps(&(2..3)) && !of.overlaps(&(4..8)) && of.overlaps(&(7..9)));
        assert!(!reads.block(&keys::block(7, &[4])).overlaps(&(0..4)));
        let scattered: Vec<_> = (0..1000).map(|n| run(100 + 8 * n, 4)).collect();
        reads.of_block(&key, &scattered);
        assert!(reads.block(&key).overlaps(&(104..108)), "a block");
        assert!(!reads.block(&key).overlaps(&(50..60)));
        reads.clear();
        assert!(!reads.block(&key).overlaps(&(0..4)));
        reads.of_name(b"x");
        assert!(reads.has_name(b"x") && !reads.has_name(b"y"));
    }

    #[test]
    fn the_read_set_is_bounded() {
        let reads = Reads::new(Writers::Many, OnConflict::Fail);
        for id in 1..100u64 {
            for n in 0..1000 {
                reads.of_block(&keys::block(id, &[n]), &[run(0, 4)]);
            }
            let set = &reads.0.as_ref().unwrap().lock().since;
            assert!(set.ranges <= MAX_RANGES && set.blocks.len() <= MAX_RANGES);
        }
        assert!(reads.block(&keys::block(1, &[999])).overlaps(&(0..1)), "nothing is forgotten");
        assert!(!reads.block(&keys::block(100, &[0])).overlaps(&(0..1)));
        for id in 0..2 * MAX_IDS as u64 {
            reads.of_name(&keys::of(keys::ATTRIBUTE, id));
        }
        assert!(reads.0.as_ref().unwrap().lock().since.names.len() <= MAX_IDS);
        assert!(reads.has_name(&keys::of(keys::ATTRIBUTE, 1)));
    }

    #[test]
    fn reads_before_an_unknown_outcome_count_again_unless_committed() {
        for is_committed in [false, true] {
            let reads = Reads::new(Writers::Many, OnConflict::Fail);
            let (old, new) = (keys::block(1, &[0]), keys::block(2, &[0]));
            reads.of_block(&old, &[run(0, 4)]);
            reads.of_name(b"old");
            reads.set_aside();
            reads.of_block(&new, &[run(0, 4)]);
            assert!(!reads.block(&old).overlaps(&(0..4)) && !reads.has_name(b"old"));
            reads.settle(is_committed);
            assert_eq!(reads.block(&old).overlaps(&(0..4)), !is_committed);
            assert_eq!(reads.has_name(b"old"), !is_committed);
            assert!(reads.block(&new).overlaps(&(0..4)));
        }
    }

    #[test]
    fn joined_read_sets_are_complete_and_bounded() {
        let reads = Reads::new(Writers::Many, OnConflict::Fail);
        let fill = |ids: Range<u64>| {
            for (id, n) in ids.flat_map(|id| (0..1000).map(move |n| (id, n))) {
                reads.of_block(&keys::block(id, &[n]), &[run(0, 4)]);
            }
        };
        fill(1..20);
        reads.set_aside();
        fill(15..40);
        reads.settle(false);
        let set = &reads.0.as_ref().unwrap().lock().since;
        assert!(
            set.ranges <= MAX_RANGES && set.ranges == set.blocks.values().map(RangeSet::count).sum::<usize>()
        );
        let is_read =
            |id| set.has(&keys::block(id, &[999])) || set.blocks.contains_key(&keys::block(id, &[999]));
        assert!((1..40).all(is_read) && !is_read(40));
    }
}
