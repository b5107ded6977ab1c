//! Commits: publish the staged changes of a writer as one version, or not at all.

use crate::error::{Error, Result};
use crate::storage::{Commit, RemoteCommits, StorageReads};
use crate::wal::record::Entries;

/// The part of [`Storage`](super::Storage) for commits.
pub(crate) trait StorageCommits: StorageReads {
    /// Appends the record of `version`, if that is the next version. `closes` says that no other commit follows before the close. When this
    /// returns, the version is as durable as the options require. After an error other than `Broken` the version is not committed.
    fn commit(&self, version: u64, entries: &dyn Entries, closes: bool) -> Result<Commit>;

    /// Determines the result of a commit with an unknown outcome. Completes the commit unless another writer committed first.
    fn settle_commit(&self) -> Result<Commit> {
        Err(Error::invalid(self.target(), "no commit is in doubt"))
    }

    /// Determines the result of a checkpoint with an unknown outcome. Returns the commits that the ledger must apply for it.
    fn resolve(&self) -> Result<Option<RemoteCommits>> {
        Ok(None)
    }

    /// Frees all extents that were written since the last commit, and cancels the frees that were staged since then.
    fn rollback(&self) -> Result<()>;

    /// Releases the space that the storage reserves for the case that it is full. Returns whether there was such a reserve.
    fn spend_reserve(&self) -> bool {
        false
    }

    /// Retries a step that failed when a committed version was to be made durable. After an error the caller may try again.
    fn make_durable(&self) -> Result<()> {
        Ok(())
    }

    /// Waits until all committed versions are visible to other processes.
    fn arrive(&self) -> Result<()> {
        Ok(())
    }

    /// Abandons a new container that has not been published yet. Returns whether its data stays for the next attempt, because a journal
    /// names it. Otherwise objects are deleted here, and a file by the caller.
    fn give_up_new(&self) -> Result<bool>;

    /// Returns the time for versions and tags, in microseconds since 1970. It is the time of the storage's clock, if that is available.
    fn present(&self) -> Result<u64>;

    /// Releases the locks of the container. A writer also does its last cleanup here.
    fn close(&self) -> Result<()>;
}
