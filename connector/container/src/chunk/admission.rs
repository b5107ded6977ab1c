//! Which blocks that are read are worth keeping in memory.

use crate::chunk::grid::CopyRun;
use crate::chunk::layout::{BlockLayout, MIN_DIRECT_BYTES};
use lru::LruCache;

/// Blocks up to this many bytes are kept as soon as a part of them is read.
const MAX_SMALL_BLOCK_BYTES: usize = 16 << 10;
/// Blocks whose use is watched before they are kept.
const MAX_WATCHED_BLOCKS: usize = 4096;
/// So many partial reads, or a block's length in bytes, and it is kept.
const ADMIT_AFTER_READS: u32 = 8;
/// So many times a block's length in bytes that were read for the sake of scattered ones, and it is kept. To keep a block
/// costs the first touch of its memory, which is as much as to read it so often from the system's cache: whoever comes back
/// less often has not paid for what it did not use, and whoever comes more often has paid twice at most.
const ADMIT_AFTER_SPANS: usize = 8;

/// How far away the stored bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Latency {
    /// In this process's memory already.
    Memory,
    /// In a local file: the ledger answers as quickly as memory copies.
    File,
    /// In a store that is waited for.
    Far,
}

/// Where a read was answered.
pub(crate) enum Admission {
    /// All from memory.
    Done,
    /// The ledger has it all and it need not be kept: read it without the cache's lock.
    Stored,
    /// The ledger has it all, and it is read often: keep it, if this is still the epoch.
    Keep(u64),
}

/// Watches what is read of blocks that are not in memory.
#[derive(Debug)]
pub(crate) struct AdmissionPolicy {
    /// Bytes of the cache.
    limit: usize,
    distance: Latency,
    watched: LruCache<Vec<u8>, Seen>,
}

/// What was read of a block.
#[derive(Debug, Default)]
struct Seen {
    times: u32,
    bytes: usize,
    /// Bytes from the first to the last of scattered ones.
    spanned: usize,
}

impl AdmissionPolicy {
    pub(crate) fn new(limit: usize, distance: Latency) -> Self {
        Self { limit, distance, watched: LruCache::unbounded() }
    }

    /// Whole blocks and long runs are read past the cache until they have been read before; scattered bytes,
    /// and parts of filtered blocks, bring the block into memory.
    pub(crate) fn admits(&mut self, key: &[u8], shape: &BlockLayout, runs: &[CopyRun]) -> bool {
        if shape.len > self.limit / 4 {
            return false;
        }
        let plain = shape.filters.is_empty();
        if self.distance == Latency::Memory && plain && shape.len > MAX_SMALL_BLOCK_BYTES {
            return false;
        }
        let near = self.distance != Latency::Far;
        let bytes: usize = runs.iter().map(|r| r.len).sum();
        let whole = bytes >= shape.len;
        let scattered = runs.len() > 4 && bytes / runs.len() < MIN_DIRECT_BYTES / 4;
        // To read a large block of a local file again costs less than the first touch of memory to keep it in.
        let cheap = near && plain && shape.len > MAX_SMALL_BLOCK_BYTES;
        if !whole && !cheap && (scattered || shape.len <= MIN_DIRECT_BYTES || !plain) {
            return true;
        }
        // Long runs of a local file lie in the system's cache already.
        if near && plain && bytes / runs.len().max(1) >= MIN_DIRECT_BYTES / 4 {
            return false;
        }
        let seen = match self.watched.get_mut(key) {
            Some(seen) => seen,
            None => self.watched.get_or_insert_mut(key.to_vec(), Seen::default),
        };
        if scattered {
            seen.spanned = seen.spanned.saturating_add(span(runs));
        } else {
            (seen.times, seen.bytes) = (seen.times + 1, seen.bytes.saturating_add(bytes));
        }
        let often = seen.times > ADMIT_AFTER_READS
            || (seen.times > 1 && seen.bytes > shape.len)
            || seen.spanned / ADMIT_AFTER_SPANS >= shape.len;
        if often {
            self.watched.pop(key);
        } else if self.watched.len() > MAX_WATCHED_BLOCKS {
            self.watched.pop_lru();
        }
        often
    }
}

/// Bytes from the first to the last that runs want.
fn span(runs: &[CopyRun]) -> usize {
    let from = runs.iter().map(|r| r.block).min().unwrap_or(0);
    runs.iter().map(|r| r.block + r.len).max().unwrap_or(0) - from
}
