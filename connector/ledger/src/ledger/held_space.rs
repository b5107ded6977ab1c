//! Locations of the payloads of a tagged version, for programs that read them without this crate.

use std::collections::HashMap;

use super::Ledger;
use crate::address::Location;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::storage_kinds::StorageKinds;
use crate::tags::{Held, TagEntry, TagName};

/// The size of the last allocation unit of a file, which may extend beyond the end of the file.
const LAST_UNIT: u64 = 32;

/// The space that one tag protects.
#[derive(Debug)]
pub struct HeldSpace {
    /// The protected runs of a file.
    held: Held,
    /// The offset up to which the file is certain to contain bytes.
    file_end: u64,
    /// The protected objects of a store, each with the offset up to which it is certain to contain bytes.
    objects: HashMap<Location, u64>,
}

/// The location of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadPlace {
    /// The key of the object in its store; `None` in a file.
    pub object: Option<String>,
    /// The path or the URL of the native file that contains the payload, if the container refers to one. A publication does not protect
    /// that file.
    pub source: Option<String>,
    /// The offset from the first byte of the file or the object, including a user block.
    pub offset: u64,
    /// An offset at or after the end of the payload up to which bytes are certain to exist as long as the tag exists. The bytes after the
    /// payload have no meaning and may change.
    pub end: u64,
}

impl HeldSpace {
    /// `length` is the present size of the file: space at its end may have been reserved and not be written yet.
    fn of(entry: &TagEntry, length: u64) -> Self {
        let end = entry.runs.iter().map(|(offset, length)| offset + length).max().unwrap_or(0).min(length);
        Self {
            held: Held::by([entry]),
            file_end: end.saturating_sub(LAST_UNIT),
            objects: entry.objects.iter().copied().collect(),
        }
    }

    /// Returns the offset up to which bytes are certain to exist after a payload; `None` if the tag does not protect the whole payload.
    fn end_of(&self, e: &Extent) -> Option<u64> {
        let place = e.place();
        let end = place.offset.checked_add(place.length)?;
        match place.location {
            Location::File => self.held.covers(place.offset, place.length).then(|| end.max(self.file_end)),
            location => self.objects.get(&location).map(|bytes| end.max(*bytes)),
        }
    }
}

impl Ledger {
    /// Returns the space that a tag protects.
    ///
    /// # Errors
    /// `NoSuchTag`; `Corrupt` for a damaged tag; read errors.
    pub fn held_space(&self, name: &TagName) -> Result<HeldSpace> {
        let mut entry = self.found_tag(&|other, _| other == name)?.ok_or_else(|| self.not_found(name))?;
        if let Some(objects) = self.storage.as_objects() {
            entry.objects = objects.held_by_tag(name)?.0;
        }
        let length = match self.offset_in_file() {
            Some(base) => self.storage.size()?.saturating_sub(base),
            None => 0,
        };
        Ok(HeldSpace::of(&entry, length))
    }

    /// Returns the location of a payload of the tagged version. Reads no byte of the payload.
    ///
    /// # Errors
    /// `Corrupt` if the tag does not protect the payload.
    pub fn payload_place(&self, e: &Extent, held: &HeldSpace) -> Result<PayloadPlace> {
        let place = e.place();
        if let Location::Source(number) = place.location {
            self.check_extent_in_source(e)?;
            let source = Some(self.source_name(number)?);
            let end = self.source(number)?.length;
            return Ok(PayloadPlace { object: None, source, offset: place.offset, end });
        }
        let end = held.end_of(e).ok_or_else(|| {
            let at = format!("payload at {:?} byte {}", place.location, place.offset);
            Error::corrupt(self.storage.target(), at, "the publication does not hold it")
        })?;
        let base = self.offset_in_file().unwrap_or(0);
        let shifted = |n: u64| n.checked_add(base).ok_or("a place lies beyond any file");
        let shifted = |n| shifted(n).map_err(|why| Error::corrupt(self.storage.target(), "payload", why));
        Ok(PayloadPlace {
            object: self
                .storage
                .as_objects()
                .map(|objects| objects.object_key(&place.location))
                .transpose()?,
            source: None,
            offset: shifted(place.offset)?,
            end: shifted(end)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    #[test]
    fn the_end_of_held_space_is_exact() {
        let objects = vec![(Location::Pack([3; 16]), 900)];
        let entry = TagEntry { runs: vec![(4608, 64), (4704, 320)], objects, ..TagEntry::default() };
        let space = HeldSpace::of(&entry, 1 << 20);
        let end = |place| space.end_of(&Extent::of(place, &vec![0; place.length as usize]));
        assert_eq!(end(Address::file(4608, 64)), Some(4992), "short of the last unit, which may be missing");
        assert_eq!(end(Address::file(4704, 320)), Some(5024), "but for what a payload has");
        assert_eq!(end(Address::file(4608, 65)), None, "no byte between");
        assert_eq!(end(Address::file(4600, 8)), None);
        let log = |offset, length| end(Address { location: Location::Pack([3; 16]), offset, length });
        assert_eq!((log(8, 10), log(890, 12)), (Some(900), Some(902)));
        let short = HeldSpace::of(&entry, 4900);
        assert_eq!(
            short.end_of(&Extent::of(Address::file(4608, 64), &[0; 64])),
            Some(4868),
            "what is not written yet"
        );
        assert_eq!(end(Address { location: Location::Pack([4; 16]), offset: 0, length: 1 }), None);
    }
}
