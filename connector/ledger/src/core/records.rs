//! Records: the commits that lie over the root of the line, and the segments that hold older records.
//!
//! A record belongs to one swap and has one part for each commit of that swap: one, or several if a leader commits for
//! its group. The entries of a part are the entries of a log record (docs/format.md); the core reads only their keys. A
//! part that is too long for the manifest is an object of its own, which the caller puts first.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::frame;
use super::ids::{Nonce, ObjectId};
use crate::address::{Address, PageRef};
use crate::codec::{Decoded, Reader, put_string, put_varint};

/// The maximum length of a record that a manifest holds inline, in bytes.
pub(crate) const MAX_CURRENT_RECORD: usize = 64 << 10;
/// The maximum length of the inline record of a commit that closes a container, in bytes.
pub(crate) const MAX_CLOSING_RECORD: usize = 128 << 10;
/// The maximum number of commits in one record.
pub(crate) const MAX_PARTS: usize = 128;
/// The maximum length of a record's note, in bytes.
pub(crate) const MAX_NOTE: usize = 1024;
/// The maximum number of records in one segment.
pub(crate) const MAX_SEGMENT_RECORDS: usize = 1 << 16;

const SEGMENT_MAGIC: &[u8; 4] = b"h5lG";
const PART_MAGIC: &[u8; 4] = b"h5lC";
const MAX_PLACES: usize = 1 << 24;

/// An object that a commit names for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Gained {
    pub(crate) object: ObjectId,
    /// The bytes of the object that the commit uses.
    pub(crate) bytes: u64,
    /// The sequence of the manifest that the writer knew when it put the object: a lower bound of the birth.
    pub(crate) stood: u64,
}

/// The objects that a commit names for the first time, and the extents that the commit replaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Notes {
    pub(crate) gained: Vec<Gained>,
    pub(crate) freed: Vec<Address>,
}

/// The content of one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Data {
    pub(crate) notes: Notes,
    /// Opaque text about the author of a queued commit; empty if the author is that of the record.
    pub(crate) author: Bytes,
    /// The changed entries of the map, encoded as in a log record.
    pub(crate) entries: Bytes,
}

/// The content of one commit, or the object in which the content is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    /// The content itself.
    Inline(Data),
    /// An object that holds the content. `data` is the content once it was read; it is not encoded.
    Stored { page: PageRef, data: Option<Arc<Data>> },
    /// The root of the same swap contains the commit. The fold of that swap has applied its notes.
    InRoot,
    /// The commit of this nonce was cancelled: no later swap may commit it.
    Cancelled,
}

/// One commit of a record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    pub(crate) nonce: Nonce,
    pub(crate) content: Content,
}

/// The commits that one swap appended to the line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    /// The version that the record made: the sequence of its swap.
    pub(crate) version: u64,
    /// The version before the record.
    pub(crate) previous: u64,
    /// The number of versions including this record. Users see it as the version's number.
    pub(crate) number: u64,
    /// The time of the version, in microseconds since 1970.
    pub(crate) time: u64,
    /// Opaque text about the author.
    pub(crate) note: Bytes,
    pub(crate) parts: Vec<Part>,
}

impl Notes {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        frame::put_list(out, &self.gained, |g, out| {
            g.object.encode(out);
            put_varint(out, g.bytes);
            put_varint(out, g.stood);
        });
        frame::put_list(out, &self.freed, Address::encode);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let gained = |r: &mut Reader<'_>| {
            Ok(Gained { object: ObjectId::read(r)?, bytes: r.number()?, stood: r.number()? })
        };
        let gained = frame::read_list(r, (18, MAX_PLACES), gained)?;
        Ok(Self { gained, freed: frame::read_list(r, (3, MAX_PLACES), Address::read)? })
    }
}

impl Data {
    /// Returns whether the content names an object of its session.
    pub(crate) fn names_objects(&self) -> bool {
        !self.notes.gained.is_empty()
    }

    /// Returns an upper bound of the encoded length.
    pub(crate) fn size(&self) -> usize {
        32 + self.author.len() + self.entries.len() + 48 * (self.notes.gained.len() + self.notes.freed.len())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.notes.encode(out);
        put_string(out, &self.author);
        put_string(out, &self.entries);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let notes = Notes::read(r)?;
        let author = Bytes::copy_from_slice(r.string()?);
        if author.len() > MAX_NOTE {
            return Err("a note is too long");
        }
        Ok(Self { notes, author, entries: Bytes::copy_from_slice(r.string()?) })
    }

    /// Encodes the content as an object of its own. Returns the bytes and their checksum.
    pub(crate) fn to_object(&self) -> (Vec<u8>, u32) {
        let mut out = frame::begin(PART_MAGIC);
        self.encode(&mut out);
        let crc = frame::end(&mut out);
        (out, crc)
    }

    /// Decodes the content of an object. The checksum is that of the page reference to the object.
    pub(crate) fn of_object(bytes: &[u8], crc: u32) -> Decoded<Self> {
        let mut r = frame::open_as(bytes, PART_MAGIC, crc)?;
        let data = Self::read(&mut r)?;
        r.end()?;
        Ok(data)
    }
}

impl Part {
    /// Returns the content; `None` if the part is cancelled or its object was not read yet.
    pub(crate) fn data(&self) -> Option<&Data> {
        match &self.content {
            Content::Inline(data) => Some(data),
            Content::Stored { data, .. } => data.as_deref(),
            Content::InRoot | Content::Cancelled => None,
        }
    }

    /// Returns whether the part is a cancel record.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.content == Content::Cancelled
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.nonce.encode(out);
        match &self.content {
            Content::Inline(data) => {
                out.push(0);
                data.encode(out);
            }
            Content::Stored { page, .. } => {
                out.push(1);
                page.encode(out);
            }
            Content::InRoot => out.push(2),
            Content::Cancelled => out.push(3),
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let nonce = Nonce::read(r)?;
        let content = match r.u8()? {
            0 => Content::Inline(Data::read(r)?),
            1 => Content::Stored { page: PageRef::read(r)?, data: None },
            2 => Content::InRoot,
            3 => Content::Cancelled,
            _ => return Err("a commit with an unknown kind of content"),
        };
        Ok(Self { nonce, content })
    }
}

impl Record {
    /// Returns whether the record makes a version. Cancel records do not.
    pub(crate) fn is_version(&self) -> bool {
        self.parts.iter().any(|part| !part.is_cancelled())
    }

    /// Returns the part with this nonce.
    pub(crate) fn part(&self, nonce: Nonce) -> Option<&Part> {
        self.parts.iter().find(|part| part.nonce == nonce)
    }

    /// Returns an upper bound of the encoded length.
    pub(crate) fn size(&self) -> usize {
        let part = |p: &Part| match &p.content {
            Content::Inline(data) => 20 + data.size(),
            Content::Stored { .. } => 64,
            Content::InRoot | Content::Cancelled => 20,
        };
        48 + self.note.len() + self.parts.iter().map(part).sum::<usize>()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for n in [self.version, self.previous, self.number, self.time] {
            put_varint(out, n);
        }
        put_string(out, &self.note);
        frame::put_list(out, &self.parts, Part::encode);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let (version, previous) = (r.number()?, r.number()?);
        let (number, time) = (r.number()?, r.number()?);
        let note = Bytes::copy_from_slice(r.string()?);
        let parts = frame::read_list(r, (10, MAX_PARTS), Part::read)?;
        if previous >= version || number > version || parts.is_empty() || note.len() > MAX_NOTE {
            return Err("an impossible record");
        }
        Ok(Self { version, previous, number, time, note, parts })
    }
}

/// The location of a segment, and the records that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SegmentRef {
    pub(crate) page: PageRef,
    /// The version of the first record.
    pub(crate) first: u64,
    /// The version of the last record.
    pub(crate) last: u64,
    pub(crate) count: u64,
}

impl SegmentRef {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.page.encode(out);
        for n in [self.first, self.last, self.count] {
            put_varint(out, n);
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let page = PageRef::read(r)?;
        let (first, last, count) = (r.number()?, r.number()?, r.number()?);
        if ObjectId::of(&page.place).is_none() || first > last || count == 0 || count > last - first + 1 {
            return Err("an impossible segment");
        }
        Ok(Self { page, first, last, count })
    }
}

/// Records that were inline in an accepted manifest, stored in an object of their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Segment {
    pub(crate) records: Vec<Arc<Record>>,
}

impl Segment {
    /// Encodes the segment. Returns the bytes and their checksum.
    pub(crate) fn encode(&self) -> (Vec<u8>, u32) {
        let mut out = frame::begin(SEGMENT_MAGIC);
        frame::put_list(&mut out, &self.records, |record, out| record.encode(out));
        let crc = frame::end(&mut out);
        (out, crc)
    }

    /// Decodes a segment without a reference to it, as salvage finds it.
    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        Self::read(frame::open(bytes, SEGMENT_MAGIC)?)
    }

    /// Decodes the segment of a reference.
    pub(crate) fn decode_as(bytes: &[u8], at: &SegmentRef) -> Decoded<Self> {
        let segment = Self::read(frame::open_as(bytes, SEGMENT_MAGIC, at.page.crc)?)?;
        let is_it = segment.reference(at.page).is_some_and(|found| found == *at);
        if is_it { Ok(segment) } else { Err("other records are in the segment than the manifest names") }
    }

    fn read(mut r: Reader<'_>) -> Decoded<Self> {
        let records = frame::read_list(&mut r, (6, MAX_SEGMENT_RECORDS), |r| Record::read(r).map(Arc::new))?;
        r.end()?;
        frame::check_ascending(records.iter().map(|record| record.version))?;
        Ok(Self { records })
    }

    /// Returns the reference to this segment after it is stored at `page`; `None` for a segment of no records.
    pub(crate) fn reference(&self, page: PageRef) -> Option<SegmentRef> {
        let (first, last) = (self.records.first()?.version, self.records.last()?.version);
        Some(SegmentRef { page, first, last, count: self.records.len() as u64 })
    }
}

/// Segments that the caller has read, by their objects. Segments never change, so a stale collection only lacks some of
/// them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Segments(Arc<BTreeMap<ObjectId, Arc<Segment>>>);

impl Segments {
    /// Adds a segment that was read.
    pub(crate) fn insert(&mut self, at: &SegmentRef, segment: Arc<Segment>) {
        if let Some(object) = ObjectId::of(&at.page.place) {
            Arc::make_mut(&mut self.0).insert(object, segment);
        }
    }

    /// Adds other segments that were read, and removes those for which `is_named` is false.
    pub(crate) fn merge(&mut self, read: Self, is_named: impl Fn(ObjectId) -> bool) {
        let all = Arc::make_mut(&mut self.0);
        all.extend(Arc::unwrap_or_clone(read.0));
        all.retain(|object, _| is_named(*object));
    }

    /// Returns the segment of a reference, if it was read.
    pub(crate) fn get(&self, at: &SegmentRef) -> Option<&Arc<Segment>> {
        self.0.get(&ObjectId::of(&at.page.place)?)
    }
}

/// Calls `each` with the keys that entries change, until `each` returns false. Returns true if `each` never returned
/// false.
pub(crate) fn visit_keys(entries: &[u8], mut each: impl FnMut(&[u8]) -> bool) -> Decoded<bool> {
    const DELETE: u8 = 0;
    const PUT: u8 = 1;
    let mut r = Reader::new(entries);
    for _ in 0..r.varint()? {
        let kind = r.u8()?;
        if !each(r.string()?) {
            return Ok(false);
        }
        match kind {
            DELETE => (),
            PUT => drop(r.string()?),
            _ => return Err("an entry of an unknown kind"),
        }
    }
    r.end().map(|()| true)
}
