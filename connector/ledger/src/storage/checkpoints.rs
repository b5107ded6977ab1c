//! Checkpoints: the pages of the coming checkpoint, and its publication.

use crate::address::Address;
use crate::error::{Error, Result};
use crate::storage::{Checkpoint, Commit, StorageReads};

/// The part of [`Storage`](super::Storage) for checkpoints.
pub(crate) trait StorageCheckpoints: StorageReads {
    /// Returns whether so many bytes went out of use since the last checkpoint that another checkpoint is worthwhile. They cannot be
    /// reclaimed before it.
    fn wants_checkpoint(&self) -> bool {
        false
    }

    /// Returns whether this concurrent writer may write a checkpoint now. If so, no other writer of a file begins a checkpoint until
    /// [`checkpoint_commit`](Self::checkpoint_commit) or [`checkpoint_rollback`](Self::checkpoint_rollback) has ended this one.
    fn begin_checkpoint(&self) -> bool;

    /// Writes a page or a spilled value of the coming checkpoint.
    fn checkpoint_write(&self, data: &[u8]) -> Result<Address>;

    /// Records an extent that the coming checkpoint does not need any more.
    fn checkpoint_free(&self, place: &Address) -> Result<()>;

    /// Publishes the checkpoint. From then on readers start from it. After an error the caller must call
    /// [`checkpoint_rollback`](Self::checkpoint_rollback).
    fn checkpoint_commit(&self, base: Checkpoint) -> Result<()>;

    /// Frees everything that was written for the coming checkpoint, except what was [retained](Self::checkpoint_keep).
    fn checkpoint_rollback(&self);

    /// Returns whether pages can be retained for a later commit, which then becomes a checkpoint. The ledger calls this before it spills
    /// staged changes into pages.
    fn begin_spill(&self) -> Result<bool> {
        Ok(self.properties().commits_as_checkpoints)
    }

    /// Retains everything that was written for the coming checkpoint until [`commit_as_checkpoint`](Self::commit_as_checkpoint),
    /// [`checkpoint_forget`](Self::checkpoint_forget) or [`rollback`](super::StorageCommits::rollback). Extents that an earlier call
    /// retained and that the checkpoint no longer needs are freed. Returns the number of bytes written since the last call. After an error
    /// nothing has changed.
    fn checkpoint_keep(&self) -> Result<u64> {
        Err(Error::invalid(self.target(), "pages cannot be kept before a commit here"))
    }

    /// Frees everything that was written for the coming checkpoint, including what was retained.
    fn checkpoint_forget(&self) {}

    /// Publishes the retained pages as the next version, which is a checkpoint, together with the payloads that were written and freed
    /// since the last commit. The version is as durable as that of [`commit`](super::StorageCommits::commit). After an error other than
    /// `Broken` the version is not committed, and the retained pages are still retained. They also remain retained while the outcome is
    /// unknown.
    fn commit_as_checkpoint(&self, _base: Checkpoint) -> Result<Commit> {
        Err(Error::invalid(self.target(), "a commit is a record here"))
    }

    /// Deletes the data that no version refers to. A vacuum calls this after its checkpoint.
    fn sweep(&self) -> Result<()> {
        Ok(())
    }
}
