//! Lines: main and the branches. Each has a root, records over the root, and the state of retention and closing.
//!
//! A root is a reference to a page tree; the core never reads its pages. A branch begins without a root of its own: its
//! content is that of its parent at its origin, which the branch's hold point retains, so a fork copies nothing. After
//! a root contains records, they remain in the line to settle doubts, until a checkpoint raises `records_from`.

use std::sync::Arc;

use super::frame;
use super::ids::{Name, Nonce, ObjectId};
use super::records::{MAX_SEGMENT_RECORDS, Part, Record, Segment, SegmentRef, Segments};
use crate::address::PageRef;
use crate::codec::{Decoded, Reader, put_varint};

/// The id of the main line.
pub(crate) const MAIN: u64 = 0;
/// The bytes of older inline records from which on a session should put a segment.
pub(crate) const WANTED_OLDER_RECORDS: usize = 8 << 10;
/// The bytes of all inline records beyond which the next commit waits for a segment.
const MAX_INLINE_BYTES: usize = 64 << 10;
/// The bytes of older inline records beyond which a commit is refused: more than a long closing record, and other
/// sessions' commits that arrived while a segment was put.
pub(crate) const MAX_OLDER_RECORDS: usize = 256 << 10;
/// The maximum number of segments of one line. At this number, a line needs a checkpoint.
pub(crate) const MAX_SEGMENTS: usize = 96;
/// The maximum length of a segment into which a checkpoint merges earlier segments, in bytes. Salvage reads segments up to this
/// length.
pub(crate) const MAX_MERGED_SEGMENT: u64 = 1 << 20;
/// The maximum number of inline records of one line that a decoder accepts.
const MAX_INLINE_RECORDS: usize = 1 << 16;

/// The version of another line at which a branch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) parent: u64,
    pub(crate) version: u64,
}

/// The page tree below the records of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Root {
    /// The root page; `None` for an empty tree.
    pub(crate) page: Option<PageRef>,
    /// The version with the content of the tree.
    pub(crate) base: u64,
}

/// The closing of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Closed {
    /// The sequence of the manifest that closed the line.
    pub(crate) at: u64,
    /// True for a branch that was merged into its parent, false for one that was dropped.
    pub(crate) merged: bool,
}

/// A segment that a checkpoint puts. It also has the records of earlier segments, which it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MergedSegment {
    pub(crate) at: SegmentRef,
    /// The number of segments that it replaces.
    pub(crate) replaces: usize,
}

/// The main line or a branch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Line {
    /// The sequence of the manifest that had the line first; [`MAIN`] for the main line.
    pub(crate) id: u64,
    /// The name of a branch; `None` for the main line.
    pub(crate) name: Option<Name>,
    /// The nonce of the fork that made the branch.
    pub(crate) made_by: Nonce,
    /// The version at which the branch began; `None` for the main line.
    pub(crate) origin: Option<Origin>,
    /// The sequence of the last content change.
    pub(crate) version: u64,
    /// The number of versions that the line has had.
    pub(crate) number: u64,
    /// The time of the newest version, in microseconds since 1970. The times of versions ascend.
    pub(crate) time: u64,
    /// The root; `None` for a branch that still reads its parent at its origin.
    pub(crate) root: Option<Root>,
    /// Versions below the horizon may be incomplete, except the current version and held ones.
    pub(crate) horizon: u64,
    /// Set when the line was closed: it takes no more commits.
    pub(crate) closed: Option<Closed>,
    /// All records of this version and later ones are in `segments` and `tail`.
    pub(crate) records_from: u64,
    pub(crate) segments: Vec<SegmentRef>,
    /// The inline records, after those in segments.
    pub(crate) tail: Vec<Arc<Record>>,
    /// The time for which replaced versions are retained, in milliseconds. Policy reads it; the core does not.
    pub(crate) retention: u64,
}

/// The result of a search for a nonce in the records of a line.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// The record that has the nonce.
    Record(u64, &'a Part),
    /// No record after the view has the nonce.
    Absent,
    /// Records after the view were removed, so the outcome remains unknown.
    Trimmed,
    /// These segments must be read first.
    Unread(Vec<SegmentRef>),
}

impl Line {
    /// Returns the main line of a new container.
    pub(crate) fn main() -> Self {
        Self {
            id: MAIN,
            name: None,
            made_by: Nonce::default(),
            origin: None,
            version: 0,
            number: 0,
            time: 0,
            root: Some(Root::default()),
            horizon: 0,
            closed: None,
            records_from: 0,
            segments: Vec::new(),
            tail: Vec::new(),
            retention: 0,
        }
    }

    /// Returns the version above which records lie over the root.
    pub(crate) fn base(&self) -> u64 {
        self.root.map_or(self.id, |root| root.base)
    }

    /// Searches the records after `view` for a nonce. `view` is a sequence up to which no swap can have the nonce.
    pub(crate) fn find<'a>(&'a self, nonce: Nonce, view: u64, segments: &'a Segments) -> Found<'a> {
        let inline = self.tail.iter().filter(|record| record.version > view);
        if let Some(found) = inline.rev().find_map(|r| r.part(nonce).map(|part| (r.version, part))) {
            return Found::Record(found.0, found.1);
        }
        let mut unread = Vec::new();
        for at in self.segments.iter().filter(|at| at.last > view) {
            let Some(segment) = segments.get(at) else {
                unread.push(*at);
                continue;
            };
            let found = segment.records.iter().find_map(|r| r.part(nonce).map(|part| (r.version, part)));
            if let Some((version, part)) = found {
                return Found::Record(version, part);
            }
        }
        match unread.is_empty() {
            false => Found::Unread(unread),
            true if self.reaches(view) => Found::Absent,
            true => Found::Trimmed,
        }
    }

    /// Returns whether the line still has all records after `view`.
    pub(crate) fn reaches(&self, view: u64) -> bool {
        self.records_from <= view.saturating_add(1)
    }

    /// Returns the records above `from` up to `to`, in order. An error names the segments that must be read first.
    pub(crate) fn records<'a>(
        &'a self,
        (from, to): (u64, u64),
        segments: &'a Segments,
    ) -> Result<Vec<&'a Arc<Record>>, Vec<SegmentRef>> {
        let wanted = || self.segments.iter().filter(|at| at.last > from && at.first <= to);
        let unread: Vec<SegmentRef> = wanted().filter(|at| segments.get(at).is_none()).copied().collect();
        if !unread.is_empty() {
            return Err(unread);
        }
        let stored = wanted().filter_map(|at| segments.get(at)).flat_map(|segment| segment.records.iter());
        let all = stored.chain(&self.tail);
        Ok(all.filter(|record| record.version > from && record.version <= to).collect())
    }

    /// Returns the bytes of the inline records except the newest one.
    pub(crate) fn older_bytes(&self) -> usize {
        let older = self.tail.split_last().map_or(&[][..], |(_, older)| older);
        older.iter().map(|record| record.size()).sum()
    }

    /// Returns whether a session should put a segment of the inline records.
    pub(crate) fn wants_segment(&self) -> bool {
        self.older_bytes() > WANTED_OLDER_RECORDS || self.needs_segment()
    }

    /// Returns whether a commit must put a segment of the inline records first. All of them are older records then.
    pub(crate) fn needs_segment(&self) -> bool {
        self.tail.iter().map(|record| record.size()).sum::<usize>() > MAX_INLINE_BYTES
    }

    /// Returns the segment of the inline records up to version `to`; `None` if there are no such records. The line must
    /// be that of an accepted manifest.
    pub(crate) fn segment(&self, to: u64) -> Option<Segment> {
        let records: Vec<_> = self.tail.iter().take_while(|record| record.version <= to).cloned().collect();
        (!records.is_empty()).then_some(Segment { line: self.id, records })
    }

    /// Names a segment and removes its records from the tail. Returns false, and changes nothing, if the tail no longer
    /// begins with these records.
    pub(crate) fn name_segment(&mut self, at: &SegmentRef) -> bool {
        // Rule: a segment is named only if the tail still begins with its records. Versions identify records.
        let count = usize::try_from(at.count).unwrap_or(usize::MAX);
        let begins = self.tail.first().is_some_and(|record| record.version == at.first);
        let ends = count > 0 && self.tail.get(count - 1).is_some_and(|record| record.version == at.last);
        if self.segments.len() >= MAX_SEGMENTS || !rule!(SegmentFits, begins && ends) {
            return false;
        }
        self.segments.push(*at);
        self.tail.drain(..count.min(self.tail.len()));
        true
    }

    /// Returns the segment for a checkpoint of version `to`, and the number of segments that it replaces: the inline
    /// records up to `to`, if any of them lies over the root, and the records of the newest segments over the root, as
    /// far as these were read and all together are short enough. Returns `None` if there is nothing to put or to merge.
    pub(crate) fn merged_segment(&self, to: u64, read: &Segments) -> Option<(Segment, usize)> {
        let lies_over = self.tail.iter().any(|record| record.version > self.base() && record.version <= to);
        let inline = self.segment(to).filter(|_| lies_over).map_or_else(Vec::new, |segment| segment.records);
        let mut bytes: u64 = inline.iter().map(|record| record.size() as u64).sum();
        let mut count = inline.len() as u64;
        let over = self.segments.iter().rev().skip_while(|at| at.last > to);
        let fits = |at: &&SegmentRef| {
            bytes = bytes.saturating_add(at.page.place.length);
            count += at.count;
            bytes <= MAX_MERGED_SEGMENT && count <= MAX_SEGMENT_RECORDS as u64
        };
        let merged =
            over.take_while(|at| at.last > self.base()).take_while(fits).map_while(|at| read.get(at));
        let merged: Vec<&Arc<Segment>> = merged.collect();
        if inline.is_empty() && merged.len() < 2 {
            return None;
        }
        let stored = merged.iter().rev().flat_map(|segment| &segment.records).cloned();
        Some((Segment { line: self.id, records: stored.chain(inline).collect() }, merged.len()))
    }

    /// Names a merged segment in place of those that it replaces, and removes its records from the tail. Returns false,
    /// and changes nothing, if the line no longer has exactly these segments and records.
    pub(crate) fn name_merged(&mut self, merged: &MergedSegment) -> bool {
        let MergedSegment { at, replaces } = merged;
        if *replaces == 0 {
            return self.name_segment(at);
        }
        let Some(begin) = self.segments.iter().position(|other| other.first == at.first) else {
            return false;
        };
        let end = begin.saturating_add(*replaces);
        let Some(replaced) = self.segments.get(begin..end) else { return false };
        let stored: u64 = replaced.iter().map(|other| other.count).sum();
        let inline = usize::try_from(at.count.saturating_sub(stored)).unwrap_or(usize::MAX);
        let last = match inline.checked_sub(1) {
            None => replaced.last().map(|other| other.last),
            Some(n) => self.tail.get(n).filter(|_| end == self.segments.len()).map(|record| record.version),
        };
        let is_whole = at.count == stored + inline as u64;
        if !rule!(SegmentFits, is_whole && last == Some(at.last)) {
            return false;
        }
        self.segments.splice(begin..end, [*at]);
        self.tail.drain(..inline.min(self.tail.len()));
        true
    }

    /// Removes records below `from`, except those that lie over the root.
    pub(crate) fn trim(&mut self, from: u64) {
        self.records_from = self.records_from.max(from.min(self.base() + 1));
        let from = self.records_from;
        self.segments.retain(|at| at.last >= from);
        self.tail.retain(|record| record.version >= from);
    }

    /// Returns the segments that the line itself names.
    pub(crate) fn direct(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.segments.iter().filter_map(|at| ObjectId::of(&at.page.place))
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.id);
        if let Some((name, origin)) = self.name.as_ref().zip(self.origin) {
            name.encode(out);
            self.made_by.encode(out);
            put_varint(out, origin.parent);
            put_varint(out, origin.version);
        }
        for n in [self.version, self.number, self.time, self.horizon, self.records_from, self.retention] {
            put_varint(out, n);
        }
        frame::put_optional(out, self.root, |root, out| {
            PageRef::encode_optional(root.page, out);
            put_varint(out, root.base);
        });
        frame::put_optional(out, self.closed, |closed, out| {
            put_varint(out, closed.at);
            out.push(u8::from(closed.merged));
        });
        frame::put_list(out, &self.segments, SegmentRef::encode);
        frame::put_list(out, &self.tail, |record, out| record.encode(out));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let mut line = Self { id: r.number()?, ..Self::main() };
        if line.id != MAIN {
            line.name = Some(Name::read(r)?);
            line.made_by = Nonce::read(r)?;
            line.origin = Some(Origin { parent: r.number()?, version: r.number()? });
        }
        (line.version, line.number, line.time) = (r.number()?, r.number()?, r.number()?);
        line.horizon = r.number()?;
        (line.records_from, line.retention) = (r.number()?, r.number()?);
        let root = |r: &mut Reader<'_>| Ok(Root { page: PageRef::read_optional(r)?, base: r.number()? });
        line.root = frame::read_optional(r, root)?;
        let closed = |r: &mut Reader<'_>| Ok(Closed { at: r.number()?, merged: frame::read_flag(r)? });
        line.closed = frame::read_optional(r, closed)?;
        line.segments = frame::read_list(r, (10, MAX_SEGMENTS), SegmentRef::read)?;
        line.tail = frame::read_list(r, (6, MAX_INLINE_RECORDS), |r| Record::read(r).map(Arc::new))?;
        line.check()?;
        Ok(line)
    }

    /// Returns an error for a line that no swap makes.
    fn check(&self) -> Decoded<()> {
        let is_main = self.id == MAIN;
        if is_main && (self.root.is_none() || self.closed.is_some()) {
            return Err("a main line without a root, or closed");
        }
        if self.origin.is_some_and(|origin| origin.parent >= self.id || origin.version >= self.id) {
            return Err("a branch that began after its id");
        }
        if self.base() > self.version
            || self.number > self.version
            || self.records_from > self.base() + 1
            || self.version < self.id
        {
            return Err("impossible versions of a line");
        }
        let segments = self.segments.iter().flat_map(|at| match at.first == at.last {
            true => vec![at.first],
            false => vec![at.first, at.last],
        });
        frame::check_ascending(segments.chain(self.tail.iter().map(|record| record.version)))
    }
}
