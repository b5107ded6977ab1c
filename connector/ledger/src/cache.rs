//! The bounded cache of decoded pages.

use std::sync::Arc;

use bytes::Bytes;
use lru::LruCache;

use crate::address::PageRef;
use crate::locks::Mutex;
use crate::page::Page;
use crate::read_ahead::{Extra, Misses};
use crate::statistics::Statistics;

/// The number of slots for recently found leaves. The first byte of the key selects the slot, because kinds of keys that are used
/// alternately differ in that byte.
const MAX_RECENT_LEAVES: usize = 16;

/// Pages by pointer. The bytes at a pointer never change, so no cached page can be stale.
#[derive(Debug)]
pub(crate) struct Cache {
    inner: Mutex<Inner>,
    bound: u64,
    statistics: Arc<Statistics>,
}

#[derive(Debug)]
struct Inner {
    pages: LruCache<PageRef, Arc<Page>>,
    weight: u64,
    recent: [Option<Recent>; MAX_RECENT_LEAVES],
    misses: Misses,
}

/// A leaf that was found below a root.
#[derive(Debug)]
struct Recent {
    root: PageRef,
    leaf: Arc<Page>,
    /// The first key of the next leaf, if there is one.
    end: Option<Bytes>,
}

impl Cache {
    fn new(bound: u64, statistics: Arc<Statistics>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                pages: LruCache::unbounded(),
                weight: 0,
                recent: Default::default(),
                misses: Misses::default(),
            }),
            bound,
            statistics,
        }
    }

    /// Returns a cache that has these pages already, the most recently used page first.
    pub(crate) fn holding(bound: u64, statistics: Arc<Statistics>, pages: Vec<(PageRef, Arc<Page>)>) -> Self {
        let cache = Self::new(bound, statistics);
        pages.into_iter().rev().for_each(|(p, page)| cache.put(p, page));
        cache
    }

    /// Removes and returns the most recently used pages, up to `most` bytes, the most recent page first.
    pub(crate) fn take_used(&self, most: u64) -> Vec<(PageRef, Arc<Page>)> {
        let mut c = self.inner.lock();
        c.recent = Default::default();
        c.weight = 0;
        let mut left = most;
        let pages = std::mem::replace(&mut c.pages, LruCache::unbounded());
        let used = pages.iter().map_while(|(p, page)| {
            left = left.checked_sub(page.weight())?;
            Some((*p, page.clone()))
        });
        used.collect()
    }

    pub(crate) fn clear(&self) {
        self.take_used(0);
    }

    pub(crate) fn get(&self, p: &PageRef) -> Option<Arc<Page>> {
        let page = self.inner.lock().pages.get(p).cloned();
        self.statistics.pages.note(page.is_some());
        page
    }

    /// Returns the leaf that was found last, if the key can be in no other leaf below this root.
    pub(crate) fn recent_leaf(&self, root: &PageRef, key: &[u8]) -> Option<Arc<Page>> {
        let c = self.inner.lock();
        let recent = c.recent[recent_of(key)].as_ref()?;
        let ends_behind = || recent.end.as_ref().is_none_or(|end| key < end);
        let is_it = recent.root == *root && recent.leaf.begins_before(key) && ends_behind();
        is_it.then(|| {
            self.statistics.pages.note(true);
            recent.leaf.clone()
        })
    }

    pub(crate) fn keep_leaf(&self, root: PageRef, key: &[u8], leaf: Arc<Page>, end: Option<Bytes>) {
        let mut c = self.inner.lock();
        c.recent[recent_of(key)] = Some(Recent { root, leaf, end });
    }

    pub(crate) fn contains(&self, p: &PageRef) -> bool {
        self.inner.lock().pages.contains(p)
    }

    /// Returns the leaves to read with the missing leaf `n` below `branch`. `leaves` are as many as may be read at once, of `bytes` each.
    pub(crate) fn extra_leaves(&self, branch: PageRef, n: usize, leaves: usize, bytes: u64) -> Extra {
        let mut c = self.inner.lock();
        let has_space = c.weight.saturating_add(bytes.saturating_mul(leaves as u64)) <= self.bound;
        c.misses.count(branch, n, leaves, has_space)
    }

    /// Returns the number of bytes that may be read ahead.
    pub(crate) fn window(&self) -> u64 {
        self.bound / 8
    }

    pub(crate) fn put(&self, p: PageRef, page: Arc<Page>) {
        let mut c = self.inner.lock();
        c.weight += page.weight();
        if let Some(old) = c.pages.put(p, page) {
            c.weight -= old.weight();
        }
        while c.weight > self.bound {
            let Some((_, old)) = c.pages.pop_lru() else { break };
            c.weight -= old.weight();
        }
    }

    pub(crate) fn forget(&self, p: &PageRef) {
        let mut c = self.inner.lock();
        if let Some(old) = c.pages.pop(p) {
            c.weight -= old.weight();
        }
    }
}

fn recent_of(key: &[u8]) -> usize {
    key.first().map_or(0, |first| usize::from(*first) % MAX_RECENT_LEAVES)
}
