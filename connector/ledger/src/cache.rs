//! The bounded cache of decoded pages.

use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use crate::page::Page;
use crate::space::Pointer;

/// Pages by pointer. A pointer names bytes that never change, so nothing here can be stale.
#[derive(Debug)]
pub(crate) struct Cache {
    inner: Mutex<Inner>,
    bound: u64,
}

#[derive(Debug)]
struct Inner {
    pages: LruCache<Pointer, Arc<Page>>,
    weight: u64,
}

impl Cache {
    pub(crate) fn new(bound: u64) -> Self {
        Self { inner: Mutex::new(Inner { pages: LruCache::unbounded(), weight: 0 }), bound }
    }

    pub(crate) fn get(&self, p: &Pointer) -> Option<Arc<Page>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).pages.get(p).cloned()
    }

    pub(crate) fn put(&self, p: Pointer, page: Arc<Page>) {
        let mut c = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        c.weight += page.weight();
        if let Some(old) = c.pages.put(p, page) {
            c.weight -= old.weight();
        }
        while c.weight > self.bound {
            let Some((_, old)) = c.pages.pop_lru() else { break };
            c.weight -= old.weight();
        }
    }

    pub(crate) fn forget(&self, p: &Pointer) {
        let mut c = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = c.pages.pop(p) {
            c.weight -= old.weight();
        }
    }
}
