//! Compaction: what is worth moving, and where it goes.

use std::time::Duration;

use crate::address::Address;
use crate::compaction_plan::CompactionPlan;
use crate::error::Result;
use crate::storage::StorageReads;

/// The part of [`Storage`](super::Storage) for compaction.
pub(crate) trait StorageCompaction: StorageReads {
    /// From now on the clock alone says how long what went out of use has rested.
    fn trust_clock(&self) {}

    /// What is worth moving.
    fn compaction_plan(&self) -> Result<CompactionPlan>;

    /// The offset in a file from which on so many bytes lie that are not free.
    fn last_used(&self, _bytes: u64) -> Result<u64> {
        Ok(0)
    }

    /// Bytes that this writer freed in a file.
    fn freed_bytes(&self) -> u64 {
        0
    }

    /// Whether so much is dead that a close should move what lives, as far as that is known at once. Who copies a file
    /// may be shown no courtesy any more.
    fn wants_compaction_at_close(&self) -> Result<bool>;

    /// From now on what is written goes where it stands in nobody's way, if it can: in a file, before the end that it would
    /// have without holes. Until [`end_compaction`](Self::end_compaction).
    fn begin_compaction(&self) -> Result<()> {
        Ok(())
    }

    fn end_compaction(&self) {}

    /// Whether a place stands in the way, and what is there could be elsewhere. Never, unless gathering.
    fn must_relocate(&self, _place: &Address) -> bool {
        false
    }

    /// How long it is until all that went out of use may be used again, as far as time goes. `None` if nothing
    /// did, or little is free with it.
    fn reclaim_delay(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// Bytes that one of many writers freed, or reserved and did not use. Only a writer that is alone can give them back.
    fn room_left_to_others(&self) -> u64 {
        0
    }

    /// Counts bytes that other writers freed as freed by this one, for what it does at its close.
    fn note_freed(&self, _bytes: u64) -> Result<()> {
        Ok(())
    }

    /// Whether a payload of this length could be written where it is better kept than at `place`.
    fn fits_before(&self, _place: &Address, _length: u64) -> Result<bool> {
        Ok(true)
    }

    /// The lengths of up to `most` parts that could be. None where parts are no better.
    fn parts_before(&self, _place: &Address, _length: u64, _most: usize) -> Result<Vec<u64>> {
        Ok(Vec::new())
    }

    /// Writes a payload where it is better kept than at `place`; `None` if there is no such place.
    fn write_before(&self, place: &Address, data: &[u8]) -> Result<Option<Address>>;
}
