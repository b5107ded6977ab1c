//! Compaction: the payloads that are worth moving, and the space that tags protect.

use crate::compaction_plan::CompactionPlan;
use crate::error::Result;
use crate::storage::StorageReads;

/// The part of [`Storage`](super::Storage) for compaction.
pub(crate) trait StorageCompaction: StorageReads {
    /// Returns the payloads that are worth moving. In a file these are at most the payloads among the last `most` bytes in use.
    fn compaction_plan(&self, most: u64) -> Result<CompactionPlan>;

    /// Returns whether so much space is dead that a close should move live payloads, as far as this is known without a request. From this
    /// call on, a file need not delay the reuse of free space to protect concurrent copies of the file.
    fn wants_compaction_at_close(&self) -> Result<bool>;

    /// Returns the number of bytes that only tags need.
    fn held_bytes(&self) -> Result<u64>;
}
