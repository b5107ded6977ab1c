//! Costs of an opened container below the data model: calls for its file, and the effect of its page cache.

use std::sync::atomic::{AtomicU64, Ordering};

use object_stores::Meter;

/// Counters of an open container. All of them are atomic numbers.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Reads of the container's file. Reads of an object store are counted by the store.
    pub reads: Meter,
    /// Writes of the file.
    pub writes: Meter,
    /// Waits until written data would survive a loss of power.
    pub syncs: Meter,
    /// Look-ups in the cache of pages.
    pub pages: CacheUse,
}

/// The numbers of look-ups in a cache that found their item, and of those that did not.
#[derive(Debug, Default)]
pub struct CacheUse {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl CacheUse {
    /// Counts one look-up.
    pub fn note(&self, is_hit: bool) {
        let counter = if is_hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of look-ups that found their item.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Returns the number of look-ups that did not find their item.
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }
}
