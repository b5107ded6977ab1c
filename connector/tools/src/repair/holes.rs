//! The ranges of keys that damaged pages may have held.

use bytes::Bytes;
use h5lake_records::keys;
use std::collections::BTreeMap;

/// The lost ranges of keys, by letter, as far as they may still matter.
#[derive(Debug, Default)]
pub(super) struct Holes(BTreeMap<u8, Vec<(Bytes, Option<Bytes>)>>);

impl Holes {
    pub(super) fn add(&mut self, letter: u8, from: Bytes, to: Option<Bytes>) {
        self.0.entry(letter).or_default().push((from, to));
    }

    /// Returns the ranges that may have held entries of an owner. Ranges before it are forgotten.
    pub(super) fn of(&mut self, letter: u8, id: u64) -> Vec<(Bytes, Option<Bytes>)> {
        let Some(all) = self.0.get_mut(&letter) else { return Vec::new() };
        let first = keys::of(letter, id);
        all.retain(|(_, to)| to.as_ref().is_none_or(|to| to[..] > first[..]));
        let behind = keys::of(letter, id.saturating_add(1));
        all.iter().filter(|(from, _)| from[..] < behind[..]).cloned().collect()
    }
}

/// Returns whether a key is in one of these ranges.
pub(super) fn hold(holes: &[(Bytes, Option<Bytes>)], key: &[u8]) -> bool {
    holes.iter().any(|(from, to)| from[..] <= *key && to.as_ref().is_none_or(|to| to[..] > *key))
}
