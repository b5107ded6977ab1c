//! Parts of blocks that move from one process of an MPI program to another during a commit. The process that gave a
//! part retains it until the commit is made: if the commit fails, each process has its own data as before.

use super::{BlockCache, ENTRY_OVERHEAD_BYTES};
use crate::chunk::cached_block::CachedBlock;
use crate::chunk::layout::BlockLayout;
use crate::chunk::range_set::RangeSet;
use std::ops::Range;
use std::sync::Arc;

/// The part of a block that one process wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockPart {
    /// Ranges of bytes in the block, in order.
    pub spans: Vec<Range<usize>>,
    /// The bytes of these ranges, one after the other.
    pub bytes: Vec<u8>,
}

/// The parts that move in the commit in progress.
#[derive(Default)]
pub(super) struct MovingParts {
    /// Blocks that were changed here and given to other processes, with the bytes written here. They count as memory in
    /// use.
    given: Vec<(Vec<u8>, CachedBlock, RangeSet)>,
    /// Bytes of blocks here that other processes have written and this process has not.
    taken: Vec<(Vec<u8>, RangeSet)>,
}

impl MovingParts {
    /// Returns the blocks that were given to other processes.
    #[cfg(test)]
    pub(super) fn given(&self) -> impl Iterator<Item = &CachedBlock> {
        self.given.iter().map(|(_, block, _)| block)
    }
}

impl BlockCache {
    /// Returns how many bytes of a changed block were written since the last commit; 0 if not all of them are in
    /// memory.
    pub(crate) fn bytes_of_part(&self, key: &[u8]) -> usize {
        self.part(key).map_or(0, |(_, written)| written.iter().map(|r| r.len()).sum())
    }

    /// Returns the bytes of a changed block that were written since the last commit, if all of them are in memory.
    pub(crate) fn part_of(&self, key: &[u8]) -> Option<BlockPart> {
        let (block, written) = self.part(key)?;
        let spans: Vec<_> = written.iter().collect();
        let mut bytes = Vec::with_capacity(spans.iter().map(|r| r.len()).sum());
        spans.iter().for_each(|r| bytes.extend_from_slice(&block.data[r.clone()]));
        Some(BlockPart { spans, bytes })
    }

    fn part(&self, key: &[u8]) -> Option<(&CachedBlock, &RangeSet)> {
        let block = self.blocks.get(key).filter(|block| !block.dirty.is_empty())?;
        let written = self.touched.as_ref()?.of(key)?;
        written.iter().all(|r| block.valid.covers(&r)).then_some((block, written))
    }

    /// Returns the layout of a block in memory.
    pub(crate) fn shape_of(&self, key: &[u8]) -> Option<Arc<BlockLayout>> {
        self.blocks.get(key).map(|block| block.shape.clone())
    }

    /// Notes that the bytes about to be written to a block were written by another process.
    pub(crate) fn note_taken(&mut self, key: &[u8], spans: &[Range<usize>]) {
        let mut foreign: RangeSet = spans.iter().cloned().collect();
        self.touched(key).iter().for_each(|r| foreign.remove(&r));
        self.moving.taken.push((key.to_vec(), foreign));
    }

    /// Sets a changed block aside, because another process has taken the part written here.
    pub(crate) fn give_away(&mut self, key: &[u8]) {
        self.epoch += 1;
        let written = self.touched(key);
        self.set_touched(key, RangeSet::default());
        self.dirty.remove(key);
        if let Some(block) = self.blocks.remove(key) {
            self.moving.given.push((key.to_vec(), block, written));
        }
    }

    /// Returns the keys of blocks that were given to other processes.
    pub(crate) fn given_keys(&self) -> Vec<Vec<u8>> {
        self.moving.given.iter().map(|(key, ..)| key.clone()).collect()
    }

    /// Removes bytes from a block that was given to another process.
    pub(crate) fn cut_given(&mut self, key: &[u8], ranges: &[Range<usize>]) {
        let found = self.moving.given.iter_mut().filter(|(given, ..)| given == key);
        found.for_each(|(_, _, written)| ranges.iter().for_each(|r| written.remove(r)));
    }

    /// Restores the state before the exchange, after the commit failed: parts that were given count as written here
    /// again, and parts that were taken do not. Nothing is read, because a read could fail as well.
    pub(crate) fn take_back_moving(&mut self) {
        self.epoch += 1;
        let MovingParts { given, taken } = std::mem::take(&mut self.moving);
        if let Some(touched) = &mut self.touched {
            taken.iter().for_each(|(key, foreign)| touched.remove(key, foreign));
        }
        for (key, mut block, written) in given {
            // All other bytes of the block may be older than the commits of other processes.
            (block.valid, block.dirty) = (written.clone(), written.clone());
            self.dirty.remove(&key);
            if let Some(newer) = self.blocks.remove(&key) {
                let more = newer.data.len().saturating_sub(block.data.len());
                block.data.resize(block.data.len() + more, 0);
                take_in(&mut block, &newer, &written);
                self.claim.add(more);
                self.claim.subtract(newer.data.len() + ENTRY_OVERHEAD_BYTES);
            }
            if block.dirty.is_empty() {
                self.claim.subtract(block.data.len() + ENTRY_OVERHEAD_BYTES);
                continue;
            }
            self.set_touched(&key, written);
            self.blocks.insert(key.clone(), block);
            self.dirty.insert(key);
        }
    }

    /// Forgets the parts of blocks for which `is_gone` returns true.
    pub(crate) fn forget_moving(&mut self, is_gone: impl Fn(&[u8]) -> bool) {
        let MovingParts { given, taken } = &mut self.moving;
        taken.retain(|(key, _)| !is_gone(key));
        let gone = given.extract_if(.., |(key, _, _)| is_gone(key));
        let bytes: usize = gone.map(|(_, block, _)| block.data.len() + ENTRY_OVERHEAD_BYTES).sum();
        self.claim.subtract(bytes);
    }
}

/// Copies the changes of a newer state of a block into an older one, except the bytes that were written in the older
/// one.
fn take_in(older: &mut CachedBlock, newer: &CachedBlock, written: &RangeSet) {
    let mut changed = newer.dirty.clone();
    written.iter().for_each(|r| changed.remove(&r));
    for r in changed.iter() {
        older.data[r.clone()].copy_from_slice(&newer.data[r.clone()]);
        older.valid.insert(r.clone());
        older.dirty.insert(r);
    }
}
