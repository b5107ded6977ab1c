//! Maps by ids of objects, and by keys with ids. Ids are consecutive; a malicious container may contain arbitrary ids,
//! but does not know the random number with which all ids are mixed in this process.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// A map by ids of objects.
pub(crate) type IdMap<V> = HashMap<u64, V, IdHashes>;

/// An odd number without a pattern: the fraction of the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The builder of hashers of ids.
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

/// Hashes consecutive numbers to distant values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        // All bits affect the upper half.
        let product = u128::from(self.0 ^ number) * u128::from(SPREAD);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use h5lake_records::keys;
    use std::collections::HashSet;

    #[test]
    fn consecutive_numbers_are_spread() {
        for (step, with) in
            [1_u64, 2, 32, 4096, 1 << 32].into_iter().flat_map(|s| [(s, 0), (s, 0x1234_5678_9abc_def0)])
        {
            let hashes = (0..4096_u64).map(|n| IdHashes(with).hash_one((1_u64 << 62) + n * step));
            // hashbrown uses the lowest bits for the position, and the highest seven to distinguish neighbours.
            let (low, high): (HashSet<_>, HashSet<_>) = hashes.map(|h: u64| (h & 0xfff, h >> 57)).unzip();
            assert!(low.len() > 2300 && high.len() == 128, "{step}: {} {}", low.len(), high.len());
        }
    }

    #[test]
    fn keys_that_differ_in_a_byte_are_spread() {
        let hashes = |of: fn(u64) -> Vec<u8>| (0..4096).map(move |n| IdHashes(5).hash_one(&of(n)[..]));
        let keys: [fn(u64) -> Vec<u8>; 4] = [
            |n| keys::named(keys::ATTRIBUTE, 1 << 62 | n, b"a"),
            |n| keys::named(keys::ATTRIBUTE, 1 << 62, format!("a{n}").as_bytes()),
            |n| keys::named(keys::ATTRIBUTE, 1 << 62, format!("{n} of all").as_bytes()),
            // Trailing zeros count as well.
            |n| vec![0; n as usize],
        ];
        for (n, of) in keys.into_iter().enumerate() {
            let (low, high): (HashSet<_>, HashSet<_>) = hashes(of).map(|h: u64| (h & 0xfff, h >> 57)).unzip();
            assert!(low.len() > 2300 && high.len() == 128, "{n}: {} {}", low.len(), high.len());
        }
    }
}
