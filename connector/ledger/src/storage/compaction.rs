//! Compaction: the payloads that are worth moving, and their new extents.

use std::time::Duration;

use crate::address::Address;
use crate::compaction_plan::CompactionPlan;
use crate::error::Result;
use crate::storage::StorageReads;

/// The part of [`Storage`](super::Storage) for compaction.
pub(crate) trait StorageCompaction: StorageReads {
    /// Lets the clock alone decide from now on whether the retention time of freed space is over.
    fn trust_clock(&self) {}

    /// Returns the payloads that are worth moving.
    fn compaction_plan(&self) -> Result<CompactionPlan>;

    /// Returns the offset in a file behind which this number of bytes are not free.
    fn last_used(&self, _bytes: u64) -> Result<u64> {
        Ok(0)
    }

    /// Returns the number of bytes of a file that this writer freed.
    fn freed_bytes(&self) -> u64 {
        0
    }

    /// Returns whether so much space is dead that a close should move live payloads, as far as this is known without a request. From this
    /// call on, a file need not delay the reuse of free space to protect concurrent copies of the file.
    fn wants_compaction_at_close(&self) -> Result<bool>;

    /// Makes later writes go to extents that do not hinder compaction, if there are any: in a file, before the end that the file would have
    /// without holes. Ends with [`end_compaction`](Self::end_compaction).
    fn begin_compaction(&self) -> Result<()> {
        Ok(())
    }

    fn end_compaction(&self) {}

    /// Returns whether an extent hinders compaction, and its content fits elsewhere. Always false outside of a compaction.
    fn must_relocate(&self, _place: &Address) -> bool {
        false
    }

    /// Returns the time until all space that went out of use can be reused, if only the retention time prevents that. Returns `None` if
    /// nothing waits, or if too little space would become free.
    fn reclaim_delay(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// Returns the number of bytes that a concurrent writer freed, or reserved and did not use. Only an exclusive writer can reclaim them.
    fn room_left_to_others(&self) -> u64 {
        0
    }

    /// Counts bytes that other writers freed as freed by this writer, for its decisions at close.
    fn note_freed(&self, _bytes: u64) -> Result<()> {
        Ok(())
    }

    /// Returns whether a payload of this length fits into an extent that is better than the given one.
    fn fits_before(&self, _place: &Address, _length: u64) -> Result<bool> {
        Ok(true)
    }

    /// Returns the lengths of the parts into which a payload can be divided so that each part fits into a better extent than the given one.
    /// The last argument is the greatest number of parts. Returns no lengths if a division is no improvement.
    fn parts_before(&self, _place: &Address, _length: u64, _most: usize) -> Result<Vec<u64>> {
        Ok(Vec::new())
    }

    /// Writes a payload to an extent that is better than `place`. Returns `None` if there is no such extent.
    fn write_before(&self, place: &Address, data: &[u8]) -> Result<Option<Address>>;
}
