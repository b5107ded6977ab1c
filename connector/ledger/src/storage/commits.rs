//! Commits: how what a writer has staged becomes a version, or nothing.

use crate::error::{Error, Result};
use crate::storage::{Commit, RemoteCommits, StorageReads};
use crate::wal::record::Entries;

/// The part of [`Storage`](super::Storage) for commits.
pub(crate) trait StorageCommits: StorageReads {
    /// Appends the record of `version`, if that is the next one. `closes`: nothing is committed behind it before the close. When this returns, the version is durable as
    /// the options say. After an error the version is not committed, unless the error is `Broken`.
    fn commit(&self, version: u64, entries: &dyn Entries, closes: bool) -> Result<Commit>;

    /// Finds out what became of a commit that is in doubt, and completes it unless another writer was first.
    fn settle_commit(&self) -> Result<Commit> {
        Err(Error::invalid(self.target(), "no commit is in doubt"))
    }

    /// Finds out what became of a checkpoint whose outcome was not known. Returns what the map has to be told then.
    fn resolve(&self) -> Result<Option<RemoteCommits>> {
        Ok(None)
    }

    /// Returns when the container is there by its name.
    fn ensure_published(&self) -> Result<()> {
        Ok(())
    }

    /// Whether records may say how values differ from those before. Whoever reads them has read all records behind the base.
    fn takes_edits(&self) -> bool {
        false
    }

    /// Gives back all places written or freed since the last commit.
    fn rollback(&self) -> Result<()>;

    /// Gives up the room that is kept for when there is none; whether there was any.
    fn spend_reserve(&self) -> bool {
        false
    }

    /// Tries again what failed when a version was to be made durable that is committed otherwise. After an error it may be tried
    /// again.
    fn make_durable(&self) -> Result<()> {
        Ok(())
    }

    /// Returns when every version is where other processes see it.
    fn arrive(&self) -> Result<()> {
        Ok(())
    }

    /// Deletes what there is of a new container that nobody can find yet. Does nothing with another one.
    fn discard(&self) -> Result<()> {
        Ok(())
    }

    /// Lets go of locks; a writer's last tidying.
    fn close(&self) -> Result<()>;
}
