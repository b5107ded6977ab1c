//! The open attributes.

use super::Attribute;
use crate::id_map::IdHashes;
use h5lake_records::keys;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Number of entries before closed attributes are removed for the first time.
const MIN_ENTRIES_TO_SWEEP: usize = 128;

/// The open attributes by key. A closed attribute is removed when it is dropped, so that its memory can be reused; if
/// the state is locked just then, it is removed by the next sweep.
pub(crate) struct OpenAttributes {
    all: HashMap<Arc<[u8]>, Weak<Attribute>, IdHashes>,
    /// Number of entries at which the next sweep removes closed attributes.
    looked_at_with: usize,
}

impl OpenAttributes {
    pub(crate) fn new() -> Self {
        Self { all: HashMap::default(), looked_at_with: MIN_ENTRIES_TO_SWEEP }
    }

    /// Returns the attribute under a key, if it is open.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Attribute>> {
        self.all.get(key).and_then(Weak::upgrade)
    }

    /// Adds an attribute that was opened.
    pub(crate) fn insert(&mut self, key: Arc<[u8]>, attribute: &Arc<Attribute>) {
        if self.all.len() >= self.looked_at_with {
            self.all.retain(|_, a| a.strong_count() > 0);
            self.looked_at_with = (self.all.len() * 2).max(MIN_ENTRIES_TO_SWEEP);
        }
        self.all.insert(key, Arc::downgrade(attribute));
    }

    /// Removes the attribute under a key.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Arc<Attribute>> {
        self.all.remove(key).and_then(|a| a.upgrade())
    }

    /// Removes an attribute that is being dropped, unless it was opened again meanwhile.
    pub(crate) fn forget(&mut self, key: &[u8], dropped: &Attribute) {
        if self.all.get(key).is_some_and(|a| std::ptr::eq(a.as_ptr(), dropped)) {
            self.all.remove(key);
        }
    }

    /// Moves the open attributes of one object to another one, which retains its own open attributes.
    pub(crate) fn change_owner(&mut self, from: u64, to: u64) {
        let open: Vec<_> = self.all.extract_if(|key, _| keys::id(key) == Some(from)).collect();
        for (key, attribute) in open {
            self.all.entry(keys::attribute_of(to, &key)).or_insert(attribute);
        }
    }

    /// Returns the number of entries, including closed attributes that were not removed yet.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}
