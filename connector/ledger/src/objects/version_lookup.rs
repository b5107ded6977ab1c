//! Finding an old version in an object store, and listing those that are kept.

use object_stores::ObjectStore;

use crate::address::PageRef;
use crate::error::{Error, ErrorKind, Result};
use crate::file::not_kept;
use crate::history::{History, Mark};
use crate::objects::manifest::{Head, Names, read_decoded_head, store_error};
use crate::objects::object_usage::UsageDelta;
use crate::objects::{FetchedRecord, MAX_RECORDS_PER_FETCH, ObjectStorage, ReaderState};
use crate::options::{At, Version};
use crate::storage::{Checkpoint, RemoteCommits};
use crate::wal::record::Author;

/// The error for a part of a head that the store did not give: its history, or the room table. What is missing was reclaimed, if a
/// newer head names another one.
pub(super) fn part_unread(
    (store, names, target): (&dyn ObjectStore, &Names, &str),
    head: &Head,
    (what, part): (&str, fn(&Head) -> Option<PageRef>),
    e: &object_stores::Error,
) -> Error {
    if e.kind() != object_stores::ErrorKind::NotFound {
        return store_error(target, e);
    }
    match read_decoded_head(store, &names.head, target) {
        Ok(Some(newest)) if newest.fixed.id == head.fixed.id && part(&newest) == part(head) => {
            Error::corrupt(target, what, "it is missing")
        }
        Ok(_) => Error::new(target, ErrorKind::Gone),
        Err(asking) => asking,
    }
}

/// What the history of a head says; the default for a container that never had a checkpoint.
pub(crate) fn history(store: &dyn ObjectStore, names: &Names, head: &Head, target: &str) -> Result<History> {
    let Some(p) = head.history else {
        let base = Mark { version: head.base.version, ..Mark::default() };
        return Ok(History { base, past: Vec::new() });
    };
    let key = names.object_key(&p.place.location, target)?;
    let range = p.place.offset..p.place.offset + p.place.length;
    let got = store
        .get(&key, Some(range))
        .map_err(|e| part_unread((store, names, target), head, ("history", |head| head.history), &e))?;
    let history = History::decode(&got.bytes, p.crc).map_err(|why| Error::corrupt(target, "history", why))?;
    if history.base.version == head.base.version {
        Ok(history)
    } else {
        Err(Error::corrupt(target, "history", "it is another base's"))
    }
}

/// A version as a base remembers it, but for the epoch.
pub(crate) fn mark_of(l: &FetchedRecord) -> Mark {
    let h = &l.record.header;
    let gained: u64 = UsageDelta::decode(&l.record.notes).map_or(0, |n| n.gained.values().sum());
    let bytes = gained.saturating_add(l.record.length);
    Mark { version: h.version, reclaim_epoch: h.time, time: h.time, bytes, author: h.by.clone() }
}

/// A version as an entry of a tag remembers it, but for the epoch.
pub(super) fn mark_of_version(v: Version) -> Mark {
    let author = Author { host: v.host.into(), pid: v.pid };
    Mark { version: v.number, reclaim_epoch: 0, time: v.time, bytes: v.bytes, author }
}

pub(super) fn version_of(m: Mark) -> Version {
    Version {
        number: m.version,
        time: m.time,
        host: m.author.host.to_string(),
        pid: m.author.pid,
        bytes: m.bytes,
    }
}

/// A base and the log that followed it.
struct ObjectHistorySegment {
    base: Mark,
    root: Option<PageRef>,
    /// The last version that only this base leads to; `None` for the newest segment.
    last: Option<u64>,
}

/// All that a head leads to, newest first.
fn segments(head: &Head, history: History) -> Vec<ObjectHistorySegment> {
    let newest = ObjectHistorySegment { base: history.base, root: head.base.root, last: None };
    let older = |p: crate::history::PastCheckpoint| ObjectHistorySegment {
        base: p.base,
        root: p.root,
        last: Some(p.last - 1),
    };
    std::iter::once(newest).chain(history.past.into_iter().rev().map(older)).collect()
}

impl ObjectStorage {
    fn segments(&self, head: &Head) -> Result<Vec<ObjectHistorySegment>> {
        let history = history(self.store.as_ref(), &self.names, head, &self.target)?;
        Ok(segments(head, history))
    }

    /// The records from `first` to `last`, which are known to have been there, oldest first. Those before the newest that is
    /// missing are left out.
    pub(super) fn exactly(&self, first: u64, last: u64, enough: usize) -> Result<Vec<FetchedRecord>> {
        let mut out: Vec<FetchedRecord> = Vec::new();
        let mut end = last;
        while end >= first && out.len() < enough {
            let from = end.saturating_sub(MAX_RECORDS_PER_FETCH as u64 - 1).max(first);
            let mut part = Vec::new();
            for answer in self.together(from..=end) {
                match answer? {
                    Some(l) => part.push(l),
                    None => part.clear(),
                }
            }
            let whole = part.len() as u64 == end - from + 1;
            part.append(&mut out);
            out = part;
            if !whole || from == 0 {
                break;
            }
            end = from - 1;
        }
        Ok(out)
    }

    /// The records of a segment, oldest first, from its base on or at least the newest so many.
    fn of_segment(&self, s: &ObjectHistorySegment, head: &Head, enough: usize) -> Result<Vec<FetchedRecord>> {
        match s.last {
            None => self.records(s.base.version, head.version, head.version),
            Some(last) => self.exactly(s.base.version + 1, last, enough),
        }
    }

    /// The snapshot of an old version. Nothing protects it but the retention time.
    pub(super) fn old_version(&self, seen: &mut ReaderState, at: At) -> Result<Option<RemoteCommits>> {
        if seen.version.is_some() {
            return Ok(None);
        }
        let head = seen.head.clone();
        if let Some((reclaim_epoch, commits)) = self.find(&head, at)?
            && (reclaim_epoch >= head.lost || commits.version == self.newest(&head)?)
        {
            (seen.version, seen.reclaim_epoch) = (Some(commits.version), Some(reclaim_epoch.max(head.lost)));
            self.stand_on(seen);
            return Ok(Some(commits));
        }
        let kept = self.list_versions(usize::MAX)?;
        let newest = kept.first().map_or(0, |v| v.number);
        Err(not_kept(&self.target, at, &kept, newest))
    }

    /// The newest version, which is whole whatever was deleted since it began.
    pub(super) fn newest(&self, head: &Head) -> Result<u64> {
        let records = self.records(head.base.version, head.version, head.version)?;
        Ok(records.last().map_or(head.base.version, |l| l.record.header.version))
    }

    /// The way to a version, and the epoch at which it began; `None` if nothing leads there.
    pub(super) fn find(&self, head: &Head, at: At) -> Result<Option<(u64, RemoteCommits)>> {
        let reached = |s: &ObjectHistorySegment| match at {
            At::Version(v) => s.base.version <= v,
            At::Time(t) => s.base.time <= t,
            At::Tag(_) | At::Branch(_) | At::Replaced(_) => false,
        };
        let Some(s) = self.segments(head)?.into_iter().find(reached) else { return Ok(None) };
        let mut records = match at {
            At::Version(v) if s.last.is_some() || v <= head.version => {
                self.exactly(s.base.version + 1, v, usize::MAX)?
            }
            _ => self.of_segment(&s, head, usize::MAX)?,
        };
        let fits = |l: &FetchedRecord| match at {
            At::Version(v) => l.record.header.version <= v,
            At::Time(t) => l.record.header.time <= t,
            At::Tag(_) | At::Branch(_) | At::Replaced(_) => false,
        };
        records.retain(fits);
        // Behind a record that is missing, none can be used.
        let complete = records.first().is_none_or(|l| l.record.header.version == s.base.version + 1);
        let (version, reclaim_epoch) = records.last().map_or((s.base.version, s.base.reclaim_epoch), |l| {
            (l.record.header.version, l.record.header.time)
        });
        if !complete || version == 0 || matches!(at, At::Version(v) if v != version) {
            return Ok(None);
        }
        let restart = Some(Checkpoint { version: s.base.version, root: s.root });
        let records = records.into_iter().map(|l| l.record).collect();
        let mark = Some(s.base);
        Ok(Some((
            reclaim_epoch,
            RemoteCommits { version, restart, records, mark, ..RemoteCommits::default() },
        )))
    }

    /// The versions that are whole, newest first, at most so many.
    pub(super) fn list_versions(&self, most: usize) -> Result<Vec<Version>> {
        let found = read_decoded_head(self.store.as_ref(), &self.names.head, &self.target)?;
        let head = found.ok_or_else(|| Error::new(&self.target, ErrorKind::Gone))?;
        let mut out: Vec<Version> = Vec::new();
        for s in self.segments(&head)? {
            let records = self.of_segment(&s, &head, most.saturating_sub(out.len()))?;
            let complete =
                records.len() as u64 == s.last.map_or(records.len() as u64, |l| l - s.base.version);
            // The newest version is whole, whatever was deleted since it began.
            let mut newest = s.last.is_none();
            let is_whole = |m: &Mark| std::mem::take(&mut newest) || m.reclaim_epoch >= head.lost;
            out.extend(records.iter().rev().map(mark_of).take_while(is_whole).map(version_of));
            let base_is_whole = newest || s.base.reclaim_epoch >= head.lost;
            if !complete || !base_is_whole || s.base.version == 0 || out.len() >= most {
                break;
            }
            out.push(version_of(s.base));
        }
        out.truncate(most);
        Ok(out)
    }
}
