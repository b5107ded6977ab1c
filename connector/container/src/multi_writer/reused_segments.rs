//! Blob ids that refer to other variable-length data in the main line than in the version that a branch is based on.
//!
//! A restored container continues in the segments of an older version. So after a restore, equal ids may refer to
//! different data, and a deletion in the branch may free living data of the main line. The changes of both sides cannot
//! be distinguished, so such a merge is refused.

use super::deleted_blobs::places_in;
use super::heap::{segment_of, usage};
use super::kept_blobs::elements_in;
use super::{RemoteChange, Settle, under};
use crate::chunk::block_store::decoded;
use crate::container::State;
use crate::{Container, Result, heap};
use bytes::Bytes;
use h5lake_ledger::Ledger;
use h5lake_ledger::each_entry;
use h5lake_records::keys;
use h5lake_records::record::UsageRecord;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Returns whether a segment can result from another one by appending blobs and deleting some.
fn continues(before: &UsageRecord, now: &UsageRecord) -> bool {
    let appended = now.used.checked_sub(before.used);
    now.length == before.length
        && appended.is_some_and(|appended| now.live <= before.live.saturating_add(appended))
}

/// Returns whether an element refers to a blob in the segments `begun` to which it did not refer before. No writer puts
/// an old blob into another element. Elements that were truncated and grew again have the blobs of the fill value, and
/// do not count.
fn has_revived(owner: u64, [before, now, fill]: [&[u8]; 3], begun: &BTreeMap<u32, u64>) -> bool {
    if before == now || now == fill {
        return false;
    }
    let had: HashSet<_> = places_in(owner, before).collect();
    let is_old =
        |(number, offset): (u32, u32)| begun.get(&number).is_some_and(|used| u64::from(offset) < *used);
    places_in(owner, now).any(|place| is_old(place) && !had.contains(&place))
}

impl Container {
    /// Notes a conflict if the main line uses blob ids of the base for other variable-length data of an owner. `theirs`
    /// contains the keys that the main line changed since the base. `has_deleted` is true if the branch deleted blobs
    /// of the base. Returns whether there is a conflict.
    ///
    /// # Errors
    /// `Corrupt`; those of reading.
    pub(crate) fn note_reused_segments(
        &self,
        s: &mut State,
        owner: u64,
        has_deleted: bool,
        base: &Ledger,
        theirs: &BTreeSet<Bytes>,
    ) -> Result<bool> {
        let is_reused = self.has_reused_segment(owner, base, theirs)?
            || (has_deleted && self.has_revived_blob(s, owner, base, theirs)?);
        if is_reused {
            let what = ", its variable-length data,".to_owned();
            self.whole_conflict(s, owner, what, Some(&RemoteChange::of_main_line()), Settle::Copy);
        }
        Ok(is_reused)
    }

    fn has_reused_segment(&self, owner: u64, base: &Ledger, theirs: &BTreeSet<Bytes>) -> Result<bool> {
        let prefixes = [keys::USAGE, keys::SEGMENT].map(|letter| keys::of(letter, owner));
        let changed = prefixes.iter().flat_map(|prefix| under(theirs, prefix));
        let numbers: BTreeSet<u32> = changed.filter_map(|key| keys::segment_number(key)).collect();
        for number in numbers {
            let key = keys::segment(keys::USAGE, owner, number);
            let (before, now) = (usage(&base.get(&key)?)?, usage(&self.ledger.committed(&key)?)?);
            // A segment that only one side has cannot be confused.
            let (Some(before), Some(now)) = (before, now) else { continue };
            if !continues(&before, &now) || !self.begins_alike(&segment_of(&key), &before, base)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether a segment still has the bytes that it had in the base.
    fn begins_alike(&self, key: &[u8], before: &UsageRecord, base: &Ledger) -> Result<bool> {
        let (old, new) = (base.get(key)?, self.ledger.committed(key)?);
        if old == new {
            return Ok(true);
        }
        let shape = heap::shape(before.length)?;
        let load = |value: Option<Bytes>| decoded(value, key, &shape)?.load(&self.ledger, &shape);
        let (old, new) = (load(old)?, load(new)?);
        let used = usize::try_from(before.used).unwrap_or(usize::MAX);
        Ok(old.get(..used) == new.get(..used))
    }

    /// Returns whether an element that the main line changed refers to a blob of the base to which it did not refer in
    /// the base.
    fn has_revived_blob(
        &self,
        s: &mut State,
        owner: u64,
        base: &Ledger,
        theirs: &BTreeSet<Bytes>,
    ) -> Result<bool> {
        if self.header_if_there(s, owner)?.is_none_or(|header| header.dataset.is_none()) {
            return Ok(false);
        }
        let known = self.known(s, owner)?;
        if !known.has_heap {
            return Ok(false);
        }
        let mut begun = BTreeMap::new();
        each_entry::<crate::Error>(base, &keys::of(keys::USAGE, owner), None, |key, value| {
            let usage = usage(&Some(value))?;
            begun.extend(keys::segment_number(&key).zip(usage.map(|usage| usage.used)));
            Ok(())
        })?;
        self.with_foreign(s, owner, &known, || {
            let prefix = keys::of(keys::BLOCK, owner);
            let fill = self.load_block(&known, &prefix, &None)?;
            for key in under(theirs, &prefix) {
                let before = self.load_block(&known, key, &base.get(key)?)?;
                let now = self.load_block(&known, key, &self.ledger.committed(key)?)?;
                let is_revived = |e: std::ops::Range<usize>| {
                    has_revived(owner, [&before[e.clone()], &now[e.clone()], &fill[e]], &begun)
                };
                if elements_in(0..now.len(), known.unit).any(is_revived) {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_continues_by_appends_and_deletions() {
        let of = |length, used, live| UsageRecord { length, used, live };
        let before = of(100, 40, 30);
        for now in [of(100, 40, 30), of(100, 60, 50), of(100, 90, 1)] {
            assert!(continues(&before, &now), "{now:?}");
        }
        for now in [of(200, 40, 30), of(100, 30, 30), of(100, 40, 31), of(100, 60, 51)] {
            assert!(!continues(&before, &now), "{now:?}");
        }
    }

    #[test]
    fn a_blob_of_another_element_is_revived() {
        let id = |number: u32, offset: u32| {
            [&[0; 4][..], &7u64.to_be_bytes(), &number.to_be_bytes(), &offset.to_be_bytes()].concat()
        };
        let begun = BTreeMap::from([(1, 50)]);
        let revives = |before: &[u8], now: &[u8]| has_revived(7, [before, now, &[0; 20]], &begun);
        assert!(revives(&[0; 20], &id(1, 0)) && revives(&id(1, 10), &id(1, 40)));
        assert!(!revives(&id(1, 0), &id(1, 0)) && !revives(&id(1, 0), &[0; 20]));
        assert!(!revives(&id(1, 0), &id(1, 50)) && !revives(&id(1, 0), &id(2, 0)));
    }
}
