//! Sets of extents. The fragments of a block that our writers created have few extents, which are compared directly. A
//! segment that joins many small native files has more, and a malicious file can have any number.

use std::collections::HashSet;

use h5lake_ledger::Extent;

/// Up to this number, extents are compared one by one, which is faster than hashing them.
const MAX_COMPARED: usize = 32;

/// Extents without duplicates.
#[derive(Debug, Default)]
pub(crate) struct ExtentSet<'a> {
    few: Vec<&'a Extent>,
    /// All extents, once there are many.
    many: HashSet<&'a Extent>,
}

impl<'a> ExtentSet<'a> {
    pub(crate) fn of(extents: impl IntoIterator<Item = &'a Extent>) -> Self {
        let mut set = Self::default();
        for extent in extents {
            set.insert(extent);
        }
        set
    }

    /// Adds an extent; returns false if it was present.
    pub(crate) fn insert(&mut self, extent: &'a Extent) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(extent);
        }
        if self.few.contains(&extent) {
            return false;
        }
        self.few.push(extent);
        if self.few.len() > MAX_COMPARED {
            self.many.extend(self.few.drain(..));
        }
        true
    }

    pub(crate) fn contains(&self, extent: &Extent) -> bool {
        self.few.contains(&extent) || self.many.contains(extent)
    }
}

/// Returns the extents without duplicates, in their order.
pub(crate) fn distinct<'a>(extents: impl IntoIterator<Item = &'a Extent>) -> Vec<Extent> {
    let mut seen = ExtentSet::default();
    extents.into_iter().filter(|extent| seen.insert(extent)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::chunk::fragments::Fragments;
    use h5lake_records::record::{BlockRecord, PieceRecord};

    fn extents(count: u64, different: u64) -> Vec<Extent> {
        (0..count).map(|n| Extent::in_source(1, n % different, 1).unwrap()).collect()
    }

    #[test]
    fn each_extent_is_there_once_and_in_its_place() {
        for different in [1, 5, 32, 33, 70] {
            let all = extents(200, different);
            assert_eq!(distinct(&all), all[..different as usize], "{different}");
            let set = ExtentSet::of(&all);
            assert!(all.iter().all(|extent| set.contains(extent)));
            assert!(!set.contains(&Extent::in_source(2, 0, 1).unwrap()));
        }
    }

    /// A block of one MiB can have this many fragments, and a check reads the extents of each.
    #[test]
    fn the_extents_of_a_block_with_very_many_pieces_are_found_in_no_time() {
        let all = extents(200_000, 200_000);
        let piece = |(n, extent): (u64, &Extent)| PieceRecord {
            offset: n,
            length: 1,
            extent: extent.to_bytes(),
            ..PieceRecord::default()
        };
        let pieces = (0..).zip(&all).map(piece).collect();
        let block = Fragments::decode(BlockRecord { pieces, ..BlockRecord::default() }, usize::MAX).unwrap();
        let begun = Instant::now();
        assert!(block.extents() == all);
        assert_eq!(block.unneeded(&all).count(), 0);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
