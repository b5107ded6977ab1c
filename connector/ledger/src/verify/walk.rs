//! Walks over the map, and continues past damage.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::why_damaged;
use crate::address::{Address, PageRef, Run, Wanted};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::memtable::{Memtable, range_of};
use crate::page::{self, Page, PageEntries, Stored};
use crate::payload;
use crate::storage::Storage;
use crate::tree::{KeyRange, MAX_READ_AHEAD_PAGES, OUT_OF_RANGE, place_name};

/// An item that a [`Scan`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An entry of the map.
    Entry(Bytes, Bytes),
    /// A key with a value that cannot be read.
    Unreadable(Bytes),
    /// A page that cannot be read: the keys from the first one up to and without the second one are lost, except keys
    /// of later records.
    Lost(Bytes, Option<Bytes>),
}

/// An item that the walk over the pages finds.
#[derive(Debug)]
pub(crate) enum Met {
    Page(PageRef, u64),
    Bad { at: PageRef, why: String, from: Bytes, to: Option<Bytes> },
    Entry(Bytes, Stored),
    BadEntry(Bytes, String),
}

/// The pages and entries of a checkpoint in a range of keys.
#[derive(Debug)]
pub(crate) struct Pages<'a> {
    storage: &'a dyn Storage,
    lower: Bytes,
    upper: Option<Bytes>,
    first: Option<PageRef>,
    stack: Vec<(PageRef, Arc<Page>, usize, KeyRange)>,
    /// A page that was read and not yet descended into.
    waiting: Option<(PageRef, Arc<Page>, KeyRange)>,
    /// The bytes of the next leaves, which were read with the one before them.
    ahead: HashMap<Address, Bytes>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(
        storage: &'a dyn Storage,
        root: Option<PageRef>,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> Self {
        Self {
            storage,
            lower: Bytes::copy_from_slice(lower),
            upper: upper.map(Bytes::copy_from_slice),
            first: root,
            stack: Vec::new(),
            waiting: None,
            ahead: HashMap::new(),
        }
    }

    /// Returns the pages on the path from the root to the entry that the walk found last.
    pub(crate) fn way(&self) -> impl Iterator<Item = &PageRef> {
        self.stack.iter().map(|(at, ..)| at)
    }

    /// Skips the content of the page that the walk found last.
    pub(crate) fn pass_over(&mut self) {
        self.waiting = None;
    }

    /// Returns the fault of a page or of one of its entries. Data of a newer build is not damaged, so it ends the walk
    /// with an error.
    fn fault(&self, p: &PageRef, why: &str) -> Result<String> {
        let e = Error::corrupt(self.storage.target(), place_name(p), why);
        why_damaged(&e).ok_or(e)
    }

    /// Returns the bytes of a page.
    fn bytes(&mut self, p: &PageRef) -> Result<Bytes> {
        if let Some(bytes) = self.ahead.remove(&p.place) {
            return Ok(bytes);
        }
        let mut bytes = vec![0; p.place.length as usize];
        self.storage.read(&p.place, 0, &mut [IoSliceMut::new(&mut bytes)])?;
        Ok(bytes.into())
    }

    /// Reads leaf `at` of a branch page and the next leaves at once, in a storage in which each read takes a round trip. If that fails, each
    /// leaf is read by itself later, and its fault is reported there.
    fn read_ahead(&mut self, all: &PageEntries<'_>, at: usize) {
        let Ok(first) = all.child(at) else { return };
        if self.ahead.contains_key(&first.place) || !self.storage.properties().is_remote() {
            return;
        }
        let end = self.upper.as_ref().map_or(all.len(), |upper| all.end_before(Bound::Excluded(upper)));
        let leaves = (at..end).take(MAX_READ_AHEAD_PAGES).map_while(|n| all.child(n).ok());
        let leaves = leaves.filter(|leaf| leaf.place.length <= page::MAX_PAGE_BYTES);
        let run = |leaf: PageRef| Run { place: leaf.place, offset: 0, length: leaf.place.length };
        let mut wanted: Vec<_> = leaves.map(|leaf| Wanted::new(run(leaf), None)).collect();
        self.ahead.clear();
        if self.storage.read_many(&mut wanted, &|_, _| Ok(())).is_ok() {
            self.ahead.extend(wanted.into_iter().map(|read| (read.run.place, read.bytes)));
        }
    }

    fn read(
        &mut self,
        p: &PageRef,
        level: Option<u8>,
        range: &KeyRange,
    ) -> Result<std::result::Result<Page, String>> {
        if p.place.length > page::MAX_PAGE_BYTES {
            return Ok(Err("longer than any page".into()));
        }
        let bytes = match self.bytes(p) {
            Ok(bytes) => bytes,
            Err(e) => return why_damaged(&e).map(Err).ok_or(e),
        };
        let page = match Page::decode(bytes, p.crc) {
            Ok(page) => page,
            Err(why) => return self.fault(p, why).map(Err),
        };
        let holds = match page.entries() {
            Ok(entries) => range.holds(&entries),
            Err(why) => return self.fault(p, why).map(Err),
        };
        Ok(if level.is_some_and(|level| page.level != level) {
            Err("a child of the wrong level".into())
        } else if !holds {
            Err(OUT_OF_RANGE.into())
        } else {
            Ok(page)
        })
    }

    fn descend(&mut self, p: PageRef, level: Option<u8>, range: KeyRange) -> Result<Met> {
        match self.read(&p, level, &range)? {
            Ok(page) => {
                self.waiting = Some((p, Arc::new(page), range));
                Ok(Met::Page(p, p.place.length))
            }
            Err(why) => {
                let (from, to) = range.bounds();
                Ok(Met::Bad {
                    at: p,
                    why,
                    from: from.max(self.lower.clone()),
                    to: least(to, self.upper.clone()),
                })
            }
        }
    }

    /// Returns the next item.
    pub(crate) fn next(&mut self) -> Result<Option<Met>> {
        if let Some(root) = self.first.take() {
            return self.descend(root, None, KeyRange::default()).map(Some);
        }
        if let Some((place, page, range)) = self.waiting.take() {
            let start = page.entries().map_or(0, |all| match page.level {
                0 => all.first_from(Bound::Included(&self.lower)),
                _ => all.branch_for(&self.lower),
            });
            self.stack.push((place, page, start, range));
        }
        loop {
            let Some((place, page, n, range)) = self.stack.last_mut() else { return Ok(None) };
            let at = *n;
            *n += 1;
            let (place, page) = (*place, page.clone());
            let Ok(all) = page.entries() else { return Ok(None) };
            if at >= all.len() || (self.upper.as_ref().is_some_and(|upper| all.key(at) >= &upper[..])) {
                self.stack.pop();
                continue;
            }
            if page.level == 0 {
                let key = all.key_bytes(at);
                return Ok(Some(match all.stored(at) {
                    Ok(stored) => Met::Entry(key, stored),
                    Err(why) => Met::BadEntry(key, self.fault(&place, why)?),
                }));
            }
            let range = range.of_child(&all, at);
            if page.level == 1 {
                self.read_ahead(&all, at);
            }
            return match all.child(at) {
                Ok(child) => self.descend(child, Some(page.level - 1), range).map(Some),
                Err(why) => Ok(Some(Met::BadEntry(all.key_bytes(at), self.fault(&place, why)?))),
            };
        }
    }
}

fn least(a: Option<Bytes>, b: Option<Bytes>) -> Option<Bytes> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The entries of a snapshot in a range of keys, ascending, past all damage.
pub struct Scan<'a> {
    pages: Pages<'a>,
    log: Peekable<std::collections::btree_map::Range<'a, crate::key::Key<'a>, Option<Bytes>>>,
    base: Option<Item>,
    done: bool,
    storage: &'a dyn Storage,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(
        storage: &'a dyn Storage,
        root: Option<PageRef>,
        log: &'a Memtable,
        lower: &'a [u8],
        upper: Option<&'a [u8]>,
    ) -> Self {
        let bound = upper.map_or(Bound::Unbounded, Bound::Excluded);
        let log = range_of(log, Bound::Included(lower), bound).peekable();
        Self { pages: Pages::new(storage, root, lower, upper), log, base: None, done: false, storage }
    }

    fn next_of_base(&mut self) -> Result<Option<Item>> {
        while let Some(met) = self.pages.next()? {
            return Ok(Some(match met {
                Met::Page(..) => continue,
                Met::Bad { from, to, .. } => Item::Lost(from, to),
                Met::BadEntry(key, _) => Item::Unreadable(key),
                Met::Entry(key, Stored::Inline(value)) => Item::Entry(key, value),
                Met::Entry(key, Stored::Spilled(e)) => match value_of(self.storage, &e)? {
                    Ok(value) => Item::Entry(key, value),
                    Err(_) => Item::Unreadable(key),
                },
            }));
        }
        Ok(None)
    }

    /// Returns the next item.
    ///
    /// # Errors
    /// Read errors, except damage.
    pub fn step(&mut self) -> Result<Option<Item>> {
        loop {
            if self.base.is_none() && !self.done {
                self.base = self.next_of_base()?;
                self.done = self.base.is_none();
            }
            let base_key = self.base.as_ref().map(|item| match item {
                Item::Entry(key, _) | Item::Unreadable(key) | Item::Lost(key, _) => key,
            });
            let is_lost = matches!(self.base, Some(Item::Lost(..)));
            match (self.log.peek().map(|(key, _)| key.as_ref()), base_key) {
                (None, _) => return Ok(self.base.take()),
                (Some(log), Some(base)) if &base[..] < log || (is_lost && &base[..] == log) => {
                    return Ok(self.base.take());
                }
                (Some(log), base) => {
                    if base.is_some_and(|base| &base[..] == log) {
                        self.base = None;
                    }
                    if let Some((key, Some(value))) = self.log.next() {
                        return Ok(Some(Item::Entry(key.to_bytes(), value.clone())));
                    }
                }
            }
        }
    }
}

/// Returns the value in an extent, or the fault of the value.
pub(crate) fn value_of(storage: &dyn Storage, e: &Extent) -> Result<std::result::Result<Bytes, String>> {
    match payload::read_all(storage, e) {
        Ok(value) => Ok(Ok(value.into())),
        Err(error) => why_damaged(&error).map(Err).ok_or(error),
    }
}
