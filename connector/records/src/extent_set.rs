//! Sets of extents. The fragments of a block that our writers created have few extents, which are compared directly. A
//! segment that joins many small native files has more, and a malicious file can have any number.

use std::collections::HashSet;

use h5lake_ledger::Extent;

/// Up to this number, extents are compared one by one, which is faster than hashing them.
const MAX_COMPARED: usize = 32;

/// Extents without duplicates.
#[derive(Debug, Default)]
pub struct ExtentSet<'a> {
    few: Vec<&'a Extent>,
    /// All extents, once there are many.
    many: HashSet<&'a Extent>,
}

impl<'a> ExtentSet<'a> {
    /// Creates a set of these extents.
    pub fn of(extents: impl IntoIterator<Item = &'a Extent>) -> Self {
        let mut set = Self::default();
        for extent in extents {
            set.insert(extent);
        }
        set
    }

    /// Adds an extent; returns false if it was present.
    pub fn insert(&mut self, extent: &'a Extent) -> bool {
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

    /// Returns whether an extent is in the set.
    pub fn contains(&self, extent: &Extent) -> bool {
        self.few.contains(&extent) || self.many.contains(extent)
    }
}

/// Returns the extents without duplicates, in their order.
pub fn distinct<'a>(extents: impl IntoIterator<Item = &'a Extent>) -> Vec<Extent> {
    let mut seen = ExtentSet::default();
    extents.into_iter().filter(|extent| seen.insert(extent)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
