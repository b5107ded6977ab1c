//! Objects of the simulated store, and the reads of a caller of the core: pages, tables, and the content of versions.
//!
//! The map has two keys. A root is one page with both values; a payload is an object of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::address::{Address, PageRef};
use crate::codec::{Reader, put_string, put_varint};
use crate::core::change::NewTables;
use crate::core::history::{Era, locate};
use crate::core::ids::{ContainerId, ObjectId, SessionId};
use crate::core::manifest::Manifest;
use crate::core::records::{Content as Recorded, Segment, SegmentRef, Segments};
use crate::core::references::{ReadTags, Tag, decode_page};
use crate::core::runs::{Table, runs_with};
use crate::core::usage::Tables;

/// The bytes of a payload.
pub(super) const PAYLOAD: u64 = 8;

/// The value of a key: its id, and its payload, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Value {
    pub(super) id: u8,
    pub(super) payload: Option<Address>,
}

/// The values of both keys.
pub(super) type Content = [Option<Value>; 2];

/// Returns the ids of both values, 0 for a missing value.
pub(super) fn ids(content: &Content) -> [u8; 2] {
    content.map(|value| value.map_or(0, |value| value.id))
}

/// Returns the key with a number, as bytes.
pub(super) fn key(k: usize) -> Bytes {
    Bytes::from_static(if k == 0 { b"a" } else { b"b" })
}

/// Returns the entries of a record that puts values.
pub(super) fn entries(changes: &[(usize, Option<Value>)]) -> Bytes {
    let mut out = Vec::with_capacity(32);
    put_varint(&mut out, changes.len() as u64);
    for (k, value) in changes {
        out.push(u8::from(value.is_some()));
        put_string(&mut out, &key(*k));
        let Some(value) = value else { continue };
        let mut bytes = vec![value.id];
        value.payload.iter().for_each(|place| place.encode(&mut bytes));
        put_string(&mut out, &bytes);
    }
    out.into()
}

fn apply_entries(content: &mut Content, entries: &[u8]) -> Option<()> {
    let mut r = Reader::new(entries);
    for _ in 0..r.varint().ok()? {
        let is_put = r.u8().ok()? == 1;
        let k = usize::from(r.string().ok()? == b"b");
        content[k] = None;
        if !is_put {
            continue;
        }
        let mut value = Reader::new(r.string().ok()?);
        let id = value.u8().ok()?;
        let payload = if value.remaining() > 0 { Some(Address::read(&mut value).ok()?) } else { None };
        content[k] = Some(Value { id, payload });
    }
    Some(())
}

/// The content of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Stored {
    Payload,
    Root(Content),
    Segment(Arc<Segment>),
    Table(Vec<u8>),
}

/// The objects of all containers at one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Store(pub(super) BTreeMap<ObjectId, Arc<Stored>>);

/// Returns the container that a session belongs to; the simulator's session ids contain it.
pub(super) fn container_of(session: SessionId) -> ContainerId {
    let mut id = [0; 16];
    id[0] = (session.0 >> 8) as u8;
    ContainerId(id)
}

impl Store {
    pub(super) fn has(&self, object: ObjectId) -> bool {
        self.0.contains_key(&object)
    }

    pub(super) fn put(&mut self, object: ObjectId, stored: Stored) -> PageRef {
        let (length, crc) = match &stored {
            Stored::Payload | Stored::Root(_) => (PAYLOAD, 0),
            Stored::Segment(segment) => {
                let (bytes, crc) = segment.encode();
                (bytes.len() as u64, crc)
            }
            Stored::Table(bytes) => (bytes.len() as u64, 0),
        };
        self.0.insert(object, Arc::new(stored));
        PageRef { place: Address { location: object.page(), offset: 0, length }, crc }
    }

    fn page(&self, page: &PageRef) -> Option<&Arc<Stored>> {
        self.0.get(&ObjectId::of(&page.place)?)
    }

    fn bytes(&self, page: &PageRef) -> Option<&Vec<u8>> {
        match &**self.page(page)? {
            Stored::Table(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Reads segments. Missing segments are omitted.
    pub(super) fn read_segments<'a>(&self, refs: impl Iterator<Item = &'a SegmentRef>) -> Segments {
        let mut all = Segments::default();
        for at in refs {
            if let Some(Stored::Segment(segment)) = self.page(&at.page).map(|stored| &**stored) {
                all.insert(at, segment.clone());
            }
        }
        all
    }

    /// Returns the segments that the line of a manifest names.
    pub(super) fn segments(&self, m: &Manifest) -> Segments {
        self.read_segments(m.line.segments.iter())
    }

    /// Returns the tables of a manifest; `None` if a page is missing.
    pub(super) fn tables(&self, m: &Manifest) -> Option<Tables> {
        let fetch = |page: &PageRef| self.bytes(page).cloned().ok_or("a page of a table is missing");
        Tables::load(&m.tables, fetch).ok()
    }

    /// Puts the pages of tables; `next` names objects.
    pub(super) fn put_tables(
        &mut self,
        tables: Tables,
        mut next: impl FnMut() -> Option<ObjectId>,
    ) -> Option<NewTables> {
        let pages = tables.pages().ok()?;
        let mut names: Vec<ObjectId> = Vec::new();
        for _ in 0..3 {
            names.push(next()?);
        }
        Some(NewTables::put(&pages, |bytes, crc| {
            let page = self.put(names.pop().expect("three pages at most"), Stored::Table(bytes.to_vec()));
            PageRef { crc, ..page }
        }))
    }

    /// Returns the references page of a manifest.
    pub(super) fn tags(&self, m: &Manifest) -> ReadTags {
        let stored = m.references.page.and_then(|page| decode_page(self.bytes(&page)?, page.crc).ok());
        ReadTags { since: m.references.since, tags: stored.unwrap_or_default().into() }
    }

    /// Returns all tags of a manifest.
    pub(super) fn all_tags(&self, m: &Manifest) -> Vec<Tag> {
        if m.references.page.is_none() {
            return m.references.added.clone();
        }
        let read = self.tags(m);
        m.references.all(&read).map_or(Vec::new(), |tags| tags.cloned().collect())
    }

    /// Returns the content of a version, and the objects that are read for it; `None` if one of them is missing.
    pub(super) fn content(&self, m: &Manifest, version: u64) -> Option<(Content, Vec<ObjectId>)> {
        let mut eras = Table::<Era>::default();
        if version < m.line.base() {
            for run in runs_with(&m.tables.history, version) {
                eras.load(*run, self.bytes(&run.page)?).ok()?;
            }
        }
        let located = locate(m, version, eras.iter())?;
        let (mut content, mut used) = self.root(located.root.page)?;
        let wanted = located.records(&Segments::default()).err();
        let segments = self.read_segments(wanted.iter().flatten());
        used.extend(wanted.iter().flatten().filter_map(|at| ObjectId::of(&at.page.place)));
        for record in located.records(&segments).ok()? {
            let long = record.parts.iter().filter_map(|part| match &part.content {
                Recorded::Stored { page, .. } => ObjectId::of(&page.place),
                _ => None,
            });
            used.extend(long);
            for data in record.parts.iter().filter_map(|part| part.data()) {
                apply_entries(&mut content, &data.entries)?;
            }
        }
        used.extend(content.iter().flatten().filter_map(|value| ObjectId::of(&value.payload?)));
        used.iter().all(|object| self.has(*object)).then_some((content, used))
    }

    fn root(&self, page: Option<PageRef>) -> Option<(Content, Vec<ObjectId>)> {
        let Some(page) = page else { return Some(Default::default()) };
        match &**self.page(&page)? {
            Stored::Root(content) => Some((*content, ObjectId::of(&page.place).into_iter().collect())),
            _ => None,
        }
    }
}
