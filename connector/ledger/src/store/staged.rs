//! The objects that a writer has put, and the extents that it has freed, since its last commit.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::core::ids::ObjectId;
use crate::core::records::{Gained, Notes};
use crate::store::freed_places::FreedPlaces;

/// The objects that the next commit names, and the extents that it frees.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) gained: BTreeMap<ObjectId, Gained>,
    pub(super) freed: FreedPlaces,
}

impl Staged {
    /// Counts bytes that were written into an object. `stood` is the sequence of the newest manifest that the writer knows.
    pub(super) fn gain(&mut self, object: ObjectId, bytes: u64, stood: u64) {
        let gained = self.gained.entry(object).or_insert(Gained { object, bytes: 0, stood });
        gained.bytes += bytes;
    }

    /// Subtracts bytes that were written since the last commit. Returns false for older bytes.
    pub(super) fn lose(&mut self, place: &Address) -> bool {
        let gained = ObjectId::of(place).and_then(|object| self.gained.get_mut(&object));
        match gained {
            Some(gained) => {
                gained.bytes = gained.bytes.saturating_sub(place.length);
                true
            }
            None => false,
        }
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
        self.gained.values().filter(|gained| gained.bytes == 0).map(|gained| gained.object).collect()
    }

    /// Adds the objects and frees of `before`, a commit that did not take effect, so that the next commit includes them.
    pub(super) fn take_back(&mut self, mut before: Self) {
        let since = std::mem::take(self);
        for (object, gained) in since.gained {
            match before.gained.get_mut(&object) {
                Some(known) => known.bytes += gained.bytes,
                None => drop(before.gained.insert(object, gained)),
            }
        }
        for place in since.freed.iter() {
            // If the extent was written for that commit, it was never in use.
            if !before.lose(place) {
                before.freed.push(*place);
            }
        }
        *self = before;
    }
}
