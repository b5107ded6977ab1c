//! Tracks which blobs a batch deleted, and which of them another writer deleted as well. With this, the usage of heap
//! segments is merged without counting living bytes as dead or dead bytes as living.
//!
//! The usage of a segment says how many of its bytes are alive, not which. Each blob belongs to one element. Therefore
//! both sides can have deleted a blob only if both have overwritten its element, and then both have changed the block
//! of the element.

use super::blocks::RemoteBlock;
use crate::container::State;
use crate::{Container, Result};
use bytes::Bytes;
use h5lake_records::keys;
use std::collections::{BTreeMap, HashSet};

/// Number of deleted blobs that a batch remembers. Beyond it, deleted blobs in blocks that other writers changed count
/// as living.
const MAX_REMEMBERED: usize = 1 << 17;
/// Bytes of a blob's id: its owner, the number of its segment, and its offset in the segment.
const ID_BYTES: usize = 16;

/// The place of a blob: the number of its segment and its offset in the segment.
pub(super) type Place = (u32, u32);

/// The blobs that a batch deleted, by owner.
#[derive(Default)]
pub(crate) struct DeletedBlobs {
    owners: BTreeMap<u64, Owned>,
    count: usize,
    /// True if more blobs were deleted than are remembered.
    has_more: bool,
}

/// Deleted blobs of one owner.
#[derive(Default)]
struct Owned {
    blobs: BTreeMap<Place, Deleted>,
    /// True if other writers changed blocks that this batch changed, too.
    is_contested: bool,
}

/// A deleted blob.
#[derive(Clone, Copy)]
struct Deleted {
    /// Bytes that the blob occupies in its segment.
    bytes: u64,
    /// True if no other writer has deleted the blob.
    is_apart: bool,
}

impl DeletedBlobs {
    /// Notes that a blob was deleted.
    pub(crate) fn note(&mut self, owner: u64, place: Place, bytes: u64) {
        if self.count < MAX_REMEMBERED {
            let deleted = Deleted { bytes, is_apart: true };
            let is_new = self.owners.entry(owner).or_default().blobs.insert(place, deleted).is_none();
            self.count += usize::from(is_new);
        } else {
            self.has_more = true;
        }
    }

    /// Returns whether a blob was deleted. May return true for a blob that was not, if more blobs were deleted than are
    /// remembered.
    pub(super) fn may_have(&self, owner: u64, place: Place) -> bool {
        self.has_more || self.owners.get(&owner).is_some_and(|owned| owned.blobs.contains_key(&place))
    }

    /// Forgets that a blob was deleted.
    pub(super) fn forget(&mut self, owner: u64, place: Place) {
        let gone = self.owners.get_mut(&owner).and_then(|owned| owned.blobs.remove(&place));
        self.count -= usize::from(gone.is_some());
    }

    /// Adds the deleted blobs of an earlier batch in front of those of this batch.
    pub(super) fn follows(&mut self, before: Self) {
        for (owner, before) in before.owners {
            let now = self.owners.entry(owner).or_default();
            now.is_contested |= before.is_contested;
            now.blobs.extend(before.blobs);
        }
        self.has_more |= before.has_more;
        self.count = self.owners.values().map(|owned| owned.blobs.len()).sum();
    }

    fn owners(&self) -> Vec<u64> {
        self.owners.keys().copied().collect()
    }

    /// Marks the blobs of `owner` that another writer may have deleted, now that it has changed the same blocks. `left`
    /// returns whether a blob is certainly untouched by the other writer.
    fn mark_contested(&mut self, owner: u64, left: impl Fn(&Place) -> bool) {
        let Some(owned) = self.owners.get_mut(&owner) else { return };
        owned.is_contested = true;
        owned.blobs.iter_mut().for_each(|(place, deleted)| deleted.is_apart &= left(place));
    }

    /// Returns how many of the `all` bytes that this batch deleted in a segment no other writer has deleted. The result
    /// is a lower bound.
    fn apart(&self, owner: u64, number: u32, all: u64) -> u64 {
        match self.owners.get(&owner) {
            Some(owned) if owned.is_contested => owned
                .blobs
                .range((number, 0)..=(number, u32::MAX))
                .filter_map(|(_, deleted)| deleted.is_apart.then_some(deleted.bytes))
                .sum::<u64>()
                .min(all),
            _ => all,
        }
    }
}

/// Returns the places of the blobs of `owner` with ids that appear in `bytes`.
pub(super) fn places_in(owner: u64, bytes: &[u8]) -> impl Iterator<Item = Place> {
    let owner = owner.to_be_bytes();
    let ids = bytes.windows(ID_BYTES).filter(move |id| id.starts_with(&owner));
    ids.filter_map(|id| {
        let number = |at: usize| Some(u32::from_be_bytes(id.get(at..at + 4)?.try_into().ok()?));
        Some((number(8)?, number(12)?))
    })
}

/// Blobs in blocks that both sides changed: those in elements that other writers left unchanged, and those in elements
/// that they changed.
#[derive(Default)]
struct Found {
    left: HashSet<Place>,
    changed: HashSet<Place>,
}

impl Found {
    fn look_at(&mut self, owner: u64, unit: usize, base: &[u8], theirs: &[u8]) {
        for (before, now) in base.chunks(unit).zip(theirs.chunks(unit)) {
            let places = places_in(owner, before);
            if before == now { self.left.extend(places) } else { self.changed.extend(places) }
        }
    }
}

impl Container {
    /// Determines which of the blobs that this batch deleted were deleted by other writers as well. Must run before
    /// blocks are merged, because the merge overwrites the blocks that show it.
    pub(super) fn compare_deleted_blobs(&self, s: &mut State) -> Result<()> {
        for owner in s.remote.batch.blobs.owners() {
            let contested = self.ledger.unmerged_under(&keys::of(keys::BLOCK, owner));
            if !contested.is_empty() && self.ledger.get(&keys::of(keys::HEADER, owner))?.is_some() {
                self.compare_blobs_of(s, owner, &contested)?;
            }
        }
        Ok(())
    }

    fn compare_blobs_of(
        &self,
        s: &mut State,
        owner: u64,
        contested: &[(Bytes, Option<Bytes>)],
    ) -> Result<()> {
        let known = self.known(s, owner)?;
        let mut found = Found::default();
        self.with_foreign(s, owner, &known, || self.find_blobs(owner, &known, contested, &mut found))?;
        let is_left = |place: &Place| match known.has_plain_blobs() {
            // The blob is in an element of another block, or this batch created it.
            true => !found.changed.contains(place),
            // The blob may also be referenced by another blob, so its state is unknown unless it was found.
            false => found.left.contains(place) && !found.changed.contains(place),
        };
        s.remote.batch.blobs.mark_contested(owner, is_left);
        Ok(())
    }

    fn find_blobs(
        &self,
        owner: u64,
        known: &RemoteBlock,
        contested: &[(Bytes, Option<Bytes>)],
        found: &mut Found,
    ) -> Result<()> {
        for (key, base) in contested.iter().filter(|(_, base)| base.is_some()) {
            let base = self.load_block(known, key, base)?;
            let theirs = self.load_block(known, key, &self.ledger.committed(key)?)?;
            found.look_at(owner, known.unit.max(1), &base, &theirs);
        }
        Ok(())
    }

    /// Returns how many of the `all` bytes that this batch deleted in a segment no other writer has deleted. The result
    /// is a lower bound.
    pub(super) fn deleted_apart(&self, s: &mut State, owner: u64, number: u32, all: u64) -> Result<u64> {
        // For a branch only its states are known, not its operations. Processes of an MPI program commit elements and
        // usage one after the other.
        if s.remote.branch.is_some() || s.ids.are_shared() {
            return Ok(0);
        }
        // Attributes also have blobs, and their owners are objects other than datasets.
        let header = self.header_if_there(s, owner)?;
        let is_dataset = header.is_some_and(|h| h.dataset.is_some());
        Ok(if is_dataset { s.remote.batch.blobs.apart(owner, number, all) } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted() -> DeletedBlobs {
        let mut blobs = DeletedBlobs::default();
        for (owner, place, bytes) in [(1, (5, 0), 10), (1, (5, 10), 20), (1, (6, 0), 40), (2, (5, 0), 80)] {
            blobs.note(owner, place, bytes);
            // Deleting a blob twice counts it once.
            blobs.note(owner, place, bytes);
        }
        blobs
    }

    #[test]
    fn blobs_are_apart_until_another_writer_changes_the_blocks() {
        let mut blobs = noted();
        assert_eq!([blobs.apart(1, 5, 30), blobs.apart(1, 7, 9), blobs.apart(3, 1, 4)], [30, 9, 4]);
        blobs.mark_contested(1, |place| *place != (5, 10));
        assert_eq!([blobs.apart(1, 5, 30), blobs.apart(1, 6, 40), blobs.apart(1, 7, 9)], [10, 40, 0]);
        assert_eq!([blobs.apart(1, 6, 30), blobs.apart(2, 5, 80)], [30, 80]);
        blobs.mark_contested(1, |_| false);
        assert_eq!((blobs.apart(1, 6, 30), blobs.apart(2, 5, 80), blobs.count), (0, 80, 4));
        assert!(blobs.may_have(1, (6, 0)) && !blobs.may_have(1, (6, 1)) && !blobs.may_have(2, (6, 0)));
        blobs.forget(1, (6, 0));
        assert!((blobs.may_have(1, (6, 0)), blobs.count) == (false, 3));
    }

    #[test]
    fn deletions_of_a_failed_commit_count_again() {
        let (mut before, mut now) = (noted(), DeletedBlobs::default());
        before.mark_contested(1, |place| place.0 == 5);
        now.note(1, (9, 0), 7);
        now.follows(before);
        assert_eq!([now.apart(1, 5, 99), now.apart(1, 6, 99), now.apart(1, 9, 99)], [30, 0, 7]);
        assert_eq!(now.count, 5);
    }

    #[test]
    fn blobs_of_changed_and_unchanged_elements_are_distinguished() {
        let id = |number: u32, offset: u32| {
            [&7u64.to_be_bytes()[..], &number.to_be_bytes(), &offset.to_be_bytes()].concat()
        };
        let element = |number, offset| [&[1, 0, 0, 0][..], &id(number, offset)].concat();
        let base = [element(1, 0), element(1, 50), element(2, 0)].concat();
        let theirs = [element(1, 0), element(3, 0), element(2, 0)].concat();
        let mut found = Found::default();
        found.look_at(7, 20, &base, &theirs);
        assert_eq!((found.left, found.changed), (HashSet::from([(1, 0), (2, 0)]), HashSet::from([(1, 50)])));
    }
}
