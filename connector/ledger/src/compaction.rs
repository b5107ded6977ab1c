//! Compaction: finds payloads that retain much unused space, and moves them elsewhere.
//!
//! A store reclaims the space of payloads object by object; a file shrinks from its end. One small live payload can
//! therefore retain megabytes of dead bytes around it. The ledger can move a payload, but the values of the map, which
//! hold the extents, are opaque to the ledger. So the ledger says which extents are worth moving, and the layer above
//! visits its values.

use crate::address::Address;
use crate::buffers::Scratch;
use crate::compaction_plan::{CompactionPlan, MAX_MOVED_PAYLOAD};
use crate::error::Result;
use crate::extent::Extent;
use crate::file::FileStorage;
use crate::ledger::Ledger;
use crate::payload;
use crate::storage_kinds::StorageKinds;

impl Ledger {
    /// Returns the payloads that are worth moving because little other data is in use around them. The plan is empty
    /// for a shared writer. In a file, the plan covers only payloads among the last `most` bytes in use: moving them
    /// shortens the file, however much other data would have to move.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; read errors.
    pub fn compaction_plan(&self, most: u64) -> Result<CompactionPlan> {
        let mut state = self.writable()?;
        if self.is_shared() {
            return Ok(CompactionPlan::default());
        }
        if self.is_in_store() && !state.log.is_empty() {
            // The tables of a store know the unused space up to the root only.
            self.checkpoint(&mut state)?;
        }
        drop(state);
        self.storage().compaction_plan(most)
    }

    /// Returns the bytes of a file that this writer freed; 0 in a store.
    pub fn freed_bytes(&self) -> u64 {
        self.storage().as_file().map_or(0, FileStorage::freed_bytes)
    }

    /// Returns whether so much space is dead that a close should move live payloads, as far as this is known without a
    /// request. In a store: there are more dead bytes than live bytes in the objects concerned, and at least 64 MiB. In
    /// a file: this writer freed a sixteenth of what the container needs and 128 KiB, or there is one free run of 64
    /// MiB. Always false for a shared writer. From this call on, space of a file may be reused without the delay of two
    /// seconds that protects plain copies.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `Io`.
    pub fn wants_compaction_at_close(&self) -> Result<bool> {
        self.check_writable()?;
        if self.is_shared() { Ok(false) } else { self.storage().wants_compaction_at_close() }
    }

    /// Returns the bytes of a file that this shared writer freed, or reserved and did not use. These bytes are not
    /// freed while there are other writers. Returns 0 for an exclusive writer, for readers, and in a store.
    pub fn space_left_for_writers(&self) -> u64 {
        self.storage().as_file().filter(|_| self.is_shared()).map_or(0, FileStorage::space_left_for_writers)
    }

    /// Counts bytes that earlier writers freed as freed by this exclusive writer, so that
    /// [`wants_compaction_at_close`](Self::wants_compaction_at_close) considers all free space, whichever writer freed
    /// it.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `Io`.
    pub fn note_freed(&self, bytes: u64) -> Result<()> {
        self.check_writable()?;
        self.storage().as_file().map_or(Ok(()), |file| file.note_freed(bytes))
    }

    /// Writes a payload again at a better address. The old payload stays valid until the caller frees it with
    /// [`free_payload`](Ledger::free_payload). Returns `None` if there is no better address.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `NoSpace`, `Io`, `Store`; read errors: a damaged payload is not moved.
    pub fn move_payload(&self, e: &Extent) -> Result<Option<Extent>> {
        self.check_writable()?;
        let Some(length) = usize::try_from(e.len()).ok().filter(|n| *n as u64 <= MAX_MOVED_PAYLOAD) else {
            return Ok(None);
        };
        payload::check_own(self.storage(), e)?;
        let file = self.storage().as_file();
        // A read that leads to no move costs as much as one that does, so the check for free space comes first.
        if let Some(file) = file
            && !file.fits_before(e.place().offset, e.len())?
        {
            return Ok(None);
        }
        let mut data = Scratch::new(length);
        // The read verifies the checksums, which hold at the new address as well.
        payload::read(self.storage(), e, 0, &mut data)?;
        let place = match file {
            Some(file) => file.write_before(e.place().offset, &data)?,
            // The open pack is a better location than an object that is nearly unused.
            None => Some(self.storage().write_payload(&data, 0, &mut |_| ())?),
        };
        Ok(place.map(|place| e.moved_to(place)))
    }

    /// Writes a payload again in several parts, in order, each at an address of its own, if no free run is long enough
    /// for the whole payload. The parts are placed before the end that the file would have without holes, plus one
    /// thirty-second. Returns no parts if the payload begins before that limit already, or if there is no free space
    /// for the parts.
    ///
    /// # Errors
    /// The errors of [`move_payload`](Ledger::move_payload).
    pub fn move_payload_in_parts(
        &self,
        e: &Extent,
        most: usize,
        compaction_plan: &CompactionPlan,
    ) -> Result<Vec<Extent>> {
        self.check_writable()?;
        let is_behind = |limit: &u64| e.place().offset >= *limit && e.len() <= MAX_MOVED_PAYLOAD;
        let limit = compaction_plan.parts_before.filter(is_behind);
        let (Some(file), Some(limit)) = (self.storage().as_file(), limit) else { return Ok(Vec::new()) };
        let lengths = file.parts_before(limit, e.len(), most)?;
        let mut parts = Vec::with_capacity(lengths.len());
        let moved = self.move_parts(e, &lengths, &|part| file.write_before(limit, part), &mut parts);
        if !matches!(moved, Ok(true)) {
            let given_back = parts.iter().try_for_each(|part| self.free_payload(part));
            return moved.and(given_back).map(|()| Vec::new());
        }
        Ok(parts)
    }

    fn move_parts(
        &self,
        e: &Extent,
        lengths: &[u64],
        write: &dyn Fn(&[u8]) -> Result<Option<Address>>,
        parts: &mut Vec<Extent>,
    ) -> Result<bool> {
        let mut at = 0;
        for length in lengths {
            let mut part = Scratch::new(*length as usize);
            payload::read(self.storage(), e, at, &mut part)?;
            let Some(place) = write(&part)? else { return Ok(false) };
            parts.push(Extent::of(place, &part));
            at += length;
        }
        Ok(true)
    }
}
