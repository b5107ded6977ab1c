//! Journals of copies: what a copy that is being made finds of an earlier try, and what it leaves for the next one.

use crate::address::Address;
use crate::error::Result;
use crate::journal::PartEntries;
use crate::storage::StorageReads;

/// The part of [`Storage`](super::Storage) for copies that continue. Without a journal there is nothing to do.
pub(crate) trait StorageJournal: StorageReads {
    /// Whether what is copied is noted.
    fn has_journal(&self) -> bool;

    /// Takes a payload of an earlier try over, as if it had been written now; false where it is not there, or another one has a
    /// byte of it. What it holds is not looked at.
    fn adopt_payload(&self, place: &Address) -> Result<bool>;

    /// Gives back what an earlier try put and nobody took over. Nothing is taken over after that.
    fn end_adoption(&self) -> Result<()>;

    /// Whether reads prove what is there at little cost, and puts do not prove it: power may have failed since.
    fn proves_by_reading(&self) -> bool;

    /// Adds a part: entries all of whose payloads are written by now. It is in the journal when they are there.
    fn add_part(&self, entries: PartEntries) -> Result<()>;

    /// The copy is given up: leaves what is there to the next try. False if there is nothing to leave.
    fn keep_journal(&self) -> bool;

    /// The copy is there: deletes the journal.
    fn end_journal(&self);
}
