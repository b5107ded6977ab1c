//! Maps by numbers of objects. These are given out one after the other; a container that was made to do harm may hold others,
//! but does not know the number that all are mixed with in this process.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// A map by numbers of objects.
pub(crate) type IdMap<V> = HashMap<u64, V, IdHashes>;

/// An odd number without pattern: the fraction of the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes of numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdHashes(u64);

impl Default for IdHashes {
    fn default() -> Self {
        static MIXED_WITH: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(SPREAD));
        Self(*MIXED_WITH)
    }
}

impl BuildHasher for IdHashes {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher(self.0)
    }
}

/// Spreads numbers that follow upon each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The upper half has all bits in it.
        let product = u128::from(self.0 ^ number) * u128::from(SPREAD);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_that_follow_upon_each_other_are_spread() {
        for (step, with) in
            [1_u64, 2, 32, 4096, 1 << 32].into_iter().flat_map(|s| [(s, 0), (s, 0x1234_5678_9abc_def0)])
        {
            let hashes = (0..4096_u64).map(|n| IdHashes(with).hash_one((1_u64 << 62) + n * step));
            // hashbrown takes the lowest bits for the place, and the highest seven to tell neighbours apart.
            let (low, high): (HashSet<_>, HashSet<_>) = hashes.map(|h: u64| (h & 0xfff, h >> 57)).unzip();
            assert!(low.len() > 2300 && high.len() == 128, "{step}: {} {}", low.len(), high.len());
        }
    }
}
