//! Object ids.
//!
//! An id is 2^62 + salt · 2^44 + n · 2^12: a counter, so that new objects lie together in the map; a salt per
//! container, so that a reference into another container does not name an object by accident; and 4 KiB
//! between ids, so that native code that takes an id for an address and reads a header there never reads
//! into the next one. The counter only grows: ids are not used again.

use crate::{Error, ErrorKind, ObjectId, Result, keys};
use h5lake_ledger::Ledger;
use std::sync::Arc;

const BASE: u64 = 1 << 62;
const SALT_BITS: u32 = 18;
const STEP: u32 = 12;
const MAX_COUNT: u64 = (1 << 32) - 1;

/// Gets numbers for new objects that every process is given alike: called with how many are wanted, and a function that
/// takes so many from the container.
pub type NumberSource = Arc<dyn Fn(u64, &dyn Fn(u64) -> Result<u64>) -> Result<u64> + Send + Sync>;

/// The root group of every container.
pub(crate) const ROOT: ObjectId = ObjectId(BASE + (1 << STEP));

/// The id of an object of this number.
pub(crate) fn of(salt: u32, number: u64) -> u64 {
    // The salt 0 is that of the root.
    let salt = u64::from(salt) % ((1 << SALT_BITS) - 1) + 1;
    BASE + (salt << (STEP + 32)) + (number << STEP)
}

/// How many numbers one of many writers takes at first, and at most, in a commit of its own.
const MIN_RANGE: u64 = 32;
const MAX_RANGE: u64 = 4096;

/// Takes so many numbers, in a commit of their own; returns the first.
pub(crate) fn take_from(ledger: &Ledger, count: u64) -> Result<u64> {
    Ok(ledger.take_numbers(keys::NEXT_OBJECT, count, 1)?)
}

/// Gives out ids.
pub(crate) struct Ids {
    salt: u64,
    next: u64,
    stored: u64,
    /// With many writers: the numbers from `next` up to here are this one's.
    range: Option<(u64, u64)>,
    /// Where ranges come from that several processes use alike.
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
        // The salt 0 is that of the root.
        let salt = u64::from(salt) % ((1 << SALT_BITS) - 1) + 1;
        let range = ledger.is_one_of_many().then_some((next, MIN_RANGE));
        Ok(Self { salt, next, stored: next, range, source: None })
    }

    /// From now on takes ranges from `source`; returns the one before.
    pub(crate) fn share(&mut self, source: NumberSource) -> Option<NumberSource> {
        self.source.replace(source)
    }

    /// From now on takes ranges of its own; returns where they came from.
    pub(crate) fn number_alone(&mut self) -> Option<NumberSource> {
        self.begin_anew();
        self.source.take()
    }

    /// Gives no number of the present range any more: processes may have taken different ones of it.
    pub(crate) fn begin_anew(&mut self) {
        if self.source.is_some() {
            self.range = Some((self.next, MIN_RANGE));
        }
    }

    /// Where processes get a range together that this one needs, and of how many numbers.
    pub(crate) fn shortage(&self) -> Option<(NumberSource, u64)> {
        let (end, length) = self.range?;
        self.source.clone().filter(|_| self.next >= end).map(|source| (source, length))
    }

    /// Takes numbers from a range that begins with `first`, and was asked for with this length.
    pub(crate) fn go_on_from(&mut self, first: u64, length: u64) {
        self.next = first;
        self.range = Some((first + length, (length * 4).min(MAX_RANGE)));
    }

    /// The next number of the present range, the same in all processes; 0 where a range has yet to be taken.
    pub(crate) fn position(&self) -> u64 {
        self.range.filter(|(end, _)| self.next < *end).map_or(0, |_| self.next)
    }

    /// Whether several processes give the same numbers to the same objects.
    pub(crate) fn are_shared(&self) -> bool {
        self.source.is_some()
    }

    /// A number that no other object has, nor will have.
    pub(crate) fn number(&mut self, ledger: &Ledger) -> Result<u64> {
        if let Some((end, length)) = self.range
            && self.next >= end
        {
            let take = |count| take_from(ledger, count);
            let first = match &self.source {
                Some(source) => source(length, &take)?,
                None => take(length)?,
            };
            self.go_on_from(first, length);
        }
        if self.next > MAX_COUNT {
            return Err(Error::new(ErrorKind::OutOfRange, "the container has used up its object ids"));
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    pub(crate) fn take(&mut self, ledger: &Ledger) -> Result<ObjectId> {
        let number = self.number(ledger)?;
        Ok(ObjectId(BASE + (self.salt << (STEP + 32)) + (number << STEP)))
    }

    /// Whether no commit can have an object, because the exclusive writer has given its number since the last one.
    pub(crate) fn is_uncommitted(&self, id: u64) -> bool {
        let first = BASE + (self.salt << (STEP + 32)) + (self.stored << STEP);
        self.range.is_none() && id >= first && id < first + ((self.next - self.stored) << STEP)
    }

    /// Stages the counter, if it moved. One of many has moved it when it took its range.
    pub(crate) fn store(&mut self, ledger: &Ledger) -> Result<()> {
        if self.range.is_none() && self.next != self.stored {
            ledger.put(keys::NEXT_OBJECT, self.next.to_be_bytes().to_vec())?;
            self.stored = self.next;
        }
        Ok(())
    }
}
