//! What a handle of a branch shows: the branch's entries in the newest map, over the version that it began with.

use std::borrow::Cow;
use std::ops::Bound;

use bytes::Bytes;

use super::{Ledger, State};
use crate::branches::{BranchName, decode_entry, encode_entry, is_common};
use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::merged_view::Entry;
use crate::source::SOURCE;
use crate::tags::Held;

/// Entries that are merged at a time.
const MAX_MERGED: usize = 512;

/// The branch that a handle shows.
#[derive(Debug)]
pub(super) struct BranchView {
    pub(super) name: BranchName,
    /// What the keys of its entries begin with.
    pub(super) prefix: Vec<u8>,
    /// The version that it began with.
    pub(super) base: Box<Ledger>,
    /// The room of that version.
    pub(super) held: Held,
}

impl BranchView {
    /// The key of the entry of a key.
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    /// The value of a key, from its entry.
    fn value(&self, key: &[u8], entry: Option<Bytes>) -> Result<Option<Bytes>> {
        match entry {
            Some(entry) => self.decoded(&entry),
            None => self.base.get(key),
        }
    }

    fn decoded(&self, entry: &Bytes) -> Result<Option<Bytes>> {
        decode_entry(entry).map_err(|why| {
            Error::corrupt(self.base.storage.target(), format!("an entry of the branch '{}'", self.name), why)
        })
    }

    /// The entry that gives a key a value: none where the base has nothing to hide.
    fn entry(&self, key: &[u8], value: Option<&[u8]>) -> Result<Option<Bytes>> {
        Ok(match value {
            None if self.base.get(key)?.is_none() => None,
            value => Some(encode_entry(value)),
        })
    }

    fn bounds(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let lower = match lower {
            Bound::Unbounded => Bound::Included(self.prefix.clone()),
            lower => lower.map(|key| self.key(key)),
        };
        let upper = match upper {
            Bound::Unbounded => super::successor(&self.prefix).map_or(Bound::Unbounded, Bound::Excluded),
            upper => upper.map(|key| self.key(key)),
        };
        (lower, upper)
    }
}

fn borrowed(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// Whether a range is one of keys that all branches have alike.
fn is_common_range(lower: Bound<&[u8]>) -> bool {
    matches!(lower, Bound::Included(key) | Bound::Excluded(key) if !key.is_empty() && is_common(key) && key.len() > 1)
        || matches!(lower, Bound::Included(key) if key == [SOURCE])
}

impl Ledger {
    /// The branch that has a key of its own for this one.
    pub(super) fn branch_of(&self, key: &[u8]) -> Option<&BranchView> {
        self.branch.as_deref().filter(|_| !is_common(key))
    }

    /// The branch that this handle shows; `None` for the main line.
    pub fn branch(&self) -> Option<BranchName> {
        self.branch.as_ref().map(|branch| branch.name)
    }

    /// Where in the map this handle finds what it calls `key`.
    pub(crate) fn stored_key<'k>(&self, key: &'k [u8]) -> Cow<'k, [u8]> {
        self.branch_of(key).map_or(Cow::Borrowed(key), |branch| Cow::Owned(branch.key(key)))
    }

    /// The same for what keys begin with: of a branch, its own keys alone.
    pub(crate) fn stored_prefix<'k>(&self, prefix: &'k [u8]) -> Cow<'k, [u8]> {
        match &self.branch {
            Some(branch) => Cow::Owned(branch.key(prefix)),
            None => Cow::Borrowed(prefix),
        }
    }

    /// What this handle calls a key of the map; `None` if it does not show it.
    pub(crate) fn shown_key(&self, stored: &Bytes) -> Option<Bytes> {
        match &self.branch {
            None => Some(stored.clone()),
            Some(branch) if stored.starts_with(&branch.prefix) => Some(stored.slice(branch.prefix.len()..)),
            Some(_) => Some(stored.clone()).filter(|key| is_common(key) && !self.is_of_branches(key)),
        }
    }

    /// Whether a key is that of a branch's record or entry.
    pub(crate) fn is_of_branches(&self, stored: &[u8]) -> bool {
        stored.first() == Some(&crate::branches::BRANCH)
    }

    /// The value of a key, from what the map has under its [stored key](Self::stored_key).
    pub(crate) fn shown(&self, key: &[u8], stored: Option<Bytes>) -> Result<Option<Bytes>> {
        match self.branch_of(key) {
            Some(branch) => branch.value(key, stored),
            None => Ok(stored),
        }
    }

    /// What is stored for a value under a key.
    pub(super) fn stored_value(&self, key: &[u8], value: Option<Bytes>) -> Result<Option<Bytes>> {
        match self.branch_of(key) {
            Some(branch) => branch.entry(key, value.as_deref()),
            None => Ok(value),
        }
    }

    /// What a staged entry gives its key.
    pub(crate) fn staged_value(&self, stored: &[u8], value: &Option<Bytes>) -> Result<Option<Bytes>> {
        match (&self.branch, value) {
            (Some(branch), Some(entry)) if stored.starts_with(&branch.prefix) => branch.decoded(entry),
            _ => Ok(value.clone()),
        }
    }

    pub(super) fn seen(&self, s: &State, key: &[u8]) -> Result<Option<Bytes>> {
        self.shown(key, self.layers(s).get(&self.stored_key(key))?)
    }

    /// The values under several ascending keys.
    pub(super) fn seen_many(&self, s: &State, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let Some(branch) = &self.branch else { return self.layers(s).get_many(keys) };
        let stored: Vec<_> = keys.iter().map(|key| self.stored_key(key)).collect();
        let mut order: Vec<usize> = (0..stored.len()).collect();
        order.sort_by(|a, b| stored[*a].cmp(&stored[*b]));
        let sorted: Vec<&[u8]> = order.iter().map(|n| &*stored[*n]).collect();
        let mut out = vec![None; keys.len()];
        let mut of_base = Vec::new();
        for (n, entry) in order.into_iter().zip(self.layers(s).get_many(&sorted)?) {
            match entry {
                Some(entry) if is_common(keys[n]) => out[n] = Some(entry),
                Some(entry) => out[n] = branch.decoded(&entry)?,
                None if is_common(keys[n]) => (),
                None => of_base.push(n),
            }
        }
        of_base.sort_unstable();
        let wanted: Vec<&[u8]> = of_base.iter().map(|n| keys[*n]).collect();
        for (n, value) in of_base.into_iter().zip(branch.base.get_many(&wanted)?) {
            out[n] = value;
        }
        Ok(out)
    }

    /// Up to `limit` entries of a range, ascending.
    pub(super) fn scan(
        &self,
        s: &State,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        match &self.branch {
            Some(branch) if !is_common_range(lower) => self.scan_both(s, branch, lower, upper, limit),
            _ => self.layers(s).scan(lower, upper, limit),
        }
    }

    /// Merges the entries of a branch with those of its base, part by part.
    fn scan_both(
        &self,
        s: &State,
        branch: &BranchView,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        let mut out = Vec::new();
        let mut from = lower.map(<[u8]>::to_vec);
        while out.len() < limit {
            let most = (limit - out.len()).min(MAX_MERGED);
            let (first, end) = branch.bounds(borrowed(&from), upper);
            let over = self.layers(s).scan(borrowed(&first), borrowed(&end), most)?;
            let below = branch.base.scan(&branch.base.lock(), borrowed(&from), upper, most)?;
            // Behind the last key of a part that is full, the other one says nothing.
            let ends = [(&over, branch.prefix.len()), (&below, 0)].map(|(part, cut)| {
                part.last().filter(|_| part.len() == most).map(|(key, _)| key.slice(cut..))
            });
            let end = ends.into_iter().flatten().min();
            self.merge(s, branch, [over, below], end.as_ref(), &mut out)?;
            match end {
                Some(end) => from = Bound::Excluded(end.to_vec()),
                None => break,
            }
        }
        out.truncate(limit);
        Ok(out)
    }

    /// Adds what two parts show, up to a key.
    fn merge(
        &self,
        s: &State,
        branch: &BranchView,
        [over, below]: [Vec<Entry>; 2],
        end: Option<&Bytes>,
        out: &mut Vec<Entry>,
    ) -> Result<()> {
        let is_within = |key: &Bytes| end.is_none_or(|end| key <= end);
        let over = over.into_iter().map(|(key, entry)| (key.slice(branch.prefix.len()..), entry));
        let mut over = over.filter(|(key, _)| is_within(key)).peekable();
        let mut below = below.into_iter().filter(|(key, _)| is_within(key)).peekable();
        loop {
            let is_over = match (over.peek(), below.peek()) {
                (None, None) => return Ok(()),
                (Some((a, _)), Some((b, _))) if a == b => {
                    below.next();
                    true
                }
                (Some((a, _)), Some((b, _))) => a < b,
                (a, _) => a.is_some(),
            };
            if is_over && let Some((key, entry)) = over.next() {
                out.extend(branch.decoded(&entry)?.map(|value| (key, value)));
            } else if let Some((key, value)) = below.next() {
                match is_common(&key) {
                    false => out.push((key, value)),
                    // Of the container's own, the newest counts; tags and branches are none of a branch.
                    true if matches!(key.first(), Some(&(crate::tags::TAG | crate::branches::BRANCH))) => (),
                    true => out.extend(self.layers(s).get(&key)?.map(|value| (key, value))),
                }
            }
        }
    }

    /// The greatest entry of a range.
    pub(super) fn last(&self, s: &State, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Result<Option<Entry>> {
        let Some(branch) = self.branch.as_deref().filter(|_| !is_common_range(lower)) else {
            return self.layers(s).last(lower, upper);
        };
        let mut upper = upper.map(<[u8]>::to_vec);
        loop {
            let (first, end) = branch.bounds(lower, borrowed(&upper));
            let over = self.layers(s).last(borrowed(&first), borrowed(&end))?;
            let over = over.map(|(key, entry)| (key.slice(branch.prefix.len()..), entry));
            let below = branch.base.last(&branch.base.lock(), lower, borrowed(&upper))?;
            let below = below.filter(|(key, _)| over.as_ref().is_none_or(|(above, _)| key > above));
            let (key, value) = match (below, over) {
                (Some((key, value)), _) => (key, Some(value)),
                (None, Some((key, entry))) => (key, branch.decoded(&entry)?),
                (None, None) => return Ok(None),
            };
            match value {
                Some(value) => return Ok(Some((key, value))),
                None => upper = Bound::Excluded(key.to_vec()),
            }
        }
    }

    /// Whether a payload is that of the version with which this handle's branch began: it is never freed here.
    pub(crate) fn is_of_base(&self, e: &Extent) -> bool {
        self.branch.as_ref().is_some_and(|branch| branch.held.has_place(e.place()))
    }

    /// The error for a branch that was merged or deleted while this handle had it open.
    pub(super) fn branch_is_gone(&self, branch: &BranchView) -> Error {
        self.fail(ErrorKind::BranchGone { name: branch.name.to_string() })
    }
}
