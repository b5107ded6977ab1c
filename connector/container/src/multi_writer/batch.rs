//! The operations of a batch that a merge has to judge as a whole, and the objects that other writers changed
//! meanwhile.

use super::RemoteChange;
use super::deleted_blobs::DeletedBlobs;
use crate::attribute::EarlierPlace;
use crate::container::State;
use crate::{Container, Result};
use bytes::Bytes;
use h5lake_ledger::EntryChange;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Number of authors that a writer distinguishes. A change of a further author is attributed to the last known author.
const MAX_AUTHORS: usize = 1 << 12;

/// The operations since the last flush.
#[derive(Default)]
pub(crate) struct Batch {
    /// Objects that lost a hard link.
    pub(super) unlinked: BTreeSet<u64>,
    /// Datasets with changed dimensions. If a dimension shrank, the value is the minimum that each dimension had.
    pub(super) resized: BTreeMap<u64, Option<Vec<u64>>>,
    /// The two keys of each move of a link or an attribute.
    pub(super) moved: BTreeSet<Bytes>,
    /// Open attributes that were deleted or renamed.
    pub(super) attributes: Vec<EarlierPlace>,
    /// Deleted blobs of variable-length data.
    pub(super) blobs: DeletedBlobs,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.unlinked.is_empty() && self.resized.is_empty() && self.moved.is_empty()
    }

    /// Returns whether a dimension of any dataset shrank.
    pub(super) fn has_cut(&self) -> bool {
        self.resized.values().any(Option::is_some)
    }

    /// Returns whether a dimension of this dataset shrank.
    pub(super) fn has_cut_of(&self, id: u64) -> bool {
        self.resized.get(&id).is_some_and(Option::is_some)
    }

    /// Adds the operations of an earlier batch in front of those of this batch.
    pub(super) fn follows(&mut self, before: Self) {
        self.unlinked.extend(before.unlinked);
        self.moved.extend(before.moved);
        self.blobs.follows(before.blobs);
        self.attributes.splice(..0, before.attributes);
        for (id, least) in before.resized {
            let now = self.resized.entry(id).or_default();
            *now = match (now.take(), least) {
                (Some(a), Some(b)) => Some(a.iter().zip(&b).map(|(a, b)| *a.min(b)).collect()),
                (a, b) => a.or(b),
            };
        }
    }
}

/// All objects that other writers changed. The set must be complete: a merge that misses an object would report false
/// conflicts for deletions, or miss conflicts.
#[derive(Default)]
pub(super) struct Changed {
    /// The index of the author of each object's change, which takes few bytes an object.
    ids: BTreeMap<u64, u32>,
    authors: Vec<RemoteChange>,
    /// The indices of authors, by version and process: a version may have several authors.
    numbers: HashMap<(u64, u32), u32>,
}

impl Changed {
    pub(super) fn insert(&mut self, id: u64, c: &EntryChange) {
        if !self.ids.contains_key(&id) {
            let author = self.author(c);
            self.ids.insert(id, author);
        }
    }

    fn author(&mut self, c: &EntryChange) -> u32 {
        if let Some(known) = self.numbers.get(&(c.version, c.pid)) {
            return *known;
        }
        let next = self.authors.len();
        if next == MAX_AUTHORS {
            return next as u32 - 1;
        }
        self.authors.push(RemoteChange {
            before: None,
            version: c.version,
            host: c.host.clone(),
            pid: c.pid,
        });
        self.numbers.insert((c.version, c.pid), next as u32);
        next as u32
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the author of an object's change.
    pub(super) fn by(&self, id: u64) -> Option<&RemoteChange> {
        self.authors.get(*self.ids.get(&id)? as usize)
    }
}

impl Container {
    /// Notes that an object lost a hard link in this batch.
    pub(crate) fn note_unlinked(&self, s: &mut State, id: u64) {
        if self.ledger.is_shared() {
            s.remote.batch.unlinked.insert(id);
        }
    }

    /// Notes that the dimensions of a dataset were set in this batch.
    pub(crate) fn note_resized(&self, s: &mut State, id: u64, old: &[u64], new: &[u64]) {
        let least = s.remote.batch.resized.entry(id).or_default();
        if new.iter().zip(old).any(|(n, o)| n < o) {
            let before = least.take().unwrap_or_else(|| old.to_vec());
            *least = Some(before.iter().zip(new).map(|(b, n)| *b.min(n)).collect());
        }
    }

    /// Notes that this batch deleted a blob of `bytes` bytes.
    pub(crate) fn note_deleted_blob(&self, s: &mut State, owner: u64, place: (u32, u32), bytes: u64) {
        if self.ledger.is_shared() {
            s.remote.batch.blobs.note(owner, place, bytes);
        }
    }

    /// Notes that this batch moved an entry from one key to another.
    pub(crate) fn note_moved(&self, s: &mut State, from: &[u8], to: &[u8]) -> Result<()> {
        // Other writers cannot change an entry that this batch created.
        if self.ledger.base(from)?.is_some() {
            s.remote.batch.moved.extend([from, to].map(Bytes::copy_from_slice));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_changed_objects_are_known() {
        let mut changed = Changed::default();
        let most = 3 * MAX_AUTHORS as u64;
        for id in 0..most {
            let (key, host) = (Bytes::new(), "h".to_owned());
            let c = EntryChange { key, before: None, version: id / 2, host, pid: id as u32 % 2 };
            changed.insert(2 * id, &c);
        }
        assert!((0..most).all(|id| changed.by(2 * id).is_some() && changed.by(2 * id + 1).is_none()));
        assert_eq!(changed.by(10).map(|by| (by.version, by.pid)), Some((2, 1)));
        assert_eq!(changed.authors.len(), MAX_AUTHORS);
    }
}
