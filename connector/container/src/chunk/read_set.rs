//! What one of many writers has read since its last flush.
//!
//! Two writers that write the same bytes over the same element agree, unless one of them has read it before: then it has
//! computed what it wrote from a value that is no longer there. The set is bounded. It forgets first which elements of a
//! block were read, then which blocks of a dataset, then which datasets.

use crate::OnConflict;
use crate::chunk::grid::CopyRun;
use crate::chunk::range_set::RangeSet;
use crate::keys;
use h5lake_ledger::Writers;
use h5lake_ledger::locks::Mutex;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Ranges of one block.
const MAX_RANGES_OF_BLOCK: usize = 64;
/// Ranges of all blocks.
const MAX_RANGES: usize = 1 << 14;
/// Datasets, and names.
const MAX_IDS: usize = 1 << 14;

/// The set, or nothing where it is not needed.
pub(crate) struct Reads(Option<Mutex<ReadSet>>);

#[derive(Default)]
struct ReadSet {
    blocks: HashMap<Vec<u8>, RangeSet>,
    /// How many ranges `blocks` holds.
    ranges: usize,
    /// Datasets of which any element may have been read.
    datasets: HashSet<u64>,
    /// Keys of attributes, and of headers whose comment was read.
    names: HashSet<Vec<u8>>,
    everything: bool,
}

impl ReadSet {
    fn insert(&mut self, key: &[u8], runs: &[CopyRun]) {
        let id = keys::id(key).unwrap_or_default();
        if runs.is_empty() || self.everything || self.datasets.contains(&id) {
            return;
        }
        if !self.blocks.contains_key(key) {
            self.blocks.insert(key.to_vec(), RangeSet::default());
        }
        let Some(spans) = self.blocks.get_mut(key) else { return };
        let before = spans.count();
        if runs.len() > MAX_RANGES_OF_BLOCK {
            let start = runs.iter().map(|r| r.block).min().unwrap_or(0);
            spans.insert(start..runs.iter().map(|r| r.block + r.len).max().unwrap_or(start));
        } else {
            runs.iter().for_each(|r| spans.insert(r.block..r.block + r.len));
        }
        if spans.count() > MAX_RANGES_OF_BLOCK {
            spans.fill_gaps();
        }
        self.ranges = self.ranges + spans.count() - before;
        if self.ranges > MAX_RANGES {
            self.forget_blocks(id);
        }
    }

    /// Remembers datasets in place of their blocks: the one of `id`, and all others if that spares too little.
    fn forget_blocks(&mut self, id: u64) {
        self.datasets.insert(id);
        self.blocks.retain(|key, _| keys::id(key) != Some(id));
        self.ranges = self.blocks.values().map(RangeSet::count).sum();
        if self.ranges > MAX_RANGES / 2 {
            self.datasets.extend(self.blocks.drain().filter_map(|(key, _)| keys::id(&key)));
            self.ranges = 0;
        }
        if self.datasets.len() > MAX_IDS {
            *self = Self { everything: true, ..Self::default() };
        }
    }

    fn has(&self, key: &[u8]) -> bool {
        self.everything || keys::id(key).is_some_and(|id| self.datasets.contains(&id))
    }
}

/// What was read of one block.
pub(crate) enum ReadOf {
    All,
    Parts(RangeSet),
}

impl ReadOf {
    /// Whether some of these bytes were read.
    pub(crate) fn overlaps(&self, r: &Range<usize>) -> bool {
        match self {
            Self::All => true,
            Self::Parts(spans) => spans.overlaps(r),
        }
    }
}

impl Reads {
    /// Reads are noted where another writer may change what was read, and somebody is to be told.
    pub(crate) fn new(writers: Writers, on_conflict: OnConflict) -> Self {
        Self((writers == Writers::Many && on_conflict != OnConflict::Last).then(Mutex::default))
    }

    /// Whether reads are noted at all.
    pub(crate) fn are_noted(&self) -> bool {
        self.0.is_some()
    }

    /// Notes that runs of a block are read.
    pub(crate) fn of_block(&self, key: &[u8], runs: &[CopyRun]) {
        if let Some(set) = &self.0 {
            set.lock().insert(key, runs);
        }
    }

    /// Notes that an attribute's value, or the comment of a header, is read.
    pub(crate) fn of_name(&self, key: &[u8]) {
        let Some(set) = &self.0 else { return };
        let mut set = set.lock();
        if set.everything || set.names.contains(key) {
            return;
        }
        if set.names.len() >= MAX_IDS {
            *set = ReadSet { everything: true, ..ReadSet::default() };
        } else {
            set.names.insert(key.to_vec());
        }
    }

    /// What was read of a block.
    pub(crate) fn block(&self, key: &[u8]) -> ReadOf {
        let Some(set) = &self.0 else { return ReadOf::Parts(RangeSet::default()) };
        let set = set.lock();
        match set.has(key) {
            true => ReadOf::All,
            false => ReadOf::Parts(set.blocks.get(key).cloned().unwrap_or_default()),
        }
    }

    /// Whether an attribute's value, or the comment of a header, was read.
    pub(crate) fn has_name(&self, key: &[u8]) -> bool {
        self.0.as_ref().map(Mutex::lock).is_some_and(|set| set.everything || set.names.contains(key))
    }

    /// A new batch begins.
    pub(crate) fn clear(&self) {
        if let Some(set) = &self.0 {
            *set.lock() = ReadSet::default();
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
            let set = reads.0.as_ref().unwrap().lock();
            assert!(set.ranges <= MAX_RANGES && set.blocks.len() <= MAX_RANGES);
        }
        assert!(reads.block(&keys::block(1, &[999])).overlaps(&(0..1)), "nothing is forgotten");
        assert!(!reads.block(&keys::block(100, &[0])).overlaps(&(0..1)));
        for id in 0..2 * MAX_IDS as u64 {
            reads.of_name(&keys::of(keys::ATTRIBUTE, id));
        }
        assert!(reads.0.as_ref().unwrap().lock().names.len() <= MAX_IDS);
        assert!(reads.has_name(&keys::of(keys::ATTRIBUTE, 1)));
    }
}
