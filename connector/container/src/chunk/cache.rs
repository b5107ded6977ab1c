//! The bounded cache of blocks, clean and dirty.

mod eviction;
mod moving_parts;
mod writes;

use crate::Result;
use crate::chunk::admission::{Admission, AdmissionPolicy, Latency};
use crate::chunk::block_store::stored;
use crate::chunk::cached_block::CachedBlock;
use crate::chunk::copy_runs::gather;
use crate::chunk::grid::CopyRun;
use crate::chunk::layout::BlockLayout;
use crate::chunk::memory_budget::{Claim, GivesBack};
use crate::chunk::range_set::RangeSet;
use crate::chunk::read_set::Reads;
use crate::chunk::written::WrittenSpans;
use h5lake_ledger::locks::Mutex;
use h5lake_ledger::{CacheUse, Ledger, Writers};
use h5lake_records::memory::buffer;
pub use moving_parts::BlockPart;
use moving_parts::MovingParts;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};
use std::sync::Arc;

/// Memory of an entry in addition to its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// The blocks in memory. Dirty blocks are stored by [`Self::flush`], or when the cache needs space.
pub(crate) struct BlockCache {
    blocks: BTreeMap<Vec<u8>, CachedBlock>,
    dirty: BTreeSet<Vec<u8>>,
    keeping: AdmissionPolicy,
    claim: Claim,
    distance: Latency,
    tick: u64,
    /// Incremented whenever bytes that were read before may have become stale.
    epoch: u64,
    uses: Arc<CacheUse>,
    /// The bytes written to each block since the last commit. Present in multi-writer mode, where they have to be
    /// merged.
    touched: Option<WrittenSpans>,
    /// The parts that move between processes in the commit in progress.
    moving: MovingParts,
}

impl BlockCache {
    pub(crate) fn new(claim: Claim, distance: Latency, writers: Writers) -> Self {
        Self {
            touched: (writers == Writers::Many).then(WrittenSpans::default),
            blocks: BTreeMap::new(),
            dirty: BTreeSet::new(),
            keeping: AdmissionPolicy::new(claim.limit(), distance),
            claim,
            distance,
            tick: 0,
            epoch: 0,
            uses: Arc::default(),
            moving: MovingParts::default(),
        }
    }

    /// Counts hits and misses in `uses` from now on.
    pub(crate) fn counting(self, uses: Arc<CacheUse>) -> Self {
        Self { uses, ..self }
    }

    /// Notes the bytes that are written to a block.
    pub(crate) fn touch(&mut self, key: &[u8], runs: impl IntoIterator<Item = Range<usize>>) {
        if let Some(touched) = &mut self.touched {
            touched.insert(key, runs);
        }
    }

    /// Notes the bytes that are read of a block, except bytes that this batch has written itself.
    pub(crate) fn note_read(&self, reads: &Reads, key: &[u8], runs: &[CopyRun]) {
        let Some(written) = self.touched.as_ref().and_then(|t| t.of(key)) else {
            return reads.of_block(key, runs);
        };
        let unwritten = runs.iter().filter(|r| !written.covers(&(r.block..r.block + r.len)));
        reads.of_block(key, &unwritten.copied().collect::<Vec<_>>());
    }

    /// Returns the bytes written to a block since the last commit.
    pub(crate) fn touched(&self, key: &[u8]) -> RangeSet {
        self.touched.as_ref().and_then(|t| t.of(key)).cloned().unwrap_or_default()
    }

    /// Sets the bytes of a block that count as written.
    pub(crate) fn set_touched(&mut self, key: &[u8], spans: RangeSet) {
        if let Some(touched) = &mut self.touched {
            touched.set(key, spans);
        }
    }

    /// Forgets all written bytes, after a commit.
    pub(crate) fn forget_touched(&mut self) {
        if let Some(touched) = &mut self.touched {
            *touched = WrittenSpans::default();
        }
    }

    /// Sets aside the bytes written for a commit with an unknown outcome. Later writes are not part of it.
    pub(crate) fn set_touched_aside(&mut self) {
        if let Some(touched) = &mut self.touched {
            touched.set_aside();
        }
    }

    /// Forgets the bytes that were set aside if the commit was made; otherwise they count as written again.
    pub(crate) fn settle_touched(&mut self, is_committed: bool) {
        if let Some(touched) = &mut self.touched {
            touched.settle(is_committed);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(c) = self.blocks.remove(key) {
            self.claim.subtract(c.data.len() + ENTRY_OVERHEAD_BYTES);
        }
        self.dirty.remove(key);
    }

    /// Returns the block in memory with space for its first `reach` bytes. If it was not in memory, the bytes are
    /// undefined and none is valid.
    fn enter(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        reach: usize,
    ) -> Result<&mut CachedBlock> {
        let here = self.blocks.get(key).map(|c| c.data.len());
        if here.is_none_or(|len| len < reach) {
            let length = CachedBlock::length(shape, reach);
            // The eviction may evict this block itself.
            self.make_space(ledger, length + ENTRY_OVERHEAD_BYTES)?;
            match self.blocks.get_mut(key) {
                Some(c) => self.claim.add(c.grow(length)?),
                None => self.insert(key, shape, buffer(length)?),
            }
        }
        self.tick += 1;
        let here = self.blocks.get_mut(key);
        let c = here.ok_or_else(|| crate::Error::corrupt("a block left the cache as it entered"))?;
        c.used = self.tick;
        // A dataset that was opened again has a new layout, and only the pipeline of the new layout can run.
        if !Arc::ptr_eq(&c.shape, shape) {
            c.shape = shape.clone();
        }
        Ok(c)
    }

    fn insert(&mut self, key: &[u8], shape: &Arc<BlockLayout>, data: Vec<u8>) {
        self.tick += 1;
        self.claim.add(data.len() + ENTRY_OVERHEAD_BYTES);
        self.blocks.insert(key.to_vec(), CachedBlock::new(shape, data, self.tick));
    }

    /// Returns the memory of all cached blocks in bytes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        assert_eq!(
            self.claim.bytes(),
            self.blocks
                .values()
                .chain(self.moving.given())
                .map(|c| c.data.len() + ENTRY_OVERHEAD_BYTES)
                .sum::<usize>()
        );
        self.claim.bytes()
    }

    /// Returns whether a block is in memory with changes.
    pub(crate) fn is_dirty(&self, key: &[u8]) -> bool {
        self.dirty.contains(key)
    }

    /// Returns the keys of changed blocks under a prefix.
    pub(crate) fn dirty_keys(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        self.dirty_between(prefix, None, None).cloned().collect()
    }

    /// Returns the keys of changed blocks under a prefix, after the key `after` and up to `last`.
    pub(crate) fn dirty_between(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        last: Option<&[u8]>,
    ) -> impl Iterator<Item = &Vec<u8>> {
        let from = (after.map_or(Bound::Included(prefix), Bound::Excluded), Bound::Unbounded);
        let is_in = move |k: &&Vec<u8>| k.starts_with(prefix) && last.is_none_or(|last| &k[..] <= last);
        self.dirty.range::<[u8], _>(from).take_while(is_in)
    }

    /// Returns the number of calls that may have changed the set of stored blocks or their content.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Drops all blocks under a prefix, including their changes.
    pub(crate) fn discard(&mut self, prefix: &[u8]) {
        self.epoch += 1;
        if let Some(touched) = &mut self.touched {
            touched.forget_under(prefix);
        }
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let keys = self.blocks.range::<[u8], _>(from).map(|(k, _)| k);
        let keys: Vec<_> = keys.take_while(|k| k.starts_with(prefix)).cloned().collect();
        keys.iter().for_each(|k| self.remove(k));
        self.forget_moving(|key| key.starts_with(prefix));
    }

    /// Drops all blocks, including their changes: those of a reader after its snapshot moved, or those of a dropped batch.
    pub(crate) fn drop_all(&mut self) {
        self.epoch += 1;
        self.blocks.clear();
        self.dirty.clear();
        self.moving = MovingParts::default();
        self.claim.subtract(self.claim.bytes());
        self.keeping = AdmissionPolicy::new(self.claim.limit(), self.distance);
        self.forget_touched();
    }

    /// Reads from memory, or tells the caller to read from the ledger.
    pub(crate) fn read(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        runs: &[CopyRun],
        out: &mut [u8],
    ) -> Result<Admission> {
        let known = self.blocks.get(key).is_some_and(|c| c.knows(runs));
        self.uses.note(known);
        if !self.blocks.contains_key(key) && !self.keeping.admits(key, shape, runs) {
            return Ok(Admission::Stored);
        }
        if !self.blocks.contains_key(key) {
            // The block is read before it gets memory in the cache, because memory allocated first would have to be
            // initialized.
            let pieces = stored(ledger, key, shape)?;
            if pieces.has_lost() {
                return Ok(Admission::Stored);
            }
            let data = pieces.load(ledger, shape)?;
            gather(runs, &data, 0, out);
            self.keep(ledger, key, shape, data)?;
            return Ok(Admission::Done);
        }
        let c = self.enter(ledger, key, shape, if known { 0 } else { shape.len })?;
        if !known && let Err(e) = c.complete(ledger, key) {
            if c.valid.is_empty() {
                self.remove(key);
            }
            return Err(e);
        }
        gather(runs, &c.data, 0, out);
        Ok(Admission::Done)
    }

    /// Returns whether any part of a block is in memory.
    pub(crate) fn is_here(&self, key: &[u8]) -> bool {
        self.blocks.contains_key(key)
    }

    /// Reads from memory, or lets the caller read the block without the cache's lock.
    pub(crate) fn look(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        runs: &[CopyRun],
        out: &mut [u8],
    ) -> Result<Admission> {
        if self.blocks.contains_key(key) {
            return self.read(ledger, key, shape, runs, out);
        }
        self.uses.note(false);
        let keep = self.keeping.admits(key, shape, runs);
        Ok(if keep { Admission::Keep(self.epoch) } else { Admission::Stored })
    }

    /// Caches a block that was read since `epoch`, unless something was written meanwhile.
    pub(crate) fn admit(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        data: Vec<u8>,
        epoch: u64,
    ) -> Result<()> {
        if self.epoch != epoch || self.blocks.contains_key(key) || data.len() != shape.len {
            return Ok(());
        }
        self.keep(ledger, key, shape, data)
    }

    /// Caches a block that is not in memory, with its stored content.
    fn keep(&mut self, ledger: &Ledger, key: &[u8], shape: &Arc<BlockLayout>, data: Vec<u8>) -> Result<()> {
        self.make_space(ledger, data.len() + ENTRY_OVERHEAD_BYTES)?;
        self.insert(key, shape, data);
        self.enter(ledger, key, shape, 0)?.valid.insert(0..shape.len);
        Ok(())
    }

    /// Drops the changed blocks under a prefix.
    pub(crate) fn discard_dirty(&mut self, prefix: &[u8]) {
        self.epoch += 1;
        for key in self.dirty_keys(prefix) {
            self.remove(&key);
            self.set_touched(&key, RangeSet::default());
        }
    }

    /// Drops a block that is about to be replaced in the ledger.
    pub(crate) fn supersede(&mut self, key: &[u8]) {
        self.epoch += 1;
        self.remove(key);
    }
}

impl GivesBack for Mutex<BlockCache> {
    fn give_back(&self, keep: usize) {
        if let Some(mut cache) = self.try_lock() {
            cache.give_back(keep);
        }
    }
}
