//! Retains blobs that this batch deleted when it overwrote an element, if the merge keeps the element that refers to
//! them.
//!
//! The deletion of a blob counts only if the write that freed it is kept. A missing deletion wastes space; a wrong
//! deletion loses data.

use super::blocks::RemoteBlock;
use super::deleted_blobs::{Place, places_in};
use super::heap::{segment_of, usage};
use crate::chunk::range_set::RangeSet;
use crate::container::State;
use crate::heap::BlobAddress;
use crate::{Container, ErrorKind, Result};
use bytes::Bytes;
use h5lake_records::keys;
use h5lake_records::record::UsageRecord;
use prost::Message;
use std::collections::HashSet;
use std::ops::Range;

/// Returns the elements of `unit` bytes each in the range `bytes` of a block, which begins at an element boundary.
pub(super) fn elements_in(bytes: Range<usize>, unit: usize) -> impl Iterator<Item = Range<usize>> {
    let (unit, end) = (unit.max(1), bytes.end);
    bytes.step_by(unit).map(move |at| at..(at + unit).min(end))
}

/// Returns blobs of elements that this writer overwrote, that only the other writer's elements refer to, and that are
/// outside of the ranges `stands`, in which this writer's elements win.
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

/// Returns whether this writer's element refers to a blob that the other writer deleted, that is, a blob of the base
/// that the other writer's element no longer refers to.
pub(super) fn has_remotely_deleted_blob(owner: u64, [base, theirs, ours]: [&[u8]; 3]) -> bool {
    let before: HashSet<_> = places_in(owner, base).collect();
    let left: HashSet<_> = places_in(owner, theirs).collect();
    places_in(owner, ours).any(|place| before.contains(&place) && !left.contains(&place))
}

impl Container {
    /// Notes blobs that elements of the merge result refer to: those that this batch deleted must be retained.
    pub(super) fn note_kept(&self, s: &mut State, owner: u64, found: Vec<Place>) {
        let remote = &mut s.remote;
        let deleted = found.into_iter().filter(|place| remote.batch.blobs.may_have(owner, *place));
        remote.kept.extend(deleted.map(|place| (owner, place)));
    }

    /// Discards the staged change of a block, and the deletions of blobs that the change overwrote.
    pub(super) fn discard_block(&self, s: &mut State, known: &RemoteBlock, key: &Bytes) -> Result<()> {
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
        self.discard_change(s, key)
    }

    /// Undoes the deletions of retained blobs, and of the blobs inside them.
    pub(super) fn keep_blobs(&self, s: &mut State) -> Result<()> {
        let mut done = HashSet::new();
        while let Some(&(owner, place)) = s.remote.kept.first() {
            let inner = self.keep_blob(s, owner, place)?;
            done.insert((owner, place));
            s.remote.batch.blobs.forget(owner, place);
            s.remote.kept.remove(&(owner, place));
            let inner = inner.into_iter().filter(|inner| !done.contains(&(owner, *inner))).collect();
            self.note_kept(s, owner, inner);
        }
        Ok(())
    }

    /// Counts a blob as living, and restores its segment if this batch deleted it. Returns the blobs inside the blob.
    fn keep_blob(&self, s: &mut State, owner: u64, place: Place) -> Result<Vec<Place>> {
        let (number, offset) = place;
        let key = keys::segment(keys::USAGE, owner, number);
        let record = match usage(&self.ledger.get(&key)?)? {
            Some(record) => record,
            None => {
                // The other writer has deleted the segment as well.
                let Some(there) = usage(&self.ledger.committed(&key)?)? else { return Ok(Vec::new()) };
                self.discard_change(s, &segment_of(&key))?;
                UsageRecord { live: 0, ..there }
            }
        };
        s.heap.forget(owner, number);
        let address = BlobAddress { owner, number, offset };
        // If the length of the blob cannot be read, the whole segment is retained.
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
