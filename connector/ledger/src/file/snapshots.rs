//! Finding the snapshot of a handle, and pinning it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::{self, Nonces};
use crate::error::{Error, Result, Tampering};
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
    /// The newest head, with a pin that makes its version safe. See "Reuse" in docs/format.md for why the second
    /// reading of the head may be believed. The pin of the snapshot in use stays.
    pub(super) fn pin_newest(&self, seen: Option<&Slot>) -> Result<Slot> {
        let first = log::newest_slot(self.raw.as_ref(), &self.target)?;
        if seen == Some(&first) {
            return Ok(first);
        }
        let mut locks = lock(&self.locks);
        if let Some(seen) = seen {
            locks.pin(first.sequence, &self.target)?;
            // The pin in use is older, so it protects every later version while this one is taken. Only an older copy that was put
            // into the file has an older one.
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

    /// After a fork, child and parent share the open file and so its pins: whoever moved one would move the other's. Each of
    /// them opens the file anew when it next looks for commits, for pins of its own. The shared one is closed here: its pins stay
    /// for as long as another process has it open.
    pub(super) fn adopt(&self, seen: Option<&Slot>) -> Result<()> {
        let me = crate::process::id();
        // Until it has pins of its own: another look tries again.
        let is_child = self.opener.load(Ordering::Relaxed) != me;
        let mut handle = lock(&self.handle);
        let mut locks = lock(&self.locks);
        if !is_child && !locks.may_be_a_childs() {
            return Ok(());
        }
        let Some(old) = handle.as_ref().filter(|_| locks.work()) else { return Ok(()) };
        // Not by its name, which may name another file by now.
        let again = File::open(format!("/proc/self/fd/{}", old.as_raw_fd()));
        let file = Arc::new(again.map_err(|e| Error::io(&self.target, "opening again after a fork", &e))?);
        self.check_handle(&file)?;
        let pinned = |s: &Slot| Locks::reader(&file, self.lock_policy, &self.target, s.sequence);
        *locks = seen.map(pinned).transpose()?.unwrap_or_else(Locks::none);
        self.opener.store(me, Ordering::Relaxed);
        // The snapshot in use is pinned anew by now.
        self.raw.exchange(&file);
        *handle = Some(file);
        Ok(())
    }

    /// Whether a writer may have used room of a reader's version again. A pin keeps it from that, unless the pin was lost: a parent
    /// with an earlier build lets go of its forked child's.
    pub(super) fn is_reclaimed(&self) -> bool {
        let (raw, seen) = (self.raw.as_ref(), lock(&self.seen).map(|s| s.sequence));
        if !lock(&self.locks).work() {
            return log::newest_slot(raw, &self.target).is_ok_and(|newest| Some(newest.sequence) != seen);
        }
        let lost = || reclaim_horizon::read(raw, &self.target).unwrap_or_default();
        // What a tag needs is whole, however old it is.
        self.tagged.is_none() && seen.is_some_and(|seen| lost() > seen)
    }

    /// Whether a writer has committed since it forked this process, which reads by its handle. No pin keeps the room of what that reads.
    pub(super) fn is_left_behind(&self) -> bool {
        let is_child = self.opener.load(Ordering::Relaxed) != crate::process::id();
        let has_moved = || self.with_writer(|w, raw, _| Ok(log::newest_slot(raw, &self.target)? != w.head));
        is_child && has_moved().unwrap_or(false)
    }

    /// How long freed room rests, and what later writers are told of it. The container remembers what was asked for last.
    fn rule_for(&self, slot: &Slot) -> (ReclaimRule, u64) {
        if let Some(asked) = self.options.retention {
            return (self.rule, clock::micros(asked) / 1000 + 1);
        }
        match slot.retention.checked_sub(1) {
            None => (self.rule, 0),
            Some(ms) => (self.rule.with_retention(ms), slot.retention),
        }
    }

    /// The snapshot of an old version, pinned. See `reclaimed` for why it is whole.
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
            // The pin of the newest version protects nothing that an older one has beyond it.
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

    /// Finds the newest version that can be read, when `e` keeps the newest one from it.
    pub(super) fn salvage(&self, e: Error) -> Result<RemoteCommits> {
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

    /// Reads what `slot` has that the snapshot in use has not: all of it, where a program put another history into the file, such as
    /// an older copy.
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
        // A checkpoint keeps version and time.
        let is_other = seen.is_some_and(|seen| (seen.version, seen.time) != (slot.version, slot.time));
        Ok(RemoteCommits { version: slot.version, restart, records, is_other, ..RemoteCommits::default() })
    }

    /// The records of `slot` that follow what `known` shows. `None` if what `known` shows is not the beginning of it, or anything is
    /// wrong, which reading all will tell.
    fn records_behind(&self, known: &Slot, slot: &Slot) -> Option<Vec<LoggedRecord>> {
        let same_base = (known.base_version, known.root) == (slot.base_version, slot.root);
        if !same_base || known.version > slot.version {
            return None;
        }
        let records = log::records(self.raw.as_ref(), slot, known.version, &self.target).ok()?;
        // Its checksum covers the nonce of a record: the same pointer is the same record, and so all before it are the same.
        let reached = records.first().map_or(slot.record, |first| first.record.header.previous);
        (reached == known.record).then_some(records)
    }

    /// Whether the container that was opened is still in the file: a program may have put another one there.
    pub(super) fn check_is_there(&self) -> Result<()> {
        match self.read_fixed()?.id == self.fixed.id {
            true => Ok(()),
            false => Err(self.tampered(Tampering::Replaced { is_overwritten: false })),
        }
    }

    /// The fixed part of the head as it is now.
    pub(super) fn read_fixed(&self) -> Result<Fixed> {
        let mut head = [0; FIXED];
        let read = self.raw.read_at(&mut head, 0);
        read.map_err(|e| log::unreadable(&self.target, "head", &e))?;
        Fixed::decode(&head, &self.target)
    }

    /// Whether the head says by now that there may be tags. Between this writer's first look at the head and its first look at the
    /// slots, another of many may have made the first tag and a checkpoint: then no record tells of it. The head says so before the
    /// tag is committed, so it does when a slot is read that has the tag.
    fn has_tags_by_now(&self) -> Result<bool> {
        Ok(self.read_fixed()?.tags)
    }

    /// Reads what `slot` has that an earlier reader of this process did not know. `None` if that one's log is not the
    /// beginning of this one, or anything is wrong, which reading all will tell.
    pub(super) fn read_on(&self, slot: &Slot) -> Option<RemoteCommits> {
        let known = lock(&self.known).take()?;
        log::check_length(self.raw.as_ref(), slot, &self.target).ok()?;
        let records = self.records_behind(&known, slot)?.into_iter().map(|r| r.record).collect();
        Some(RemoteCommits { version: slot.version, records, ..RemoteCommits::default() })
    }

    pub(super) fn is_shared(&self) -> bool {
        self.writer.is_some() && self.options.writers == Writers::Many
    }

    /// The newest head, pinned by one of many writers as a reader pins it.
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

/// Keeps the records up to version `last` of those between `seen` and `slot`. Answers what leads to that version: with the pin of
/// `seen`, which protects it. `None`: all are kept, for none is newer, a checkpoint has them, or that pin is of a history that an
/// older copy has replaced.
pub(super) fn cut_off(commits: &mut RemoteCommits, last: u64, slot: &Slot, seen: &Slot) -> Option<Slot> {
    let first = commits.restart.map_or(seen.version, |base| base.version);
    if last < first.max(seen.version) || commits.version <= last {
        return None;
    }
    let count = commits.records.partition_point(|record| record.header.version <= last);
    let next = commits.records.get(count)?;
    // What the version has goes out of use with the next head at the earliest.
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
