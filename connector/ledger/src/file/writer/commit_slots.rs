//! Heads: what makes a version count.

use super::FileWriter;
use crate::error::{Error, ErrorKind, Result};
use crate::file::file_io::FileIo;
use crate::file::superblock::{self, Slot};
use crate::file::{log, resync};
use crate::options::SyncPolicy;

impl FileWriter {
    /// Room that was taken and not written yet (or given back) may lie at the end. A file shorter than its head says would
    /// pass for one that was cut off.
    fn fill(&mut self, raw: &dyn FileIo, end: u64) -> Result<()> {
        // One of many made it that long when it reserved; what is longer may be another's, and is not to be cut off.
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

    /// Refuses to change the file after an error that leaves it unknown what is in it, or what of it is durable.
    pub(in crate::file) fn check_sound(&self) -> Result<()> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// Looks before the first of what is written between two heads. What is free in this history may be in use in another one.
    ///
    /// # Errors
    /// As for [`check_alone`](Self::check_alone).
    pub(in crate::file) fn look_once(&mut self, raw: &dyn FileIo) -> Result<()> {
        self.check_sound()?;
        if self.looked_at == Some(self.head.sequence) { Ok(()) } else { self.check_alone(raw) }
    }

    /// Another writer may have been here: one that heeds no lock, or a program that put an older copy into the file. So may be,
    /// where a file system forgets locks. Then nothing may be written any more.
    ///
    /// # Errors
    /// `Conflict`; `Broken` if something may have been written since the look before; those of reading.
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

    /// Returns whether something may have been written since the head in force.
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

    /// Remembers that nothing may be written any more.
    pub(in crate::file) fn break_off(&mut self, what: &str, e: &std::io::Error) -> Error {
        let error = Error::new(&self.target, ErrorKind::Broken { why: format!("{what}: {e}") });
        self.broken = Some(error.clone());
        error
    }

    /// Puts what was kept back into the file, then the head. When this returns, the head is in force. It may be that its sync failed for
    /// good: then [`check_sound`](Self::check_sound) says so from now on.
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
        // The head before was there when that began, whoever wrote it.
        self.durable = self.head.sequence;
        if let Err(e) = raw.write_at(&next.encode(), next.position()) {
            // Did it arrive all the same? If the head in force is still the old one, nothing happened.
            return match log::newest_slot(raw, &self.target) {
                Ok(s) if s == self.head => Err(self.io("writing the head", &e)),
                _ => Err(self.break_off("writing the head", &e)),
            };
        }
        self.head = next;
        self.has_written_head = true;
        // Readers see it. It is told that it is not durable.
        let _told_by_who_asks_for_that = self.make_durable(raw);
        Ok(())
    }

    /// The head in force may not survive a loss of power, and should: its sync failed, or another session wrote it. That one may
    /// have died before it synced it, or syncs nothing.
    pub(super) fn owes_sync(&self) -> bool {
        self.sync == SyncPolicy::Commit && self.durable < self.head.sequence
    }

    /// Syncs the head in force, if that is owed.
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

    /// Whether what the heads up to a sequence freed is free after a loss of power, too. Else an older head may be the newest
    /// then, which needs that room.
    pub(super) fn is_freed_durably(&mut self, raw: &dyn FileIo, sequence: u64) -> bool {
        if self.sync == SyncPolicy::Process || sequence <= self.durable {
            return true;
        }
        if let Err(e) = self.make_durable(raw) {
            tracing::warn!(error = %e, "the head cannot be synced, so no room is reclaimed");
        }
        sequence <= self.durable
    }

    /// At the end: leaves a copy of the newest head beside the slot that it is not in, so that no damage to one block can make
    /// an older version look like the newest.
    ///
    /// Not where another history may be in the file by now: the copy would stand for a newer version of that.
    pub(crate) fn leave_copy(&mut self, raw: &dyn FileIo) {
        if !std::mem::take(&mut self.has_written_head) || self.broken.is_some() {
            return;
        }
        let Ok(newest) = log::newest_slot(raw, &self.target) else { return };
        // That of one of many may be another's.
        if newest == self.head || self.shared.is_some() {
            let _the_head_itself_is_there = raw.write_at(&newest.encode(), newest.copy_position());
        }
    }

    /// Leaves a note for those that the lock keeps out.
    /// False if it could not be written, which does no harm.
    pub(crate) fn leave_note(raw: &dyn FileIo) -> bool {
        raw.write_at(&superblock::encode_note(&superblock::myself()), superblock::NOTE).is_ok()
    }
}
