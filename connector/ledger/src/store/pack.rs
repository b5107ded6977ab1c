//! Objects that are being filled in memory.

use crate::address::Address;
use crate::core::ids::ObjectId;
use crate::error::{Error, Result};
use crate::store::pack_gaps::PackGaps;

/// A pack is put when it has this many bytes.
pub(super) const PACK_BYTES: usize = 8 << 20;

/// An object that is being filled.
#[derive(Debug, Default)]
pub(super) struct PackBuffer {
    pub(super) object: Option<ObjectId>,
    pub(super) bytes: Vec<u8>,
    holes: PackGaps,
}

impl PackBuffer {
    /// Names the object.
    pub(super) fn begin(&mut self, object: ObjectId) {
        debug_assert!(self.object.is_none() && self.bytes.is_empty());
        self.object = Some(object);
    }

    /// Appends bytes. The object must have a name.
    pub(super) fn add(&mut self, data: &[u8], target: &str) -> Result<Address> {
        let nameless = || Error::invalid(target, "bytes are written into an object without a name");
        let object = self.object.ok_or_else(nameless)?;
        self.bytes.try_reserve(data.len()).map_err(|_| Error::no_memory(target, data.len() as u64))?;
        let offset = self.bytes.len() as u64;
        self.bytes.extend_from_slice(data);
        Ok(Address { location: object.pack(), offset, length: data.len() as u64 })
    }

    /// Writes bytes over a hole, if there is one that is long enough.
    pub(super) fn add_in_hole(&mut self, data: &[u8]) -> Option<Address> {
        let object = self.object?;
        let at = self.holes.take(data.len())?;
        self.bytes[at..at + data.len()].copy_from_slice(data);
        Some(Address { location: object.pack(), offset: at as u64, length: data.len() as u64 })
    }

    /// Turns bytes that are not needed any more into a hole, which later bytes may overwrite.
    pub(super) fn leave_hole(&mut self, place: &Address) {
        let (Ok(from), Ok(length)) = (usize::try_from(place.offset), usize::try_from(place.length)) else {
            return;
        };
        let is_inside = from.checked_add(length).is_some_and(|end| end <= self.bytes.len());
        if is_inside && self.is_of(place) {
            self.holes.give(from, length);
        }
    }

    pub(super) fn is_of(&self, place: &Address) -> bool {
        self.object.is_some() && self.object == ObjectId::of(place)
    }

    /// Returns whether the object would become too long with this many more bytes.
    pub(super) fn is_full_with(&self, more: usize) -> bool {
        !self.bytes.is_empty() && self.bytes.len() + more > PACK_BYTES
    }

    /// Returns a part of the object's bytes.
    pub(super) fn part(&self, place: &Address, offset: u64, length: usize) -> Option<&[u8]> {
        if !self.is_of(place) {
            return None;
        }
        let from = usize::try_from(place.offset.checked_add(offset)?).ok()?;
        self.bytes.get(from..from.checked_add(length)?)
    }
}
