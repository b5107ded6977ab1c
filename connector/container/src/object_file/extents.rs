//! The cached bytes of an object: extents that do not overlap, evicted in the order of their last use.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use h5lake_ledger::locks::Mutex;

use crate::chunk::memory_budget::{Claim, GivesBack};

/// Memory of an extent in addition to its bytes.
const OVERHEAD_BYTES: usize = 128;

/// Extents of one object, counted in the memory budget of the process.
pub(super) struct Extents {
    by_start: BTreeMap<u64, Extent>,
    /// The beginnings of extents, by their last use.
    by_use: BTreeMap<u64, u64>,
    uses: u64,
    claim: Claim,
}

struct Extent {
    bytes: Bytes,
    used: u64,
}

impl Extent {
    fn end(&self, start: u64) -> u64 {
        start + self.bytes.len() as u64
    }
}

impl Extents {
    pub(super) fn new(claim: Claim) -> Self {
        Self { by_start: BTreeMap::new(), by_use: BTreeMap::new(), uses: 0, claim }
    }

    /// Returns the bytes that the cache may hold if no other cache needs space.
    pub(super) fn available(&self) -> u64 {
        self.claim.available() as u64
    }

    /// Returns the beginning of the extent that holds the byte at `at`.
    fn holding(&self, at: u64) -> Option<u64> {
        let (start, extent) = self.by_start.range(..=at).next_back()?;
        (at < extent.end(*start)).then_some(*start)
    }

    /// Copies the cached bytes from `at` on, up to the first gap. Returns the number of copied bytes.
    pub(super) fn copy(&mut self, at: u64, into: &mut [u8]) -> usize {
        let mut done = 0;
        while done < into.len() {
            let from = at + done as u64;
            let Some(start) = self.holding(from) else { break };
            self.uses += 1;
            let Some(extent) = self.by_start.get_mut(&start) else { break };
            let here = &extent.bytes[(from - start) as usize..];
            let length = here.len().min(into.len() - done);
            into[done..done + length].copy_from_slice(&here[..length]);
            done += length;
            self.by_use.remove(&extent.used);
            extent.used = self.uses;
            self.by_use.insert(self.uses, start);
        }
        done
    }

    /// Returns the parts of a range that are not cached.
    pub(super) fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        let first = self.holding(at).unwrap_or(at);
        for (start, extent) in self.by_start.range(first..range.end.max(first)) {
            if *start > at {
                gaps.push(at..*start);
            }
            at = at.max(extent.end(*start));
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }

    /// Caches the bytes from `at` on that are not cached already, as far as the memory budget allows.
    pub(super) fn insert(&mut self, at: u64, bytes: &Bytes) {
        for gap in self.missing(at..at + bytes.len() as u64) {
            let part = bytes.slice((gap.start - at) as usize..(gap.end - at) as usize);
            // A short part must not keep the whole response in memory.
            let part = if part.len() <= bytes.len() / 2 { Bytes::copy_from_slice(&part) } else { part };
            let cost = part.len() + OVERHEAD_BYTES;
            let excess = self.claim.excess(cost);
            if excess > 0 {
                self.give_back((self.claim.bytes() + cost).saturating_sub(excess).saturating_sub(cost));
            }
            if self.claim.excess(cost) > 0 {
                return;
            }
            self.claim.add(cost);
            self.uses += 1;
            self.by_use.insert(self.uses, gap.start);
            self.by_start.insert(gap.start, Extent { bytes: part, used: self.uses });
        }
    }

    /// Counts bytes that are being fetched.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.claim.add(bytes);
    }

    /// Stops counting bytes that were being fetched, after they have arrived or failed.
    pub(super) fn expect_no_more(&mut self, bytes: usize) {
        self.claim.subtract(bytes);
    }

    fn give_back(&mut self, keep: usize) {
        while self.claim.bytes() > keep {
            let Some((_, start)) = self.by_use.pop_first() else { return };
            if let Some(extent) = self.by_start.remove(&start) {
                self.claim.subtract(extent.bytes.len() + OVERHEAD_BYTES);
            }
        }
    }
}

impl GivesBack for Mutex<Extents> {
    fn give_back(&self, keep: usize) {
        if let Some(mut extents) = self.try_lock() {
            extents.give_back(keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::MemoryBudget;

    fn extents(limit: usize) -> Extents {
        let budget = Arc::new(MemoryBudget::default());
        Extents::new(Claim::new(budget, limit))
    }

    #[test]
    fn overlapping_extents_are_stored_once() {
        let mut extents = extents(1 << 20);
        extents.insert(10, &Bytes::from_static(b"0123456789"));
        extents.insert(30, &Bytes::from_static(b"abcdefghij"));
        assert_eq!(extents.missing(0..50), [0..10, 20..30, 40..50]);
        extents.insert(15, &Bytes::from_static(b"56789-.-.-.-.-.abcde"));
        assert_eq!(extents.missing(0..50), [0..10, 40..50]);
        let mut all = [0; 40];
        assert_eq!(extents.copy(12, &mut all), 28);
        assert_eq!(&all[..28], b"23456789-.-.-.-.-.abcdefghij");
        assert_eq!(extents.missing(12..12), []);
        assert_eq!(extents.copy(40, &mut all), 0);
    }

    #[test]
    fn the_least_recently_used_extent_is_evicted_first() {
        let mut extents = extents(3 * (1000 + OVERHEAD_BYTES));
        let part = Bytes::from(vec![7; 1000]);
        for at in [0, 1000, 2000] {
            extents.insert(at, &part);
        }
        assert_eq!(extents.copy(0, &mut [0; 10]), 10);
        extents.insert(5000, &part);
        assert_eq!(extents.missing(0..3000), std::slice::from_ref(&(1000..2000)));
        assert!(extents.claim.bytes() as u64 <= extents.available());
        // An extent larger than the budget is not cached.
        extents.insert(1 << 20, &Bytes::from(vec![1; 10_000]));
        let after = 1 << 20..(1 << 20) + 1;
        assert_eq!(extents.missing(after.clone()), std::slice::from_ref(&after));
    }
}
