//! What a storage does for one of many writers. With one writer there is nothing to do.

use crate::error::Result;
use crate::storage::StorageReads;
use crate::wal::record::CommitRecord;

/// The part of [`Storage`](super::Storage) for many writers.
pub(crate) trait StorageSharing: StorageReads {
    /// A commit beside what is staged. `make` is given the records that this handle has not
    /// been told of, and makes the entries.
    fn commit_independent(&self, make: &mut dyn FnMut(&[CommitRecord]) -> Result<Vec<u8>>) -> Result<()>;

    /// Keeps others from committing until `unlock_commits`, where that is possible.
    fn lock_commits(&self) -> Result<()> {
        Ok(())
    }

    /// Lets others commit again.
    fn unlock_commits(&self) {}

    /// Versions older than the newest that it was told of are not read any more.
    fn advance_pin(&self) {}

    /// Whether this writer may write a checkpoint now.
    fn begin_checkpoint(&self) -> bool {
        true
    }

    fn end_checkpoint(&self) {}
}
