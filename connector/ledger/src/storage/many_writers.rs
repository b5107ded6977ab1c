//! Operations for concurrent writers. With an exclusive writer they do nothing.

use bytes::Bytes;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::storage::{GroupCommit, RemoteCommits, StorageReads};
use crate::wal::record::CommitRecord;

/// The part of [`Storage`](super::Storage) for concurrent writers.
pub(crate) trait StorageSharing: StorageReads {
    /// Reserves `count` numbers for this writer at once, apart from the staged changes, and returns the first one. `counter` gets the records
    /// that this handle has not observed yet, and returns the counter of numbers in the map. A file raises this counter in a separate
    /// commit, of which `raised` returns the entries. An object store has another counter in the manifest, which is never below it.
    fn reserve_numbers(
        &self,
        count: u64,
        counter: &mut dyn FnMut(&[CommitRecord]) -> Result<u64>,
        raised: &dyn Fn(u64) -> Vec<u8>,
    ) -> Result<u64>;

    /// Makes the next commit also reserve `count` numbers that are at least `least`, if the storage can do so. 0 reserves none.
    fn reserve_with_commit(&self, _least: u64, _count: u64) {}

    /// Returns the numbers that the last commit reserved: the first one, and their count. They are returned once.
    fn reserved_with_commit(&self) -> Option<(u64, u64)> {
        None
    }

    /// Returns the counter of numbers outside of the map. Concurrent writers may have reserved numbers below it.
    fn reserved_numbers(&self) -> u64 {
        0
    }

    /// Returns the commits that this handle has not observed yet, like `poll_commits`, after a commit of this handle lost a race. The lost
    /// swap has read the newest version of an object store already, so that another read is not needed.
    fn poll_after_loss(&self) -> Result<Option<RemoteCommits>> {
        self.poll_commits(u64::MAX)
    }

    /// Commits entries in a record that may also contain the commits of other writers. The entries were merged with all records that this
    /// handle has observed. The attempt ends if another commit changes a key that begins with one of the conditions.
    fn commit_in_group(&self, _entries: &[u8], _conditions: &[Bytes]) -> Result<GroupCommit> {
        Err(Error::invalid(self.target(), "commits do not go together here"))
    }

    /// Determines the result of a group commit with an unknown outcome, and completes the commit if possible.
    fn settle_group(&self) -> Result<GroupCommit> {
        Err(Error::invalid(self.target(), "no commit is queued"))
    }

    /// Makes the payloads of this writer as durable as a commit would, so that the commit of another writer can name
    /// them.
    fn offer_payloads(&self) -> Result<()>;

    /// Lets the next commit of this writer name a payload that another writer has offered.
    fn accept_payload(&self, place: &Address) -> Result<()>;

    /// Removes a payload from those that the next commit of this writer names. It stays if `is_named`, because another
    /// writer's commit names it, or may name it; otherwise its space is free. Does nothing with an older payload.
    fn disown_payload(&self, place: &Address, is_named: bool) -> Result<()>;

    /// Ends an offer after the commit of the other writer, once each payload is disowned.
    fn end_offer(&self) -> Result<()>;
}
