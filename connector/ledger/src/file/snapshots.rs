//! Finds the snapshot of a handle, and pins it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::{self, Nonces};
use crate::error::{Error, ErrorKind, Result, Tampering};
use crate::file::free_space::{ALLOC_UNIT, ReclaimRule};
use crate::file::locks::Locks;
use crate::file::log::LoggedRecord;
use crate::file::multi_writer::Shared;
use crate::file::space_delta::SpaceDelta;
use crate::file::superblock::{FIXED, Fixed, Slot};
use crate::file::version_lookup::OldVersions;
use crate::file::writer::FileWriter;
use crate::file::{FileStorage, lock, log, reclaim_horizon};
use crate::options::{At, Writers};
use crate::storage::{Checkpoint, RemoteCommits};
use crate::tags::Held;

impl FileStorage {
    /// Returns the newest slot, with a pin that protects its version. "Reuse" in docs/format.md explains why the second
    /// reading of the slots can be trusted. The pin of the snapshot in use stays.
    pub(super) fn pin_newest(&self, seen: Option<&Slot>) -> Result<Slot> {
        let first = log::newest_slot(self.raw.as_ref(), &self.target)?;
        if seen == Some(&first) {
            return Ok(first);
        }
        let mut locks = lock(&self.locks);
        if let Some(seen) = seen {
            locks.pin(first.sequence, &self.target)?;
            // The pin in use is older, so it protects every later version while this one is pinned. The newest slot has a
            // lower sequence only if an older copy was written over the file.
            if seen.sequence < first.sequence {
                return Ok(first);
            }
        } else if let Some(file) = lock(&self.handle).as_ref() {
            *locks = Locks::reader(file, self.lock_policy, &self.target, first.sequence)?;
        }
        let second = log::newest_slot(self.raw.as_ref(), &self.target)?;
        if second.sequence != first.sequence {
            locks.pin(second.sequence, &self.target)?;
            if seen.is_none_or(|seen| seen.sequence != first.sequence) {
                locks.unpin_own(first.sequence);
            }
        }
        Ok(second)
    }

    /// After a fork, child and parent share the open file and its pins, so moving a pin in one process would move it in the
    /// other. Each process opens the file again when it next polls for commits, to get pins of its own. The shared file is
    /// closed here: its pins stay for as long as another process has it open.
    pub(super) fn adopt(&self, seen: Option<&Slot>) -> Result<()> {
        let me = crate::process::id();
        // The process is marked as the opener only after it has pins of its own, so that a failed attempt is repeated.
        let is_child = self.opener.load(Ordering::Relaxed) != me;
        let mut handle = lock(&self.handle);
        let mut locks = lock(&self.locks);
        if !is_child && !locks.may_be_a_childs() {
            return Ok(());
        }
        let Some(old) = handle.as_ref().filter(|_| locks.work()) else { return Ok(()) };
        // The file is not opened by its name, which may lead to another file by now.
        let again = File::open(format!("/proc/self/fd/{}", old.as_raw_fd()));
        let file = Arc::new(again.map_err(|e| Error::io(&self.target, "opening again after a fork", &e))?);
        self.check_handle(&file)?;
        let pinned = |s: &Slot| Locks::reader(&file, self.lock_policy, &self.target, s.sequence);
        *locks = seen.map(pinned).transpose()?.unwrap_or_else(Locks::none);
        self.opener.store(me, Ordering::Relaxed);
        // The snapshot in use is pinned again by now.
        self.raw.exchange(&file);
        *handle = Some(file);
        Ok(())
    }

    /// Returns whether a writer may have reused space of a reader's version. A pin prevents that, unless the pin was lost,
    /// as after a restart of a file server.
    pub(super) fn is_reclaimed(&self) -> bool {
        let (raw, seen) = (self.raw.as_ref(), lock(&self.seen).map(|s| s.sequence));
        if !lock(&self.locks).work() {
            return log::newest_slot(raw, &self.target).is_ok_and(|newest| Some(newest.sequence) != seen);
        }
        let horizon = || reclaim_horizon::read(raw, &self.target).unwrap_or_default();
        // A tag holds all space of its version, however old it is.
        self.tagged.is_none() && seen.is_some_and(|seen| horizon() > seen)
    }

    /// Returns whether a writer has committed since it forked this process, which reads through its handle. No pin protects
    /// the space of the version that this process reads.
    pub(super) fn is_left_behind(&self) -> bool {
        let is_child = self.opener.load(Ordering::Relaxed) != crate::process::id();
        let has_moved = || self.with_writer(|w, raw, _| Ok(log::newest_slot(raw, &self.target)? != w.head));
        is_child && has_moved().unwrap_or(false)
    }

    /// Returns the rule of the quarantine, and the retention time for the coming slots. The container stores the retention
    /// time that was set last.
    fn rule_for(&self, slot: &Slot) -> (ReclaimRule, u64) {
        if let Some(asked) = self.options.retention {
            return (self.rule, clock::micros(asked) / 1000 + 1);
        }
        match slot.retention.checked_sub(1) {
            None => (self.rule, 0),
            Some(ms) => (self.rule.with_retention(ms), slot.retention),
        }
    }

    /// Returns the snapshot of an old version, pinned. [`is_reclaimed`](Self::is_reclaimed) and the reclaim horizon tell if
    /// it is complete.
    pub(super) fn old_version(&self, seen: &mut Option<Slot>, at: At) -> Result<Option<RemoteCommits>> {
        if seen.is_some() {
            return Ok(None);
        }
        let raw = self.raw.as_ref();
        let newest = self.pin_newest(None)?;
        let past = OldVersions::of(raw, &newest, &self.target)?;
        let found = past.find(at)?;
        let locks = lock(&self.locks);
        if let Some(slot) = &found {
            locks.pin(slot.sequence, &self.target)?;
            // The pin of the newest version does not protect space that only an older version needs.
            if reclaim_horizon::read(raw, &self.target)? <= slot.sequence {
                if slot.sequence != newest.sequence {
                    locks.unpin_own(newest.sequence);
                }
                drop(locks);
                *seen = found;
                let commits = self.read_commits(slot, None)?;
                return Ok(Some(RemoteCommits { mark: past.mark_of_checkpoint(slot.version), ..commits }));
            }
            locks.unpin_own(slot.sequence);
        }
        locks.unpin_own(newest.sequence);
        Err(past.not_kept(at))
    }

    /// Finds the newest version that can be read, after reading the newest version failed with `e`.
    pub(super) fn salvage(&self, e: Error) -> Result<RemoteCommits> {
        // A version that a newer build wrote is not damaged, and must not be hidden by an older one.
        if matches!(e.kind(), ErrorKind::NewerFormat { .. }) {
            return Err(e);
        }
        let raw = self.raw.as_ref();
        for slot in log::remains(raw, &self.target)? {
            if let Ok(records) = log::records(raw, &slot, slot.base_version, &self.target) {
                tracing::warn!(error = %e, version = slot.version, "an older version is opened");
                let restart = Some(Checkpoint { version: slot.base_version, root: slot.root });
                let records = records.into_iter().map(|r| r.record).collect();
                let version = slot.version;
                return Ok(RemoteCommits { version, restart, records, ..RemoteCommits::default() });
            }
        }
        Err(e)
    }

    /// Reads the commits between the snapshot in use and `slot`. Reads all records and the checkpoint if a program wrote
    /// another history over the file, such as an older copy.
    pub(super) fn read_commits(&self, slot: &Slot, seen: Option<&Slot>) -> Result<RemoteCommits> {
        let raw = self.raw.as_ref();
        log::check_length(raw, slot, &self.target)?;
        let later = seen.and_then(|seen| self.records_behind(seen, slot));
        let goes_on = later.is_some();
        let records = match later {
            Some(records) => records,
            None => log::records(raw, slot, slot.base_version, &self.target)?,
        };
        if let Some(w) = &self.writer {
            let (nonces, sync) = (Nonces::new(&self.target)?, self.options.sync);
            let rule = self.rule_for(slot);
            let shared = self.is_shared().then(|| Shared::new(slot));
            let mut fresh = FileWriter::new(self.target.clone(), *slot, &records, rule, sync, nonces, shared);
            fresh.take_blocks_ahead(&lock(&self.locks));
            // The padding of the last extent to a whole number of allocation units may not have been written.
            raw.expect_length((slot.end + 1).saturating_sub(ALLOC_UNIT));
            fresh.keep_time(self.clock, self.fixed.created);
            fresh.tags.may_exist = self.fixed.tags || self.is_shared() && self.has_tags_by_now()?;
            if fresh.tags.may_exist {
                fresh.hold_runs(Held::Everything);
            }
            if let (Some(end), Some(journal)) = (self.earlier_end, lock(&self.journal).as_mut()) {
                fresh.begin_behind(self.raw.as_ref(), journal, end)?;
            }
            *lock(w) = Some(fresh);
        }
        let restart = (!goes_on).then_some(Checkpoint { version: slot.base_version, root: slot.root });
        let records = records.into_iter().map(|r| r.record).collect();
        // A checkpoint changes neither version nor time.
        let is_other = seen.is_some_and(|seen| (seen.version, seen.time) != (slot.version, slot.time));
        Ok(RemoteCommits { version: slot.version, restart, records, is_other, ..RemoteCommits::default() })
    }

    /// Returns the records of `slot` that follow those of `known`. Returns `None` if `known` is not an earlier state of
    /// `slot`, or after any error, which reading all records will report.
    fn records_behind(&self, known: &Slot, slot: &Slot) -> Option<Vec<LoggedRecord>> {
        let same_base = (known.base_version, known.root) == (slot.base_version, slot.root);
        if !same_base || known.version > slot.version {
            return None;
        }
        let records = log::records(self.raw.as_ref(), slot, known.version, &self.target).ok()?;
        // The checksum of a record covers its nonce. So an equal pointer means the same record, with the same records
        // before it.
        let reached = records.first().map_or(slot.record, |first| first.record.header.previous);
        (reached == known.record).then_some(records)
    }

    /// Checks that the file still has the container that was opened. A program may have written another one over it.
    pub(super) fn check_is_there(&self) -> Result<()> {
        match self.read_fixed()?.id == self.fixed.id {
            true => Ok(()),
            false => Err(self.tampered(Tampering::Replaced { is_overwritten: false })),
        }
    }

    /// Returns the current fixed part of the superblock.
    pub(super) fn read_fixed(&self) -> Result<Fixed> {
        let mut head = [0; FIXED];
        let read = self.raw.read_at(&mut head, 0);
        read.map_err(|e| log::unreadable(&self.target, "head", &e))?;
        Fixed::decode(&head, &self.target)
    }

    /// Returns whether the superblock says by now that there may be tags. Between this writer's first read of the
    /// superblock and its first read of the slots, another concurrent writer may have made the first tag and a checkpoint,
    /// so that no record contains the tag. The bit is set before the tag is committed, so it is set when a slot with the
    /// tag is read.
    fn has_tags_by_now(&self) -> Result<bool> {
        Ok(self.read_fixed()?.tags)
    }

    /// Reads the commits of `slot` that the cached snapshot of an earlier reader of this process does not have. Returns
    /// `None` if that snapshot's log is not the beginning of this one, or after any error, which reading all records will
    /// report.
    pub(super) fn read_on(&self, slot: &Slot) -> Option<RemoteCommits> {
        let known = lock(&self.known).take()?;
        log::check_length(self.raw.as_ref(), slot, &self.target).ok()?;
        let records = self.records_behind(&known, slot)?.into_iter().map(|r| r.record).collect();
        Some(RemoteCommits { version: slot.version, records, ..RemoteCommits::default() })
    }

    pub(super) fn is_shared(&self) -> bool {
        self.writer.is_some() && self.options.writers == Writers::Many
    }

    /// Returns the newest slot, pinned for a concurrent writer in the same way as for a reader.
    pub(super) fn pin_shared(&self) -> Result<Slot> {
        let locks = lock(&self.locks);
        let first = log::newest_slot(self.raw.as_ref(), &self.target)?;
        locks.pin(first.sequence, &self.target)?;
        let second = log::newest_slot(self.raw.as_ref(), &self.target)?;
        if second.sequence != first.sequence {
            locks.pin(second.sequence, &self.target)?;
            locks.unpin(first.sequence);
        }
        Ok(second)
    }
}

/// Truncates the commits between `seen` and `slot` to versions up to `last`. Returns the slot that leads to that version,
/// with the sequence of the pin of `seen`, which protects it. Returns `None` if all commits are kept: no version is newer
/// than `last`, a checkpoint contains them, or the pin belongs to a history that an older copy has replaced.
pub(super) fn cut_off(commits: &mut RemoteCommits, last: u64, slot: &Slot, seen: &Slot) -> Option<Slot> {
    let first = commits.restart.map_or(seen.version, |base| base.version);
    if last < first.max(seen.version) || commits.version <= last {
        return None;
    }
    let count = commits.records.partition_point(|record| record.header.version <= last);
    let next = commits.records.get(count)?;
    // Space of the version is freed by the next slot at the earliest.
    let (sequence, _) = SpaceDelta::outline(&next.notes).ok()?;
    if sequence <= seen.sequence {
        return None;
    }
    let record = next.header.previous;
    commits.records.truncate(count);
    commits.version = last;
    let time = commits.records.last().map_or(slot.time, |record| record.header.time);
    Some(Slot { sequence: seen.sequence, version: last, time, record, ..*slot })
}
