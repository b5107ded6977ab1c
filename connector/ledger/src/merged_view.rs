//! The map as a handle sees it: staged changes over the log over the checkpoint.

use std::ops::Bound;

use bytes::Bytes;

use crate::error::Result;
use crate::memtable::{Memtable, range_of, value_in};
use crate::tree::{Lookup, Tree};

/// A key and its value.
pub(crate) type Entry = (Bytes, Bytes);

/// The three layers. Entries of an upper layer replace those of the layers below.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layers<'a> {
    pub(crate) over: [&'a Memtable; 2],
    pub(crate) tree: Tree<'a>,
}

/// The value of an entry, which need not be in memory.
enum Held<'a> {
    /// The value is in the staged changes or the log.
    Above(&'a Bytes),
    /// The value is in a leaf of the checkpoint, or in an extent that the leaf names.
    Below(&'a Lookup),
}

/// Returns whether a range cannot contain any key; `BTreeMap::range` panics for some of these ranges.
fn empty(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    match (lower, upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Excluded(b) | Bound::Included(b)) => a >= b,
    }
}

pub(crate) fn within(key: &[u8], upper: Bound<&[u8]>) -> bool {
    match upper {
        Bound::Unbounded => true,
        Bound::Included(b) => key <= b,
        Bound::Excluded(b) => key < b,
    }
}

pub(crate) fn not_before(key: &[u8], lower: Bound<&[u8]>) -> bool {
    match lower {
        Bound::Unbounded => true,
        Bound::Included(b) => key >= b,
        Bound::Excluded(b) => key > b,
    }
}

impl Layers<'_> {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        for layer in self.over {
            if let Some(v) = value_in(layer, key) {
                return Ok(v.clone());
            }
        }
        self.tree.get(key)
    }

    /// Returns the values under several ascending keys. If reads of the storage take a round trip, the pages that hold
    /// the values are read in parallel.
    pub(crate) fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        if self.tree.storage.properties().is_in_store && keys.len() > 1 {
            let below: Vec<&[u8]> = keys
                .iter()
                .copied()
                .filter(|k| !self.over.iter().any(|l| value_in(l, k).is_some()))
                .collect();
            self.tree.prefetch(&below)?;
        }
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Returns up to `limit` entries of a range, ascending.
    pub(crate) fn scan(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
        self.scan_bytes(lower, upper, limit, usize::MAX)
    }

    /// Returns entries as [`scan`](Self::scan) does, and stops after the entry at which the values reach `most` bytes,
    /// because many entries may name the same long value.
    pub(crate) fn scan_bytes(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        limit: usize,
        most: usize,
    ) -> Result<Vec<Entry>> {
        let (mut out, mut bytes) = (Vec::new(), 0_usize);
        self.walk(lower, upper, limit, |key, value| {
            let value = match value {
                Held::Above(value) => value.clone(),
                Held::Below(found) => self.tree.value(found)?,
            };
            bytes = bytes.saturating_add(value.len());
            out.push((key, value));
            Ok(bytes < most)
        })?;
        Ok(out)
    }

    /// Returns up to `limit` keys of a range, ascending. No value is read.
    pub(crate) fn keys(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, limit: usize) -> Result<Vec<Bytes>> {
        let mut out = Vec::new();
        self.walk(lower, upper, limit, |key, _| {
            out.push(key);
            Ok(true)
        })?;
        Ok(out)
    }

    /// Passes up to `limit` entries of a range to `use_entry`, ascending, until that returns false.
    fn walk(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        limit: usize,
        mut use_entry: impl FnMut(Bytes, Held<'_>) -> Result<bool>,
    ) -> Result<()> {
        if limit == 0 || empty(lower, upper) {
            return Ok(());
        }
        if limit > 1 && self.tree.storage.properties().is_in_store {
            self.tree.prefetch_range(lower, upper)?;
        }
        let mut left = limit;
        let [mut top, mut middle] = self.over.map(|l| range_of(l, lower, upper).peekable());
        let mut base = self.tree.first(lower)?.filter(|f| within(f.key(), upper));
        loop {
            let heads = [top.peek().map(|(k, _)| k.as_ref()), middle.peek().map(|(k, _)| k.as_ref())];
            let Some(least) = heads.into_iter().flatten().chain(base.as_ref().map(Lookup::key)).min() else {
                return Ok(());
            };
            let here = [heads[0] == Some(least), heads[1] == Some(least)];
            let in_base = base.as_ref().is_some_and(|f| f.key() == least);
            let above = [here[0].then(|| top.next()).flatten(), here[1].then(|| middle.next()).flatten()];
            let entry = match (above.into_iter().flatten().next(), &base) {
                (Some((k, v)), _) => v.as_ref().map(|v| (k.to_bytes(), Held::Above(v))),
                (None, Some(f)) => Some((f.key_bytes(), Held::Below(f))),
                (None, None) => return Ok(()),
            };
            if let Some((key, value)) = entry {
                left -= 1;
                if !use_entry(key, value)? || left == 0 {
                    return Ok(());
                }
            }
            if in_base {
                base = self.advance(base)?.filter(|f| within(f.key(), upper));
            }
        }
    }

    fn advance(&self, from: Option<Lookup>) -> Result<Option<Lookup>> {
        let Some(f) = from else { return Ok(None) };
        let key = f.key_bytes();
        match self.tree.step(f)? {
            Some(next) => Ok(Some(next)),
            None => self.tree.first(Bound::Excluded(&key)),
        }
    }

    /// Returns the last entry of a range.
    pub(crate) fn last(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Result<Option<Entry>> {
        if empty(lower, upper) {
            return Ok(None);
        }
        let [mut top, mut middle] = self.over.map(|l| range_of(l, lower, upper).rev().peekable());
        let mut base = self.tree.last(upper)?.filter(|f| not_before(f.key(), lower));
        loop {
            let heads = [top.peek().map(|(k, _)| k.as_ref()), middle.peek().map(|(k, _)| k.as_ref())];
            let greatest = heads.into_iter().flatten().chain(base.as_ref().map(Lookup::key)).max();
            let Some(greatest) = greatest else { return Ok(None) };
            let here = [heads[0] == Some(greatest), heads[1] == Some(greatest)];
            let in_base = base.as_ref().is_some_and(|f| f.key() == greatest);
            let above = [here[0].then(|| top.next()).flatten(), here[1].then(|| middle.next()).flatten()];
            match (above.into_iter().flatten().next(), &base) {
                (Some((k, Some(v))), _) => return Ok(Some((k.to_bytes(), v.clone()))),
                (Some((_, None)), _) => (),
                (None, Some(f)) => return Ok(Some((f.key_bytes(), self.tree.value(f)?))),
                (None, None) => return Ok(None),
            }
            if in_base && let Some(f) = &base {
                let before = self.tree.last(Bound::Excluded(f.key()))?;
                base = before.filter(|f| not_before(f.key(), lower));
            }
        }
    }
}
