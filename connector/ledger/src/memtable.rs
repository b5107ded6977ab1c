//! Changes of the map in memory: those of the write-ahead log, and the staged ones.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;

use bytes::Bytes;

use crate::key::Key;

/// Changes by key: the value put, or `None` for a delete.
pub(crate) type Memtable = BTreeMap<Key<'static>, Option<Bytes>>;
/// A layer without changes.
pub(crate) static EMPTY: Memtable = Memtable::new();
/// One change of a layer.
pub(crate) type Changed<'l> = (&'l Key<'static>, &'l Option<Bytes>);

/// Merges the changes of two layers, ascending. If both layers change a key, the change of the upper layer applies.
pub(crate) fn merged<'l>(upper: &'l Memtable, lower: &'l Memtable) -> Vec<Changed<'l>> {
    if lower.is_empty() {
        return upper.iter().collect();
    }
    let mut out = Vec::with_capacity(upper.len().max(lower.len()));
    let mut below = lower.iter().peekable();
    for (key, value) in upper {
        while let Some(less) = below.next_if(|(k, _)| *k < key) {
            out.push(less);
        }
        below.next_if(|(k, _)| *k == key);
        out.push((key, value));
    }
    out.extend(below);
    out
}

/// Returns the change of a key in a layer, if there is one.
pub(crate) fn value_in<'a>(layer: &'a Memtable, key: &'a [u8]) -> Option<&'a Option<Bytes>> {
    let layer: &BTreeMap<Key<'a>, Option<Bytes>> = layer;
    if layer.is_empty() { None } else { layer.get(&Key::of(key)) }
}

/// Returns the changes of a layer in a range, which must not be empty.
pub(crate) fn range_of<'a>(
    layer: &'a Memtable,
    lower: Bound<&'a [u8]>,
    upper: Bound<&'a [u8]>,
) -> Range<'a, Key<'a>, Option<Bytes>> {
    let layer: &BTreeMap<Key<'a>, Option<Bytes>> = layer;
    layer.range((lower.map(Key::of), upper.map(Key::of)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_of_two_merged_layers_counts() {
        let layer = |entries: &[(&'static str, Option<&'static str>)]| -> Memtable {
            entries.iter().map(|(k, v)| (Bytes::from(*k).into(), v.map(Bytes::from))).collect()
        };
        let lower = layer(&[("a", Some("1")), ("c", Some("2")), ("d", None), ("x", Some("3"))]);
        let upper = layer(&[("b", Some("4")), ("c", None), ("d", Some("5"))]);
        let mut both = lower.clone();
        both.extend(upper.clone());
        assert_eq!(merged(&upper, &lower), both.iter().collect::<Vec<_>>());
        for one in [&upper, &lower] {
            assert_eq!(merged(one, &EMPTY), one.iter().collect::<Vec<_>>());
            assert_eq!(merged(&EMPTY, one), one.iter().collect::<Vec<_>>());
        }
    }
}
