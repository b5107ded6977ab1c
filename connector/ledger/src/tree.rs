//! Reads the checkpoint's B-tree.

use std::io::IoSliceMut;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::address::{PageRef, Run, Wanted};
use crate::cache::Cache;
use crate::codec::Decoded;
use crate::error::{Error, Result};
use crate::page::{self, Page, PageEntries, Stored};
use crate::payload::{self, is_damage, twice};
use crate::read_ahead::Extra;
use crate::storage::Storage;

/// The number of leaves of a range that are read ahead.
pub(crate) const READ_AHEAD_LEAVES: usize = 16;
/// The number of pages of one level that are read at once. Their bytes must fit into the cache.
pub(crate) const MAX_READ_AHEAD_PAGES: usize = 128;

/// A leaf's entry that was found and not yet copied.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    leaf: Arc<Page>,
    at: usize,
    key: Bytes,
}

impl Lookup {
    fn of(leaf: Arc<Page>, at: usize) -> Decoded<Option<Self>> {
        let all = leaf.entries()?;
        let key = (at < all.len()).then(|| all.key_bytes(at));
        Ok(key.map(|key| Self { leaf, at, key }))
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn key_bytes(&self) -> Bytes {
        self.key.clone()
    }
}

/// The keys that may be below a page, as its parents state: from a first key up to and without a second one.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyRange {
    from: Option<Bytes>,
    to: Option<Bytes>,
}

impl KeyRange {
    /// Returns the range that starts with `from` and ends before `to`, if there is one.
    pub(crate) fn between(from: &Bytes, to: Option<&Bytes>) -> Self {
        Self { from: Some(from.clone()), to: to.cloned() }
    }

    /// Returns the first key of the range, and the first key after the range.
    pub(crate) fn bounds(self) -> (Bytes, Option<Bytes>) {
        (self.from.unwrap_or_default(), self.to)
    }

    /// Returns the keys that may be below child `n` of a page, which itself has the keys of this range.
    pub(crate) fn of_child(&self, page: &PageEntries<'_>, n: usize) -> Self {
        let to = if n + 1 < page.len() { Some(page.key_bytes(n + 1)) } else { self.to.clone() };
        Self { from: Some(page.key_bytes(n)), to }
    }

    /// Returns whether all keys of a page, which ascend, are in the range. This ensures that one walk visits no page
    /// twice.
    pub(crate) fn holds(&self, page: &PageEntries<'_>) -> bool {
        self.from.as_ref().is_none_or(|from| page.key(0) >= &from[..])
            && self.to.as_ref().is_none_or(|to| page.key(page.len() - 1) < &to[..])
    }
}

/// The error for a page with keys outside of the range that its parent gives.
pub(crate) const OUT_OF_RANGE: &str = "keys outside of the range that the page above gives";

/// The B-tree of a version, with the values that are needed to read it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tree<'a> {
    pub(crate) root: Option<PageRef>,
    pub(crate) storage: &'a dyn Storage,
    pub(crate) cache: &'a Cache,
}

pub(crate) fn place_name(p: &PageRef) -> String {
    format!("page at {:?} byte {}", p.place.location, p.place.offset)
}

impl Tree<'_> {
    pub(crate) fn page(&self, p: &PageRef) -> Result<Arc<Page>> {
        match self.cache.get(p) {
            Some(page) => Ok(page),
            None => self.fetch(p),
        }
    }

    /// Reads a page that is not in the cache.
    fn fetch(&self, p: &PageRef) -> Result<Arc<Page>> {
        let length = self.length(p)?;
        twice(self.storage, [p.place.location], || {
            let mut bytes = vec![0; length as usize];
            self.storage.read(&p.place, 0, &mut [IoSliceMut::new(&mut bytes)])?;
            self.take_in(p, bytes.into())
        })
    }

    fn bad(&self, p: &PageRef, why: &str) -> Error {
        self.storage.classify_read_error(Error::corrupt(self.storage.target(), place_name(p), why))
    }

    fn length(&self, p: &PageRef) -> Result<u64> {
        // A damaged parent could state any length. The checksum of the parent was verified, so this check only protects
        // memory.
        if p.place.length > page::MAX_PAGE_BYTES {
            return Err(self.bad(p, "longer than any page"));
        }
        Ok(p.place.length)
    }

    /// Decodes and checks a page, and puts it into the cache.
    pub(crate) fn take_in(&self, p: &PageRef, bytes: Bytes) -> Result<Arc<Page>> {
        let page = Arc::new(Page::decode(bytes, p.crc).map_err(|why| self.bad(p, why))?);
        self.cache.put(*p, page.clone());
        Ok(page)
    }

    /// Returns several pages. The pages that are not in memory are read at once.
    pub(crate) fn pages(&self, all: &[PageRef]) -> Result<Vec<Arc<Page>>> {
        let mut found: Vec<_> = all.iter().map(|p| self.cache.get(p)).collect();
        let missing: Vec<usize> = (0..all.len()).filter(|n| found[*n].is_none()).collect();
        let run = |n: &usize| {
            let run = Run { place: all[*n].place, offset: 0, length: self.length(&all[*n])? };
            Ok(Wanted::new(run, None))
        };
        let mut wanted = missing.iter().map(run).collect::<Result<Vec<_>>>()?;
        self.storage.read_many(&mut wanted, &|_, _| Ok(()))?;
        for (n, page) in missing.into_iter().zip(wanted) {
            // The bytes are copied, so that a page in memory does not retain its neighbours.
            found[n] = Some(match self.take_in(&all[n], Bytes::copy_from_slice(&page.bytes)) {
                Err(e) if is_damage(&e) => self.page(&all[n])?,
                taken => taken?,
            });
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Loads the pages on the paths to several keys into the cache, level by level, with one wait per level, however
    /// many keys there are. `keys` ascend.
    pub(crate) fn prefetch(&self, keys: &[&[u8]]) -> Result<()> {
        self.descend(|level, n| {
            // The keys from this page's first key up to the next page's.
            let from = if n == 0 { 0 } else { keys.partition_point(|k| *k < level[n].key(0)) };
            let to = level.get(n + 1).map_or(keys.len(), |next| keys.partition_point(|k| *k < next.key(0)));
            let mut ways: Vec<_> = keys[from..to].iter().map(|k| level[n].branch_for(k)).collect();
            ways.dedup();
            ways
        })
    }

    /// Loads the first pages of a range as [`prefetch`](Self::prefetch) does for keys.
    pub(crate) fn prefetch_range(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Result<()> {
        self.descend(|level, n| {
            let from = match lower {
                Bound::Included(k) | Bound::Excluded(k) if n == 0 => level[n].branch_for(k),
                _ => 0,
            };
            let to = level[n].end_before(upper).max(from + 1).min(level[n].len());
            (from..to).take(READ_AHEAD_LEAVES).collect()
        })
    }

    /// Descends one level at a time: from page `n` of a level, into the children that `ways` returns by their numbers.
    fn descend(&self, ways: impl Fn(&[PageEntries<'_>], usize) -> Vec<usize>) -> Result<()> {
        let Some(root) = self.root else { return Ok(()) };
        let mut level = vec![self.page(&root)?];
        while level.first().is_some_and(|page| page.level > 0) {
            let entries: Vec<_> = level.iter().map(|page| self.entries(page)).collect::<Result<_>>()?;
            let mut next = Vec::new();
            for (n, page) in entries.iter().enumerate() {
                for way in ways(&entries, n) {
                    let at = self.way(page, way)?;
                    if level[0].level == 1 && !self.cache.contains(&at) {
                        self.read_ahead(page, way)?;
                    }
                    next.push(at);
                }
            }
            next.truncate(MAX_READ_AHEAD_PAGES);
            next.dedup();
            let below = self.pages(&next)?;
            if below.iter().any(|page| page.level + 1 != level[0].level) {
                return Err(Error::corrupt(self.storage.target(), "page", "a child of the wrong level"));
            }
            level = below;
        }
        Ok(())
    }

    pub(crate) fn damaged(&self, why: &str) -> Error {
        Error::corrupt(self.storage.target(), "page", why)
    }

    pub(crate) fn entries<'p>(&self, page: &'p Page) -> Result<PageEntries<'p>> {
        page.entries().map_err(|why| self.damaged(why))
    }

    fn way(&self, page: &PageEntries<'_>, n: usize) -> Result<PageRef> {
        page.child(n).map_err(|why| self.damaged(why))
    }

    /// Returns the children of a branch page.
    pub(crate) fn children(&self, page: &Page) -> Result<Vec<PageRef>> {
        let entries = self.entries(page)?;
        (0..entries.len()).map(|n| self.way(&entries, n)).collect()
    }

    fn child(&self, page: &Page, all: &PageEntries<'_>, n: usize) -> Result<Arc<Page>> {
        let at = self.way(all, n)?;
        let child = match self.cache.get(&at) {
            Some(child) => child,
            None if page.level == 1 && self.read_ahead(all, n)? => self.page(&at)?,
            None => self.fetch(&at)?,
        };
        // The level decreases by one at each step, so a walk always ends.
        if child.level + 1 != page.level {
            return Err(self.damaged("a child of the wrong level"));
        }
        Ok(child)
    }

    /// Reads leaf `n` of a branch page together with the following leaves or those around it, if the storage is remote and leaves below this
    /// page were missing before. Returns false if it read nothing.
    fn read_ahead(&self, all: &PageEntries<'_>, n: usize) -> Result<bool> {
        if !self.storage.properties().is_remote() {
            return Ok(false);
        }
        let length = self.way(all, n)?.place.length.max(1);
        let window =
            usize::try_from(self.cache.window() / length).unwrap_or(usize::MAX).min(MAX_READ_AHEAD_PAGES);
        let from = match self.cache.extra_leaves(self.way(all, 0)?, n, window.max(1), length) {
            Extra::None => return Ok(false),
            Extra::Following => n,
            Extra::Around => n.saturating_sub(window / 2).min(all.len().saturating_sub(window)),
        };
        let leaves = (from..all.len()).take(window).map(|n| self.way(all, n)).collect::<Result<Vec<_>>>()?;
        match self.pages(&leaves) {
            // Damage of a leaf that was not requested is not reported.
            Err(e) if !is_damage(&e) => Err(e),
            _ => Ok(true),
        }
    }

    /// Returns a child of a page, and the range of keys of the child. All keys of the child must be in that range.
    fn child_within(
        &self,
        page: &Page,
        all: &PageEntries<'_>,
        n: usize,
        range: &KeyRange,
    ) -> Result<(Arc<Page>, KeyRange)> {
        let child = self.child(page, all, n)?;
        let range = range.of_child(all, n);
        if !range.holds(&self.entries(&child)?) {
            return Err(self.damaged(OUT_OF_RANGE));
        }
        Ok((child, range))
    }

    /// Returns the leaf that contains a key, if the key exists, and the first key of the next leaf.
    fn leaf_for(&self, root: &PageRef, key: &[u8]) -> Result<(Arc<Page>, Option<Bytes>)> {
        let (mut page, mut end) = (self.page(root)?, None);
        while page.level > 0 {
            let all = self.entries(&page)?;
            let n = all.branch_for(key);
            if n + 1 < all.len() {
                end = Some(all.key_bytes(n + 1));
            }
            let child = self.child(&page, &all, n)?;
            if !child.begins_within(all.key(n), end.as_deref()) {
                return Err(self.damaged(OUT_OF_RANGE));
            }
            page = child;
        }
        Ok((page, end))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let Some(root) = &self.root else { return Ok(None) };
        let leaf = match self.cache.recent_leaf(root, key) {
            Some(leaf) => leaf,
            None => {
                let (leaf, end) = self.leaf_for(root, key)?;
                self.cache.keep_leaf(*root, key, leaf.clone(), end);
                leaf
            }
        };
        let found = leaf.find(key).map_err(|why| self.damaged(why))?;
        found.map(|at| self.loaded(leaf.stored(at))).transpose()
    }

    fn found(&self, leaf: Arc<Page>, at: usize) -> Result<Option<Lookup>> {
        Lookup::of(leaf, at).map_err(|why| self.damaged(why))
    }

    /// Returns the next entry, if it is in the same leaf.
    pub(crate) fn step(&self, f: Lookup) -> Result<Option<Lookup>> {
        self.found(f.leaf, f.at + 1)
    }

    /// Returns the first entry that is not before `lower`.
    pub(crate) fn first(&self, lower: Bound<&[u8]>) -> Result<Option<Lookup>> {
        match &self.root {
            Some(root) => self.first_in(self.page(root)?, lower, &KeyRange::default()),
            None => Ok(None),
        }
    }

    fn first_in(&self, page: Arc<Page>, lower: Bound<&[u8]>, range: &KeyRange) -> Result<Option<Lookup>> {
        let all = self.entries(&page)?;
        if page.level == 0 {
            let at = all.first_from(lower);
            return self.found(page, at);
        }
        let start = match lower {
            Bound::Unbounded => 0,
            Bound::Included(k) | Bound::Excluded(k) => all.branch_for(k),
        };
        for n in start..all.len() {
            let bound = if n == start { lower } else { Bound::Unbounded };
            let (child, range) = self.child_within(&page, &all, n, range)?;
            if let Some(found) = self.first_in(child, bound, &range)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns the last entry that is not after `upper`.
    pub(crate) fn last(&self, upper: Bound<&[u8]>) -> Result<Option<Lookup>> {
        match &self.root {
            Some(root) => self.last_in(self.page(root)?, upper, &KeyRange::default()),
            None => Ok(None),
        }
    }

    fn last_in(&self, page: Arc<Page>, upper: Bound<&[u8]>, range: &KeyRange) -> Result<Option<Lookup>> {
        let all = self.entries(&page)?;
        if page.level == 0 {
            return match all.end_before(upper).checked_sub(1) {
                Some(at) => self.found(page, at),
                None => Ok(None),
            };
        }
        let start = match upper {
            Bound::Unbounded => all.len() - 1,
            Bound::Included(k) | Bound::Excluded(k) => all.branch_for(k),
        };
        for n in (0..=start).rev() {
            let bound = if n == start { upper } else { Bound::Unbounded };
            let (child, range) = self.child_within(&page, &all, n, range)?;
            if let Some(found) = self.last_in(child, bound, &range)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns the value of an entry that was found. A spilled value is read from its own extent.
    pub(crate) fn value(&self, f: &Lookup) -> Result<Bytes> {
        self.loaded(self.entries(&f.leaf)?.stored(f.at))
    }

    fn loaded(&self, stored: Decoded<Stored>) -> Result<Bytes> {
        self.load(stored.map_err(|why| self.damaged(why))?)
    }

    /// Returns the bytes of a value. A spilled value is read from its own extent.
    pub(crate) fn load(&self, stored: Stored) -> Result<Bytes> {
        match stored {
            Stored::Inline(v) => Ok(v),
            Stored::Spilled(e) => payload::read_all(self.storage, &e).map(Bytes::from),
        }
    }
}
