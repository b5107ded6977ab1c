//! The line: the versions of a container. It has a root, records over the root, and the state of retention.
//!
//! A root is a reference to a page tree; the core never reads its pages. After a root contains records, they remain in
//! the line to settle doubts, until a checkpoint raises `records_from`.

use std::sync::Arc;

use super::frame;
use super::ids::{Nonce, ObjectId};
use super::records::{MAX_SEGMENT_RECORDS, Part, Record, Segment, SegmentRef, Segments};
use crate::address::PageRef;
use crate::codec::{Decoded, Reader, put_varint};

/// The bytes of older inline records from which on a session should put a segment.
pub(crate) const WANTED_OLDER_RECORDS: usize = 8 << 10;
/// The bytes of all inline records beyond which the next commit waits for a segment.
const MAX_INLINE_BYTES: usize = 64 << 10;
/// The bytes of older inline records beyond which a commit is refused: more than a long closing record, and other
/// sessions' commits that arrived while a segment was put.
pub(crate) const MAX_OLDER_RECORDS: usize = 256 << 10;
/// The maximum number of segments of the line. At this number, the line needs a checkpoint.
pub(crate) const MAX_SEGMENTS: usize = 96;
/// Above this number of segments, a checkpoint also merges segments that do not lie over the root. A commit that overtakes a checkpoint leaves
/// them there.
pub(crate) const MANY_SEGMENTS: usize = MAX_SEGMENTS / 4;
/// The maximum length of a segment into which a checkpoint merges earlier segments, in bytes. Salvage reads segments up to this
/// length.
pub(crate) const MAX_MERGED_SEGMENT: u64 = 1 << 20;
/// The maximum number of inline records that a decoder accepts.
const MAX_INLINE_RECORDS: usize = 1 << 16;

/// The page tree below the records of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Root {
    /// The root page; `None` for an empty tree.
    pub(crate) page: Option<PageRef>,
    /// The version with the content of the tree.
    pub(crate) base: u64,
}

impl Root {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        PageRef::encode_optional(self.page, out);
        put_varint(out, self.base);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self { page: PageRef::read_optional(r)?, base: r.number()? })
    }
}

/// A segment that a checkpoint puts. It also has the records of earlier segments, which it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MergedSegment {
    pub(crate) at: SegmentRef,
    /// The number of segments that it replaces.
    pub(crate) replaces: usize,
}

/// The versions of a container. The line of a new container has no versions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Line {
    /// The sequence of the last content change.
    pub(crate) version: u64,
    /// The number of versions that the line has had.
    pub(crate) number: u64,
    /// The time of the newest version, in microseconds since 1970. The times of versions ascend.
    pub(crate) time: u64,
    pub(crate) root: Root,
    /// Versions below the horizon may be incomplete, except the current version and held ones.
    pub(crate) horizon: u64,
    /// All records of this version and later ones are in `segments` and `tail`.
    pub(crate) records_from: u64,
    pub(crate) segments: Vec<SegmentRef>,
    /// The inline records, after those in segments.
    pub(crate) tail: Vec<Arc<Record>>,
    /// The time for which replaced versions are retained, in milliseconds. Policy reads it; the core does not.
    pub(crate) retention: u64,
}

/// The result of a search for a nonce in the records of the line.
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
    /// Returns the version above which records lie over the root.
    pub(crate) fn base(&self) -> u64 {
        self.root.base
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
        (!records.is_empty()).then_some(Segment { records })
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

    /// Returns the records and the segments that a checkpoint of version `to` should merge: the inline records up to `to`, if any of them
    /// lies over the root, and the newest segments over the root, newest first, as far as all together are short enough. If the line has
    /// many segments, older segments are included.
    fn to_merge(&self, to: u64) -> (Vec<Arc<Record>>, Vec<&SegmentRef>) {
        let lies_over = self.tail.iter().any(|record| record.version > self.base() && record.version <= to);
        let inline = self.segment(to).filter(|_| lies_over).map_or_else(Vec::new, |segment| segment.records);
        let mut bytes: u64 = inline.iter().map(|record| record.size() as u64).sum();
        let mut count = inline.len() as u64;
        let fits = |at: &&SegmentRef| {
            bytes = bytes.saturating_add(at.page.place.length);
            count += at.count;
            bytes <= MAX_MERGED_SEGMENT && count <= MAX_SEGMENT_RECORDS as u64
        };
        let has_many = self.segments.len() > MANY_SEGMENTS && to > self.base();
        let least = if has_many { 0 } else { self.base() };
        let newest = self.segments.iter().rev().skip_while(|at| at.last > to);
        let segments = newest.take_while(|at| at.last > least).take_while(fits).collect();
        (inline, segments)
    }

    /// Returns the segments that must be read before a checkpoint of version `to` can merge them.
    pub(crate) fn unread_to_merge(&self, to: u64, read: &Segments) -> Vec<SegmentRef> {
        self.to_merge(to).1.into_iter().filter(|at| read.get(at).is_none()).copied().collect()
    }

    /// Returns the segment for a checkpoint of version `to`, and the number of segments that it replaces. Segments that were not read are
    /// not merged. Returns `None` if there is nothing to put or to merge.
    pub(crate) fn merged_segment(&self, to: u64, read: &Segments) -> Option<(Segment, usize)> {
        let (inline, merged) = self.to_merge(to);
        let merged: Vec<&Arc<Segment>> = merged.into_iter().map_while(|at| read.get(at)).collect();
        if inline.is_empty() && merged.len() < 2 {
            return None;
        }
        let stored = merged.iter().rev().flat_map(|segment| &segment.records).cloned();
        Some((Segment { records: stored.chain(inline).collect() }, merged.len()))
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
        for n in [self.version, self.number, self.time, self.horizon, self.records_from, self.retention] {
            put_varint(out, n);
        }
        self.root.encode(out);
        frame::put_list(out, &self.segments, SegmentRef::encode);
        frame::put_list(out, &self.tail, |record, out| record.encode(out));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let line = Self {
            version: r.number()?,
            number: r.number()?,
            time: r.number()?,
            horizon: r.number()?,
            records_from: r.number()?,
            retention: r.number()?,
            root: Root::read(r)?,
            segments: frame::read_list(r, (10, MAX_SEGMENTS), SegmentRef::read)?,
            tail: frame::read_list(r, (6, MAX_INLINE_RECORDS), |r| Record::read(r).map(Arc::new))?,
        };
        line.check()?;
        Ok(line)
    }

    /// Returns an error for a line that no swap makes.
    fn check(&self) -> Decoded<()> {
        if self.base() > self.version || self.number > self.version || self.records_from > self.base() + 1 {
            return Err("impossible versions of a line");
        }
        let segments = self.segments.iter().flat_map(|at| match at.first == at.last {
            true => vec![at.first],
            false => vec![at.first, at.last],
        });
        frame::check_ascending(segments.chain(self.tail.iter().map(|record| record.version)))
    }
}
