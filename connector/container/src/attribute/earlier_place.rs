//! The places of open attributes before a batch deleted or renamed them: if the batch is dropped, they return there.

use super::{Attribute, AttributePlace};
use crate::container::State;
use h5lake_records::record::AttributeRecord;
use std::sync::{Arc, Weak};

/// Number of entries before closed attributes are removed for the first time.
const MIN_ENTRIES_TO_SWEEP: usize = 128;

/// An open attribute, and the key that it had.
pub(crate) struct EarlierPlace {
    attribute: Weak<Attribute>,
    key: Arc<[u8]>,
    record: Arc<AttributeRecord>,
}

/// Notes the place of an open attribute that is about to be deleted or renamed.
pub(super) fn note(all: &mut Vec<EarlierPlace>, attribute: &Arc<Attribute>) {
    if all.len() >= MIN_ENTRIES_TO_SWEEP && all.len().is_power_of_two() {
        all.retain(|earlier| earlier.attribute.strong_count() > 0);
    }
    if let AttributePlace::Named { key, record, .. } = &*attribute.place.lock() {
        let attribute = Arc::downgrade(attribute);
        all.push(EarlierPlace { attribute, key: key.clone(), record: record.clone() });
    }
}

/// Restores the places of open attributes before the batch.
pub(crate) fn take_back(s: &mut State, all: Vec<EarlierPlace>) {
    // If an attribute was moved several times, its first place is restored last.
    for EarlierPlace { attribute, key, record } in all.into_iter().rev() {
        let Some(attribute) = attribute.upgrade() else { continue };
        let earlier = AttributePlace::Named { key: key.clone(), record, edition: s.edition };
        let now = std::mem::replace(&mut *attribute.place.lock(), earlier);
        if let AttributePlace::Named { key, .. } = now {
            s.attributes.forget(&key, &attribute);
        }
        s.attributes.insert(key, &attribute);
    }
}
