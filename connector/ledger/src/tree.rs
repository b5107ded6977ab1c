//! Reading the base.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::page::{self, Page, Stored};
use crate::payload;
use crate::space::{Pointer, Space};

/// An entry of a leaf, found but not yet copied out.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    leaf: Arc<Page>,
    at: usize,
}

impl Found {
    pub(crate) fn key(&self) -> &[u8] {
        self.leaf.key(self.at)
    }

    /// The entry behind this one, if the same leaf has it.
    pub(crate) fn step(&self) -> Option<Found> {
        (self.at + 1 < self.leaf.len()).then(|| Found { leaf: self.leaf.clone(), at: self.at + 1 })
    }

    pub(crate) fn key_bytes(&self) -> Bytes {
        self.leaf.key_bytes(self.at)
    }
}

/// The base of a version, with what is needed to read it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tree<'a> {
    pub(crate) root: Option<Pointer>,
    pub(crate) space: &'a dyn Space,
    pub(crate) cache: &'a Cache,
}

pub(crate) fn place_name(p: &Pointer) -> String {
    format!("page at {:?} byte {}", p.place.room, p.place.offset)
}

impl Tree<'_> {
    pub(crate) fn page(&self, p: &Pointer) -> Result<Arc<Page>> {
        if let Some(page) = self.cache.get(p) {
            return Ok(page);
        }
        let bad = |why: &str| self.space.explain(Error::corrupt(self.space.target(), place_name(p), why));
        // A damaged parent could claim any length; its checksum was right, so this only guards memory.
        if p.place.length > page::LONGEST {
            return Err(bad("longer than any page"));
        }
        let mut bytes = vec![0; p.place.length as usize];
        self.space.read(&p.place, 0, &mut bytes)?;
        let page = Arc::new(Page::decode(bytes.into(), p.crc).map_err(bad)?);
        self.cache.put(*p, page.clone());
        Ok(page)
    }

    fn child(&self, page: &Page, n: usize) -> Result<Arc<Page>> {
        let damaged = |why: &str| Error::corrupt(self.space.target(), "page", why);
        let child = self.page(&page.child(n).map_err(damaged)?)?;
        // Levels fall by one, so no walk can go in circles.
        if child.level + 1 != page.level {
            return Err(damaged("a child of the wrong level"));
        }
        Ok(child)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        let Some(root) = &self.root else { return Ok(None) };
        let mut page = self.page(root)?;
        while page.level > 0 {
            page = self.child(&page, page.branch_for(key))?;
        }
        Ok(page.find(key).map(|at| Found { leaf: page, at }))
    }

    /// The first entry not before `lower`.
    pub(crate) fn first(&self, lower: Bound<&[u8]>) -> Result<Option<Found>> {
        match &self.root {
            Some(root) => self.first_in(self.page(root)?, lower),
            None => Ok(None),
        }
    }

    fn first_in(&self, page: Arc<Page>, lower: Bound<&[u8]>) -> Result<Option<Found>> {
        if page.level == 0 {
            let at = page.first_from(lower);
            return Ok((at < page.len()).then_some(Found { leaf: page, at }));
        }
        let start = match lower {
            Bound::Unbounded => 0,
            Bound::Included(k) | Bound::Excluded(k) => page.branch_for(k),
        };
        for n in start..page.len() {
            let bound = if n == start { lower } else { Bound::Unbounded };
            if let Some(found) = self.first_in(self.child(&page, n)?, bound)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The last entry not behind `upper`.
    pub(crate) fn last(&self, upper: Bound<&[u8]>) -> Result<Option<Found>> {
        match &self.root {
            Some(root) => self.last_in(self.page(root)?, upper),
            None => Ok(None),
        }
    }

    fn last_in(&self, page: Arc<Page>, upper: Bound<&[u8]>) -> Result<Option<Found>> {
        if page.level == 0 {
            let end = page.end_before(upper);
            return Ok((end > 0).then(|| Found { leaf: page, at: end - 1 }));
        }
        let start = match upper {
            Bound::Unbounded => page.len() - 1,
            Bound::Included(k) | Bound::Excluded(k) => page.branch_for(k),
        };
        for n in (0..=start).rev() {
            let bound = if n == start { upper } else { Bound::Unbounded };
            if let Some(found) = self.last_in(self.child(&page, n)?, bound)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The value of a found entry, read from its own extent if it was spilled.
    pub(crate) fn value(&self, f: &Found) -> Result<Bytes> {
        let damaged = |why: &str| Error::corrupt(self.space.target(), "page", why);
        match f.leaf.stored(f.at).map_err(damaged)? {
            Stored::Inline(v) => Ok(v),
            Stored::Spilled(e) => payload::read_all(self.space, &e).map(Bytes::from),
        }
    }
}
