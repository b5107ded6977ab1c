//! The bounded cache of blocks, clean and dirty.

use crate::Result;
use crate::chunk::admission::{Admission, AdmissionPolicy, Latency};
use crate::chunk::block_store::{change_stored, put_parts, replace_inline, store_block, stored};
use crate::chunk::cached_block::{CachedBlock, MAX_DIRTY_RANGES};
use crate::chunk::copy_runs::{gather, scatter};
use crate::chunk::grid::{CopyRun, Coverage};
use crate::chunk::layout::{BlockLayout, MIN_DIRECT_BYTES};
use crate::chunk::memory_budget::{Claim, GivesBack};
use crate::chunk::range_set::RangeSet;
use crate::chunk::read_set::Reads;
use crate::filters::unlocked;
use h5lake_ledger::locks::Mutex;
use h5lake_ledger::{CacheUse, Ledger, Writers};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};
use std::sync::Arc;

/// Memory that an entry takes beside its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// The blocks in memory. Dirty ones are stored by [`Self::flush`], or when room is needed.
pub(crate) struct BlockCache {
    blocks: BTreeMap<Vec<u8>, CachedBlock>,
    dirty: BTreeSet<Vec<u8>>,
    keeping: AdmissionPolicy,
    claim: Claim,
    distance: Latency,
    tick: u64,
    /// Counts whatever may make bytes that were read before stale.
    epoch: u64,
    uses: Arc<CacheUse>,
    /// What was written of each block since the last commit, where others write too and that has to be merged.
    touched: Option<BTreeMap<Vec<u8>, RangeSet>>,
}

impl BlockCache {
    pub(crate) fn new(claim: Claim, distance: Latency, writers: Writers) -> Self {
        Self {
            touched: (writers == Writers::Many).then(BTreeMap::new),
            blocks: BTreeMap::new(),
            dirty: BTreeSet::new(),
            keeping: AdmissionPolicy::new(claim.limit(), distance),
            claim,
            distance,
            tick: 0,
            epoch: 0,
            uses: Arc::default(),
        }
    }

    /// Counts the looks into the cache there, from now on.
    pub(crate) fn counting(self, uses: Arc<CacheUse>) -> Self {
        Self { uses, ..self }
    }

    /// Notes what is written of a block.
    pub(crate) fn touch(&mut self, key: &[u8], runs: impl IntoIterator<Item = Range<usize>>) {
        if let Some(touched) = &mut self.touched {
            let spans = touched.entry(key.to_vec()).or_default();
            runs.into_iter().for_each(|r| spans.insert(r));
        }
    }

    /// Notes what is read of a block, but for what this batch has written itself.
    pub(crate) fn note_read(&self, reads: &Reads, key: &[u8], runs: &[CopyRun]) {
        let Some(written) = self.touched.as_ref().and_then(|t| t.get(key)) else {
            return reads.of_block(key, runs);
        };
        let others = runs.iter().filter(|r| !written.covers(&(r.block..r.block + r.len)));
        reads.of_block(key, &others.copied().collect::<Vec<_>>());
    }

    /// What was written of a block since the last commit.
    pub(crate) fn touched(&self, key: &[u8]) -> RangeSet {
        self.touched.as_ref().and_then(|t| t.get(key)).cloned().unwrap_or_default()
    }

    /// Says what of a block is to be thought of as written.
    pub(crate) fn set_touched(&mut self, key: &[u8], spans: RangeSet) {
        if let Some(touched) = &mut self.touched {
            match spans.is_empty() {
                true => touched.remove(key),
                false => touched.insert(key.to_vec(), spans),
            };
        }
    }

    /// Everything was committed.
    pub(crate) fn forget_touched(&mut self) {
        if let Some(touched) = &mut self.touched {
            touched.clear();
        }
    }

    /// Puts parts of `block` into a block, in memory and staged; what of it could not be staged is in memory, and staged
    /// by the next flush.
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

    /// Puts parts of `block` into a block that is not in memory, and for which there is room. They are in memory whatever
    /// happens; where an error keeps them from being staged, the next flush does it.
    pub(crate) fn put_back(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        spans: &RangeSet,
        block: Vec<u8>,
    ) -> Result<()> {
        self.epoch += 1;
        if spans.is_empty() {
            return Ok(());
        }
        self.remove(key);
        self.insert(key, shape, block);
        if let Some(c) = self.blocks.get_mut(key) {
            for r in spans.iter() {
                c.valid.insert(r.clone());
                c.dirty.insert(r);
            }
        }
        self.dirty.insert(key.to_vec());
        self.store(ledger, key)
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(c) = self.blocks.remove(key) {
            self.claim.subtract(c.data.len() + ENTRY_OVERHEAD_BYTES);
        }
        self.dirty.remove(key);
    }

    /// The block in memory with room for its first `reach` bytes, not yet valid if it was not there.
    fn enter(
        &mut self,
        ledger: &Ledger,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        reach: usize,
    ) -> Result<&mut CachedBlock> {
        let here = self.blocks.get(key).map(|c| c.data.len());
        if here.is_none_or(|len| len < reach) {
            let room = CachedBlock::room(shape, reach);
            // This may put out the block itself.
            self.make_room(ledger, room + ENTRY_OVERHEAD_BYTES)?;
            match self.blocks.get_mut(key) {
                Some(c) => self.claim.add(c.grow(room)),
                None => self.insert(key, shape, vec![0; room]),
            }
        }
        self.tick += 1;
        let here = self.blocks.get_mut(key);
        let c = here.ok_or_else(|| crate::Error::corrupt("a block left the cache as it entered"))?;
        c.used = self.tick;
        // A dataset that was opened anew has another shape, and its pipeline is the one that can run.
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

    /// Makes room for a block of this shape.
    pub(crate) fn make_room_for(&mut self, ledger: &Ledger, shape: &BlockLayout) -> Result<()> {
        self.make_room(ledger, shape.len + ENTRY_OVERHEAD_BYTES)
    }

    /// The keys of the blocks, those used longest ago first.
    fn by_use(&self) -> impl Iterator<Item = Vec<u8>> + use<> {
        let mut by_use: Vec<_> = self.blocks.iter().map(|(k, c)| (c.used, k.clone())).collect();
        by_use.sort_unstable();
        by_use.into_iter().map(|(_, key)| key)
    }

    /// Drops blocks without changes, those used longest ago first, until at most `keep` bytes are held.
    pub(crate) fn give_back(&mut self, keep: usize) {
        if self.claim.bytes() <= keep {
            return;
        }
        for key in self.by_use() {
            if self.claim.bytes() <= keep {
                break;
            }
            if !self.dirty.contains(&key) {
                self.remove(&key);
            }
        }
    }

    /// Drops the blocks used longest ago until `more` fit, and a quarter of the room beside.
    fn make_room(&mut self, ledger: &Ledger, more: usize) -> Result<()> {
        if let Some(bound) = self.claim.clean_bound(more) {
            self.give_back(bound / 4 * 3);
        }
        let excess = self.claim.excess(more);
        if excess == 0 {
            return Ok(());
        }
        let enough = (self.claim.bytes() + more).saturating_sub(excess) / 4 * 3;
        let (mut waiting, mut later) = (Ok(()), 0);
        for key in self.by_use() {
            if self.claim.bytes() + more <= enough + later {
                break;
            }
            if self.is_elsewhere(&key) || (self.needs_codec(&key) && !unlocked::can_wait()) {
                continue;
            }
            match self.store(ledger, &key) {
                Ok(()) => self.remove(&key),
                Err(e) if unlocked::is_waiting() => {
                    later += self.blocks.get(&key).map_or(0, |c| c.data.len() + ENTRY_OVERHEAD_BYTES);
                    waiting = Err(e);
                }
                failed => return failed,
            }
        }
        waiting
    }

    /// Stores blocks. Those that have yet to go through filters of others are asked for together.
    fn store_all(&mut self, ledger: &Ledger, keys: &[Vec<u8>]) -> Result<()> {
        let mut waiting = Ok(());
        for key in keys {
            match self.store(ledger, key) {
                Ok(()) => (),
                Err(e) if unlocked::is_waiting() => waiting = Err(e),
                failed => return failed,
            }
        }
        waiting
    }

    /// Stores the dirty blocks whose keys begin with `prefix`.
    pub(crate) fn flush(&mut self, ledger: &Ledger, prefix: &[u8]) -> Result<()> {
        let keys = self.dirty_keys(prefix);
        self.store_all(ledger, &keys)
    }

    /// Stores all dirty blocks but those whose filters run only in another library: that one stores them, at the latest
    /// when it closes their dataset.
    pub(crate) fn flush_all(&mut self, ledger: &Ledger) -> Result<()> {
        let waits = |key: &Vec<u8>| self.touched.is_none() && self.is_elsewhere(key);
        let keys: Vec<_> = self.dirty.iter().filter(|key| !waits(key)).cloned().collect();
        self.store_all(ledger, &keys)
    }

    /// Whether a block has changes that only a lent codec can encode.
    fn needs_codec(&self, key: &[u8]) -> bool {
        let block = self.blocks.get(key).filter(|block| !block.dirty.is_empty());
        block.is_some_and(|block| block.shape.filters.is_foreign())
    }

    /// Whether a block has changes that only another library's filters can encode.
    fn is_elsewhere(&self, key: &[u8]) -> bool {
        self.needs_codec(key)
            && self.blocks.get(key).is_some_and(|b| b.shape.filters.codecs().are_elsewhere())
    }

    fn store(&mut self, ledger: &Ledger, key: &[u8]) -> Result<()> {
        if let Some(c) = self.blocks.get_mut(key)
            && !c.dirty.is_empty()
        {
            let before = c.data.len();
            let stored = c.store(ledger, key);
            self.claim.add(c.data.len() - before);
            stored?;
            c.dirty.clear();
            // From now on everybody sees what is stored.
            if c.shape.filters.may_lose() {
                self.remove(key);
            }
        }
        self.dirty.remove(key);
        Ok(())
    }

    /// What the blocks in memory take.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        assert_eq!(
            self.claim.bytes(),
            self.blocks.values().map(|c| c.data.len() + ENTRY_OVERHEAD_BYTES).sum::<usize>()
        );
        self.claim.bytes()
    }

    /// Whether a block is in memory with changes.
    pub(crate) fn is_dirty(&self, key: &[u8]) -> bool {
        self.dirty.contains(key)
    }

    /// The keys of changed blocks under a prefix.
    pub(crate) fn dirty_keys(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        self.dirty_between(prefix, None, None).cloned().collect()
    }

    /// The keys of changed blocks under a prefix, behind the key `after` and up to `last`.
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

    /// Counts the calls that may have changed which blocks there are, or what is in them.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Drops all blocks under a prefix, changes and all.
    pub(crate) fn discard(&mut self, prefix: &[u8]) {
        self.epoch += 1;
        if let Some(touched) = &mut self.touched {
            touched.retain(|k, _| !k.starts_with(prefix));
        }
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let keys = self.blocks.range::<[u8], _>(from).map(|(k, _)| k);
        let keys: Vec<_> = keys.take_while(|k| k.starts_with(prefix)).cloned().collect();
        keys.iter().for_each(|k| self.remove(k));
    }

    /// Drops all blocks, changes and all: those of a reader whose snapshot moved, and those of a writer that starts anew.
    pub(crate) fn drop_all(&mut self) {
        self.epoch += 1;
        self.blocks.clear();
        self.dirty.clear();
        self.claim.subtract(self.claim.bytes());
        self.keeping = AdmissionPolicy::new(self.claim.limit(), self.distance);
        self.forget_touched();
    }

    /// Answers a read from memory, or says that the ledger has to be read.
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
            // Read before it enters: memory that nobody writes to would be made for it else.
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

    /// Whether something of a block is in memory.
    pub(crate) fn is_here(&self, key: &[u8]) -> bool {
        self.blocks.contains_key(key)
    }

    /// Answers from memory, or leaves it to the caller to read the block without the cache's lock.
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

    /// Takes in a block that was read since `epoch`, unless something was written meanwhile.
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

    /// Takes in a block that is not here, as it is stored.
    fn keep(&mut self, ledger: &Ledger, key: &[u8], shape: &Arc<BlockLayout>, data: Vec<u8>) -> Result<()> {
        self.make_room(ledger, data.len() + ENTRY_OVERHEAD_BYTES)?;
        self.insert(key, shape, data);
        self.enter(ledger, key, shape, 0)?.valid.insert(0..shape.len);
        Ok(())
    }

    /// Writes runs of `data` into a block.
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
        // What is small and given whole is staged at once: it would be in the map a second time else.
        if bytes == shape.len && shape.len <= shape.inline && shape.filters.is_empty() && runs.len() == 1 {
            return self.replace(ledger, key, shape, runs, data);
        }
        if !shape.filters.is_empty() && coverage == Coverage::Whole {
            let c = self.enter(ledger, key, shape, shape.len)?;
            if c.valid.is_empty() {
                c.data = shape.filled();
                c.valid.insert(0..shape.len);
            }
        }
        // In the order given: where runs overlap, the last one wins.
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
        let scattered = |c: &CachedBlock| c.dirty.count() > MAX_DIRTY_RANGES * 16;
        let whole = !shape.filters.is_empty()
            || runs.len() > MAX_DIRTY_RANGES * 4
            || self.blocks.get(key).is_some_and(scattered);
        let end = runs.iter().map(|r| r.block + r.len).max().unwrap_or(0);
        let c = self.enter(ledger, key, shape, if whole { shape.len } else { end })?;
        if whole {
            c.complete(ledger, key)?;
        }
        let was_clean = c.dirty.is_empty();
        scatter(runs, data, &mut c.data);
        for set in [&mut c.valid, &mut c.dirty] {
            // A block that is written column by column is in both as a whole.
            if !set.covers(&(0..end)) {
                runs.iter().for_each(|r| set.insert(r.block..r.block + r.len));
            }
        }
        if was_clean {
            self.dirty.insert(key.to_vec());
        }
        if self.blocks.get(key).is_some_and(scattered) {
            let c = self.enter(ledger, key, shape, shape.len)?;
            c.complete(ledger, key)?;
            c.dirty.fill_gaps_up_to(shape.len);
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
            self.remove(key);
            if r.len == shape.len && r.len <= shape.inline && ledger.takes_inline(r.len) {
                return replace_inline(ledger, key, shape, &data[r.buffer..r.buffer + r.len]);
            }
            // The part outside of the dataset, if any, goes back to fill.
            return put_parts(ledger, key, shape, &[(r.block, &data[r.buffer..r.buffer + r.len])], true);
        }
        let mut block = shape.filled();
        for r in runs {
            block[r.block..r.block + r.len].copy_from_slice(&data[r.buffer..r.buffer + r.len]);
        }
        // Until it has gone through its filters, the block is as it was.
        store_block(ledger, key, shape, block)?;
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

    /// Makes everything of a block from byte `end` on fill.
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
        if let Some(c) = self.blocks.get_mut(key) {
            c.dirty.truncate(end);
            c.valid.truncate(end);
        }
        change_stored(ledger, key, shape, |p| {
            let known = shape.statistics_up_to(end, p.statistics.take());
            p.cut(end..shape.len);
            p.statistics = known;
            Ok(())
        })
    }

    /// Makes parts of a block fill.
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

    /// Has a block stored anew, as its shape now says.
    pub(crate) fn restage(&mut self, ledger: &Ledger, key: &[u8], shape: &Arc<BlockLayout>) -> Result<()> {
        let c = self.enter(ledger, key, shape, shape.len)?;
        c.complete(ledger, key)?;
        c.dirty.insert(0..shape.len);
        self.dirty.insert(key.to_vec());
        Ok(())
    }

    /// Forgets the changes under a prefix.
    pub(crate) fn discard_dirty(&mut self, prefix: &[u8]) {
        self.epoch += 1;
        for key in self.dirty_keys(prefix) {
            self.remove(&key);
            self.set_touched(&key, RangeSet::default());
        }
    }

    /// Forgets a block that is about to be replaced in the ledger.
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
