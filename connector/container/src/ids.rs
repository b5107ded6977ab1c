//! Object ids.
//!
//! An id is 2^62 + salt · 2^44 + n · 2^12: a counter, so that new objects lie together in the map; a salt per
//! container, so that a reference into another container does not name an object by accident; and 4 KiB
//! between ids, so that native code that takes an id for an address and reads a header there never reads
//! into the next one. The counter only grows: ids are not used again.

use crate::{Error, ErrorKind, ObjectId, Result, keys};
use h5lake_ledger::Ledger;

const BASE: u64 = 1 << 62;
const SALT_BITS: u32 = 18;
const STEP: u32 = 12;
const LAST: u64 = (1 << 32) - 1;

/// The root group of every container.
pub(crate) const ROOT: ObjectId = ObjectId(BASE + (1 << STEP));

/// Gives out ids.
pub(crate) struct Ids {
    salt: u64,
    next: u64,
    stored: u64,
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
        Ok(Self { salt, next, stored: next })
    }

    pub(crate) fn take(&mut self) -> Result<ObjectId> {
        if self.next > LAST {
            return Err(Error::new(ErrorKind::OutOfRange, "the container has used up its object ids"));
        }
        let id = BASE + (self.salt << (STEP + 32)) + (self.next << STEP);
        self.next += 1;
        Ok(ObjectId(id))
    }

    /// Stages the counter, if it moved.
    pub(crate) fn store(&mut self, ledger: &Ledger) -> Result<()> {
        if self.next != self.stored {
            ledger.put(keys::NEXT_OBJECT, self.next.to_be_bytes().to_vec())?;
            self.stored = self.next;
        }
        Ok(())
    }
}
