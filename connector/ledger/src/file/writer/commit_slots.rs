//! Commit slots, which publish a version.

use super::FileWriter;
use crate::error::{Error, ErrorKind, Result};
use crate::file::file_io::FileIo;
use crate::file::superblock::{self, Slot};
use crate::file::{log, resync};
use crate::options::SyncPolicy;

impl FileWriter {
    /// Lengthens the file to the end in the next slot. Allocated space at the end may not have been written, or may have
    /// been freed. A file that is shorter than its slot says would count as truncated.
    fn fill(&mut self, raw: &dyn FileIo, end: u64) -> Result<()> {
        // A concurrent writer lengthened the file when it reserved the space. Bytes after that may belong to another
        // writer, and must not be truncated.
        if self.shared.is_some() {
            return Ok(());
        }
        self.growth.reached = self.growth.reached.max(self.pending.take_reached());
        if self.growth.reached < end {
            self.growth.reached = raw.len().map_err(|e| self.io("asking for the length", &e))?;
        }
        if self.growth.reached < end {
            raw.set_len(end).map_err(|e| self.io("lengthening", &e))?;
            self.growth.reached = end;
        }
        Ok(())
    }

    /// Returns an error if an earlier failure left the content of the file, or its durability, unknown.
    pub(in crate::file) fn check_sound(&self) -> Result<()> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// Checks for other writers before the first write after each commit slot. Space that is free in the history of this
    /// writer may be in use in that of another one.
    pub(in crate::file) fn look_once(&mut self, raw: &dyn FileIo) -> Result<()> {
        self.check_sound()?;
        if self.looked_at == Some(self.head.sequence) { Ok(()) } else { self.check_alone(raw) }
    }

    /// Checks that the newest slot is the one that this writer wrote or read last. Another writer may have written the
    /// file: one that ignores locks, or one on a file system that loses locks; or a program may have written an older copy
    /// over the file. In these cases nothing may be written any more.
    ///
    /// # Errors
    /// `Conflict`; `Broken` if something may have been written since the last check; read errors.
    pub(super) fn check_alone(&mut self, raw: &dyn FileIo) -> Result<()> {
        self.check_sound()?;
        if self.shared.is_some() {
            return Ok(());
        }
        if log::newest_slot(raw, &self.target)? != self.head {
            let error = Error::new(&self.target, self.overtaken());
            self.broken = Some(error.clone());
            return Err(error);
        }
        self.looked_at = Some(self.head.sequence);
        Ok(())
    }

    /// Returns whether something may have been written since the newest slot.
    pub(in crate::file) fn has_begun(&self) -> bool {
        self.looked_at == Some(self.head.sequence)
    }

    fn overtaken(&self) -> ErrorKind {
        if !self.has_begun() {
            return ErrorKind::Conflict;
        }
        let why = "another writer committed, or an older copy was put into the file, while this one wrote: it may have overwritten \
                   data of the other, so check the file with 'h5lake verify'";
        ErrorKind::Broken { why: why.into() }
    }

    /// Records that nothing may be written any more.
    pub(in crate::file) fn break_off(&mut self, what: &str, e: &std::io::Error) -> Error {
        let error = Error::new(&self.target, ErrorKind::Broken { why: format!("{what}: {e}") });
        self.broken = Some(error.clone());
        error
    }

    /// Writes the buffered bytes to the file, then the commit slot. When this returns, the slot is the newest one. If its
    /// sync failed for good, [`check_sound`](Self::check_sound) returns an error from now on.
    pub(super) fn write_head(&mut self, raw: &dyn FileIo, next: Slot) -> Result<()> {
        self.check_sound()?;
        self.pending.flush(raw).map_err(|e| self.unwritten("writing", &e))?;
        self.fill(raw, next.end)?;
        if self.sync == SyncPolicy::Commit
            && let Err(e) = raw.sync()
        {
            return Err(match resync::is_lost(&e) {
                true => self.break_off("what was changed since the last commit is lost, syncing data", &e),
                false => self.io("syncing data", &e),
            });
        }
        // The previous slot was written before that sync began, by this or another writer.
        self.durable = self.head.sequence;
        if let Err(e) = raw.write_at(&next.encode(), next.position()) {
            // The write may have taken effect all the same. If the newest slot is still the old one, nothing happened.
            return match log::newest_slot(raw, &self.target) {
                Ok(s) if s == self.head => Err(self.io("writing the head", &e)),
                _ => Err(self.break_off("writing the head", &e)),
            };
        }
        self.head = next;
        self.has_written_head = true;
        // Readers can see the version. A failed sync is reported by the caller that requires durability.
        let _reported_where_durability_is_required = self.make_durable(raw);
        Ok(())
    }

    /// Returns whether the newest slot may not survive a power loss although it should: its sync failed, or another session
    /// wrote it, which may have died before the sync, or does not sync at all.
    pub(super) fn owes_sync(&self) -> bool {
        self.sync == SyncPolicy::Commit && self.durable < self.head.sequence
    }

    /// Syncs the newest slot, if [`owes_sync`](Self::owes_sync) requires it.
    pub(crate) fn make_durable(&mut self, raw: &dyn FileIo) -> Result<()> {
        if !self.owes_sync() {
            return Ok(());
        }
        self.check_sound()?;
        match raw.sync() {
            Ok(()) => {
                self.durable = self.head.sequence;
                Ok(())
            }
            Err(e) if resync::is_lost(&e) => Err(self.break_off(
                "whether the last commit survives a loss of power is unknown, syncing the head",
                &e,
            )),
            Err(e) => Err(self.io("syncing the head; the last commit may not survive a loss of power", &e)),
        }
    }

    /// Returns whether space freed up to `sequence` is durably free, that is, free even after a power loss. Otherwise an
    /// older slot may be the newest one after a power loss, and may need that space.
    pub(super) fn is_freed_durably(&mut self, raw: &dyn FileIo, sequence: u64) -> bool {
        if self.sync == SyncPolicy::Process || sequence <= self.durable {
            return true;
        }
        if let Err(e) = self.make_durable(raw) {
            tracing::warn!(error = %e, "the head cannot be synced, so no space is reclaimed");
        }
        sequence <= self.durable
    }

    /// Writes a copy of the newest slot into the block of the other slot, so that damage to one block cannot make an older
    /// version look like the newest. Called at close.
    ///
    /// Writes no copy if the file may contain another history by now, because the copy would count as a newer version of
    /// that history.
    pub(crate) fn leave_copy(&mut self, raw: &dyn FileIo) {
        if !std::mem::take(&mut self.has_written_head) || self.broken.is_some() {
            return;
        }
        let Ok(newest) = log::newest_slot(raw, &self.target) else { return };
        // The newest slot may be that of another concurrent writer.
        if newest == self.head || self.shared.is_some() {
            let _the_head_itself_is_there = raw.write_at(&newest.encode(), newest.copy_position());
        }
    }

    /// Writes a note for processes that the lock keeps out. Returns false if the note could not be written, which is
    /// harmless.
    pub(crate) fn leave_note(raw: &dyn FileIo) -> bool {
        raw.write_at(&superblock::encode_note(&superblock::myself()), superblock::NOTE).is_ok()
    }
}
