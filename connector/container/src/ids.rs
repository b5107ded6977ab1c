//! The allocator of object ids. The counter only increases: ids are not reused.

use crate::{Error, ErrorKind, ObjectId, Result};
use h5lake_ledger::Ledger;
use h5lake_records::keys;
use std::sync::Arc;

const MAX_COUNT: u64 = (1 << 32) - 1;

/// Reserves numbers for new objects, the same ones in every process. Called with the required count, and with a
/// function that takes as many numbers from the container.
pub type NumberSource = Arc<dyn Fn(u64, &dyn Fn(u64) -> Result<u64>) -> Result<u64> + Send + Sync>;

/// Initial and maximum number of ids that a shared writer reserves at once.
const MIN_RANGE: u64 = 32;
const MAX_RANGE: u64 = 4096;

/// Takes `count` numbers from the counter; returns the first.
pub(crate) fn take_from(ledger: &Ledger, count: u64) -> Result<u64> {
    Ok(ledger.take_numbers(keys::NEXT_OBJECT, count, 1)?)
}

/// The allocator of ids.
pub(crate) struct Ids {
    salt: u32,
    next: u64,
    stored: u64,
    /// The end of the reserved range, which begins at `next`, and the length of the next range; present in multi-writer mode.
    range: Option<(u64, u64)>,
    /// The source of ranges that several processes use together.
    source: Option<NumberSource>,
}

impl Ids {
    pub(crate) fn load(ledger: &Ledger, salt: u32) -> Result<Self> {
        let next = match ledger.get(keys::NEXT_OBJECT)? {
            None => 1,
            Some(v) => u64::from_be_bytes(
                v.as_ref()
                    .try_into()
                    .map_err(|_| Error::corrupt("the number of the next object is damaged"))?,
            ),
        };
        let next = next.max(ledger.reserved_numbers());
        let range = ledger.is_shared().then_some((next, MIN_RANGE));
        Ok(Self { salt, next, stored: next, range, source: None })
    }

    /// Takes ranges from `source` from now on; returns the previous source.
    pub(crate) fn share(&mut self, source: NumberSource) -> Option<NumberSource> {
        self.source.replace(source)
    }

    /// Reserves ranges for this process alone from now on; returns the previous source.
    pub(crate) fn number_alone(&mut self) -> Option<NumberSource> {
        self.begin_anew();
        self.source.take()
    }

    /// Discards the present range, because processes may have used different numbers of it.
    pub(crate) fn begin_anew(&mut self) {
        if self.source.is_some() {
            self.range = Some((self.next, MIN_RANGE));
        }
    }

    /// Returns the source from which processes have to reserve a range together, and its length, if this process needs
    /// one.
    pub(crate) fn shortage(&self) -> Option<(NumberSource, u64)> {
        let (end, length) = self.range?;
        self.source.clone().filter(|_| self.next >= end).map(|source| (source, length))
    }

    /// Starts a range that begins with `first` and was requested with this length.
    pub(crate) fn go_on_from(&mut self, ledger: &Ledger, first: u64, length: u64) -> Result<()> {
        // Another process may have taken the range for this one, too.
        ledger.note_numbers(keys::NEXT_OBJECT, first + length)?;
        self.next = first;
        self.range = Some((first + length, (length * 4).min(MAX_RANGE)));
        Ok(())
    }

    /// Returns the next number of the present range, which is the same in all processes; 0 if a range has yet to be
    /// reserved.
    pub(crate) fn position(&self) -> u64 {
        self.range.filter(|(end, _)| self.next < *end).map_or(0, |_| self.next)
    }

    /// Returns whether several processes give the same numbers to the same objects.
    pub(crate) fn are_shared(&self) -> bool {
        self.source.is_some()
    }

    /// Returns a number that no other object has or will have.
    pub(crate) fn number(&mut self, ledger: &Ledger) -> Result<u64> {
        if let Some((end, length)) = self.range
            && self.next >= end
        {
            let take = |count| take_from(ledger, count);
            let first = match &self.source {
                Some(source) => source(length, &take)?,
                None => take(length)?,
            };
            self.go_on_from(ledger, first, length)?;
        }
        if self.next > MAX_COUNT {
            return Err(Error::new(ErrorKind::OutOfRange, "the container has used up its object ids"));
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    pub(crate) fn take(&mut self, ledger: &Ledger) -> Result<ObjectId> {
        let number = self.number(ledger)?;
        Ok(ObjectId::numbered(self.salt, number))
    }

    /// Returns whether no commit can contain an object, because the exclusive writer has allocated its number since the
    /// last commit.
    pub(crate) fn is_uncommitted(&self, id: u64) -> bool {
        // A damaged counter is above `MAX_COUNT`, and gives no numbers.
        let count = self.next.saturating_sub(self.stored);
        let number = ObjectId(id).number();
        let is_own = ObjectId::numbered(self.salt, number).0 == id;
        let allocated = number.checked_sub(self.stored);
        self.range.is_none() && is_own && allocated.is_some_and(|place| place < count)
    }

    /// Stages the counter, if it changed. The ledger of a shared writer does so itself.
    pub(crate) fn store(&mut self, ledger: &Ledger) -> Result<()> {
        if self.range.is_none() && self.next != self.stored {
            ledger.put(keys::NEXT_OBJECT, self.next.to_be_bytes().to_vec())?;
            self.stored = self.next;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_since_the_last_commit_are_uncommitted() {
        let salt = 3;
        let id = |number| ObjectId::numbered(salt, number).0;
        let ids = |stored, next| Ids { salt, next, stored, range: None, source: None };
        let found = |ids: &Ids| [4, 5, 6, 7].map(|number| ids.is_uncommitted(id(number)));
        assert_eq!(found(&ids(5, 7)), [false, true, true, false]);
        assert!(!ids(5, 7).is_uncommitted(ObjectId::ROOT.0));
        let of_damaged_counter = ids(u64::MAX - 1, u64::MAX);
        assert_eq!(found(&of_damaged_counter), [false; 4]);
        assert!(!of_damaged_counter.is_uncommitted(u64::MAX));
    }
}
