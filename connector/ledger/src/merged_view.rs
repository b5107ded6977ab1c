//! The map as a handle sees it: staged changes over the log over the base.

use std::ops::Bound;

use bytes::Bytes;

use crate::error::Result;
use crate::memtable::{Memtable, range_of, value_in};
use crate::tree::{Lookup, Tree};

/// A key and its value.
pub(crate) type Entry = (Bytes, Bytes);

/// The three layers; the upper ones come first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layers<'a> {
    pub(crate) over: [&'a Memtable; 2],
    pub(crate) tree: Tree<'a>,
}

/// Whether no key can be in a range; `BTreeMap::range` panics on some of these.
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

    /// The values under several ascending keys. In a storage whose reads take a round trip the pages that hold them are read
    /// side by side.
    pub(crate) fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        if self.tree.storage.is_remote() && keys.len() > 1 {
            let below: Vec<&[u8]> = keys
                .iter()
                .copied()
                .filter(|k| !self.over.iter().any(|l| value_in(l, k).is_some()))
                .collect();
            self.tree.prefetch(&below)?;
        }
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Up to `limit` entries of a range, ascending.
    pub(crate) fn scan(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
        self.scan_bytes(lower, upper, limit, usize::MAX)
    }

    /// The same, up to the entry with which their values have `most` bytes: many entries may name the same long value.
    pub(crate) fn scan_bytes(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        limit: usize,
        most: usize,
    ) -> Result<Vec<Entry>> {
        let (mut out, mut bytes) = (Vec::new(), 0_usize);
        if limit == 0 || empty(lower, upper) {
            return Ok(out);
        }
        if limit > 1 && self.tree.storage.is_remote() {
            self.tree.prefetch_range(lower, upper)?;
        }
        let [mut top, mut middle] = self.over.map(|l| range_of(l, lower, upper).peekable());
        let mut base = self.tree.first(lower)?.filter(|f| within(f.key(), upper));
        loop {
            let heads = [top.peek().map(|(k, _)| k.as_ref()), middle.peek().map(|(k, _)| k.as_ref())];
            let Some(least) = heads.into_iter().flatten().chain(base.as_ref().map(Lookup::key)).min() else {
                break;
            };
            let here = [heads[0] == Some(least), heads[1] == Some(least)];
            let in_base = base.as_ref().is_some_and(|f| f.key() == least);
            let above = [here[0].then(|| top.next()).flatten(), here[1].then(|| middle.next()).flatten()];
            match (above.into_iter().flatten().next(), &base) {
                (Some((k, v)), _) => out.extend(v.clone().map(|v| (k.to_bytes(), v))),
                (None, Some(f)) => out.push((f.key_bytes(), self.tree.value(f)?)),
                (None, None) => break,
            }
            bytes = bytes.saturating_add(out.last().map_or(0, |(_, value)| value.len()));
            if out.len() >= limit || bytes >= most {
                break;
            }
            if in_base {
                base = self.advance(base)?.filter(|f| within(f.key(), upper));
            }
        }
        Ok(out)
    }

    fn advance(&self, from: Option<Lookup>) -> Result<Option<Lookup>> {
        let Some(f) = from else { return Ok(None) };
        let key = f.key_bytes();
        match self.tree.step(f)? {
            Some(next) => Ok(Some(next)),
            None => self.tree.first(Bound::Excluded(&key)),
        }
    }

    /// The greatest entry of a range.
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
