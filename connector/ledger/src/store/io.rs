//! What a writer puts: pages, tables and segments, many of them in one object.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use object_stores::{PutMode, PutPayload};

use super::fetch::Fetcher;
use super::pack::PackBuffer;
use crate::address::{Address, PageRef};
use crate::core::change::NewTables;
use crate::core::ids::ObjectId;
use crate::core::lines::Line;
use crate::core::manifest::Manifest;
use crate::core::records::{SegmentRef, Segments};
use crate::core::usage::{TablePages, Tables};
use crate::error::{Error, Result, store_error};

/// Bytes of table pages that are kept in memory. They are read at each checkpoint, and mostly this writer put them.
const MAX_KEPT_BYTES: usize = 16 << 20;

/// Puts metadata objects of one session.
#[derive(Debug)]
pub(super) struct Io {
    pub(super) fetcher: Fetcher,
    /// Names of objects that were reserved, and not used yet.
    pub(super) names: VecDeque<ObjectId>,
    /// The object that is being filled with pages.
    pub(super) open: PackBuffer,
    /// Objects with pages that were put, and the bytes of pages in each.
    pub(super) put: Vec<(ObjectId, u64)>,
    /// Bytes of pages in the open object; tables may lie behind them.
    pub(super) open_bytes: u64,
    pub(super) segments: Segments,
    kept: HashMap<Address, Bytes>,
}

impl Io {
    pub(super) fn new(fetcher: Fetcher, segments: Segments) -> Self {
        Self {
            fetcher,
            names: VecDeque::new(),
            open: PackBuffer::default(),
            put: Vec::new(),
            open_bytes: 0,
            segments,
            kept: HashMap::new(),
        }
    }

    fn next_name(&mut self) -> Result<ObjectId> {
        let none = || Error::invalid(&self.fetcher.target, "a change needs more objects than were reserved");
        self.names.pop_front().ok_or_else(none)
    }

    /// Puts an object. Its name was never used, so there is nothing to replace and a repetition is harmless.
    pub(super) fn put_object(&self, object: ObjectId, bytes: impl Into<Bytes>) -> Result<()> {
        let key = self.fetcher.names.object(object, &self.fetcher.target)?;
        let put = self.fetcher.store.put(&key, PutPayload::from(bytes.into()), PutMode::Overwrite);
        put.map(drop).map_err(|e| store_error(&self.fetcher.target, &e))
    }

    /// Adds bytes to the open object.
    fn add(&mut self, bytes: &[u8]) -> Result<Address> {
        if self.open.object.is_none() {
            let name = self.next_name()?;
            self.open.begin(name);
        }
        self.open.add(bytes, &self.fetcher.target)
    }

    /// Writes a page of a root, or a value that a root refers to.
    pub(super) fn add_page(&mut self, bytes: &[u8]) -> Result<Address> {
        let place = self.add(bytes)?;
        self.open_bytes += place.length;
        Ok(place)
    }

    /// Puts the open object.
    pub(super) fn finish(&mut self) -> Result<()> {
        let Some(object) = self.open.object else { return Ok(()) };
        // After an error the bytes stay, to be put again.
        self.put_object(object, self.open.bytes.clone())?;
        if self.open_bytes > 0 {
            self.put.push((object, self.open_bytes));
        }
        (self.open, self.open_bytes) = (PackBuffer::default(), 0);
        Ok(())
    }

    /// Objects with pages, those of the open one included, and their bytes.
    pub(super) fn page_objects(&self) -> impl Iterator<Item = (ObjectId, u64)> + '_ {
        let open = self.open.object.map(|object| (object, self.open_bytes)).filter(|(_, bytes)| *bytes > 0);
        self.put.iter().copied().chain(open)
    }

    /// Gives up pages that were written; returns the objects that were put with them.
    pub(super) fn give_up(&mut self) -> Vec<ObjectId> {
        (self.open, self.open_bytes) = (PackBuffer::default(), 0);
        std::mem::take(&mut self.put).into_iter().map(|(object, _)| object).collect()
    }

    /// A line with its inline records up to `to` in a segment, and the reference to that segment, whose bytes are in the open object.
    pub(super) fn with_segment(&mut self, line: &Line, to: u64) -> Result<(Line, Option<SegmentRef>)> {
        let mut line = line.clone();
        let lies_over = line.tail.iter().any(|record| record.version > line.base() && record.version <= to);
        let Some(segment) = line.segment(to).filter(|_| lies_over) else { return Ok((line, None)) };
        let (bytes, crc) = segment.encode();
        let page = PageRef { place: self.add(&bytes)?, crc };
        let at = segment.reference(page).filter(|at| line.name_segment(at));
        let at =
            at.ok_or_else(|| self.fetcher.corrupt("manifest", "a segment of its own records does not fit"))?;
        self.segments.insert(&at, segment.into());
        Ok((line, Some(at)))
    }

    /// The tables of a manifest.
    pub(super) fn tables(&mut self, manifest: &Manifest) -> Result<Tables> {
        let kept = &self.kept;
        let tables = self.fetcher.tables(&manifest.tables, |page| kept.get(&page.place).cloned())?;
        Ok(tables)
    }

    /// Adds the pages of tables to the open object, and puts that. When this returns, all pages are in the store.
    pub(super) fn put_tables(&mut self, pages: &TablePages) -> Result<NewTables> {
        let mut failed = None;
        let mut added = Vec::new();
        let tables = NewTables::put(pages, |bytes, crc| match self.add(bytes) {
            Ok(place) => {
                added.push((place, Bytes::copy_from_slice(bytes)));
                PageRef { place, crc }
            }
            Err(e) => {
                failed = Some(e);
                PageRef { place: Address::file(0, 0), crc }
            }
        });
        if let Some(e) = failed {
            return Err(e);
        }
        self.finish()?;
        for (place, bytes) in added {
            self.keep(place, bytes);
        }
        Ok(tables)
    }

    fn keep(&mut self, place: Address, bytes: Bytes) {
        let total: usize = self.kept.values().map(Bytes::len).sum();
        if total + bytes.len() > MAX_KEPT_BYTES {
            self.kept.clear();
        }
        if bytes.len() <= MAX_KEPT_BYTES {
            self.kept.insert(place, bytes);
        }
    }

    /// Forgets table pages that no manifest names any more.
    pub(super) fn forget_old_pages(&mut self, manifest: &Manifest) {
        let named: Vec<Address> = manifest.tables.pages().map(|page| page.place).collect();
        self.kept.retain(|place, _| named.contains(place));
    }
}
