//! What a storage does for one of many writers. With one writer there is nothing to do.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::storage::{GroupCommit, StorageReads};
use crate::wal::record::CommitRecord;

/// The part of [`Storage`](super::Storage) for many writers.
pub(crate) trait StorageSharing: StorageReads {
    /// A commit beside what is staged. `make` is given the records that this handle has not
    /// been told of, and makes the entries.
    fn commit_independent(&self, make: &mut dyn FnMut(&[CommitRecord]) -> Result<Vec<u8>>) -> Result<()>;

    /// Whether several commits can become one record here.
    fn takes_groups(&self) -> bool {
        false
    }

    /// Commits `entries`, which were merged with all up to version `view`, in a record that may hold others' commits too. It
    /// gives up when another commit changes a key that begins with one of `conditions`.
    fn commit_in_group(&self, _view: u64, _entries: &[u8], _conditions: &[Bytes]) -> Result<GroupCommit> {
        Err(Error::invalid(self.target(), "commits do not go together here"))
    }

    /// Finds out what became of such a commit that is in doubt, and completes it where that can be.
    fn settle_group(&self) -> Result<GroupCommit> {
        Err(Error::invalid(self.target(), "no commit is queued"))
    }

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
