//! Parts of blocks that move from one process of an MPI program to another while a commit is made. Whoever gave a part has it until
//! the commit is made: if it fails, all have what they had.

use super::{BlockCache, ENTRY_OVERHEAD_BYTES};
use crate::chunk::cached_block::CachedBlock;
use crate::chunk::layout::BlockLayout;
use crate::chunk::range_set::RangeSet;
use crate::multi_writer::BlockPart;
use std::ops::Range;
use std::sync::Arc;

/// What moves in the commit that is being made.
#[derive(Default)]
pub(super) struct MovingParts {
    /// Blocks that were changed here, with what was written of them, whose parts others have taken. They count as memory in use.
    given: Vec<(Vec<u8>, CachedBlock, RangeSet)>,
    /// Of blocks here, what others have written and this process has not.
    taken: Vec<(Vec<u8>, RangeSet)>,
}

impl MovingParts {
    /// The blocks that are given away.
    #[cfg(test)]
    pub(super) fn given(&self) -> impl Iterator<Item = &CachedBlock> {
        self.given.iter().map(|(_, block, _)| block)
    }
}

impl BlockCache {
    /// How much of a changed block was written since the last commit; 0 where not all of that is in memory.
    pub(crate) fn bytes_of_part(&self, key: &[u8]) -> usize {
        self.part(key).map_or(0, |(_, written)| written.iter().map(|r| r.len()).sum())
    }

    /// What was written of a changed block since the last commit, if all of that is in memory.
    pub(crate) fn part_of(&self, key: &[u8]) -> Option<BlockPart> {
        let (block, written) = self.part(key)?;
        let spans: Vec<_> = written.iter().collect();
        let bytes = spans.iter().flat_map(|r| &block.data[r.clone()]).copied().collect();
        Some(BlockPart { spans, bytes })
    }

    fn part(&self, key: &[u8]) -> Option<(&CachedBlock, &RangeSet)> {
        let block = self.blocks.get(key).filter(|block| !block.dirty.is_empty())?;
        let written = self.touched.as_ref()?.of(key)?;
        written.iter().all(|r| block.valid.covers(&r)).then_some((block, written))
    }

    /// How a block in memory is laid out.
    pub(crate) fn shape_of(&self, key: &[u8]) -> Option<Arc<BlockLayout>> {
        self.blocks.get(key).map(|block| block.shape.clone())
    }

    /// Notes that what is about to be written of a block is another process's.
    pub(crate) fn note_taken(&mut self, key: &[u8], spans: &[Range<usize>]) {
        let mut others = RangeSet::default();
        spans.iter().for_each(|r| others.insert(r.clone()));
        self.touched(key).iter().for_each(|r| others.remove(&r));
        self.moving.taken.push((key.to_vec(), others));
    }

    /// Puts a changed block aside: another process has taken what was written of it.
    pub(crate) fn give_away(&mut self, key: &[u8]) {
        self.epoch += 1;
        let written = self.touched(key);
        self.set_touched(key, RangeSet::default());
        self.dirty.remove(key);
        if let Some(block) = self.blocks.remove(key) {
            self.moving.given.push((key.to_vec(), block, written));
        }
    }

    /// The commit is made: whoever has taken a part has committed it.
    pub(crate) fn settle_moving(&mut self) {
        self.forget_moving(|_| true);
    }

    /// The commit failed: what was given away counts as written here again, and what was taken does not. Nothing is read for that, for
    /// that could fail as well.
    pub(crate) fn take_back_moving(&mut self) {
        self.epoch += 1;
        let MovingParts { given, taken } = std::mem::take(&mut self.moving);
        if let Some(touched) = &mut self.touched {
            taken.iter().for_each(|(key, others)| touched.remove(key, others));
        }
        for (key, mut block, written) in given {
            self.remove(&key);
            // The rest may be older by now than what others have committed.
            (block.valid, block.dirty) = (written.clone(), written.clone());
            self.blocks.insert(key.clone(), block);
            self.set_touched(&key, written);
            self.dirty.insert(key);
        }
    }

    /// Forgets what moves of such blocks.
    pub(super) fn forget_moving(&mut self, is_gone: impl Fn(&[u8]) -> bool) {
        let MovingParts { given, taken } = &mut self.moving;
        taken.retain(|(key, _)| !is_gone(key));
        let gone = given.extract_if(.., |(key, _, _)| is_gone(key));
        let bytes: usize = gone.map(|(_, block, _)| block.data.len() + ENTRY_OVERHEAD_BYTES).sum();
        self.claim.subtract(bytes);
    }
}
