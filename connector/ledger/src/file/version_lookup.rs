//! Finds an old version in a file, and lists the retained versions.

use crate::error::{Error, ErrorKind, Result};
use crate::file::file_io::FileIo;
use crate::file::log::{self, LoggedRecord, read_block};
use crate::file::reclaim_horizon;
use crate::file::space_delta::SpaceDelta;
use crate::file::superblock::{DATA, Slot};
use crate::history::{History, Mark};
use crate::options::{At, Version};
use crate::timekeeping::NotLater;

/// Returns the history to which a slot refers; the default for a file that never had a checkpoint.
pub(crate) fn history(raw: &dyn FileIo, head: &Slot, target: &str) -> Result<History> {
    let Some(p) = head.history else {
        let base = Mark { version: head.base_version, ..Mark::default() };
        return Ok(History { base, past: Vec::new() });
    };
    let length = raw.len().map_err(|e| Error::io(target, "asking for the length", &e))?;
    if p.place.offset + p.place.length > length {
        return Err(Error::corrupt(target, "history", "the file ends before it"));
    }
    let bytes = read_block(raw, &p.place, "history", target)?;
    let history = History::decode(&bytes, p.crc).map_err(|why| Error::corrupt(target, "history", why))?;
    let places = history.past.iter().flat_map(|p| p.root.iter().chain(&p.record)).map(|p| p.place);
    // The file may have been truncated since. Versions with data beyond its end are lost, which is noticed when they are
    // read.
    if history.base.version == head.base_version && places.into_iter().all(|p| p.offset >= DATA) {
        Ok(history)
    } else {
        Err(Error::corrupt(target, "history", "it is another base's, or points outside of the container"))
    }
}

/// Returns the time and the author of the version that a commit slot shows. Returns `None` for the slot of an older version if its record
/// no longer exists, because that slot leads to the history of a newer version.
pub(super) fn mark_of_slot(raw: &dyn FileIo, slot: &Slot, target: &str) -> Result<Option<Mark>> {
    if slot.version > slot.base_version {
        let records = log::records(raw, slot, slot.version - 1, target)?;
        return Ok(records.last().map(|l| Mark::of_record(&l.record.header)));
    }
    Ok(Some(history(raw, slot, target)?.base).filter(|base| base.version == slot.version))
}

/// A checkpoint and the log that followed it. Its pages and records are complete until space with the reclaim epoch `until`
/// is reused.
pub(super) struct FileHistorySegment {
    pub(super) base: Mark,
    /// The slot that would lead to its last version.
    pub(super) slot: Slot,
    until: Option<u64>,
}

impl FileHistorySegment {
    pub(super) fn is_whole(&self, horizon: u64) -> bool {
        self.until.is_none_or(|until| until > horizon)
    }

    /// Returns the records that are newer than `after`, newest first, each with the sequence of its slot.
    pub(super) fn records(
        &self,
        raw: &dyn FileIo,
        after: u64,
        target: &str,
    ) -> Result<Vec<(u64, LoggedRecord)>> {
        let after = after.max(self.base.version);
        let records = log::records(raw, &self.slot, after, target)?;
        let newest = |l: &LoggedRecord| self.until.is_none() && l.record.header.version == self.slot.version;
        let sequence = |l: LoggedRecord| match SpaceDelta::decode(&l.record.notes) {
            // The newest slot shows this version, even if an older version became the checkpoint after it was committed.
            Ok(_) if newest(&l) => Ok((self.slot.sequence, l)),
            Ok(notes) => Ok((notes.sequence, l)),
            Err(why) => Err(Error::corrupt(target, "notes of a record", why)),
        };
        records.into_iter().rev().map(sequence).collect()
    }

    /// Returns the slot that would show the version of a record, or the version of the checkpoint itself.
    fn head(&self, found: Option<&(u64, LoggedRecord)>) -> Slot {
        let (sequence, version, time, record) = match found {
            Some((sequence, l)) => (*sequence, l.record.header.version, l.record.header.time, Some(l.at)),
            None => (self.base.reclaim_epoch, self.base.version, self.base.time, None),
        };
        Slot { sequence, version, time, record, ..self.slot }
    }
}

/// All versions to which a slot leads.
pub(crate) struct OldVersions<'a> {
    raw: &'a dyn FileIo,
    target: &'a str,
    /// The parts of the history, newest first.
    pub(super) segments: Vec<FileHistorySegment>,
    newest: u64,
}

impl<'a> OldVersions<'a> {
    pub(crate) fn of(raw: &'a dyn FileIo, head: &Slot, target: &'a str) -> Result<Self> {
        let history = history(raw, head, target)?;
        let end = raw.len().map_err(|e| Error::io(target, "asking for the length", &e))?;
        let mut segments = vec![FileHistorySegment { base: history.base, slot: *head, until: None }];
        for p in history.past.into_iter().rev() {
            let slot = Slot {
                version: p.last,
                base_version: p.base.version,
                root: p.root,
                record: p.record,
                log_bytes: p.log_bytes,
                // The file may have been longer at that time than the slot says.
                end,
                ..*head
            };
            segments.push(FileHistorySegment { base: p.base, slot, until: Some(p.until) });
        }
        Ok(Self { raw, target, segments, newest: head.version })
    }

    /// Returns the slot that would show a version; `None` if no slot leads to it. The caller has to check that its payloads
    /// are still complete, after it has pinned the slot's sequence.
    pub(crate) fn find(&self, at: At) -> Result<Option<Slot>> {
        let mut times = self.times();
        let mut reached = |s: &&FileHistorySegment| match at {
            At::Version(v) => s.base.version <= v,
            At::Time(t) => times.next(s.base.time) <= t,
            At::Tag(_) | At::Branch(_) | At::Replaced(_) => false,
        };
        if matches!(at, At::Version(v) if v > self.newest) {
            return Ok(None);
        }
        let mut times_within = self.times();
        let Some(segment) = self.segments.iter().find(&mut reached) else { return Ok(None) };
        let after = match at {
            At::Version(v) => v.saturating_sub(1),
            At::Time(_) | At::Tag(_) | At::Branch(_) | At::Replaced(_) => 0,
        };
        let mut fits = |l: &LoggedRecord| match at {
            At::Version(v) => l.record.header.version == v,
            At::Time(t) => times_within.next(l.record.header.time) <= t,
            At::Tag(_) | At::Branch(_) | At::Replaced(_) => false,
        };
        let Some(records) = self.records(segment, after)? else { return Ok(None) };
        let head = segment.head(records.iter().find(|(_, l)| fits(l)));
        // Version 0 is the file before its first commit.
        Ok(Some(head).filter(|h| h.version > 0))
    }

    /// Returns the time and the author of the version of a checkpoint, which may have no record any more.
    pub(crate) fn mark_of_checkpoint(&self, version: u64) -> Option<Mark> {
        self.segments.iter().map(|s| &s.base).find(|base| base.version == version).cloned()
    }

    /// Returns the corrector for times of versions, from the newest version on.
    fn times(&self) -> NotLater {
        NotLater::than(self.segments.first().map_or(u64::MAX, |s| s.slot.time))
    }

    /// Returns the records of a segment; `None` if they were reclaimed.
    fn records(&self, s: &FileHistorySegment, after: u64) -> Result<Option<Vec<(u64, LoggedRecord)>>> {
        if !s.is_whole(reclaim_horizon::read(self.raw, self.target)?) {
            return Ok(None);
        }
        match s.records(self.raw, after, self.target) {
            Ok(records) => Ok(Some(records)),
            // The records may have been overwritten while they were read.
            Err(_) if !s.is_whole(reclaim_horizon::read(self.raw, self.target)?) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Returns the complete versions, newest first, at most `most`.
    pub(crate) fn versions(&self, most: usize) -> Result<Vec<Version>> {
        let mut out: Vec<Version> = Vec::new();
        for s in &self.segments {
            let Some(records) = self.records(s, 0)? else { break };
            let horizon = reclaim_horizon::read(self.raw, self.target)?;
            // The last version of an older segment is the checkpoint of the next segment, and was listed there.
            let known = out.last().map_or(u64::MAX, |v| v.number);
            let listed = records.iter().filter(|(q, l)| *q >= horizon && l.record.header.version < known);
            out.extend(listed.map(|(_, l)| version_of(l)));
            let b = &s.base;
            if b.version > 0 && b.reclaim_epoch >= horizon {
                out.push(Version::of((b.version, b.time), &b.author, b.bytes));
            }
            if b.reclaim_epoch < horizon || out.len() >= most {
                break;
            }
        }
        out.truncate(most);
        let mut times = self.times();
        out.iter_mut().for_each(|v| v.time = times.next(v.time));
        Ok(out)
    }

    /// Returns the error for a version that is not retained.
    pub(crate) fn not_kept(&self, at: At) -> Error {
        let kept = self.versions(usize::MAX).unwrap_or_default();
        not_kept(self.target, at, &kept, self.newest)
    }
}

/// Returns the error for a version that is not among the retained ones, which are given newest first.
pub(crate) fn not_kept(target: &str, at: At, kept: &[Version], newest: u64) -> Error {
    let (oldest, since) = kept.last().map_or((newest, 0), |v| (v.number, v.time));
    Error::new(target, ErrorKind::NoSuchVersion { asked: at.to_string(), kept: (oldest, newest), since })
}

/// Returns the description of a record's version.
fn version_of(l: &LoggedRecord) -> Version {
    let h = &l.record.header;
    Version::of((h.version, h.time), &h.by, added(l))
}

/// Returns the number of bytes that a record's version added.
fn added(l: &LoggedRecord) -> u64 {
    let used: u64 = SpaceDelta::decode(&l.record.notes).map_or(0, |n| n.used.iter().map(|(_, l)| l).sum());
    used + l.at.place.length
}
