//! What one opened container costs below the data model: calls of a file, and how far its cache of pages helps.

use std::sync::atomic::{AtomicU64, Ordering};

use object_stores::Meter;

/// Counted while a container is open. All of it are atomic numbers.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Reads of the container's file. Those of an object store are counted there.
    pub reads: Meter,
    /// Writes of the file.
    pub writes: Meter,
    /// Waits until what was written survives a loss of power.
    pub syncs: Meter,
    /// Looks into the cache of pages.
    pub pages: CacheUse,
}

/// How often something was in a cache, and how often not.
#[derive(Debug, Default)]
pub struct CacheUse {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl CacheUse {
    /// Counts one look into the cache.
    pub fn note(&self, is_hit: bool) {
        let counter = if is_hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Looks that found what they were for.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// All other looks.
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }
}
