//! The storage traits, implemented for a file.

use std::any::Any;
use std::io::IoSliceMut;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::snapshots::cut_off;
use super::version_lookup::{self, OldVersions};
use super::{FileStorage, audit, expired, lock, log, replaced, superblock, write_buffer};
use crate::address::{Address, Location};
use crate::audit::Audit;
use crate::compaction_plan::CompactionPlan;
use crate::error::{Error, ErrorKind, Result};
use crate::hidden_names;
use crate::history::Mark;
use crate::options::{ContainerIdentity, Version};
use crate::paths::followed;
use crate::storage::{
    Checkpoint, Commit, PageSizes, Properties, RemoteCommits, Storage, StorageCheckpoints, StorageCommits,
    StorageCompaction, StoragePayloads, StorageReads, StorageSharing,
};
use crate::wal::record::{CommitRecord, Entries};

impl Storage for FileStorage {}

impl StorageReads for FileStorage {
    fn target(&self) -> &str {
        &self.target
    }

    fn identity(&self) -> ContainerIdentity {
        ContainerIdentity { id: self.fixed.id, file: self.file, key: String::new() }
    }

    fn properties(&self) -> Properties {
        let is_alone = !self.is_shared();
        Properties {
            sizes: PageSizes { page: 8 << 10, branch: 8 << 10, spill: 2 << 10, records: 1 << 16 },
            is_in_store: false,
            is_over_network: false,
            is_in_memory: false,
            is_for_sources: self.fixed.sources,
            // Concurrent writers read the records of other writers and apply them to values of their own, so their records
            // contain whole values.
            takes_edits: is_alone,
            commits_as_checkpoints: self.writer.is_some() && is_alone,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn poll_commits(&self, last: u64) -> Result<Option<RemoteCommits>> {
        self.unseen_up_to(last).map_err(|e| self.explained(e))
    }

    fn read(&self, place: &Address, offset: u64, parts: &mut [IoSliceMut<'_>]) -> Result<()> {
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

    fn audit(&self) -> Option<Box<dyn Audit + '_>> {
        audit::FileAudit::of(self).map(|audit| Box::new(audit) as Box<dyn Audit>)
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
}

impl StoragePayloads for FileStorage {
    fn write_payload(&self, data: &[u8], most: u64, on_bytes: &mut dyn FnMut(&[u8])) -> Result<Address> {
        if data.is_empty() {
            return Ok(Address::file(0, 0));
        }
        self.with_writer(|w, raw, locks| match most > data.len() as u64 {
            true => w.payload_to_grow(raw, locks, data, most, on_bytes),
            false => w.payload(raw, locks, data, on_bytes),
        })
    }

    fn prepare_to_free(&self) -> Result<()> {
        self.with_writer(|w, raw, _| w.load(raw).map(drop))
    }

    fn free_payload(&self, place: &Address) -> Result<()> {
        self.with_writer(|w, raw, _| w.free(raw, place))
    }

    fn has_freed(&self) -> bool {
        self.of_writer(|w, _| w.has_freed())
    }

    fn keep_payload(&self, place: &Address) {
        self.of_writer(|w, _| w.keep(place));
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

    fn give_up_new(&self) -> Result<bool> {
        Ok(self.keeps_journal())
    }

    fn present(&self) -> Result<u64> {
        self.with_writer(|w, _, _| Ok(w.now()))
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

    fn offer_payloads(&self) -> Result<()> {
        self.with_writer(|w, raw, _| w.offer(raw))
    }

    fn accept_payload(&self, place: &Address) -> Result<()> {
        self.with_writer(|w, raw, _| w.accept(raw, place))
    }

    fn end_offer(&self) -> Result<()> {
        self.with_writer(|w, _, _| w.end_offer())
    }

    fn disown_payload(&self, place: &Address, is_named: bool) -> Result<()> {
        self.with_writer(|w, _, _| {
            match is_named {
                true => w.disown(place),
                false => _ = w.give_back(place),
            }
            Ok(())
        })
    }
}

impl StorageCheckpoints for FileStorage {
    fn begin_checkpoint(&self) -> bool {
        lock(&self.locks).begin_checkpoint()
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
        self.with_writer(|w, raw, locks| {
            if !shared {
                return w.checkpoint_commit(raw, locks, base);
            }
            w.checkpoint_commit_shared(raw, locks, base)?;
            locks.end_checkpoint();
            Ok(())
        })
    }

    fn checkpoint_rollback(&self) {
        let shared = self.is_shared();
        self.of_writer(|w, locks| {
            w.checkpoint_rollback();
            if shared {
                locks.end_checkpoint();
            }
        });
    }

    fn checkpoint_keep(&self) -> Result<u64> {
        self.with_writer(|w, raw, _| w.checkpoint_keep(raw))
    }

    fn checkpoint_forget(&self) {
        self.of_writer(|w, _| w.checkpoint_forget());
    }

    fn commit_as_checkpoint(&self, base: Checkpoint) -> Result<Commit> {
        self.with_writer(|w, raw, locks| w.commit_as_checkpoint(raw, locks, base).map(|()| Commit::Done(0)))
    }

    fn sweep(&self) -> Result<()> {
        if let Ok(real) = followed(Path::new(&self.target)) {
            replaced::sweep(&real, self.clock.now());
            expired::sweep(hidden_names::folder(&real), self.clock.now(), usize::MAX);
        }
        Ok(())
    }
}

impl StorageCompaction for FileStorage {
    fn compaction_plan(&self, most: u64) -> Result<CompactionPlan> {
        self.with_writer(|w, raw, locks| {
            let mut plan = w.compaction_plan(raw, locks)?;
            if let Some(beyond) = &mut plan.beyond {
                *beyond = (*beyond).max(w.load(raw)?.last_used(most));
            }
            Ok(plan)
        })
    }

    fn wants_compaction_at_close(&self) -> Result<bool> {
        self.with_writer(|w, raw, locks| w.wants_compaction_at_close(raw, locks))
    }

    fn held_bytes(&self) -> Result<u64> {
        self.with_writer(|w, raw, _| w.held_bytes(raw))
    }
}
