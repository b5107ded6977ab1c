//! What is known of heap segments: as much as fits a bound. The map has all of it, so what was used longest ago is staged
//! and forgotten.

use super::{LENGTHS, shape};
use crate::record::UsageRecord;
use crate::shape::Shape;
use crate::{Error, Result, keys};
use h5lake_ledger::Ledger;
use lru::LruCache;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Usages that are kept decoded.
const KEPT: usize = 4096;
/// Owners of which it is kept where they go on.
const OWNERS: usize = 16 << 10;

/// A segment by its owner and number.
pub(super) type Which = (u64, u32);

/// What is known of segments.
pub(crate) struct HeapState {
    usage: BTreeMap<Which, Usage>,
    /// Those of `usage` that the ledger does not have.
    changed: BTreeSet<Which>,
    owners: LruCache<u64, Going>,
    /// The shapes of segments of the usual lengths.
    usual: [Option<Arc<Shape>>; LENGTHS.len()],
    tick: u64,
    kept: usize,
    kept_owners: usize,
}

/// Where an owner goes on.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Going {
    /// The segment that is being filled.
    pub number: Option<u32>,
    /// How many segments one of many writers has begun.
    pub begun: usize,
}

#[derive(Debug)]
pub(super) struct Usage {
    pub record: UsageRecord,
    pub segment: Arc<Segment>,
    used: u64,
}

/// A segment as a block.
#[derive(Debug)]
pub(super) struct Segment {
    pub key: Vec<u8>,
    pub shape: Arc<Shape>,
    pub length: u64,
}

impl Default for HeapState {
    fn default() -> Self {
        Self {
            usage: BTreeMap::new(),
            changed: BTreeSet::new(),
            owners: LruCache::unbounded(),
            usual: Default::default(),
            tick: 0,
            kept: KEPT,
            kept_owners: OWNERS,
        }
    }
}

impl HeapState {
    /// What is known of usage may not be true any more.
    pub(crate) fn forget_all(&mut self) {
        self.usage.clear();
        self.changed.clear();
    }

    /// Another writer changed a segment, or it is gone.
    pub(crate) fn forget(&mut self, owner: u64, number: u32) {
        self.usage.remove(&(owner, number));
        self.changed.remove(&(owner, number));
    }

    /// An owner is gone.
    pub(super) fn forget_owner(&mut self, owner: u64) {
        self.owners.pop(&owner);
        while let Some((&(_, number), _)) = self.usage.range((owner, 0)..=(owner, u32::MAX)).next() {
            self.forget(owner, number);
        }
    }

    /// Where an owner goes on, as far as it is known.
    pub(super) fn going(&mut self, owner: u64) -> Going {
        self.owners.get(&owner).copied().unwrap_or_default()
    }

    /// Notes where an owner goes on. Who was not here for longest is looked up in the map again; one of many writers, who
    /// would not find there which segments are its own, begins another.
    pub(super) fn go_on(&mut self, owner: u64, going: Going) {
        self.owners.put(owner, going);
        if self.owners.len() > self.kept_owners {
            self.owners.pop_lru();
        }
    }

    /// The segment is full of what is dead, or gone: its owner goes on elsewhere.
    pub(super) fn leave(&mut self, owner: u64, number: u32) {
        if let Some(going) = self.owners.peek_mut(&owner).filter(|g| g.number == Some(number)) {
            going.number = None;
        }
    }

    /// What is known of a segment, to be looked at.
    pub(super) fn get(&mut self, which: Which) -> Option<&mut Usage> {
        self.tick += 1;
        let tick = self.tick;
        let usage = self.usage.get_mut(&which)?;
        usage.used = tick;
        Some(usage)
    }

    /// What is known of a segment, to be changed: it is staged by the next flush, or before it is forgotten.
    pub(super) fn change(&mut self, which: Which) -> Result<&mut UsageRecord> {
        let gone = || Error::corrupt("a heap segment was forgotten as it was used");
        let usage = self.usage.get_mut(&which).ok_or_else(gone)?;
        self.changed.insert(which);
        Ok(&mut usage.record)
    }

    /// Takes in what the ledger says of a segment, and forgets others for it.
    pub(super) fn keep(&mut self, ledger: &Ledger, which: Which, record: UsageRecord) -> Result<()> {
        self.make_room(ledger)?;
        let (key, length) = (keys::segment(keys::SEGMENT, which.0, which.1), record.length);
        let segment = Arc::new(Segment { key, shape: self.shape(length)?, length });
        self.tick += 1;
        self.usage.insert(which, Usage { record, segment, used: self.tick });
        Ok(())
    }

    fn shape(&mut self, length: u64) -> Result<Arc<Shape>> {
        let Some(at) = LENGTHS.iter().position(|l| *l == length) else { return shape(length) };
        if let Some(known) = &self.usual[at] {
            return Ok(known.clone());
        }
        let new = shape(length)?;
        self.usual[at] = Some(new.clone());
        Ok(new)
    }

    /// Forgets the half that was used longest ago, when there is no room for one more.
    fn make_room(&mut self, ledger: &Ledger) -> Result<()> {
        if self.usage.len() < self.kept {
            return Ok(());
        }
        let mut by_use: Vec<_> = self.usage.iter().map(|(which, u)| (u.used, *which)).collect();
        by_use.sort_unstable();
        by_use.truncate(by_use.len().div_ceil(2));
        for (_, which) in by_use {
            self.store_one(ledger, which)?;
            self.usage.remove(&which);
        }
        Ok(())
    }

    /// Stages what changed.
    pub(super) fn store(&mut self, ledger: &Ledger) -> Result<()> {
        while let Some(which) = self.changed.first() {
            self.store_one(ledger, *which)?;
        }
        Ok(())
    }

    fn store_one(&mut self, ledger: &Ledger, which: Which) -> Result<()> {
        if self.changed.contains(&which)
            && let Some(u) = self.usage.get(&which)
        {
            ledger.put(&keys::segment(keys::USAGE, which.0, which.1), u.record.encode_to_vec())?;
        }
        self.changed.remove(&which);
        Ok(())
    }

    /// How much is kept: usages and owners.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> (usize, usize) {
        assert!(self.changed.iter().all(|which| self.usage.contains_key(which)));
        (self.usage.len(), self.owners.len())
    }

    /// Keeps less, for tests.
    #[cfg(test)]
    pub(crate) fn bound(&mut self, usages: usize, owners: usize) {
        (self.kept, self.kept_owners) = (usages, owners);
    }
}
