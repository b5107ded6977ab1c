//! Lists of references back to the datasets that use a dimension scale. A list is a set: each writer adds and removes entries of its
//! own datasets, so that changes of two writers are merged entry by entry, and never conflict.

use super::{CountDelta, ThreeWay};
use crate::container::State;
use crate::{Container, Result};
use h5lake_records::keys;
use h5lake_records::record::{AttributeRecord, DatatypeRecord, SpaceRecord, decode_extents};
use prost::Message;
use std::collections::HashSet;

/// The attribute of a dimension scale (HDF5's H5DS).
const NAME: &[u8] = b"REFERENCE_LIST";
/// The class `H5T_COMPOUND`.
const COMPOUND: u32 = 6;
/// Significant bytes of an entry: a reference to a dataset, and the number of its dimension. Padding follows.
const ENTRY_BYTES: usize = 12;
/// Bytes of an entry with padding, as compilers align it.
const ALIGNED_BYTES: u64 = 16;

/// Returns whether a type is that of the entries: a compound of a reference to an object (`dataset`) and an integer (`dimension`).
fn is_entry(t: &DatatypeRecord) -> bool {
    let has = |name: &[u8]| t.encoded.windows(name.len()).any(|part| part == name);
    let is_plain = t.has_references && !t.has_heap && t.committed.is_none();
    let has_size = t.size == ENTRY_BYTES as u64 || t.size == ALIGNED_BYTES;
    t.class == COMPOUND && is_plain && has_size && has(b"dataset\0") && has(b"dimension\0")
}

/// Returns whether an attribute has the form of a list.
fn is_list(r: &AttributeRecord) -> bool {
    let is_line = r.space.as_ref().is_some_and(|space| space.rank == Some(1));
    is_line && r.datatype.as_ref().is_some_and(is_entry)
}

/// Returns an entry without its padding.
fn entry(element: &[u8]) -> &[u8] {
    element.get(..ENTRY_BYTES).unwrap_or(element)
}

/// Merges lists of entries of `size` bytes: the entries of `theirs` that `ours` did not remove, followed by those that `ours`
/// added.
fn merged(size: usize, [base, theirs, ours]: [&[u8]; 3]) -> Vec<u8> {
    let size = size.max(1);
    let set = |list: &[u8]| -> HashSet<Vec<u8>> { list.chunks(size).map(|e| entry(e).to_vec()).collect() };
    let (in_base, in_theirs, in_ours) = (set(base), set(theirs), set(ours));
    let stays = |e: &&[u8]| in_ours.contains(entry(e)) || !in_base.contains(entry(e));
    let is_new = |e: &&[u8]| !in_base.contains(entry(e)) && !in_theirs.contains(entry(e));
    let kept = theirs.chunks(size).filter(stays);
    kept.chain(ours.chunks(size).filter(is_new)).flatten().copied().collect()
}

impl Container {
    /// Merges an attribute that is a reference list with another writer's version; returns false for any other attribute. A list
    /// that a writer deleted counts as empty.
    pub(super) fn merge_reference_list(
        &self,
        s: &mut State,
        c: &ThreeWay,
        [base, theirs, ours]: [&Option<AttributeRecord>; 3],
    ) -> Result<bool> {
        let all = [base, theirs, ours];
        let records = || all.into_iter().flatten();
        let Some(first) = records().next().filter(|r| keys::name(&c.key, &r.name) == NAME) else {
            return Ok(false);
        };
        // Encodings of one type differ between versions of HDF5's format, and so do types that were read from the list.
        let size_of = |r: &AttributeRecord| r.datatype.as_ref().map(|t| t.size);
        let is_set = records().all(|r| is_list(r) && size_of(r) == size_of(first));
        if !is_set || s.remote.batch.moved.contains(&c.key) {
            return Ok(false);
        }
        let size = first.datatype.as_ref().map_or(0, |t| t.size);
        let mut values = Vec::with_capacity(all.len());
        for r in all {
            values.push(r.as_ref().map(|r| self.attribute_value(r)).transpose()?.unwrap_or_default());
        }
        let value = merged(size as usize, [&values[0], &values[1], &values[2]]);
        let last = match theirs.as_ref().or(ours.as_ref()).filter(|_| !value.is_empty()) {
            Some(r) => Some(self.list_of(r, size, value)?),
            None => None,
        };
        self.replace_list(s, c, all, last)?;
        Ok(true)
    }

    /// Returns the record of a list with other entries, `value`.
    fn list_of(&self, r: &AttributeRecord, size: u64, value: Vec<u8>) -> Result<AttributeRecord> {
        let data_size = value.len() as u64;
        let count = data_size / size.max(1);
        let space = SpaceRecord { rank: Some(1), dims: vec![count], max: vec![count + 1] };
        let (inline, extents) = self.store_value(value)?;
        Ok(AttributeRecord { space: Some(space), data_size, inline, extents, ..r.clone() })
    }

    /// Stages the merged list in place of both lists, and frees the payloads of both lists.
    fn replace_list(
        &self,
        s: &mut State,
        c: &ThreeWay,
        [base, theirs, ours]: [&Option<AttributeRecord>; 3],
        last: Option<AttributeRecord>,
    ) -> Result<()> {
        let id = keys::id(&c.key).unwrap_or_default();
        let payloads = |r: &Option<AttributeRecord>| decode_extents(r.iter().flat_map(|r| &r.extents));
        let old = payloads(base)?;
        for e in payloads(ours)?.iter().filter(|e| !old.contains(e)) {
            self.ledger.free_payload(e)?;
        }
        self.replace_theirs(base, theirs, &None)?;
        let there = |r: &Option<AttributeRecord>| i64::from(r.is_some());
        let attributes = (there(&last) - there(theirs)) - (there(ours) - there(base));
        match &last {
            Some(r) => self.ledger.put(&c.key, r.encode_to_vec())?,
            None if theirs.is_some() => self.ledger.delete(&c.key)?,
            None => self.ledger.unstage(&c.key)?,
        }
        self.ledger.merged(&c.key);
        let fix: &mut CountDelta = s.remote.fixes.entry(id).or_default();
        fix.attributes += attributes;
        s.lists.forget(id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry with padding that differs from one writer to the next.
    fn of(dataset: u8, padding: u8) -> [u8; 16] {
        let mut e = [padding; 16];
        e[..ENTRY_BYTES].copy_from_slice(&[dataset, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        e
    }

    fn merge(lists: [&[u8]; 3], padding: [u8; 3]) -> Vec<u8> {
        let list = |n: usize| lists[n].iter().flat_map(|d| of(*d, padding[n])).collect::<Vec<_>>();
        merged(16, [&list(0), &list(1), &list(2)]).chunks(16).map(|e| e[0]).collect()
    }

    #[test]
    fn lists_are_merged_as_sets() {
        for padding in [[0, 0, 0], [1, 2, 3]] {
            assert_eq!(merge([&[], &[1], &[2]], padding), [1, 2]);
            assert_eq!(merge([&[1], &[1, 2], &[1, 3]], padding), [1, 2, 3]);
            assert!(merge([&[1, 2], &[2], &[1]], padding).is_empty());
            assert_eq!(merge([&[1, 2], &[2, 3], &[1, 4]], padding), [3, 4]);
            assert_eq!(merge([&[1], &[1, 2], &[1, 2]], padding), [1, 2]);
            assert_eq!(merge([&[1], &[], &[1, 2]], padding), [2]);
        }
    }

    #[test]
    fn only_the_entries_of_scales_are_sets() {
        let t = DatatypeRecord {
            encoded: (&b"..dataset\0..dimension\0.."[..]).into(),
            size: 16,
            class: COMPOUND,
            has_heap: false,
            has_references: true,
            committed: None,
        };
        assert!(is_entry(&t) && is_entry(&DatatypeRecord { size: 12, ..t.clone() }));
        assert!(!is_entry(&DatatypeRecord { size: 24, ..t.clone() }));
        assert!(!is_entry(&DatatypeRecord { has_heap: true, ..t.clone() }));
        assert!(!is_entry(&DatatypeRecord { encoded: (&b"dataset\0"[..]).into(), ..t }));
    }
}
