//! Reads the objects that manifests name: pages of tables, segments and long records.

use std::sync::Arc;

use bytes::Bytes;
use object_stores::ObjectStore;

use super::names::Names;
use super::note::Note;
use crate::address::PageRef;
use crate::codec::Decoded;
use crate::core::ids::ObjectId;
use crate::core::line::Line;
use crate::core::manifest::TableRefs;
use crate::core::records::{Content, Data, Part, Record, Segment, SegmentRef, Segments};
use crate::core::references::{ReadTags, References, Tag, decode_page};
use crate::core::usage::Tables;
use crate::error::{Error, ErrorKind, Result, store_error};
use crate::locks::Mutex;
use crate::side_by_side::side_by_side;
use crate::wal::record::{Commit, CommitRecord, Header};

/// The maximum number of parallel requests.
const MAX_REQUESTS: usize = 12;
/// The maximum length of a page of a table, of a segment or of a long record, in bytes.
const MAX_OBJECT_BYTES: u64 = if cfg!(test) { 16 << 20 } else { 1 << 30 };

/// The references page that a handle has read last, with its tags. A page never changes, so its reference identifies its content.
pub(super) type ReferencesPage = Arc<Mutex<Option<(PageRef, Arc<[Tag]>)>>>;

/// Reads objects of one container.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) names: Names,
    pub(super) target: Arc<str>,
    /// All fetchers of one handle share this page.
    references: ReferencesPage,
}

impl Fetcher {
    pub(super) fn new(store: Arc<dyn ObjectStore>, names: Names, target: Arc<str>) -> Self {
        Self { store, names, target, references: ReferencesPage::default() }
    }

    pub(super) fn corrupt(&self, what: &str, why: &str) -> Error {
        Error::corrupt(&self.target, what, why)
    }

    /// Returns the bytes of a page. The decoder verifies their checksum.
    ///
    /// # Errors
    /// `Gone` if the object does not exist. A newer manifest may not need it.
    pub(super) fn page(&self, at: &PageRef) -> Result<Bytes> {
        let place = at.place;
        if place.length > MAX_OBJECT_BYTES {
            return Err(self.corrupt("page reference", "a page is longer than it can be"));
        }
        let key = self.names.object_key(&place.location, &self.target)?;
        let range = place.offset..place.offset.saturating_add(place.length);
        match self.store.get(&key, Some(range)) {
            Ok(got) if got.bytes.len() as u64 == place.length => Ok(got.bytes),
            Ok(_) => Err(self.corrupt(&format!("object {key}"), "it ends before what was stored")),
            Err(e) => match e.kind() {
                object_stores::ErrorKind::NotFound => Err(Error::new(&self.target, ErrorKind::Gone)),
                object_stores::ErrorKind::ShortRead => {
                    Err(self.corrupt(&format!("object {key}"), "it ends before what was stored"))
                }
                _ => Err(store_error(&self.target, &e)),
            },
        }
    }

    /// Returns the bytes of several pages, in their order. The pages are read in parallel.
    pub(super) fn pages(&self, at: &[PageRef]) -> Result<Vec<Bytes>> {
        let mut out = vec![Bytes::new(); at.len()];
        let work: Vec<_> = at.iter().zip(&mut out).collect();
        side_by_side(work, MAX_REQUESTS, |(at, slot)| {
            *slot = self.page(at)?;
            Ok(())
        })?;
        Ok(out)
    }

    /// Reads segments, and adds them to those that were read before.
    pub(super) fn segments(&self, at: &[SegmentRef], into: &mut Segments) -> Result<()> {
        let pages: Vec<PageRef> = at.iter().map(|at| at.page).collect();
        for (at, bytes) in at.iter().zip(self.pages(&pages)?) {
            let segment = Segment::decode_as(&bytes, at).map_err(|why| self.corrupt("segment", why))?;
            into.insert(at, Arc::new(segment));
        }
        Ok(())
    }

    /// Returns the records of the line in a range of versions, of which the first is excluded and the last included. The content of long
    /// records is read.
    ///
    /// # Errors
    /// `Gone` if an object is missing. The content of a long record at or below the base of the root may have been reclaimed.
    pub(super) fn records(
        &self,
        line: &Line,
        range: (u64, u64),
        segments: &mut Segments,
    ) -> Result<Vec<Arc<Record>>> {
        self.completed(self.record_heads(line, range, segments)?)
    }

    /// Returns records as [`records`](Self::records) does, with their versions, times and nonces. The content of long records is not read.
    pub(super) fn record_heads(
        &self,
        line: &Line,
        range: (u64, u64),
        segments: &mut Segments,
    ) -> Result<Vec<Arc<Record>>> {
        if let Err(unread) = line.records(range, segments) {
            self.segments(&unread, segments)?;
        }
        let unread = |_| self.corrupt("segment", "it is not there although it was read");
        let records = line.records(range, segments).map_err(unread)?;
        Ok(records.into_iter().cloned().collect())
    }

    /// Reads the content of long records.
    pub(super) fn completed(&self, mut records: Vec<Arc<Record>>) -> Result<Vec<Arc<Record>>> {
        let is_unread = |part: &Part| matches!(part.content, Content::Stored { data: None, .. });
        let wanted: Vec<PageRef> =
            records.iter().flat_map(|record| &record.parts).filter_map(stored_page).collect();
        if wanted.is_empty() {
            return Ok(records);
        }
        let mut read = self.pages(&wanted)?.into_iter();
        for record in records.iter_mut().filter(|record| record.parts.iter().any(is_unread)) {
            for part in &mut Arc::make_mut(record).parts {
                let Content::Stored { page, data: data @ None } = &mut part.content else { continue };
                let bytes = read.next().unwrap_or_default();
                let content = Data::of_object(&bytes, page.crc).map_err(|why| self.corrupt("record", why))?;
                *data = Some(Arc::new(content));
            }
        }
        Ok(records)
    }

    /// Returns the tables of a manifest. `known` returns the pages that are in memory.
    pub(super) fn tables(
        &self,
        refs: &TableRefs,
        known: impl Fn(&PageRef) -> Option<Bytes>,
    ) -> Result<Tables> {
        let all: Vec<PageRef> = refs.pages().collect();
        let far: Vec<PageRef> = all.iter().filter(|page| known(page).is_none()).copied().collect();
        let read = self.pages(&far)?;
        let fetch = |page: &PageRef| -> Decoded<Vec<u8>> {
            let fetched = far.iter().position(|far| far == page).and_then(|n| read.get(n).cloned());
            Ok(fetched.or_else(|| known(page)).ok_or("a page of a table was not read")?.to_vec())
        };
        Tables::load(refs, fetch).map_err(|why| self.corrupt("tables", why))
    }

    /// Returns the tags of the references page. The page is read unless this handle read it last.
    pub(super) fn tags(&self, references: &References) -> Result<ReadTags> {
        let Some(page) = references.page else { return Ok(ReadTags::default()) };
        let since = references.since;
        let read =
            self.references.lock().as_ref().filter(|(at, _)| *at == page).map(|(_, tags)| tags.clone());
        if let Some(tags) = read {
            return Ok(ReadTags { since, tags });
        }
        let tags =
            decode_page(&self.page(&page)?, page.crc).map_err(|why| self.corrupt("references", why))?;
        let tags: Arc<[Tag]> = tags.into();
        *self.references.lock() = Some((page, tags.clone()));
        Ok(ReadTags { since, tags })
    }
}

fn stored_page(part: &Part) -> Option<PageRef> {
    match &part.content {
        Content::Stored { page, data: None } => Some(*page),
        _ => None,
    }
}

/// Returns the objects with the content of long records, whether or not they were read.
pub(super) fn stored_objects(records: &[Arc<Record>]) -> impl Iterator<Item = ObjectId> {
    records.iter().flat_map(|record| &record.parts).filter_map(|part| match &part.content {
        Content::Stored { page, .. } => ObjectId::of(&page.place),
        _ => None,
    })
}

/// Converts a record for the ledger. Returns `None` for a record that makes no version.
///
/// # Errors
/// The reason why the record cannot lie over a root.
pub(super) fn commit_record(record: &Record) -> Decoded<Option<CommitRecord>> {
    if !record.is_version() {
        return Ok(None);
    }
    let by = Note::of(&record.note).author;
    let mut commits = Vec::with_capacity(record.parts.len());
    for part in record.parts.iter().filter(|part| !part.is_cancelled()) {
        let data = part.data().ok_or("a record over a root has no content")?;
        let author = if data.author.is_empty() { by.clone() } else { Note::of(&data.author).author };
        let nonce = part.nonce.session.0.wrapping_add(part.nonce.count);
        commits.push(Commit { nonce, by: author, entries: data.entries.clone() });
    }
    let nonce = commits.last().map_or(0, |commit| commit.nonce);
    let header = Header { version: record.number, nonce, time: record.time, by, previous: None };
    CommitRecord::of_commits(header, commits).map(Some)
}
