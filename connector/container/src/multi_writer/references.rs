//! Finds references in staged entries to groups that this batch created. When such a group is merged with another
//! writer's group, its id disappears, so a reference to it would lead nowhere.

use crate::chunk::block_store::decoded;
use crate::container::State;
use crate::{Container, Result, heap};
use h5lake_records::keys;
use h5lake_records::record::{AttributeRecord, HeaderRecord, decode};
use std::collections::BTreeSet;

/// Notes which of the ids `wanted` occur in bytes, encoded as in references, at any offset.
fn note_ids(bytes: &[u8], wanted: &BTreeSet<u64>, found: &mut BTreeSet<u64>) {
    for id in bytes.windows(8).filter_map(|id| <[u8; 8]>::try_from(id).ok()).map(u64::from_le_bytes) {
        if wanted.contains(&id) {
            found.insert(id);
        }
    }
}

fn has_references(header: &HeaderRecord) -> bool {
    let datatype = header.dataset.as_ref().and_then(|d| d.datatype.as_ref());
    datatype.is_some_and(|t| t.has_references)
}

impl Container {
    /// Returns the objects of `wanted` to which staged attributes or elements refer.
    pub(super) fn referred_to(&self, s: &mut State, wanted: &BTreeSet<u64>) -> Result<BTreeSet<u64>> {
        let mut found = BTreeSet::new();
        self.note_in_attributes(wanted, &mut found)?;
        let blocks = self.ledger.staged(&[keys::BLOCK]);
        let datasets: BTreeSet<u64> = blocks.iter().filter_map(|(key, _)| keys::id(key)).collect();
        for id in datasets {
            if self.header_if_there(s, id)?.is_some_and(|header| has_references(&header)) {
                self.note_in_dataset(s, id, wanted, &mut found)?;
                self.note_in_heap(id, wanted, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Searches attributes, with their inline heaps.
    fn note_in_attributes(&self, wanted: &BTreeSet<u64>, found: &mut BTreeSet<u64>) -> Result<()> {
        for (_, value) in self.ledger.staged(&[keys::ATTRIBUTE]) {
            let Some(value) = value else { continue };
            let r: AttributeRecord = decode(value, || "a new attribute".into())?;
            if r.datatype.as_ref().is_some_and(|t| t.has_references) {
                note_ids(&self.attribute_value(&r)?, wanted, found);
            }
        }
        Ok(())
    }

    fn note_in_dataset(
        &self,
        s: &mut State,
        id: u64,
        wanted: &BTreeSet<u64>,
        found: &mut BTreeSet<u64>,
    ) -> Result<()> {
        let known = self.known(s, id)?;
        self.with_foreign(s, id, &known, || {
            for (key, value) in self.ledger.staged(&keys::of(keys::BLOCK, id)) {
                if value.is_some() {
                    note_ids(&self.load_block(&known, &key, &value)?, wanted, found);
                }
            }
            Ok(())
        })
    }

    /// Searches variable-length data for sequences of references.
    fn note_in_heap(&self, owner: u64, wanted: &BTreeSet<u64>, found: &mut BTreeSet<u64>) -> Result<()> {
        for (key, value) in self.ledger.staged(&keys::of(keys::SEGMENT, owner)) {
            let Some(value) = value else { continue };
            if let Some(usage) = self.usage_of(&key)? {
                let shape = heap::shape(usage.length)?;
                note_ids(&decoded(Some(value), &key, &shape)?.load(&self.ledger, &shape)?, wanted, found);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_at_any_offset() {
        let wanted = BTreeSet::from([0x4321_0000_0000_1000, 0x4321_0000_0000_2000]);
        let mut found = BTreeSet::new();
        let bytes = [&[2, 0, 8][..], &0x4321_0000_0000_2000_u64.to_le_bytes(), &[0; 11]].concat();
        note_ids(&bytes, &wanted, &mut found);
        note_ids(&[1; 7], &wanted, &mut found);
        assert_eq!(found, BTreeSet::from([0x4321_0000_0000_2000]));
    }
}
