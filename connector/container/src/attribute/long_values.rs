//! Long values of attributes that were read last. A value is read again without its payloads.

use bytes::Bytes;
use h5lake_ledger::locks::Mutex;
use std::collections::VecDeque;

/// Values that are kept.
const MAX_VALUES: usize = 16;
/// Bytes of all kept values together. A longer value is not kept.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// The values that were read last, by their encoded extents, which have checksums of the bytes.
#[derive(Default)]
pub(crate) struct LongValues(Mutex<VecDeque<LongValue>>);

struct LongValue {
    /// The version of the container that was shown: the space of a value may have another one in a later version.
    version: u64,
    extents: Vec<Bytes>,
    value: Bytes,
}

impl LongValues {
    /// The value that has these extents, if it is kept.
    pub(crate) fn get(&self, version: u64, extents: &[Bytes]) -> Option<Bytes> {
        let values = self.0.lock();
        let found = values.iter().find(|v| v.version == version && v.extents == extents)?;
        Some(found.value.clone())
    }

    /// Keeps a value, and no longer the oldest ones if there are too many.
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

    /// Drops all values: the space of one of them becomes free.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Bytes of all kept values.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.0.lock().iter().map(|v| v.value.len()).sum()
    }
}
