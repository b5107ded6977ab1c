//! History: locates the versions below the root of the line.
//!
//! An era has the versions from one root up to the next: the root, the segments with the records over it, and
//! a mark for each version. Eras are the items of a table in runs, so a checkpoint rewrites few of them.

use bytes::Bytes;

use super::frame;
use super::line::{Line, Root};
use super::manifest::Manifest;
use super::records::{MAX_NOTE, Record, SegmentRef, Segments};
use super::runs::RunItem;
use crate::codec::{Decoded, Reader, put_string, put_varint};

/// The maximum number of segments, and of marks, of one era that a decoder accepts.
const MAX_ERA_ITEMS: usize = 1 << 20;

/// A version of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    pub(crate) version: u64,
    /// The number of the version, as users see it.
    pub(crate) number: u64,
    pub(crate) time: u64,
    pub(crate) note: Bytes,
}

/// The versions from one root up to the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Era {
    pub(crate) root: Root,
    /// The base of the next root. It is the first version that the era does not have.
    pub(crate) end: u64,
    /// The segments that have the era's records, and perhaps later ones.
    pub(crate) segments: Vec<SegmentRef>,
    pub(crate) marks: Vec<Mark>,
}

impl Mark {
    /// Returns the mark of the version that a record made.
    pub(crate) fn of(record: &Record) -> Self {
        let Record { version, number, time, .. } = *record;
        Self { version, number, time, note: record.note.clone() }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for n in [self.version, self.number, self.time] {
            put_varint(out, n);
        }
        put_string(out, &self.note);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let (version, number, time) = (r.number()?, r.number()?, r.number()?);
        let note = Bytes::copy_from_slice(r.string()?);
        if note.len() > MAX_NOTE || number > version {
            return Err("an impossible mark of a version");
        }
        Ok(Self { version, number, time, note })
    }
}

impl Era {
    /// Returns the first version of the era.
    pub(crate) fn base(&self) -> u64 {
        self.root.base
    }
}

impl RunItem for Era {
    const MAGIC: &'static [u8; 4] = b"h5lE";
    const LEAST_BYTES: usize = 5;

    fn encode(&self, out: &mut Vec<u8>) {
        self.root.encode(out);
        put_varint(out, self.end);
        frame::put_list(out, &self.segments, SegmentRef::encode);
        frame::put_list(out, &self.marks, |mark, out| {
            mark.encode(out);
        });
    }

    fn read(r: &mut Reader<'_>, _: u64) -> Decoded<Self> {
        let (root, end) = (Root::read(r)?, r.number()?);
        let segments = frame::read_list(r, (10, MAX_ERA_ITEMS), SegmentRef::read)?;
        let marks = frame::read_list(r, (4, MAX_ERA_ITEMS), Mark::read)?;
        let era = Self { root, end, segments, marks };
        if era.base() < era.end { Ok(era) } else { Err("an era that ends before it begins") }
    }

    fn keys(&self) -> (u64, u64) {
        (self.base(), self.end)
    }
}

/// The location of a version: a root, and records over it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located<'a> {
    pub(crate) root: Root,
    pub(crate) version: u64,
    line: &'a Line,
    /// The segments of an era; `None` for a version that the line itself has.
    segments: Option<&'a [SegmentRef]>,
}

impl<'a> Located<'a> {
    /// Returns the records over the root up to the version. An error names the segments that must be read first.
    pub(crate) fn records(&self, read: &'a Segments) -> Result<Vec<&'a Record>, Vec<SegmentRef>> {
        let range = (self.root.base, self.version);
        let Some(segments) = self.segments else {
            return Ok(self.line.records(range, read)?.into_iter().map(AsRef::as_ref).collect());
        };
        let wanted = || segments.iter().filter(|at| at.last > range.0 && at.first <= range.1);
        let unread: Vec<SegmentRef> = wanted().filter(|at| read.get(at).is_none()).copied().collect();
        if !unread.is_empty() {
            return Err(unread);
        }
        let all = wanted().filter_map(|at| read.get(at)).flat_map(|segment| segment.records.iter());
        Ok(all.map(AsRef::as_ref).filter(|r| r.version > range.0 && r.version <= range.1).collect())
    }
}

/// Finds a version in the manifest, or in the eras of its history. Returns `None` if neither has the version.
pub(crate) fn locate<'a>(
    manifest: &'a Manifest,
    version: u64,
    mut eras: impl Iterator<Item = &'a Era>,
) -> Option<Located<'a>> {
    let line = &manifest.line;
    if version >= line.base() {
        return Some(Located { root: line.root, version, line, segments: None });
    }
    let era = eras.find(|era| era.base() <= version && version < era.end)?;
    Some(Located { root: era.root, version, line, segments: Some(&era.segments) })
}
