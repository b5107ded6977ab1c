//! Which attributes are open.

use super::Attribute;
use crate::id_map::IdHashes;
use crate::keys;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Entries before the first look for those that are closed.
const MIN_ENTRIES_TO_SWEEP: usize = 128;

/// The open attributes by their keys in the map. A closed one goes as it is dropped, so that what it took is at hand for the
/// next; if the state is locked just then it goes with the next look at all of them.
pub(crate) struct OpenAttributes {
    all: HashMap<Arc<[u8]>, Weak<Attribute>, IdHashes>,
    /// How many there are when all are looked at next.
    looked_at_with: usize,
}

impl OpenAttributes {
    pub(crate) fn new() -> Self {
        Self { all: HashMap::default(), looked_at_with: MIN_ENTRIES_TO_SWEEP }
    }

    /// The attribute under a key, if it is open.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Attribute>> {
        self.all.get(key).and_then(Weak::upgrade)
    }

    /// Takes in one that was opened.
    pub(crate) fn insert(&mut self, key: Arc<[u8]>, attribute: &Arc<Attribute>) {
        if self.all.len() >= self.looked_at_with {
            self.all.retain(|_, a| a.strong_count() > 0);
            self.looked_at_with = (self.all.len() * 2).max(MIN_ENTRIES_TO_SWEEP);
        }
        self.all.insert(key, Arc::downgrade(attribute));
    }

    /// Takes out what is under a key.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Arc<Attribute>> {
        self.all.remove(key).and_then(|a| a.upgrade())
    }

    /// Takes out one that is being dropped, unless it was opened anew meanwhile.
    pub(crate) fn forget(&mut self, key: &[u8], dropped: &Attribute) {
        if self.all.get(key).is_some_and(|a| std::ptr::eq(a.as_ptr(), dropped)) {
            self.all.remove(key);
        }
    }

    /// From now on the attributes of one object are another one's, which keeps those that it has open.
    pub(crate) fn change_owner(&mut self, from: u64, to: u64) {
        let open: Vec<_> = self.all.extract_if(|key, _| keys::id(key) == Some(from)).collect();
        for (key, attribute) in open {
            self.all.entry(keys::attribute_of(to, &key)).or_insert(attribute);
        }
    }

    /// How many entries there are, with those of closed ones that were not taken out yet.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}
