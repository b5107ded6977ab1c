//! Disjoint free runs, searched by offset and by length.

use std::collections::{BTreeMap, BTreeSet};

use super::Checked;
use super::by_size::BySize;

/// Disjoint free runs; adjacent runs are joined.
#[derive(Debug, Default, Clone)]
pub(crate) struct FreeRuns {
    pub(super) by_offset: BTreeMap<u64, u64>,
    pub(super) by_size: BySize,
    pub(super) bytes: u64,
}

impl FreeRuns {
    /// Builds the set from runs that ascend and do not overlap; adjacent runs are joined. The free list is read at the
    /// first commit after each open, so all runs are inserted at once.
    pub(crate) fn ascending(runs: &[(u64, u64)]) -> Checked<Self> {
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(runs.len());
        for &(offset, length) in runs.iter().filter(|(_, length)| *length > 0) {
            match joined.last_mut() {
                Some((o, l)) if *o + *l > offset => return Err("a run is freed twice"),
                Some((o, l)) if *o + *l == offset => *l += length,
                _ => joined.push((offset, length)),
            }
        }
        let bytes = joined.iter().map(|(_, length)| length).sum();
        Ok(Self { by_offset: joined.into_iter().collect(), by_size: BySize::default(), bytes })
    }

    /// Returns the sum of the lengths.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns lengths and offsets, the shortest run first.
    pub(super) fn by_size(&self) -> &BTreeSet<(u64, u64)> {
        self.by_size.of(&self.by_offset)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.by_offset.iter().map(|(o, l)| (*o, *l))
    }

    pub(crate) fn overlaps(&self, offset: u64, length: u64) -> bool {
        let before = self.by_offset.range(..offset + length).next_back();
        before.is_some_and(|(o, l)| o + l > offset)
    }

    /// Returns the offset of the run that ends at `end`.
    pub(crate) fn up_to(&self, end: u64) -> Option<u64> {
        self.by_offset.range(..end).next_back().filter(|(o, l)| *o + *l == end).map(|(o, _)| *o)
    }

    /// Returns the run that contains the byte at `offset`.
    pub(crate) fn around(&self, offset: u64) -> Option<(u64, u64)> {
        let (o, l) = self.by_offset.range(..=offset).next_back()?;
        (o + l > offset).then_some((*o, *l))
    }

    /// Adds a run and joins it to its neighbours.
    pub(crate) fn add(&mut self, mut offset: u64, mut length: u64) -> Checked<()> {
        if length == 0 {
            return Ok(());
        }
        if self.overlaps(offset, length) {
            return Err("a run is freed twice");
        }
        if let Some((&o, &l)) = self.by_offset.range(..offset).next_back()
            && o + l == offset
        {
            self.drop_run(o, l);
            (offset, length) = (o, length + l);
        }
        if let Some(&l) = self.by_offset.get(&(offset + length)) {
            self.drop_run(offset + length, l);
            length += l;
        }
        self.put_run(offset, length);
        Ok(())
    }

    /// Removes a part of the run that contains it completely. Returns false if there is no such run.
    pub(crate) fn carve(&mut self, offset: u64, length: u64) -> bool {
        let Some((&o, &l)) = self.by_offset.range(..=offset).next_back() else { return false };
        if o + l < offset + length {
            return false;
        }
        self.drop_run(o, l);
        self.put_run(o, offset - o);
        self.put_run(offset + length, o + l - offset - length);
        true
    }

    /// Returns the offset of the smallest run that is long enough.
    fn best(&self, length: u64) -> Option<u64> {
        self.by_size().range((length, 0)..).next().map(|(_, o)| *o)
    }

    /// Allocates `length` bytes from the smallest run that is long enough.
    pub(crate) fn take(&mut self, length: u64) -> Option<u64> {
        let offset = self.best(length)?;
        self.carve(offset, length);
        Some(offset)
    }

    pub(super) fn drop_run(&mut self, offset: u64, length: u64) {
        self.by_offset.remove(&offset);
        self.by_size.drop_run(offset, length);
        self.bytes -= length;
    }

    fn put_run(&mut self, offset: u64, length: u64) {
        if length > 0 {
            self.by_offset.insert(offset, length);
            self.by_size.put(offset, length);
            self.bytes += length;
        }
    }
}
