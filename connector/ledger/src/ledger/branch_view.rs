//! The content of a handle on a branch: the entries of the branch in the newest map, merged with the version that the branch began with.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{Ledger, State};
use crate::branches::{BRANCH, BranchName, decode_entry, encode_entry, is_common, is_of_branches};
use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::merged_view::{Entry, not_before, within};
use crate::source::SOURCE;
use crate::tags::{Held, TAG};

/// Maximum number of entries that are merged in one batch.
const MAX_MERGED: usize = 512;

/// The branch that a handle shows.
#[derive(Debug)]
pub(super) struct BranchView {
    pub(super) name: BranchName,
    /// The random id of the branch, which tells it from other branches of the same name.
    pub(super) id: [u8; 16],
    /// The prefix of the keys of its entries.
    pub(super) prefix: Vec<u8>,
    /// The version that the branch began with, opened for reading.
    pub(super) base: Box<Ledger>,
    /// The space of that version, which the tag of the branch protects.
    pub(super) held: Held,
}

impl BranchView {
    /// Returns the key of the entry for `key`.
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    /// Returns the value of a key, given its entry in the branch.
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

    /// Returns the entry that gives a key a value; `None` if a delete has no value of the base to hide.
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

/// Returns whether a range contains only keys that all branches have in common and that begin with one letter.
fn is_common_range(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    let (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) =
        (lower, upper)
    else {
        return false;
    };
    let Some(&letter @ (TAG | SOURCE | BRANCH)) = from.first() else { return false };
    to.first() == Some(&letter) || matches!((upper, to), (Bound::Excluded(_), [next]) if *next == letter + 1)
}

impl Ledger {
    /// Returns the branch of this handle if the branch has an entry of its own for the key.
    pub(super) fn branch_of(&self, key: &[u8]) -> Option<&BranchView> {
        self.branch.as_deref().filter(|_| !is_common(key))
    }

    /// Returns the branch that this handle shows; `None` for the main line.
    pub fn branch(&self) -> Option<BranchName> {
        self.branch.as_ref().map(|branch| branch.name)
    }

    /// Returns the key of the map that contains the value of `key` for this handle.
    pub(crate) fn stored_key<'k>(&self, key: &'k [u8]) -> Cow<'k, [u8]> {
        self.branch_of(key).map_or(Cow::Borrowed(key), |branch| Cow::Owned(branch.key(key)))
    }

    /// Returns the prefix of the map that contains the keys with a prefix for this handle. For a branch this covers only its own entries.
    pub(crate) fn stored_prefix<'k>(&self, prefix: &'k [u8]) -> Cow<'k, [u8]> {
        match &self.branch {
            Some(branch) => Cow::Owned(branch.key(prefix)),
            None => Cow::Borrowed(prefix),
        }
    }

    /// Returns the key under which this handle shows a key of the map; `None` if the handle does not show it.
    pub(crate) fn shown_key(&self, stored: &Bytes) -> Option<Bytes> {
        match &self.branch {
            None => Some(stored.clone()),
            Some(branch) if stored.starts_with(&branch.prefix) => Some(stored.slice(branch.prefix.len()..)),
            Some(_) => Some(stored.clone()).filter(|key| is_common(key) && !is_of_branches(key)),
        }
    }

    /// Returns the value of a key, given the value that the map has under its [stored key](Self::stored_key).
    pub(crate) fn shown(&self, key: &[u8], stored: Option<Bytes>) -> Result<Option<Bytes>> {
        match self.branch_of(key) {
            Some(branch) => branch.value(key, stored),
            None => Ok(stored),
        }
    }

    /// Returns the stored form of a value.
    pub(super) fn stored_value(&self, key: &[u8], value: Option<Bytes>) -> Result<Option<Bytes>> {
        match self.branch_of(key) {
            Some(branch) => branch.entry(key, value.as_deref()),
            None => Ok(value),
        }
    }

    /// Returns the value that a staged entry gives its key.
    pub(crate) fn staged_value(&self, stored: &[u8], value: &Option<Bytes>) -> Result<Option<Bytes>> {
        match (&self.branch, value) {
            (Some(branch), Some(entry)) if stored.starts_with(&branch.prefix) => branch.decoded(entry),
            _ => Ok(value.clone()),
        }
    }

    pub(super) fn seen(&self, s: &State, key: &[u8]) -> Result<Option<Bytes>> {
        self.shown(key, self.layers(s).get(&self.stored_key(key))?)
    }

    /// Returns the values of several keys, which are in ascending order.
    pub(super) fn seen_many(&self, s: &State, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let Some(branch) = &self.branch else { return self.layers(s).get_many(keys) };
        let stored: Vec<_> = keys.iter().map(|key| self.stored_key(key)).collect();
        let mut order: Vec<usize> = (0..stored.len()).collect();
        order.sort_unstable_by(|a, b| stored[*a].cmp(&stored[*b]));
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

    /// Returns entries of a range in ascending order: at most `limit` entries, and no more after the values have reached `most` bytes. A
    /// branch ignores `most`.
    pub(super) fn scan(
        &self,
        s: &State,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        limit: usize,
        most: usize,
    ) -> Result<Vec<Entry>> {
        match &self.branch {
            Some(branch) if !is_common_range(lower, upper) => self.scan_both(s, branch, lower, upper, limit),
            _ => self.layers(s).scan_bytes(lower, upper, limit, most),
        }
    }

    /// Returns up to `limit` keys of a range in ascending order. Values are read only for a branch, which has to decode its own entries.
    pub(super) fn scan_keys(
        &self,
        s: &State,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Bytes>> {
        if self.branch.is_none() || is_common_range(lower, upper) {
            return self.layers(s).keys(lower, upper, limit);
        }
        let entries = self.scan(s, lower, upper, limit, usize::MAX)?;
        Ok(entries.into_iter().map(|(key, _)| key).collect())
    }

    /// Merges the entries of a branch with the entries of its base and with the common entries of the container, batch by batch.
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
            let below = branch.base.scan(&branch.base.lock(), borrowed(&from), upper, most, usize::MAX)?;
            let own = self.own_entries(s, borrowed(&from), upper, most)?;
            // A full batch does not cover the keys that follow its last key.
            let ends = [(&over, branch.prefix.len()), (&below, 0), (&own, 0)].map(|(part, cut)| {
                part.last().filter(|_| part.len() >= most).map(|(key, _)| key.slice(cut..))
            });
            let end = ends.into_iter().flatten().min();
            let mut part: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
            part.extend(below.into_iter().filter(|(key, _)| !is_common(key)).map(|(key, v)| (key, Some(v))));
            for (key, entry) in over {
                part.insert(key.slice(branch.prefix.len()..), branch.decoded(&entry)?);
            }
            part.extend(own.into_iter().map(|(key, value)| (key, Some(value))));
            let is_within = |key: &Bytes| end.as_ref().is_none_or(|end| key <= end);
            out.extend(
                part.into_iter().filter(|(key, _)| is_within(key)).filter_map(|(key, v)| Some((key, v?))),
            );
            match end {
                Some(end) => from = Bound::Excluded(end.to_vec()),
                None => break,
            }
        }
        out.truncate(limit);
        Ok(out)
    }

    /// Returns the common entries of the container in a range, except tags and branches, which a branch does not show. They are in
    /// ascending order, and their number may exceed `limit`.
    fn own_entries(
        &self,
        s: &State,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        let mut out = Vec::new();
        let letter = |bound| match bound {
            Bound::Included::<&[u8]>(key) | Bound::Excluded(key) => key.first().copied(),
            Bound::Unbounded => None,
        };
        for letter in letter(lower).unwrap_or(0)..=letter(upper).unwrap_or(u8::MAX) {
            let holds = |key: &[u8]| not_before(key, lower) && within(key, upper);
            let key = [letter];
            if holds(&key) && !matches!(letter, TAG | SOURCE | BRANCH) {
                out.extend(self.layers(s).get(&key)?.map(|value| (Bytes::copy_from_slice(&key), value)));
            }
            if letter == SOURCE {
                let (from, to) = ([SOURCE], [SOURCE + 1]);
                let from = if holds(&from) { Bound::Included(&from[..]) } else { lower };
                let to = if holds(&to) { Bound::Excluded(&to[..]) } else { upper };
                let sources = self.layers(s).scan(from, to, limit)?;
                out.extend(sources.into_iter().filter(|(key, _)| key.first() == Some(&SOURCE)));
            }
            if out.len() >= limit {
                break;
            }
        }
        Ok(out)
    }

    /// Returns the entry with the greatest key in a range.
    pub(super) fn last(&self, s: &State, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Result<Option<Entry>> {
        let Some(branch) = self.branch.as_deref().filter(|_| !is_common_range(lower, upper)) else {
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

    /// Returns whether a payload belongs to the base version of this handle's branch. Such a payload is never freed through this handle.
    pub(crate) fn is_of_base(&self, e: &Extent) -> bool {
        self.branch.as_ref().is_some_and(|branch| branch.held.has_place(e.place()))
    }

    /// Returns the error for a branch that was merged or deleted while this handle had it open.
    pub(super) fn branch_is_gone(&self, branch: &BranchView) -> Error {
        self.fail(ErrorKind::BranchGone { name: branch.name.to_string() })
    }
}
