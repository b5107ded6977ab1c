//! Writes to blocks: in memory, or past the cache if they are long.

use std::sync::Arc;

use h5lake_ledger::Ledger;

use super::BlockCache;
use crate::Result;
use crate::chunk::block_store::{change_stored, put_parts, replace_inline, store_block};
use crate::chunk::cached_block::MAX_DIRTY_RANGES;
use crate::chunk::copy_runs::scatter;
use crate::chunk::grid::{CopyRun, Coverage};
use crate::chunk::layout::{BlockLayout, MIN_DIRECT_BYTES};
use crate::chunk::range_set::RangeSet;

/// If more runs than this are written to a block together, they are joined.
const MAX_SEPARATE_RUNS: usize = 4 * MAX_DIRTY_RANGES;

impl BlockCache {
    /// Writes parts of `block` to a block, in memory and staged. Parts that cannot be staged stay in memory, and the
    /// next flush stages them.
    pub(crate) fn overlay(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        spans: &RangeSet,
        block: &[u8],
    ) -> Result<()> {
        self.epoch += 1;
        let runs: Vec<_> =
            spans.iter().map(|r| CopyRun { block: r.start, buffer: r.start, len: r.len() }).collect();
        if !runs.is_empty() {
            self.write_cached(ledger, key, shape, &runs, block)?;
        }
        self.store(ledger, key)
    }

    /// Restores the bytes `known` of a block that is not in memory; the cache must have space for it. The ranges
    /// `spans` are not stored yet. They are in memory in any case; if an error prevents their staging, the next flush
    /// stages them.
    pub(crate) fn put_back(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        [spans, known]: [&RangeSet; 2],
        block: Vec<u8>,
    ) -> Result<()> {
        self.epoch += 1;
        if spans.is_empty() {
            return Ok(());
        }
        self.remove(key);
        self.insert(key, shape, block);
        if let Some(c) = self.blocks.get_mut(key) {
            known.iter().for_each(|r| c.valid.insert(r));
            spans.iter().for_each(|r| c.dirty.insert(r));
        }
        self.dirty.insert(key.to_vec());
        self.store(ledger, key)
    }

    /// Writes runs of `data` to a block.
    pub(crate) fn write(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        runs: &[CopyRun],
        data: &[u8],
        coverage: Coverage,
    ) -> Result<()> {
        self.epoch += 1;
        self.touch(key, runs.iter().map(|r| r.block..r.block + r.len));
        let bytes: usize = runs.iter().map(|r| r.len).sum();
        if coverage == Coverage::Whole
            && bytes >= MIN_DIRECT_BYTES.min(self.claim.limit())
            && bytes >= shape.len / 2
        {
            return self.replace(ledger, key, shape, runs, data);
        }
        // A small block that is written as a whole is staged at once; otherwise it would be in memory twice.
        let is_covered = coverage == Coverage::Whole || runs.len() == 1;
        if is_covered && bytes == shape.len && shape.len <= shape.inline && shape.filters.is_empty() {
            return self.replace(ledger, key, shape, runs, data);
        }
        if !shape.filters.is_empty() && coverage == Coverage::Whole {
            let c = self.enter(ledger, key, shape, shape.len)?;
            if c.valid.is_empty() {
                c.data = shape.filled()?;
                c.valid.insert(0..shape.len);
            }
        }
        // Runs are written in the given order: where they overlap, the last one wins.
        let long = |r: &CopyRun| r.len >= MIN_DIRECT_BYTES;
        for group in runs.chunk_by(|a, b| long(a) == long(b)) {
            let past = shape.filters.is_empty() && long(&group[0]) && group.len() <= MAX_DIRTY_RANGES;
            if past && !self.blocks.contains_key(key) {
                self.write_direct(ledger, key, shape, group, data)?;
            } else {
                self.write_cached(ledger, key, shape, group, data)?;
            }
        }
        Ok(())
    }

    fn write_cached(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        runs: &[CopyRun],
        data: &[u8],
    ) -> Result<()> {
        let is_filtered = !shape.filters.is_empty();
        let is_many = !is_filtered && runs.len() > MAX_SEPARATE_RUNS;
        let end = runs.iter().map(|r| r.block + r.len).max().unwrap_or(0);
        let c = self.enter(ledger, key, shape, if is_filtered || is_many { shape.len } else { end })?;
        let mut joined = Vec::new();
        if is_filtered {
            c.complete(ledger, key)?;
        } else if is_many {
            let mut all: Vec<_> = runs.iter().map(|r| r.block..r.block + r.len).collect();
            all.sort_unstable_by_key(|r| r.start);
            joined = c.joined(all.into_iter());
            c.complete_joined(ledger, key, &joined)?;
        }
        let was_clean = c.dirty.is_empty();
        scatter(runs, data, &mut c.data);
        for set in [&mut c.valid, &mut c.dirty] {
            if is_many {
                joined.iter().for_each(|j| set.insert(j.range.clone()));
            } else if !set.covers(&(0..end)) {
                // Skips the insertion if the whole range is present already, as in a block that is written column by column.
                runs.iter().for_each(|r| set.insert(r.block..r.block + r.len));
            }
        }
        let is_scattered = !is_filtered && c.dirty.count() > MAX_DIRTY_RANGES * 16;
        if was_clean {
            self.dirty.insert(key.to_vec());
        }
        if is_scattered {
            self.enter(ledger, key, shape, shape.len)?.join_dirty(ledger, key)?;
        }
        Ok(())
    }

    /// Replaces a whole block, past the cache.
    fn replace(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        runs: &[CopyRun],
        data: &[u8],
    ) -> Result<()> {
        if shape.filters.is_empty()
            && let [r] = runs
        {
            let given = &data[r.buffer..r.buffer + r.len];
            if r.len == shape.len && r.len <= shape.inline && ledger.takes_inline(r.len) {
                replace_inline(ledger, key, shape, given)?;
            } else {
                // The part outside of the dataset, if any, becomes fill.
                put_parts(ledger, key, shape, &[(r.block, given)], true)?;
            }
            self.remove(key);
            return Ok(());
        }
        let mut block = shape.filled()?;
        for r in runs {
            block[r.block..r.block + r.len].copy_from_slice(&data[r.buffer..r.buffer + r.len]);
        }
        // Until the new block is stored, the old one stays in the cache.
        let is_small = shape.filters.is_empty() && block.len() <= shape.inline;
        if is_small && ledger.takes_inline(block.len()) {
            replace_inline(ledger, key, shape, &block)?;
        } else {
            store_block(ledger, key, shape, block)?;
        }
        self.remove(key);
        Ok(())
    }

    fn write_direct(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        runs: &[CopyRun],
        data: &[u8],
    ) -> Result<()> {
        let parts: Vec<_> = runs.iter().map(|r| (r.block, &data[r.buffer..r.buffer + r.len])).collect();
        put_parts(ledger, key, shape, &parts, false)
    }

    /// Replaces all bytes of a block from `end` on by fill.
    pub(crate) fn trim(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        end: usize,
    ) -> Result<()> {
        self.epoch += 1;
        self.touch(key, std::iter::once(end..shape.len));
        if !shape.filters.is_empty() {
            return self.refill(
                ledger,
                key,
                shape,
                &[CopyRun { block: end, buffer: 0, len: shape.len - end }],
            );
        }
        change_stored(ledger, key, shape, |p| {
            let known = shape.statistics_up_to(end, p.statistics.take());
            p.cut(end..shape.len);
            p.statistics = known;
            Ok(())
        })?;
        if let Some(c) = self.blocks.get_mut(key) {
            c.dirty.truncate(end);
            c.valid.truncate(end);
        }
        Ok(())
    }

    /// Reads a whole block into memory.
    pub(crate) fn load(&mut self, ledger: &Ledger, key: &[u8], shape: &Arc<BlockLayout>) -> Result<()> {
        self.enter(ledger, key, shape, shape.len)?.complete(ledger, key)
    }

    /// Replaces parts of a block by fill.
    pub(crate) fn refill(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        runs: &[CopyRun],
    ) -> Result<()> {
        self.epoch += 1;
        self.touch(key, runs.iter().map(|r| r.block..r.block + r.len));
        let c = self.enter(ledger, key, shape, shape.len)?;
        c.complete(ledger, key)?;
        for r in runs {
            shape.fill(r.block, &mut c.data[r.block..r.block + r.len]);
            c.dirty.insert(r.block..r.block + r.len);
        }
        self.dirty.insert(key.to_vec());
        Ok(())
    }

    /// Stages a block anew in the form that its layout now requires.
    pub(crate) fn restage(&mut self, ledger: &Ledger, key: &[u8], shape: &Arc<BlockLayout>) -> Result<()> {
        let c = self.enter(ledger, key, shape, shape.len)?;
        c.complete(ledger, key)?;
        c.dirty.insert(0..shape.len);
        self.dirty.insert(key.to_vec());
        Ok(())
    }
}
