//! The storage traits, implemented for a file.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::snapshots::cut_off;
use super::version_lookup::{self, OldVersions};
use super::{
    FileStorage, audit, expired, free_space, lock, log, replaced, snapshot_cache, superblock, temporary,
    write_buffer,
};
use crate::address::{Address, Location};
use crate::audit::Audit;
use crate::compaction_plan::CompactionPlan;
use crate::error::{Error, ErrorKind, Result};
use crate::history::Mark;
use crate::options::{ContainerIdentity, SyncPolicy, Version};
use crate::paths::followed;
use crate::storage::{
    Checkpoint, Commit, PageSizes, RemoteCommits, Snapshot, StorageCheckpoints, StorageCommits,
    StorageCompaction, StoragePayloads, StorageReads, StorageSharing, StorageTags,
};
use crate::tags::{Held, TagEntry};
use crate::wal::record::{CommitRecord, Entries};

impl StorageReads for FileStorage {
    fn target(&self) -> &str {
        &self.target
    }

    fn identity(&self) -> ContainerIdentity {
        ContainerIdentity { id: self.fixed.id, file: self.file, key: String::new() }
    }

    fn shape(&self) -> PageSizes {
        PageSizes { page: 8 << 10, branch: 8 << 10, spill: 2 << 10, records: 1 << 16 }
    }

    fn poll_commits_up_to(&self, last: u64) -> Result<Option<RemoteCommits>> {
        self.unseen_up_to(last).map_err(|e| self.explained(e))
    }

    fn cached_snapshot(&self) -> Option<Snapshot> {
        if !self.is_remembered() {
            return None;
        }
        let (slot, snapshot) = snapshot_cache::take((self.fixed.id, self.file))?;
        *lock(&self.known) = Some(slot);
        Some(snapshot)
    }

    fn cache_snapshot(&self, snapshot: Snapshot) {
        if !self.is_remembered() {
            return;
        }
        if let Some(slot) = lock(&self.seen).filter(|slot| slot.version == snapshot.version) {
            snapshot_cache::keep((self.fixed.id, self.file), slot, snapshot);
        }
    }

    fn read(&self, place: &Address, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read_parts(place, offset, &mut [IoSliceMut::new(buf)])
    }

    fn read_parts(&self, place: &Address, offset: u64, parts: &mut [IoSliceMut<'_>]) -> Result<()> {
        let at = place.offset.saturating_add(offset);
        if place.location != Location::File || place.offset < superblock::DATA {
            return Err(Error::corrupt(&self.target, format!("{place:?}"), "not a place in a file"));
        }
        let length = parts.iter().map(|part| part.len() as u64).sum();
        let known = match &self.writer {
            Some(_) => self.with_writer(|w, _, _| Ok(w.read_pending(parts, at)))?,
            None => Range::default(),
        };
        let read = match parts {
            _ if !known.is_empty() => write_buffer::read_around(self.raw.as_ref(), parts, at, &known),
            [buf] => self.raw.read_at(buf, at),
            _ => self.raw.read_parts_at(parts, at),
        };
        read.map_err(|e| {
            let where_ = format!("bytes {at} to {}", at.saturating_add(length));
            self.classify_read_error(log::unreadable(&self.target, &where_, &e))
        })
    }

    fn folder(&self) -> Option<PathBuf> {
        let handle = lock(&self.handle).clone()?;
        // The present path of the file, whatever path it was opened by, and whatever the working folder is.
        let led_to = || std::fs::read_link(format!("/proc/self/fd/{}", handle.as_raw_fd())).ok();
        let path = self.check_handle(&handle).ok().and_then(|()| led_to());
        let path =
            path.filter(|path| path.is_absolute()).or_else(|| std::path::absolute(&self.target).ok())?;
        path.parent().map(Path::to_owned)
    }

    fn is_for_sources(&self) -> bool {
        self.fixed.sources
    }

    fn versions(&self, most: usize) -> Result<Vec<Version>> {
        let raw = self.raw.as_ref();
        let mut head = log::newest_slot(raw, &self.target)?;
        loop {
            let listed = OldVersions::of(raw, &head, &self.target).and_then(|p| p.versions(most));
            let now = log::newest_slot(raw, &self.target)?;
            // A writer may have committed, and reused the space that was being read.
            if listed.is_ok() || now == head {
                return listed;
            }
            head = now;
        }
    }

    fn mark_of_snapshot(&self, version: u64) -> Result<Option<Mark>> {
        let Some(slot) = (*lock(&self.seen)).filter(|slot| slot.version == version) else { return Ok(None) };
        version_lookup::mark_of_slot(self.raw.as_ref(), &slot, &self.target)
            .map_err(|e| self.classify_read_error(e))
    }

    fn size(&self) -> Result<u64> {
        let len = self.raw.len().map_err(|e| Error::io(&self.target, "asking for the length", &e))?;
        Ok(len + self.fixed.base)
    }

    fn offset_in_file(&self) -> Option<u64> {
        Some(self.fixed.base)
    }

    fn reopened(&self) -> Option<io::Result<File>> {
        let is_none = |e: &io::Error| e.kind() == io::ErrorKind::Unsupported;
        Some(self.raw.reopened()).filter(|file| !file.as_ref().is_err_and(is_none))
    }

    fn audit(&self) -> Option<Box<dyn Audit + '_>> {
        audit::FileAudit::of(self).map(|audit| Box::new(audit) as Box<dyn Audit>)
    }

    fn allocation_of(&self, place: &Address) -> Address {
        let (offset, length) = free_space::run_of(place);
        Address::file(offset, length)
    }

    fn classify_read_error(&self, e: Error) -> Error {
        let e = self.explained(e);
        if matches!(e.kind(), ErrorKind::Tampered { .. }) {
            return e;
        }
        let is_overtaken = if self.writer.is_none() { self.is_reclaimed() } else { self.is_left_behind() };
        if is_overtaken {
            self.gone.store(true, Ordering::Relaxed);
            return Error::new(&self.target, ErrorKind::Gone);
        }
        self.older_copy().unwrap_or(e)
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn is_current(&self) -> bool {
        self.is_current()
    }
}

impl FileStorage {
    /// Returns the commits up to version `last` that this handle has not observed yet.
    fn unseen_up_to(&self, last: u64) -> Result<Option<RemoteCommits>> {
        let mut seen = lock(&self.seen);
        if self.writer.is_none() {
            self.adopt(seen.as_ref())?;
        }
        if let Some(entry) = &self.tagged {
            return self.tagged_version(&mut seen, entry);
        }
        if let Some(at) = self.options.at {
            return self.old_version(&mut seen, at);
        }
        if self.is_shared() && seen.is_some() {
            // Released, because `explained` locks `seen` to explain an error.
            drop(seen);
            return self.with_writer(|w, raw, locks| w.unseen_commits(raw, locks));
        }
        let slot = match &self.writer {
            Some(_) if self.is_shared() => self.pin_shared()?,
            Some(_) => log::newest_slot(self.raw.as_ref(), &self.target)?,
            None => self.pin_newest(seen.as_ref())?,
        };
        if *seen == Some(slot) {
            return Ok(None);
        }
        let salvaging = self.options.salvage && self.writer.is_none();
        if salvaging && seen.is_some() {
            return Ok(None);
        }
        let mut commits = match self.read_on(&slot) {
            Some(commits) => Ok(commits),
            None => seen
                .map_or(Ok(()), |_| self.check_is_there())
                .and_then(|()| self.read_commits(&slot, seen.as_ref())),
        };
        if salvaging && let Err(e) = commits {
            commits = self.salvage(e);
        }
        let earlier = match (&mut commits, seen.as_ref()) {
            (Ok(commits), Some(seen)) if self.writer.is_none() => cut_off(commits, last, &slot, seen),
            _ => None,
        };
        // One pin is released: that of the older slot, or that of the newer slot if the older slot is still needed.
        let goes_all_the_way = commits.is_ok() && earlier.is_none();
        if self.writer.is_none()
            && let Some(out) = if goes_all_the_way { *seen } else { Some(slot) }
            && seen.is_none_or(|seen| seen.sequence != slot.sequence)
        {
            lock(&self.locks).unpin_own(out.sequence);
        }
        let commits = commits?;
        self.gone.store(false, Ordering::Relaxed);
        *seen = Some(earlier.unwrap_or(slot));
        Ok(Some(commits))
    }

    /// Writes in front of the container. After a failed sync, bytes of the container are written again, but these are not,
    /// so they are synced through a descriptor of their own. The system reports an error to each open file description,
    /// even if it was already reported to another one.
    fn write_in_front(&self, file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
        let synced = match self.options.sync {
            SyncPolicy::Commit => Some(self.raw.reopened()?),
            SyncPolicy::Process => None,
        };
        self.raw.check()?;
        file.write_all_at(bytes, at)?;
        synced.map_or(Ok(()), |file| file.sync_data())
    }
}

impl StoragePayloads for FileStorage {
    fn write_payload(&self, data: &[u8], on_bytes: &mut dyn FnMut(&[u8])) -> Result<Address> {
        if data.is_empty() {
            return Ok(Address::file(0, 0));
        }
        self.with_writer(|w, raw, locks| w.payload(raw, locks, data, on_bytes))
    }

    fn write_to_grow(&self, data: &[u8], most: u64, on_bytes: &mut dyn FnMut(&[u8])) -> Result<Address> {
        if data.is_empty() {
            return Ok(Address::file(0, 0));
        }
        self.with_writer(|w, raw, locks| w.payload_to_grow(raw, locks, data, most, on_bytes))
    }

    fn grow_payload(&self, place: &Address, data: &[u8]) -> Result<bool> {
        if place.location != Location::File {
            return Ok(false);
        }
        self.with_writer(|w, raw, _| w.grow(raw, place, data))
    }

    fn stop_growing(&self) {
        let _a_reader_keeps_no_room = self.with_writer(|w, _, _| {
            w.stop_growing();
            Ok(())
        });
    }

    fn prepare_to_free(&self) -> Result<()> {
        self.with_writer(|w, raw, _| w.load(raw).map(drop))
    }

    fn free_payload(&self, place: &Address) -> Result<()> {
        self.with_writer(|w, raw, _| w.free(raw, place))
    }

    fn write_user_block(&self, at: u64, bytes: &[u8]) -> Result<()> {
        if self.writer.is_none() || at.saturating_add(bytes.len() as u64) > self.fixed.base {
            return Err(Error::invalid(
                &self.target,
                "a user block is longer than its room, or cannot be written",
            ));
        }
        let handle = lock(&self.handle).clone();
        let written = handle.map_or(Ok(()), |file| self.write_in_front(&file, at, bytes));
        written.map_err(|e| Error::io(&self.target, "writing the user block", &e))
    }

    fn has_freed(&self) -> bool {
        self.with_writer(|w, _, _| Ok(w.has_freed())).unwrap_or(false)
    }

    fn keep_payload(&self, place: &Address) {
        let _a_reader_frees_nothing = self.with_writer(|w, _, _| {
            w.keep(place);
            Ok(())
        });
    }
}

impl StorageCommits for FileStorage {
    fn commit(&self, version: u64, entries: &dyn Entries, _closes: bool) -> Result<Commit> {
        let shared = self.is_shared();
        self.with_writer(|w, raw, locks| match shared {
            true => w.commit_shared(raw, locks, version, &entries.encoded()),
            false => w.commit(raw, locks, version, entries).map(Commit::Done),
        })
    }

    fn ensure_published(&self) -> Result<()> {
        self.raw.check().map_err(|e| self.explained(Error::io(&self.target, "using the file", &e)))
    }

    fn takes_edits(&self) -> bool {
        // Concurrent writers read the records of other writers and apply them to values of their own, so their records
        // contain whole values.
        self.fixed.edits && !self.is_shared()
    }

    fn rollback(&self) -> Result<()> {
        self.with_writer(|w, _, _| {
            w.rollback();
            Ok(())
        })
    }

    fn make_durable(&self) -> Result<()> {
        if self.writer.is_none() {
            return Ok(());
        }
        self.with_writer(|w, raw, _| w.make_durable(raw))
    }

    fn close(&self) -> Result<()> {
        // If the file could not be read, nothing was written, and the lock is released all the same.
        let shared = self.is_shared();
        let _nothing_was_written = self.writer.as_ref().map(|_| {
            self.with_writer(|w, raw, locks| {
                if shared {
                    w.give_up(locks);
                }
                w.leave_copy(raw);
                w.give_back_blocks(raw);
                Ok(())
            })
        });
        let locks = lock(&self.locks);
        if self.writer.is_some() {
            locks.release_writer();
        } else if let Some(s) = *lock(&self.seen) {
            locks.unpin_own(s.sequence);
        }
        Ok(())
    }
}

impl StorageSharing for FileStorage {
    fn reserve_numbers(
        &self,
        count: u64,
        counter: &mut dyn FnMut(&[CommitRecord]) -> Result<u64>,
        raised: &dyn Fn(u64) -> Vec<u8>,
    ) -> Result<u64> {
        let mut first = 0;
        let mut make = |unseen: &[CommitRecord]| {
            first = counter(unseen)?;
            Ok(raised(first.saturating_add(count)))
        };
        self.with_writer(|w, raw, locks| w.commit_independent(raw, locks, &mut make))?;
        Ok(first)
    }

    fn lock_commits(&self) -> Result<()> {
        self.with_writer(|w, raw, locks| w.lock_commits(raw, locks))
    }

    fn offer_payloads(&self) -> Result<()> {
        self.with_writer(|w, raw, _| w.offer(raw))
    }

    fn accept_payload(&self, place: &Address) -> Result<()> {
        self.with_writer(|w, raw, _| w.accept(raw, place))
    }

    fn end_offer(&self) -> Result<()> {
        self.with_writer(|w, _, _| w.end_offer())
    }

    fn disown_payload(&self, place: &Address) -> Result<()> {
        self.with_writer(|w, _, _| {
            w.disown(place);
            Ok(())
        })
    }

    fn unlock_commits(&self) {
        let _a_reader_locks_nothing = self.with_writer(|w, _, locks| {
            w.unlock_commits(locks);
            Ok(())
        });
    }

    fn advance_pin(&self) {
        let _a_reader_has_its_own_way = self.with_writer(|w, _, locks| {
            w.unpin_old(locks);
            Ok(())
        });
    }

    fn begin_checkpoint(&self) -> bool {
        lock(&self.locks).begin_checkpoint()
    }

    fn end_checkpoint(&self) {
        lock(&self.locks).end_checkpoint();
    }
}

impl StorageCheckpoints for FileStorage {
    fn spares_checkpoints(&self) -> bool {
        self.with_writer(|w, raw, _| w.spares_checkpoints(raw)).unwrap_or(false)
    }

    fn checkpoint_write(&self, data: &[u8]) -> Result<Address> {
        self.with_writer(|w, raw, locks| w.checkpoint_write(raw, locks, data))
    }

    fn checkpoint_free(&self, place: &Address) -> Result<()> {
        self.with_writer(|w, _, _| {
            w.checkpoint_free(place);
            Ok(())
        })
    }

    fn checkpoint_commit(&self, base: Checkpoint) -> Result<()> {
        let shared = self.is_shared();
        self.with_writer(|w, raw, locks| match shared {
            true => w.checkpoint_commit_shared(raw, locks, base),
            false => w.checkpoint_commit(raw, locks, base),
        })
    }

    fn checkpoint_rollback(&self) {
        let _a_reader_has_nothing_to_roll_back = self.with_writer(|w, _, _| {
            w.checkpoint_rollback();
            Ok(())
        });
    }

    fn commits_as_checkpoints(&self) -> bool {
        self.writer.is_some() && !self.is_shared()
    }

    fn checkpoint_keep(&self) -> Result<u64> {
        self.with_writer(|w, raw, _| w.checkpoint_keep(raw))
    }

    fn checkpoint_forget(&self) {
        let _a_reader_keeps_nothing = self.with_writer(|w, _, _| {
            w.checkpoint_forget();
            Ok(())
        });
    }

    fn commit_as_checkpoint(&self, base: Checkpoint) -> Result<Commit> {
        self.with_writer(|w, raw, locks| w.commit_as_checkpoint(raw, locks, base).map(|()| Commit::Done(0)))
    }

    fn sweep(&self) -> Result<()> {
        if let Ok(real) = followed(Path::new(&self.target)) {
            replaced::sweep(&real, self.clock.now());
            expired::sweep(temporary::folder(&real), self.clock.now(), usize::MAX);
        }
        Ok(())
    }
}

impl StorageCompaction for FileStorage {
    fn trust_clock(&self) {
        let _a_reader_gives_nothing_back = self.with_writer(|w, _, _| {
            w.trust_clock();
            Ok(())
        });
    }

    fn compaction_plan(&self) -> Result<CompactionPlan> {
        self.with_writer(|w, raw, locks| w.compaction_plan(raw, locks))
    }

    fn last_used(&self, bytes: u64) -> Result<u64> {
        self.with_writer(|w, raw, _| w.last_used(raw, bytes))
    }

    fn freed_bytes(&self) -> u64 {
        self.with_writer(|w, _, _| Ok(w.freed_bytes())).unwrap_or(0)
    }

    fn wants_compaction_at_close(&self) -> Result<bool> {
        self.with_writer(|w, raw, locks| w.wants_compaction_at_close(raw, locks))
    }

    fn room_left_to_others(&self) -> u64 {
        self.with_writer(|w, _, _| Ok(w.room_left_to_others())).unwrap_or(0)
    }

    fn note_freed(&self, bytes: u64) -> Result<()> {
        self.with_writer(|w, raw, _| w.note_freed(raw, bytes))
    }

    fn begin_compaction(&self) -> Result<()> {
        self.with_writer(|w, raw, locks| w.begin_compaction(raw, locks))
    }

    fn end_compaction(&self) {
        let _a_reader_gathers_nothing = self.with_writer(|w, _, _| {
            w.end_compaction();
            Ok(())
        });
    }

    fn must_relocate(&self, place: &Address) -> bool {
        self.with_writer(|w, _, _| Ok(w.must_relocate(place))).unwrap_or(false)
    }

    fn reclaim_delay(&self) -> Result<Option<Duration>> {
        self.with_writer(|w, raw, _| w.reclaim_delay(raw))
    }

    fn fits_before(&self, place: &Address, length: u64) -> Result<bool> {
        self.with_writer(|w, raw, _| w.fits_before(raw, place.offset, length))
    }

    fn parts_before(&self, place: &Address, length: u64, most: usize) -> Result<Vec<u64>> {
        self.with_writer(|w, raw, _| w.parts_before(raw, place.offset, length, most))
    }

    fn write_before(&self, place: &Address, data: &[u8]) -> Result<Option<Address>> {
        self.with_writer(|w, raw, _| w.payload_before(raw, place.offset, data))
    }
}

impl StorageTags for FileStorage {
    fn may_have_tags(&self) -> bool {
        self.fixed.tags || self.with_writer(|w, _, _| Ok(w.tags.may_exist)).unwrap_or(false)
    }

    fn hold(&self, held: Held, version: u64) {
        let _a_reader_reclaims_nothing = self.with_writer(|w, _, _| {
            w.hold(held, version);
            Ok(())
        });
    }

    fn prepare_tag(&self, version: u64) -> Result<Option<TagEntry>> {
        self.with_writer(|w, raw, locks| w.prepare_tag(raw, locks, version))
    }

    fn present(&self) -> Result<u64> {
        self.with_writer(|w, _, _| Ok(w.now()))
    }

    fn held_bytes(&self) -> Result<u64> {
        self.with_writer(|w, raw, _| w.held_bytes(raw))
    }
}
