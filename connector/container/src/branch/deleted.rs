//! Objects that a branch deleted. A merge only unlinks them, as a shared writer does: this way changes that the main
//! line made in them are found, and they are deleted in a separate commit.

use super::BranchEntry;
use crate::{Error, Result};
use h5lake_ledger::Ledger;
use h5lake_ledger::each_entry;
use h5lake_records::keys;
use h5lake_records::record::{AttributeRecord, HeaderRecord, LinkRecord, decode};
use std::collections::BTreeMap;

/// The objects that a branch deleted, as they are in its base.
#[derive(Default)]
pub(super) struct Deleted {
    headers: BTreeMap<u64, HeaderRecord>,
    /// Number of references from deleted objects to each object. The deletion subtracts this number from that object's
    /// link count.
    references: BTreeMap<u64, u32>,
}

impl Deleted {
    pub(super) fn of(base: &Ledger, entries: &[BranchEntry]) -> Result<Self> {
        let mut found = Self::default();
        let gone = entries.iter().filter(|e| e.value.is_none() && e.key.first() == Some(&keys::HEADER));
        for entry in gone {
            let (Some(id), Some(header)) = (keys::id(&entry.key), base.get(&entry.key)?) else { continue };
            let header: HeaderRecord = decode(header, || format!("the header of {id:#x}"))?;
            found.add_references(base, id, &header)?;
            found.headers.insert(id, header);
        }
        Ok(found)
    }

    fn add_references(&mut self, base: &Ledger, id: u64, header: &HeaderRecord) -> Result<()> {
        let mut targets: Vec<u64> = header.committed_type().into_iter().collect();
        each_entry::<Error>(base, &keys::of(keys::ATTRIBUTE, id), None, |_, value| {
            let a: AttributeRecord = decode(value, || format!("an attribute of {id:#x}"))?;
            targets.extend(a.datatype.as_ref().and_then(|t| t.committed));
            Ok(())
        })?;
        if header.group.is_some() {
            each_entry::<Error>(base, &keys::of(keys::LINK, id), None, |_, value| {
                let l: LinkRecord = decode(value, || format!("a link in {id:#x}"))?;
                targets.extend(l.hard);
                Ok(())
            })?;
        }
        for target in targets {
            *self.references.entry(target).or_default() += 1;
        }
        Ok(())
    }

    /// Returns whether an entry is deleted together with an object.
    pub(super) fn takes_along(&self, key: &[u8]) -> bool {
        keys::id(key).is_some_and(|id| self.headers.contains_key(&id))
    }

    /// Returns the links that an object has until the deletions are committed: those that the branch left, and those in
    /// deleted objects.
    pub(super) fn links(&self, id: u64, left: u32) -> Result<u32> {
        let more = self.references.get(&id).copied().unwrap_or(0);
        left.checked_add(more).ok_or_else(|| Error::corrupt(format!("the object {id:#x} has too many links")))
    }

    /// Returns the deleted objects, with their headers in the base.
    pub(super) fn headers(&self) -> impl Iterator<Item = (u64, &HeaderRecord)> {
        self.headers.iter().map(|(id, header)| (*id, header))
    }
}
