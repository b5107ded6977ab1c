//! Checkpoints: the pages of a coming base, and the change to it.

use crate::address::Address;
use crate::error::{Error, Result};
use crate::storage::{Checkpoint, Commit, StorageReads};

/// The part of [`Storage`](super::Storage) for checkpoints.
pub(crate) trait StorageCheckpoints: StorageReads {
    /// Whether a page that was written is kept in memory as well: where it is far to read it again.
    fn remembers_written_pages(&self) -> bool {
        false
    }

    /// Whether so much went out of use since the base that a checkpoint is worth it, because only that gives it back.
    fn wants_checkpoint(&self) -> bool {
        false
    }

    /// Whether the history has room for few checkpoints until the retention time is over: then a long log is better than one
    /// more.
    fn spares_checkpoints(&self) -> bool {
        false
    }

    /// Writes a page or a spilled value of a coming base.
    fn checkpoint_write(&self, data: &[u8]) -> Result<Address>;

    /// A place that the coming base does not need any more.
    fn checkpoint_free(&self, place: &Address) -> Result<()>;

    /// Makes the new base the one that readers start from.
    fn checkpoint_commit(&self, base: Checkpoint) -> Result<()>;

    /// Gives back what was written for the coming base, up to what is [kept](Self::checkpoint_keep).
    fn checkpoint_rollback(&self);

    /// Whether a commit is better a base than a record where it would make the log long.
    fn commits_as_checkpoints(&self) -> bool {
        false
    }

    /// Whether pages can be kept for a commit that is to come, and that commit be a base. Does what that needs before the first page.
    fn begin_spill(&self) -> Result<bool> {
        Ok(self.commits_as_checkpoints())
    }

    /// What was written for a coming base stays, and what that does without and an earlier call kept is given back, until
    /// [`commit_as_checkpoint`](Self::commit_as_checkpoint), [`checkpoint_forget`](Self::checkpoint_forget) or
    /// [`rollback`](super::StorageCommits::rollback). Returns the bytes written since the last call. After an error
    /// nothing has changed.
    fn checkpoint_keep(&self) -> Result<u64> {
        Err(Error::invalid(self.target(), "pages cannot be kept before a commit here"))
    }

    /// Gives back what was written for a coming base, all that was kept included.
    fn checkpoint_forget(&self) {}

    /// Makes what is kept the next version, which is a base, with the payloads written and freed since the last commit.
    /// Durable as by [`commit`](super::StorageCommits::commit). After an error the version is not committed, unless the
    /// error is `Broken`, and all that was kept still is. A commit in doubt keeps it, too.
    fn commit_as_checkpoint(&self, _base: Checkpoint) -> Result<Commit> {
        Err(Error::invalid(self.target(), "a commit is a record here"))
    }

    /// After a checkpoint: deletes what nothing refers to.
    fn sweep(&self) -> Result<()> {
        Ok(())
    }
}
