//! One block in memory.

use crate::Result;
use crate::chunk::block_store::{change_stored, store_block, stored};
use crate::chunk::grid::CopyRun;
use crate::chunk::layout::BlockLayout;
use crate::chunk::range_set::RangeSet;
use crate::record_conversion::{copied, no_memory};
use h5lake_ledger::{Ledger, buffers};
use std::sync::Arc;

/// A store of more dirty ranges than this joins some.
pub(crate) const MAX_DIRTY_RANGES: usize = 16;
/// Blocks up to this many bytes take no more memory than what was written of them: most heap segments of attributes
/// have a few bytes.
const MIN_GROWING_BLOCK_BYTES: usize = 16 << 10;
/// What such a block takes at first.
const FIRST_CAPACITY_BYTES: usize = 64;

/// A block, or as much of it as is known.
pub(crate) struct CachedBlock {
    pub shape: Arc<BlockLayout>,
    /// The block, or as much from its begin as was needed so far.
    pub data: Vec<u8>,
    /// Bytes of `data` that are the block's present content.
    pub valid: RangeSet,
    /// Bytes of `data` that the ledger does not have; within `valid`.
    pub dirty: RangeSet,
    pub used: u64,
}

impl Drop for CachedBlock {
    fn drop(&mut self) {
        buffers::give(std::mem::take(&mut self.data));
    }
}

impl CachedBlock {
    pub(crate) fn new(shape: &Arc<BlockLayout>, data: Vec<u8>, used: u64) -> Self {
        let (valid, dirty) = (RangeSet::default(), RangeSet::default());
        Self { shape: shape.clone(), data, valid, dirty, used }
    }

    /// Bytes of memory for a block of which no more than the first `reach` bytes are needed so far.
    pub(crate) fn room(shape: &BlockLayout, reach: usize) -> usize {
        if shape.len > MIN_GROWING_BLOCK_BYTES || !shape.filters.is_empty() {
            return shape.len;
        }
        reach
            .next_power_of_two()
            .clamp(FIRST_CAPACITY_BYTES, shape.len.max(FIRST_CAPACITY_BYTES))
            .min(shape.len)
    }

    /// Makes room for the first `room` bytes; returns how many are new.
    pub(crate) fn grow(&mut self, room: usize) -> Result<usize> {
        let more = room.saturating_sub(self.data.len());
        self.data.try_reserve_exact(more).map_err(|_| no_memory(more))?;
        self.data.resize(self.data.len() + more, 0);
        Ok(more)
    }

    /// Whether all that is wanted is here.
    pub(crate) fn knows(&self, runs: &[CopyRun]) -> bool {
        self.valid.covers(&(0..self.shape.len))
            || runs.iter().all(|r| self.valid.covers(&(r.block..r.block + r.len)))
    }

    /// Makes all bytes valid.
    pub(crate) fn complete(&mut self, ledger: &Ledger, key: &[u8]) -> Result<()> {
        let whole = 0..self.shape.len;
        if self.valid.covers(&whole) {
            return Ok(());
        }
        let mut base = stored(ledger, key, &self.shape)?.load(ledger, &self.shape)?;
        for r in self.valid.iter() {
            base[r.clone()].copy_from_slice(&self.data[r]);
        }
        buffers::give(std::mem::replace(&mut self.data, base));
        self.valid.insert(whole);
        Ok(())
    }

    /// Stores what is dirty.
    pub(crate) fn store(&mut self, ledger: &Ledger, key: &[u8]) -> Result<()> {
        let shape = self.shape.clone();
        if !shape.filters.is_empty() {
            self.complete(ledger, key)?;
            return store_block(ledger, key, &shape, copied(&self.data)?);
        }
        // Few ranges: join over small gaps first, then over larger ones.
        let mut gap = 256;
        while self.dirty.count() > MAX_DIRTY_RANGES {
            self.complete(ledger, key)?;
            self.dirty.fill_gaps_up_to(gap);
            gap *= 4;
        }
        change_stored(ledger, key, &shape, |p| {
            let known = shape.statistics_of_cached(key, p.before(), &self.data, [&self.valid, &self.dirty]);
            self.dirty.iter().try_for_each(|r| p.put(ledger, &shape, r.start, &self.data[r]))?;
            p.statistics = known;
            Ok(())
        })
    }
}
