//! Payloads that one writer of a file wrote and that the commit of another writer names, as in a collective flush of MPI
//! processes.
//!
//! The writer that offers payloads has reserved their space, so no other writer allocates it. The record that names the
//! payloads says that the space is in use. The offering writer reads that record like every remote commit, and from then
//! on no longer counts the payloads as its own uncommitted ones.

use crate::address::{Address, Location};
use crate::error::{Error, Result};
use crate::file::file_io::FileIo;
use crate::file::free_space::run_of;
use crate::file::resync;
use crate::file::writer::{FileWriter, Noted};
use crate::options::SyncPolicy;

impl FileWriter {
    /// Makes all payloads of this writer as durable as a commit would. Until the other writer's commit is known, this
    /// writer neither writes to the space of these payloads nor releases it.
    pub(super) fn offer(&mut self, raw: &dyn FileIo) -> Result<()> {
        self.check_sound()?;
        self.shared()?.set_offers(true);
        self.write_pending(raw).map_err(|e| self.unwritten("writing", &e))?;
        if self.sync == SyncPolicy::Process {
            return Ok(());
        }
        raw.sync().map_err(|e| match resync::is_lost(&e) {
            true => self.break_off("what was changed since the last commit is lost, syncing data", &e),
            false => self.io("syncing data", &e),
        })
    }

    /// Ends an offer after the commit of the other writer.
    pub(super) fn end_offer(&mut self) -> Result<()> {
        self.shared()?.set_offers(false);
        Ok(())
    }

    /// Adds a payload that another writer has offered to the next commit.
    ///
    /// # Errors
    /// `Corrupt` if its space is in use or was never reserved for it.
    pub(super) fn accept(&mut self, raw: &dyn FileIo, place: &Address) -> Result<()> {
        let (offset, length) = run_of(place);
        if self.staged.fresh.get(&offset) == Some(&length) {
            return Ok(());
        }
        let free_space = self.load(raw)?;
        let used = match place.location {
            Location::File => free_space.replay_use(offset, length),
            _ => Err("it is in no file"),
        };
        used.map_err(|why| {
            Error::corrupt(&self.target, format!("an offered payload at byte {offset}"), why)
        })?;
        self.staged.fresh.insert(offset, length);
        self.staged.accepted.insert(offset);
        Ok(())
    }

    /// Removes a payload from the next commit that the commit of another writer names, or may name.
    pub(super) fn disown(&mut self, place: &Address) {
        let (offset, length) = run_of(place);
        if !self.return_accepted(offset, length) && self.staged.fresh.get(&offset) == Some(&length) {
            self.staged.fresh.remove(&offset);
        }
    }

    /// Removes an accepted payload from the next commit. Its space stays reserved for the writer that wrote it. Returns
    /// false if this writer has not accepted it.
    pub(super) fn return_accepted(&mut self, offset: u64, length: u64) -> bool {
        let is_accepted = self.staged.accepted.remove(&offset);
        if is_accepted {
            self.staged.fresh.remove(&offset);
            self.count_as_free(offset, length);
        }
        is_accepted
    }

    /// Removes all accepted payloads from the next commit.
    pub(super) fn disown_all(&mut self) {
        for offset in std::mem::take(&mut self.staged.accepted) {
            if let Some(length) = self.staged.fresh.remove(&offset) {
                self.count_as_free(offset, length);
            }
        }
    }

    /// Stops counting those payloads as uncommitted that another writer's record names. Their space counts as free until
    /// the record is replayed, as the space of every other writer does.
    pub(super) fn hand_over(&mut self, noted: &Noted) -> Result<()> {
        if !self.shared.as_ref().is_some_and(|shared| shared.has_offered()) {
            return Ok(());
        }
        let notes = noted.notes().map_err(|why| Error::corrupt(&self.target, "notes of a record", why))?;
        for (from, bytes) in notes.used {
            let named = self.staged.fresh.range(from..from.saturating_add(bytes));
            let named: Vec<(u64, u64)> = named
                .map(|(offset, length)| (*offset, *length))
                .filter(|(offset, length)| offset + length <= from + bytes)
                .filter(|(offset, _)| !self.staged.accepted.contains(offset))
                .collect();
            for (offset, length) in named {
                self.staged.fresh.remove(&offset);
                self.count_as_free(offset, length);
            }
        }
        Ok(())
    }

    fn count_as_free(&mut self, offset: u64, length: u64) {
        if let Some(free_space) = &mut self.free_space {
            let _it_was_in_use = free_space.runs.add(offset, length);
        }
    }
}
