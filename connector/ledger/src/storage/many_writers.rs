//! Operations for concurrent writers. With an exclusive writer they do nothing.

use bytes::Bytes;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::storage::{GroupCommit, StorageReads};
use crate::wal::record::CommitRecord;

/// The part of [`Storage`](super::Storage) for concurrent writers.
pub(crate) trait StorageSharing: StorageReads {
    /// Makes a separate commit at once, without the staged changes. `make` gets the records that this handle has not observed yet, and
    /// returns the entries of the commit.
    fn commit_independent(&self, make: &mut dyn FnMut(&[CommitRecord]) -> Result<Vec<u8>>) -> Result<()>;

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

    /// Removes a payload from those that the next commit of this writer names. The payload stays, because another
    /// writer's commit names it, or may name it.
    fn disown_payload(&self, place: &Address) -> Result<()>;

    /// Ends an offer after the commit of the other writer, once each payload is disowned or freed.
    fn end_offer(&self) -> Result<()>;
}
