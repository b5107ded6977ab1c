//! Journals of copies: the results of an earlier attempt at a copy, and the results that this attempt records for the next one.

use crate::address::Address;
use crate::error::Result;
use crate::journal::PartEntries;
use crate::storage::StorageReads;

/// The part of [`Storage`](super::Storage) for copies that can be continued. Without a journal the methods do nothing.
pub(crate) trait StorageJournal: StorageReads {
    /// Returns whether copied entries are recorded in a journal.
    fn has_journal(&self) -> bool;

    /// Adopts a payload of an earlier attempt, as if it had been written now. Returns false if the payload does not exist, or overlaps a
    /// payload that was adopted before. The content of the payload is not checked.
    fn adopt_payload(&self, place: &Address) -> Result<bool>;

    /// Ends adoption: what an earlier attempt put and this one did not adopt will be freed. Nothing can be adopted afterwards.
    fn end_adoption(&self) -> Result<()>;

    /// Adds a part, with entries that refer only to payloads that are written by now. The part enters the journal once these payloads are
    /// stored.
    fn add_part(&self, entries: PartEntries) -> Result<()>;
}
