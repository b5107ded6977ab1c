//! A cache of long attribute values that were read last, so that a value can be read again without its payloads.

use bytes::Bytes;
use h5lake_ledger::locks::Mutex;
use std::collections::VecDeque;

/// Maximum number of cached values.
const MAX_VALUES: usize = 16;
/// Maximum bytes of all cached values together. A longer value is not cached.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// The cached values, by their encoded extents, which include checksums of the bytes.
#[derive(Default)]
pub(crate) struct LongValues(Mutex<VecDeque<LongValue>>);

struct LongValue {
    /// The version of the container that was visible: in a later version the space of a value may have other content.
    version: u64,
    extents: Vec<Bytes>,
    value: Bytes,
}

impl LongValues {
    /// Returns the cached value with these extents.
    pub(crate) fn get(&self, version: u64, extents: &[Bytes]) -> Option<Bytes> {
        let values = self.0.lock();
        let found = values.iter().find(|v| v.version == version && v.extents == extents)?;
        Some(found.value.clone())
    }

    /// Caches a value, and evicts the oldest ones if there are too many.
    pub(crate) fn keep(&self, version: u64, extents: &[Bytes], value: &Bytes) {
        if value.len() > MAX_BYTES {
            return;
        }
        let mut values = self.0.lock();
        values.push_back(LongValue { version, extents: extents.to_vec(), value: value.clone() });
        while values.len() > MAX_VALUES || values.iter().map(|v| v.value.len()).sum::<usize>() > MAX_BYTES {
            values.pop_front();
        }
    }

    /// Drops all values, because the space of one of them becomes free.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Returns the bytes of all cached values.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.0.lock().iter().map(|v| v.value.len()).sum()
    }
}
