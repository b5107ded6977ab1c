//! A bounded cache of heap segments and their usage. The ledger has all of it, so the least recently used part is
//! staged and evicted.

use super::{SEGMENT_LENGTHS, shape};
use crate::chunk::layout::BlockLayout;
use crate::{Error, Result};
use h5lake_ledger::Ledger;
use h5lake_records::keys;
use h5lake_records::record::UsageRecord;
use lru::LruCache;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Capacity of the cache in segments.
const MAX_SEGMENTS: usize = 4096;
/// Capacity of the cache of open segments, in owners.
const MAX_OWNERS: usize = 16 << 10;

/// A segment, by its owner and number.
pub(super) type SegmentId = (u64, u32);

/// The cached segments of the heap.
pub(crate) struct HeapState {
    segments: BTreeMap<SegmentId, SegmentUsage>,
    /// Segments with changed usage that is not staged yet.
    changed: BTreeSet<SegmentId>,
    owners: LruCache<u64, OpenSegment>,
    /// The layouts of segments of the usual lengths.
    usual: [Option<Arc<BlockLayout>>; SEGMENT_LENGTHS.len()],
    tick: u64,
    /// The first segment that this handle created. The counter of numbers only increases.
    first_begun: Option<u32>,
    kept: usize,
    kept_owners: usize,
}

/// The segment to which the next blobs of an owner are appended.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct OpenSegment {
    /// The segment that is being filled.
    pub number: Option<u32>,
    /// The number of segments created for the owner, which determines the length of the next one.
    pub begun: usize,
}

/// A cached segment.
#[derive(Debug)]
struct SegmentUsage {
    /// The usage; `None` for a segment that is only read.
    usage: Option<UsageRecord>,
    segment: Arc<Segment>,
    used: u64,
}

/// The usage of a segment.
pub(super) struct Usage<'a> {
    pub record: &'a UsageRecord,
    pub segment: &'a Arc<Segment>,
}

/// A segment as a block.
#[derive(Debug)]
pub(super) struct Segment {
    pub key: Vec<u8>,
    pub shape: Arc<BlockLayout>,
    pub length: u64,
}

impl Default for HeapState {
    fn default() -> Self {
        Self {
            segments: BTreeMap::new(),
            changed: BTreeSet::new(),
            owners: LruCache::unbounded(),
            usual: Default::default(),
            tick: 0,
            first_begun: None,
            kept: MAX_SEGMENTS,
            kept_owners: MAX_OWNERS,
        }
    }
}

impl HeapState {
    /// Drops all cached segments, because they may be stale.
    pub(crate) fn forget_all(&mut self) {
        self.segments.clear();
        self.changed.clear();
    }

    /// Drops a segment, because another writer changed or deleted it.
    pub(crate) fn forget(&mut self, owner: u64, number: u32) {
        self.segments.remove(&(owner, number));
        self.changed.remove(&(owner, number));
    }

    /// Drops an owner and its segments, because it was deleted.
    pub(crate) fn forget_owner(&mut self, owner: u64) {
        self.owners.pop(&owner);
        while let Some((&(_, number), _)) = self.segments.range((owner, 0)..=(owner, u32::MAX)).next() {
            self.forget(owner, number);
        }
    }

    /// Returns the open segment of an owner, as far as it is known.
    pub(super) fn going(&mut self, owner: u64) -> OpenSegment {
        self.owners.get(&owner).copied().unwrap_or_default()
    }

    /// Sets the open segment of an owner. If the cache is full, the least recently used owner is dropped and looked up
    /// in the ledger again; a shared writer cannot find its own segments there, and creates another one instead.
    pub(super) fn go_on(&mut self, owner: u64, going: OpenSegment) {
        self.owners.put(owner, going);
        if self.owners.len() > self.kept_owners {
            self.owners.pop_lru();
        }
    }

    /// Notes that this handle created a segment.
    pub(super) fn note_begun(&mut self, number: u32) {
        self.first_begun.get_or_insert(number);
    }

    /// Returns whether this handle, if it is an exclusive writer, created a segment with a number from the counter.
    pub(super) fn has_begun(&self, number: u32) -> bool {
        self.first_begun.is_some_and(|first| first <= number)
    }

    /// Closes a segment for its owner, because it is full of dead bytes or gone; further blobs go to another segment.
    pub(super) fn leave(&mut self, owner: u64, number: u32) {
        if let Some(going) = self.owners.peek_mut(&owner).filter(|g| g.number == Some(number)) {
            going.number = None;
        }
    }

    /// Marks a segment as recently used.
    fn touch(&mut self, which: SegmentId) -> Option<&mut SegmentUsage> {
        self.tick += 1;
        let known = self.segments.get_mut(&which)?;
        known.used = self.tick;
        Some(known)
    }

    /// Returns a segment, for reading.
    pub(super) fn segment(&mut self, which: SegmentId) -> Option<Arc<Segment>> {
        self.touch(which).map(|known| known.segment.clone())
    }

    /// Returns the usage of a segment, for reading.
    pub(super) fn usage(&mut self, which: SegmentId) -> Option<Usage<'_>> {
        let known = self.touch(which)?;
        known.usage.as_ref().map(|record| Usage { record, segment: &known.segment })
    }

    /// Returns the usage of a segment, for changing. The change is staged by the next flush, or before it is evicted.
    pub(super) fn change(&mut self, which: SegmentId) -> Result<&mut UsageRecord> {
        let gone = || Error::corrupt("a heap segment was forgotten as it was used");
        let record = self.segments.get_mut(&which).and_then(|known| known.usage.as_mut()).ok_or_else(gone)?;
        self.changed.insert(which);
        Ok(record)
    }

    /// Caches a segment with the usage that the ledger has, and evicts other segments if necessary.
    pub(super) fn keep(&mut self, ledger: &Ledger, which: SegmentId, record: UsageRecord) -> Result<()> {
        self.keep_known(ledger, which, record.length, Some(record))?;
        Ok(())
    }

    /// Caches a segment that is only read, by its length, and evicts other segments if necessary.
    pub(super) fn keep_segment(
        &mut self,
        ledger: &Ledger,
        which: SegmentId,
        length: u64,
    ) -> Result<Arc<Segment>> {
        self.keep_known(ledger, which, length, None)
    }

    fn keep_known(
        &mut self,
        ledger: &Ledger,
        which: SegmentId,
        length: u64,
        usage: Option<UsageRecord>,
    ) -> Result<Arc<Segment>> {
        self.make_space(ledger)?;
        let key = keys::segment(keys::SEGMENT, which.0, which.1);
        let segment = Arc::new(Segment { key, shape: self.shape(length)?, length });
        self.tick += 1;
        self.segments.insert(which, SegmentUsage { usage, segment: segment.clone(), used: self.tick });
        Ok(segment)
    }

    fn shape(&mut self, length: u64) -> Result<Arc<BlockLayout>> {
        let Some(at) = SEGMENT_LENGTHS.iter().position(|l| *l == length) else { return shape(length) };
        if let Some(known) = &self.usual[at] {
            return Ok(known.clone());
        }
        let new = shape(length)?;
        self.usual[at] = Some(new.clone());
        Ok(new)
    }

    /// Evicts the least recently used half if the cache is full.
    fn make_space(&mut self, ledger: &Ledger) -> Result<()> {
        if self.segments.len() < self.kept {
            return Ok(());
        }
        let mut by_use: Vec<_> = self.segments.iter().map(|(which, u)| (u.used, *which)).collect();
        by_use.sort_unstable();
        by_use.truncate(by_use.len().div_ceil(2));
        for (_, which) in by_use {
            self.store_one(ledger, which)?;
            self.segments.remove(&which);
        }
        Ok(())
    }

    /// Stages the changed usages.
    pub(super) fn store(&mut self, ledger: &Ledger) -> Result<()> {
        while let Some(which) = self.changed.first() {
            self.store_one(ledger, *which)?;
        }
        Ok(())
    }

    fn store_one(&mut self, ledger: &Ledger, which: SegmentId) -> Result<()> {
        if self.changed.contains(&which)
            && let Some(record) = self.segments.get(&which).and_then(|known| known.usage.as_ref())
        {
            ledger.put(&keys::segment(keys::USAGE, which.0, which.1), record.encode_to_vec())?;
        }
        self.changed.remove(&which);
        Ok(())
    }

    /// Returns the number of cached segments and owners.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> (usize, usize) {
        assert!(self.changed.iter().all(|which| self.segments.get(which).is_some_and(|k| k.usage.is_some())));
        (self.segments.len(), self.owners.len())
    }

    /// Sets smaller capacities, for tests.
    #[cfg(test)]
    pub(crate) fn bound(&mut self, segments: usize, owners: usize) {
        (self.kept, self.kept_owners) = (segments, owners);
    }
}
