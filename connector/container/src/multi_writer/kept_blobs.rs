//! Blobs that this batch deleted when it overwrote an element, and that the element has that counts: they stay.
//!
//! A deletion of a blob counts only if the write stands that gave it back. What is deleted too little is lost space; what is deleted
//! too much is lost data.

use super::blocks::RemoteBlock;
use super::deleted_blobs::{Place, places_in};
use super::heap::{segment_of, usage};
use crate::chunk::range_set::RangeSet;
use crate::container::State;
use crate::heap::BlobAddress;
use crate::record::UsageRecord;
use crate::{Container, ErrorKind, Result, keys};
use bytes::Bytes;
use prost::Message;
use std::collections::HashSet;
use std::ops::Range;

/// The elements in bytes of a block that begin with a whole one, of so many bytes each.
pub(super) fn elements_in(bytes: Range<usize>, unit: usize) -> impl Iterator<Item = Range<usize>> {
    let (unit, end) = (unit.max(1), bytes.end);
    bytes.step_by(unit).map(move |at| at..(at + unit).min(end))
}

/// Blobs that only theirs has of elements that we overwrote, and that are not among what `stands`.
pub(super) fn only_theirs(
    owner: u64,
    unit: usize,
    [base, theirs, ours]: [&[u8]; 3],
    stands: &RangeSet,
) -> Vec<Place> {
    let mut found = Vec::new();
    for e in elements_in(0..ours.len().min(theirs.len()).min(base.len()), unit) {
        if base[e.clone()] != ours[e.clone()] && !stands.covers(&e) {
            let ours: HashSet<_> = places_in(owner, &ours[e.clone()]).collect();
            found.extend(places_in(owner, &theirs[e]).filter(|place| !ours.contains(place)));
        }
    }
    found
}

/// Whether ours still has a blob that others deleted: what they did not keep of what both started from.
pub(super) fn has_deleted_by_others(owner: u64, [base, theirs, ours]: [&[u8]; 3]) -> bool {
    let before: HashSet<_> = places_in(owner, base).collect();
    let left: HashSet<_> = places_in(owner, theirs).collect();
    places_in(owner, ours).any(|place| before.contains(&place) && !left.contains(&place))
}

impl Container {
    /// Notes blobs that were found in what counts: those that this batch deleted are to stay.
    pub(super) fn note_kept(&self, s: &mut State, owner: u64, found: Vec<Place>) {
        let others = &mut s.others;
        let deleted = found.into_iter().filter(|place| others.batch.blobs.may_have(owner, *place));
        others.kept.extend(deleted.map(|place| (owner, place)));
    }

    /// Gives up what is staged of a block, and with it the deletions of what was overwritten there.
    pub(super) fn give_up_block(&self, s: &mut State, known: &RemoteBlock, key: &Bytes) -> Result<()> {
        let owner = keys::id(key).unwrap_or_default();
        if known.has_heap && self.ledger.is_staged(key) {
            let all = [self.ledger.base(key)?, self.ledger.committed(key)?, self.ledger.get(key)?];
            let found = self.with_foreign(s, owner, known, || {
                let [base, theirs, ours] = &all;
                let load = |value| self.load_block(known, key, value);
                let all = [&load(base)?[..], &load(theirs)?, &load(ours)?];
                Ok(only_theirs(owner, known.unit, all, &RangeSet::default()))
            })?;
            self.note_kept(s, owner, found);
        }
        self.give_up(s, key)
    }

    /// Takes back the deletions of blobs that are to stay, and of those that lie in them.
    pub(super) fn keep_blobs(&self, s: &mut State) -> Result<()> {
        let mut done = HashSet::new();
        while let Some(&(owner, place)) = s.others.kept.first() {
            let inner = self.keep_blob(s, owner, place)?;
            done.insert((owner, place));
            s.others.batch.blobs.forget(owner, place);
            s.others.kept.remove(&(owner, place));
            let inner = inner.into_iter().filter(|inner| !done.contains(&(owner, *inner))).collect();
            self.note_kept(s, owner, inner);
        }
        Ok(())
    }

    /// Counts a blob as living, in a segment that is there again if it was gone. Answers the blobs in it.
    fn keep_blob(&self, s: &mut State, owner: u64, place: Place) -> Result<Vec<Place>> {
        let (number, offset) = place;
        let key = keys::segment(keys::USAGE, owner, number);
        let record = match usage(&self.ledger.get(&key)?)? {
            Some(record) => record,
            None => {
                // Others do not have it either.
                let Some(there) = usage(&self.ledger.committed(&key)?)? else { return Ok(Vec::new()) };
                self.give_up(s, &segment_of(&key))?;
                UsageRecord { live: 0, ..there }
            }
        };
        s.heap.forget(owner, number);
        let address = BlobAddress { owner, number, offset };
        // All of it stays if it is not known how much.
        let (bytes, inner) = match self.blob(s, &address.id()) {
            Ok(blob) => (BlobAddress::stored(blob.len()), places_in(owner, &blob).collect()),
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                (record.used, Vec::new())
            }
            Err(e) => return Err(e),
        };
        let live = record.live.saturating_add(bytes).min(record.used);
        self.ledger.put(&key, UsageRecord { live, ..record }.encode_to_vec())?;
        Ok(inner)
    }
}
