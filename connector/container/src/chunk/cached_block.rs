//! A block in the cache.

use crate::Result;
use crate::chunk::block_store::{CHECKSUM_UNIT_BYTES, change_stored, store_block, stored};
use crate::chunk::fragments::MAX_FRAGMENTS;
use crate::chunk::grid::CopyRun;
use crate::chunk::layout::BlockLayout;
use crate::chunk::range_set::RangeSet;
use h5lake_ledger::Ledger;
use h5lake_ledger::buffers::{self, Scratch};
use h5lake_records::memory::{copied, no_memory};
use std::ops::Range;
use std::sync::Arc;

/// If more dirty ranges than this are stored, some of them are joined.
pub(crate) const MAX_DIRTY_RANGES: usize = 16;
/// Limit for dirty ranges that are too long to be stored inline, because each of them becomes a payload.
const MAX_DIRTY_PAYLOADS: usize = 4;
/// Maximum number of ranges after joining, so that a block with one fragment does not exceed the maximum number of
/// fragments.
const MAX_JOINED_RANGES: usize = (MAX_FRAGMENTS - 1) / 2;
/// If the ranges to be read or stored have this share of a block or more, the block is read or stored as a whole.
const WHOLE_SHARE: [usize; 2] = [3, 4];
/// Blocks up to this many bytes take only the memory of their written bytes, because most heap segments of attributes
/// have a few bytes.
const MIN_GROWING_BLOCK_BYTES: usize = 16 << 10;
/// Initial capacity of such a block.
const FIRST_CAPACITY_BYTES: usize = 64;

/// A block, or its known part.
pub(crate) struct CachedBlock {
    pub shape: Arc<BlockLayout>,
    /// The block, or its first bytes as far as they were needed so far.
    pub data: Vec<u8>,
    /// Bytes of `data` that are the block's present content.
    pub valid: RangeSet,
    /// Bytes of `data` that are not stored in the ledger; a subset of `valid`.
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

    /// Returns the memory for a block of which at most the first `reach` bytes are needed so far.
    pub(crate) fn length(shape: &BlockLayout, reach: usize) -> usize {
        if shape.len > MIN_GROWING_BLOCK_BYTES || !shape.filters.is_empty() {
            return shape.len;
        }
        reach
            .next_power_of_two()
            .clamp(FIRST_CAPACITY_BYTES, shape.len.max(FIRST_CAPACITY_BYTES))
            .min(shape.len)
    }

    /// Grows the memory to `length` bytes; returns the number of new bytes.
    pub(crate) fn grow(&mut self, length: usize) -> Result<usize> {
        let more = length.saturating_sub(self.data.len());
        self.data.try_reserve_exact(more).map_err(|_| no_memory(more))?;
        self.data.resize(self.data.len() + more, 0);
        Ok(more)
    }

    /// Returns whether all bytes of `runs` are valid.
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

    /// Reads the missing bytes of joined ranges with gaps, so that they become valid. Reads no other bytes of the
    /// block, unless these bytes are most of it.
    pub(crate) fn complete_joined(&mut self, ledger: &Ledger, key: &[u8], joined: &[Joined]) -> Result<()> {
        let with_gaps = joined.iter().filter(|j| j.has_gaps);
        let gaps = with_gaps.flat_map(|j| self.valid.gaps(&j.range));
        let missing: RangeSet = gaps.map(|gap| self.units_around(&gap)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let pieces = stored(ledger, key, &self.shape)?;
        let is_whole = self.is_mostly(missing.iter().map(|r| r.len()).sum());
        if is_whole || ledger.is_remote() || pieces.encoded.is_some() || self.data.len() < self.shape.len {
            return self.complete(ledger, key);
        }
        for r in missing.iter() {
            if self.valid.overlaps(&r) {
                let mut base = Scratch::try_new(r.len()).ok_or_else(|| no_memory(r.len()))?;
                pieces.read(ledger, &self.shape, r.start, &mut base)?;
                for gap in self.valid.gaps(&r) {
                    let from = gap.start - r.start;
                    self.data[gap.clone()].copy_from_slice(&base[from..from + gap.len()]);
                }
            } else {
                pieces.read(ledger, &self.shape, r.start, &mut self.data[r.clone()])?;
            }
            self.valid.insert(r);
        }
        Ok(())
    }

    fn is_mostly(&self, bytes: usize) -> bool {
        bytes * WHOLE_SHARE[1] >= self.shape.len * WHOLE_SHARE[0]
    }

    /// Joins dirty ranges that are near each other, if there are many, and reads the bytes between them.
    pub(crate) fn join_dirty(&mut self, ledger: &Ledger, key: &[u8]) -> Result<()> {
        let bytes: usize = self.dirty.iter().map(|r| r.len()).sum();
        let most = if bytes > self.shape.inline { MAX_DIRTY_PAYLOADS } else { MAX_DIRTY_RANGES };
        if self.dirty.count() <= most {
            return Ok(());
        }
        let joined = self.joined(self.dirty.iter());
        self.complete_joined(ledger, key, &joined)?;
        self.dirty = joined.into_iter().map(|j| j.range).collect();
        Ok(())
    }

    /// Joins ascending ranges to a few ranges that contain all their bytes. A range with additional bytes begins and
    /// ends at a checksum boundary: the checksum unit must be read as a whole anyway, and the remaining parts of the
    /// block can later be read without additional bytes.
    pub(crate) fn joined(&self, ranges: impl Iterator<Item = Range<usize>>) -> Vec<Joined> {
        let mut gap = CHECKSUM_UNIT_BYTES;
        let mut all = join(ranges.map(|range| Joined { range, has_gaps: false }), gap);
        while all.len() > MAX_JOINED_RANGES {
            gap *= 4;
            all = join(all.into_iter(), gap);
        }
        all.iter_mut().filter(|j| j.has_gaps).for_each(|j| j.range = self.units_around(&j.range));
        let is_whole = all.len() > 1 || all.iter().any(|j| j.has_gaps);
        if is_whole && self.is_mostly(all.iter().map(|j| j.range.len()).sum()) {
            return vec![Joined { range: 0..self.shape.len, has_gaps: true }];
        }
        all
    }

    /// Returns the bytes that share a checksum with a range, if the block was written as one payload.
    fn units_around(&self, r: &Range<usize>) -> Range<usize> {
        let end = r.end.next_multiple_of(CHECKSUM_UNIT_BYTES).min(self.shape.len);
        r.start / CHECKSUM_UNIT_BYTES * CHECKSUM_UNIT_BYTES..end
    }

    /// Stores the dirty bytes.
    pub(crate) fn store(&mut self, ledger: &Ledger, key: &[u8]) -> Result<()> {
        let shape = self.shape.clone();
        if !shape.filters.is_empty() {
            self.complete(ledger, key)?;
            return store_block(ledger, key, &shape, copied(&self.data)?);
        }
        self.join_dirty(ledger, key)?;
        change_stored(ledger, key, &shape, |p| {
            let known = shape.statistics_of_cached(key, p.before(), &self.data, [&self.valid, &self.dirty]);
            self.dirty.iter().try_for_each(|r| p.put(ledger, &shape, r.start, &self.data[r]))?;
            p.statistics = known;
            Ok(())
        })
    }
}

/// Ranges of a block that were joined.
pub(crate) struct Joined {
    pub range: Range<usize>,
    /// True if some of its bytes are in none of the joined ranges.
    pub has_gaps: bool,
}

/// Joins ascending ranges over gaps of at most `gap` bytes.
fn join(ranges: impl Iterator<Item = Joined>, gap: usize) -> Vec<Joined> {
    let mut joined: Vec<Joined> = Vec::new();
    for next in ranges {
        match joined.last_mut() {
            Some(last) if next.range.start <= last.range.end + gap => {
                last.has_gaps |= next.has_gaps || next.range.start > last.range.end;
                last.range.end = last.range.end.max(next.range.end);
            }
            _ => joined.push(next),
        }
    }
    joined
}
