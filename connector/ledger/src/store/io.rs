//! Puts pages, tables and segments. The content of one object is needed for the same time: it is many pages, one segment, or the tables of
//! one change.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use object_stores::{PutMode, PutPayload};

use super::fetch::Fetcher;
use super::pack::PackBuffer;
use crate::address::{Address, PageRef};
use crate::core::change::NewTables;
use crate::core::ids::ObjectId;
use crate::core::line::{Line, MergedSegment};
use crate::core::manifest::Manifest;
use crate::core::records::Segments;
use crate::core::usage::{TablePages, Tables};
use crate::error::{Error, Result, store_error};
use crate::side_by_side::side_by_side;

/// The maximum number of bytes of table pages that are retained in memory. They are read at each checkpoint, and this writer has put most
/// of them.
const MAX_KEPT_BYTES: usize = 16 << 20;

/// Returns the reference to an object that consists of one page.
pub(super) fn whole_page(object: ObjectId, bytes: &[u8], crc: u32) -> PageRef {
    let place = Address { location: object.page(), offset: 0, length: bytes.len() as u64 };
    PageRef { place, crc }
}

/// Puts the metadata objects of one session.
#[derive(Debug)]
pub(super) struct Io {
    pub(super) fetcher: Fetcher,
    /// Names of objects that were reserved and not used yet.
    pub(super) names: VecDeque<ObjectId>,
    /// The object that is being filled with pages.
    pub(super) open: PackBuffer,
    /// Objects with pages that were put, and the bytes of pages in each.
    pub(super) put: Vec<(ObjectId, u64)>,
    /// A segment that will be put together with the tables of its change.
    waiting: Option<(ObjectId, Bytes)>,
    /// Segments and tables that were put for the last preparation of a change.
    prepared: Vec<ObjectId>,
    /// Segments and tables that were put for earlier preparations.
    superseded: Vec<ObjectId>,
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
            waiting: None,
            prepared: Vec::new(),
            superseded: Vec::new(),
            segments,
            kept: HashMap::new(),
        }
    }

    fn next_name(&mut self) -> Result<ObjectId> {
        let none = || Error::invalid(&self.fetcher.target, "a change needs more objects than were reserved");
        self.names.pop_front().ok_or_else(none)
    }

    /// Puts an object. Its name was never used, so the put replaces nothing, and a repetition is harmless.
    pub(super) fn put_object(&self, object: ObjectId, bytes: impl Into<Bytes>) -> Result<()> {
        let key = self.fetcher.names.object(object, &self.fetcher.target)?;
        let put = self.fetcher.store.put(&key, PutPayload::from(bytes.into()), PutMode::Overwrite);
        put.map(drop).map_err(|e| store_error(&self.fetcher.target, &e))
    }

    /// Puts an object that consists of one page.
    pub(super) fn put_page(&self, object: ObjectId, (bytes, crc): (Vec<u8>, u32)) -> Result<PageRef> {
        let page = whole_page(object, &bytes, crc);
        self.put_object(object, bytes)?;
        Ok(page)
    }

    /// Writes a page of a root, or a value to which a root refers, into the open object.
    pub(super) fn add_page(&mut self, bytes: &[u8]) -> Result<Address> {
        if self.open.object.is_none() {
            let name = self.next_name()?;
            self.open.begin(name);
        }
        self.open.add(bytes, &self.fetcher.target)
    }

    /// Puts the open object, and closes it.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.put_open()?;
        self.close();
        Ok(())
    }

    /// Puts the open object. After an error its bytes remain and can be put again.
    fn put_open(&self) -> Result<()> {
        self.open.object.map_or(Ok(()), |object| self.put_object(object, self.open.bytes.clone()))
    }

    /// Closes the open object after it was put.
    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.put.extend(open.object.map(|object| (object, open.bytes.len() as u64)));
    }

    /// Returns the objects with pages, including the open one, and their bytes.
    pub(super) fn page_objects(&self) -> impl Iterator<Item = (ObjectId, u64)> + '_ {
        let open = self.open.object.map(|object| (object, self.open.bytes.len() as u64));
        self.put.iter().copied().chain(open)
    }

    /// Discards everything that was written for a change that was not made. Returns the objects that were put for it.
    pub(super) fn give_up(&mut self) -> Vec<ObjectId> {
        (self.open, self.waiting) = (PackBuffer::default(), None);
        let pages = std::mem::take(&mut self.put).into_iter().map(|(object, _)| object);
        let prepared = std::mem::take(&mut self.prepared);
        pages.chain(prepared).chain(std::mem::take(&mut self.superseded)).collect()
    }

    /// Forgets the objects that were put for a change with an unknown outcome. The change may need them; otherwise a vacuum deletes them.
    pub(super) fn forget(&mut self) {
        self.put.clear();
        self.prepared.clear();
        self.superseded.clear();
    }

    /// Notes that the change took effect as it was prepared last. Returns the segments and tables of earlier preparations, which no manifest
    /// names. `manifest` is the newest manifest.
    ///
    /// All objects of the last preparation are needed, also a segment that the line does not name: the line may have got another segment
    /// with these records meanwhile, but the change's history names this one.
    pub(super) fn conclude(&mut self, manifest: &Manifest) -> Vec<ObjectId> {
        let tables: Vec<Address> = manifest.tables.pages().map(|page| page.place).collect();
        self.kept.retain(|place, _| tables.contains(place));
        self.prepared.clear();
        std::mem::take(&mut self.superseded)
    }

    /// Names the segment of a checkpoint of version `to`, if the line needs one. Returns the new line and the segment, which
    /// [`put_tables`](Self::put_tables) puts. The records up to `to` must have been read.
    pub(super) fn with_segment(&mut self, line: &Line, to: u64) -> Result<(Line, Option<MergedSegment>)> {
        self.waiting = None;
        let unread = line.unread_to_merge(to, &self.segments);
        if !unread.is_empty() {
            self.fetcher.segments(&unread, &mut self.segments)?;
        }
        let mut line = line.clone();
        let Some((segment, replaces)) = line.merged_segment(to, &self.segments) else {
            return Ok((line, None));
        };
        let (bytes, crc) = segment.encode();
        let object = self.next_name()?;
        let at = segment.reference(whole_page(object, &bytes, crc));
        let merged = at.map(|at| MergedSegment { at, replaces }).filter(|merged| line.name_merged(merged));
        let none = || self.fetcher.corrupt("manifest", "a segment of its own records does not fit");
        let merged = merged.ok_or_else(none)?;
        self.segments.insert(&merged.at, segment.into());
        self.waiting = Some((object, bytes.into()));
        Ok((line, Some(merged)))
    }

    /// Returns the tables of a manifest.
    pub(super) fn tables(&mut self, manifest: &Manifest) -> Result<Tables> {
        let kept = &self.kept;
        let tables = self.fetcher.tables(&manifest.tables, |page| kept.get(&page.place).cloned())?;
        Ok(tables)
    }

    /// Puts the pages of tables as one object, and with it the open object and the pending segment. When this returns, all of them are in
    /// the store.
    pub(super) fn put_tables(&mut self, pages: &TablePages) -> Result<NewTables> {
        let object = self.next_name()?;
        let mut bytes = Vec::new();
        let mut added = Vec::new();
        let tables = NewTables::put(pages, |page, crc| {
            let place =
                Address { location: object.page(), offset: bytes.len() as u64, length: page.len() as u64 };
            bytes.extend_from_slice(page);
            added.push((place, Bytes::copy_from_slice(page)));
            PageRef { place, crc }
        });
        let mut work: Vec<(ObjectId, Bytes)> = self.waiting.take().into_iter().collect();
        work.push((object, bytes.into()));
        self.superseded.append(&mut self.prepared);
        self.prepared.extend(work.iter().map(|(object, _)| *object));
        work.extend(self.open.object.map(|object| (object, self.open.bytes.clone().into())));
        // A local store answers before a thread has started.
        let at_once = if self.fetcher.store.capabilities().remote { work.len() } else { 1 };
        side_by_side(work, at_once, |(object, bytes)| self.put_object(object, bytes))?;
        self.close();
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
}
