//! Payloads of a writer: packs in memory, their uploads, and the extents that the next commit uses or frees.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use object_stores::{Etag, PutMode, PutPayload};

use super::Writer;
use crate::address::{Address, Location};
use crate::buffers::{self, Scratch};
use crate::core::change::NewTables;
use crate::core::events::Outcome;
use crate::core::ids::ObjectId;
use crate::core::records::Record;
use crate::core::session::{Entry, Mode};
use crate::error::{Error, Result, store_error};
use crate::locks::Mutex;
use crate::store::checkpoint::revive;
use crate::store::committer::delete_objects;
use crate::store::fetch::Fetcher;
use crate::store::pack::{PACK_BYTES, PackBuffer};
use crate::store::verified_ranges::VerifiedRanges;

/// Returns a closure that marks uploaded packs as verified, because their checksums were computed from the bytes that the store in memory
/// now holds.
fn arrived(proven: Option<&Mutex<VerifiedRanges>>) -> impl FnMut(Location, Option<Etag>, u64) {
    move |location, etag, length| {
        if let Some(proven) = proven {
            proven.lock().add(location, etag, 0..length);
        }
    }
}

impl Writer {
    pub(in crate::store) fn payload(&mut self, data: &[u8]) -> Result<Address> {
        let place = self.place(data)?;
        let object =
            ObjectId::of(&place).ok_or_else(|| Error::invalid(self.target(), "a place in no object"))?;
        self.gain(object, place.length);
        Ok(place)
    }

    fn place(&mut self, data: &[u8]) -> Result<Address> {
        if let Some(place) = self.pack.add_in_hole(data) {
            return Ok(place);
        }
        if self.pack.is_full_with(data.len()) {
            self.send_pack()?;
        }
        self.reserve_in_pack(data.len())?;
        if self.pack.object.is_none() {
            if self.committer.session.entry() == Entry::Gone {
                self.committer.begin_again(self.mode)?;
            }
            // The session joins when it puts the pack, so that a writer of small changes learns of a conflict only from its flush.
            self.pack.begin(self.committer.session.name_object());
        }
        self.pack.add(data, &self.io.fetcher.target)
    }

    /// Reserves memory for more bytes of the pack. If no memory is available, waits for uploads, because they hold memory.
    fn reserve_in_pack(&mut self, more: usize) -> Result<()> {
        let pack = &mut self.pack.bytes;
        // Most packs become full, so a buffer for a whole pack is taken at once. Buffers are reused, which saves the system the allocation
        // of new pages.
        if pack.capacity() == 0
            && more <= PACK_BYTES
            && let Some(buffer) = buffers::try_take(PACK_BYTES)
        {
            *pack = buffer;
            pack.clear();
        }
        if pack.try_reserve(more).is_err() {
            self.wait_for_uploads()?;
            buffers::forget();
        }
        Ok(())
    }

    /// Puts all payloads into the store, and notes that another writer's commit may name them.
    pub(in crate::store) fn offer(&mut self) -> Result<()> {
        self.finish_everything()?;
        self.staged.offer();
        Ok(())
    }

    /// Ends an offer after the commit of the other writer. Deletes objects that this commit does without.
    pub(in crate::store) fn end_offer(&mut self) {
        let needless = self.staged.end_offer();
        delete_objects(&self.io.fetcher, &needless);
    }

    /// Lets the next commit name a payload that another writer has offered.
    pub(in crate::store) fn accept(&mut self, place: &Address) -> Result<()> {
        let object =
            ObjectId::of(place).ok_or_else(|| Error::invalid(self.target(), "a place in no object"))?;
        // The commit names an object, even if this writer has put none.
        self.ensure_listed()?;
        let stood = self.committer.known().sequence;
        self.staged.accept(object, place.length, stood);
        Ok(())
    }

    /// Counts bytes of an object that this writer has put or is filling.
    pub(in crate::store) fn gain(&mut self, object: ObjectId, bytes: u64) {
        let stood = self.committer.known().sequence;
        self.staged.gain(object, bytes, stood);
    }

    /// Starts to upload the pack that is being filled.
    pub(in crate::store) fn send_pack(&mut self) -> Result<()> {
        let Some(object) = self.pack.object else { return Ok(()) };
        self.ensure_listed()?;
        if object.session != self.committer.session.id() {
            return Err(self.committer.failure(&Outcome::Expelled));
        }
        let fetcher = &self.io.fetcher;
        let key = fetcher.names.object(object, &fetcher.target)?;
        let PackBuffer { bytes, .. } = std::mem::take(&mut self.pack);
        if let Some(journal) = &mut self.journal {
            journal.note_pack(object, bytes.len() as u64);
        }
        // A store in memory keeps the buffer. So a small pack is copied into a buffer of its own length, without unused bytes.
        let few = (bytes.len() <= PACK_BYTES / 2).then(|| buffers::try_copy(&bytes)).flatten();
        let bytes = match few {
            None => Bytes::from_owner(Scratch::from(bytes)),
            Some(few) => {
                buffers::give(bytes);
                Bytes::from(few)
            }
        };
        let mut arrived = arrived(self.proven.as_deref());
        let started = self.uploads.start(&fetcher.store, object.pack(), key, bytes, &mut arrived);
        started.map_err(|e| store_error(&fetcher.target, &e))
    }

    /// Waits until every pack is in the store. After an error, the failed packs remain and can be put again.
    pub(in crate::store) fn finish_everything(&mut self) -> Result<()> {
        self.check_settled()?;
        self.finish_packs()
    }

    pub(super) fn finish_packs(&mut self) -> Result<()> {
        self.send_pack()?;
        self.wait_for_uploads()
    }

    /// Returns the number of packs that were uploaded or are being uploaded, and the number of the first ones among them that are known to
    /// be in the store.
    pub(in crate::store) fn uploads(&self) -> (u64, u64) {
        (self.uploads.started(), self.uploads.arrived())
    }

    /// Accounts for finished uploads, up to the first one that is still running.
    pub(in crate::store) fn harvest(&mut self) -> Result<()> {
        let mut arrived = arrived(self.proven.as_deref());
        let harvested = self.uploads.harvest(self.io.fetcher.store.as_ref(), &mut arrived);
        harvested.map_err(|e| store_error(self.target(), &e))
    }

    /// Waits for all uploads, and discards those that failed.
    pub(in crate::store) fn give_up_uploads(&mut self) {
        self.uploads.give_up();
    }

    fn wait_for_uploads(&mut self) -> Result<()> {
        let mut arrived = arrived(self.proven.as_deref());
        let finished = self.uploads.finish(self.io.fetcher.store.as_ref(), &mut arrived);
        finished.map_err(|e| store_error(self.target(), &e))
    }

    /// Returns a part of an object that is not in the store yet.
    pub(in crate::store) fn unput(&self, place: &Address, offset: u64, length: usize) -> Option<&[u8]> {
        let open = self.pack.part(place, offset, length).or_else(|| self.io.open.part(place, offset, length));
        open.or_else(|| self.uploads.part(place, offset, length))
    }

    /// Stages the free of an extent. An extent that was written since the last commit is freed at once.
    pub(in crate::store) fn free(&mut self, place: &Address) -> Result<()> {
        if self.staged.revived.remove(place) {
            return Ok(());
        }
        if self.staged.lose(place) {
            // A concurrent writer may retain the extent after all, so its bytes are not overwritten.
            if self.mode == Mode::Exclusive {
                self.pack.leave_hole(place);
            }
            return Ok(());
        }
        if self.staged.freed.contains(place) {
            if self.mode == Mode::Shared {
                return Ok(());
            }
            let why = format!("the extent in {:?} is free already", place.location);
            return Err(Error::invalid(self.target(), why));
        }
        self.staged.freed.push(*place);
        Ok(())
    }

    /// Stages that the next commit uses an extent of an old version again. Returns false, and stages nothing, if the newest version uses the
    /// extent, or it was reclaimed. Only an exclusive writer can revive extents, because its commit has new tables.
    pub(in crate::store) fn revive(&mut self, place: &Address) -> Result<bool> {
        if self.mode == Mode::Shared {
            return Ok(false);
        }
        self.check_settled()?;
        let known = self.committer.known();
        if self.revivable.as_ref().is_none_or(|(sequence, _)| *sequence != known.sequence) {
            let tables = self.io.tables(&known)?;
            self.revivable = Some((known.sequence, tables.dead.iter().map(|dead| dead.place).collect()));
        }
        let is_dead = self.revivable.as_ref().is_some_and(|(_, dead)| dead.contains(place));
        if is_dead {
            self.staged.revived.insert(*place);
        }
        Ok(is_dead)
    }

    /// Prepares this writer to [revive](Self::revive) extents: until its next commit, it reclaims nothing.
    pub(in crate::store) fn begin_restore(&mut self) {
        self.revivable = Some((0, HashSet::new()));
    }

    /// Puts the tables of a commit that revives extents. Returns `None` for a commit that revives none.
    pub(super) fn tables_of_restore(&mut self) -> Result<Option<NewTables>> {
        if self.staged.revived.is_empty() {
            return Ok(None);
        }
        self.reserve_names()?;
        let mut tables = self.io.tables(&self.committer.known())?;
        revive(&mut tables, &self.staged.revived, self.target())?;
        let pages = tables.pages().map_err(|why| Error::corrupt(self.target(), "tables", why))?;
        self.io.put_tables(&pages).map(Some)
    }

    /// Cancels the staged free of an extent that is needed after all.
    pub(in crate::store) fn keep(&mut self, place: &Address) {
        self.staged.freed.remove_all([place]);
        if let Some(pending) = &mut self.pending {
            pending.kept.push(*place);
        }
    }

    /// Applies records of other writers: this writer must not free again what they freed.
    pub(in crate::store) fn take_notes(&mut self, records: &[Arc<Record>]) {
        for record in records {
            self.last_time = self.last_time.max(record.time);
            for data in record.parts.iter().filter_map(|part| part.data()) {
                self.staged.freed.remove_all(&data.notes.freed);
            }
        }
    }

    pub(in crate::store) fn has_freed(&self) -> bool {
        !self.staged.freed.is_empty()
    }

    /// Accounts for a pack that was put under a name of this writer while the writer was not locked.
    pub(in crate::store) fn pack_arrived(&mut self, object: ObjectId, etag: Option<Etag>, bytes: u64) {
        self.gain(object, bytes);
        if let Some(proven) = &self.proven {
            proven.lock().add(object.pack(), etag, 0..bytes);
        }
    }

    /// Puts an object of payloads in the calling thread. The caller should hold no lock, because this waits for the store.
    pub(in crate::store) fn put_pack(
        fetcher: &Fetcher,
        object: ObjectId,
        pieces: PutPayload,
    ) -> Result<Option<Etag>> {
        let key = fetcher.names.object(object, &fetcher.target)?;
        // The name was never used, so the put replaces nothing.
        let put = fetcher.store.put(&key, pieces, PutMode::Overwrite);
        Ok(put.map_err(|e| store_error(&fetcher.target, &e))?.etag)
    }
}
