//! The objects that a writer has put, and the extents that it has freed, since its last commit.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::address::Address;
use crate::core::ids::{ObjectId, SessionId};
use crate::core::records::{Gained, Notes};
use crate::store::freed_places::FreedPlaces;

/// The objects that the next commit names, and the extents that it frees.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) gained: BTreeMap<ObjectId, Gained>,
    pub(super) freed: FreedPlaces,
    /// Extents of the dead list that the commit uses again, because it restores an old version.
    pub(super) revived: HashSet<Address>,
    /// Objects that another writer put, or that this writer has offered. This writer does not delete them.
    shared: BTreeSet<ObjectId>,
    /// Offered objects that another writer's commit names.
    named: BTreeSet<ObjectId>,
}

impl Staged {
    /// Counts bytes that were written into an object. `stood` is the sequence of the newest manifest that the writer knows.
    pub(super) fn gain(&mut self, object: ObjectId, bytes: u64, stood: u64) {
        let gained = self.gained.entry(object).or_insert(Gained { object, bytes: 0, stood });
        gained.bytes += bytes;
    }

    /// Notes that another writer's commit may name all payloads that were written since the last commit.
    pub(super) fn offer(&mut self) {
        self.shared.extend(self.gained.keys());
    }

    /// Lets the next commit name a payload that another writer has put.
    pub(super) fn accept(&mut self, object: ObjectId, bytes: u64, stood: u64) {
        self.gain(object, bytes, stood);
        self.shared.insert(object);
    }

    /// Subtracts bytes that were written since the last commit. Returns false for older bytes.
    pub(super) fn lose(&mut self, place: &Address) -> bool {
        let Some(object) = ObjectId::of(place) else { return false };
        let Some(gained) = self.gained.get_mut(&object) else { return false };
        gained.bytes = gained.bytes.saturating_sub(place.length);
        true
    }

    /// Removes a payload from those that the next commit names, because another writer's commit names it, or may name it.
    pub(super) fn disown(&mut self, place: &Address) {
        if self.lose(place) {
            self.named.extend(ObjectId::of(place));
        }
    }

    /// Ends an offer after the commit of the other writer. Returns the offered objects of which no commit needs anything.
    pub(super) fn end_offer(&mut self) -> Vec<ObjectId> {
        let (shared, named) = (std::mem::take(&mut self.shared), std::mem::take(&mut self.named));
        let mut ended = Vec::new();
        self.gained.retain(|object, gained| {
            let is_over = gained.bytes == 0 && shared.contains(object);
            if is_over {
                ended.push(*object);
            }
            !is_over
        });
        ended.retain(|object| !named.contains(object));
        ended
    }

    /// Returns the sessions other than `own` that put objects which the commit names.
    pub(super) fn other_sessions(&self, own: SessionId) -> Vec<SessionId> {
        let accepted = self.notes().gained.into_iter().map(|gained| gained.object);
        let accepted = accepted.filter(|object| object.session != own && self.shared.contains(object));
        accepted.map(|object| object.session).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Returns the notes of the commit. Objects without bytes in use are omitted.
    pub(super) fn notes(&self) -> Notes {
        Notes {
            gained: self.gained.values().filter(|gained| gained.bytes > 0).copied().collect(),
            freed: self.freed.iter().copied().collect(),
        }
    }

    /// Returns the number of bytes that the commit adds.
    pub(super) fn bytes(&self) -> u64 {
        self.gained.values().fold(0, |sum, gained| sum.saturating_add(gained.bytes))
    }

    /// Returns the objects without bytes in use.
    pub(super) fn unused(&self) -> Vec<ObjectId> {
        let unused = self.gained.values().filter(|gained| gained.bytes == 0).map(|gained| gained.object);
        unused.filter(|object| !self.shared.contains(object)).collect()
    }

    /// Returns the objects that are unreferenced if the commit is never made: those that no other writer may name.
    pub(super) fn own_objects(&self) -> Vec<ObjectId> {
        self.gained.keys().filter(|object| !self.shared.contains(object)).copied().collect()
    }

    /// Adds the objects and frees of `before`, a commit that did not take effect, so that the next commit includes them.
    pub(super) fn take_back(&mut self, mut before: Self) {
        let since = std::mem::take(self);
        before.shared.extend(since.shared);
        before.named.extend(since.named);
        for (object, gained) in since.gained {
            match before.gained.get_mut(&object) {
                Some(known) => known.bytes += gained.bytes,
                None => drop(before.gained.insert(object, gained)),
            }
        }
        before.revived.extend(since.revived);
        for place in since.freed.iter() {
            // If the extent was written or revived for that commit, no version uses it.
            if !before.revived.remove(place) && !before.lose(place) {
                before.freed.push(*place);
            }
        }
        *self = before;
    }
}
