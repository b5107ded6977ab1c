//! The admission policy of the block cache: which blocks are cached when they are read.

use crate::chunk::grid::CopyRun;
use crate::chunk::layout::{BlockLayout, MIN_DIRECT_BYTES};
use lru::LruCache;

/// Blocks up to this many bytes are cached as soon as a part of them is read.
const MAX_SMALL_BLOCK_BYTES: usize = 16 << 10;
/// Maximum number of uncached blocks for which reads are counted.
const MAX_WATCHED_BLOCKS: usize = 4096;
/// A block is cached after more partial reads than this, or after reads of more bytes than its length.
const ADMIT_AFTER_READS: u32 = 8;
/// A block is cached after scattered reads that spanned this many times its length in bytes. Caching costs the first
/// touch of new memory, which is about as much as this number of reads from the page cache of the system. A block that
/// is read less often does not pay for unused memory, and a block that is read more often costs at most twice the
/// optimum.
const ADMIT_AFTER_SPANS: usize = 8;

/// Where the stored bytes are, and how long a read takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Latency {
    /// The bytes are in this process's memory.
    Memory,
    /// The bytes are in a local file: the ledger reads as quickly as memory is copied.
    File,
    /// The bytes are in a remote store: each read waits for a request.
    Far,
}

/// The answer of the cache to a read.
pub(crate) enum Admission {
    /// The cache had all bytes.
    Done,
    /// The ledger has all bytes, and the block need not be cached: read it without the cache's lock.
    Stored,
    /// The ledger has all bytes, and the block is read often: cache it, unless the epoch has changed.
    Keep(u64),
}

/// Counts the reads of blocks that are not in memory.
#[derive(Debug)]
pub(crate) struct AdmissionPolicy {
    /// Capacity of the cache in bytes.
    limit: usize,
    distance: Latency,
    watched: LruCache<Vec<u8>, Seen>,
}

/// The reads of a block so far.
#[derive(Debug, Default)]
struct Seen {
    times: u32,
    bytes: usize,
    /// Sum of the spans of scattered reads, each from its first to its last byte.
    spanned: usize,
}

impl AdmissionPolicy {
    pub(crate) fn new(limit: usize, distance: Latency) -> Self {
        Self { limit, distance, watched: LruCache::unbounded() }
    }

    /// Returns whether a block is to be cached when `runs` of it are read. Whole blocks and long runs are read past the
    /// cache until they have been read before; scattered bytes, and parts of filtered blocks, bring the block into
    /// memory.
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
        // Reading a large block of a local file again costs less than the first touch of the memory that would hold it.
        let cheap = near && plain && shape.len > MAX_SMALL_BLOCK_BYTES;
        if !whole && !cheap && (scattered || shape.len <= MIN_DIRECT_BYTES || !plain) {
            return true;
        }
        // Long runs of a local file are in the page cache of the system already.
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

/// Returns the number of bytes from the first to the last byte of `runs`.
fn span(runs: &[CopyRun]) -> usize {
    let from = runs.iter().map(|r| r.block).min().unwrap_or(0);
    runs.iter().map(|r| r.block + r.len).max().unwrap_or(0) - from
}
