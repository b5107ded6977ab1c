//! What a container holds on to for the sake of little, and moving that elsewhere.
//!
//! The room of payloads comes back object by object in a store, and from the end in a file. One small payload that
//! lives on keeps megabytes around it. The ledger can move a payload, but values, which hold the extents, are opaque to
//! it: so it says which extents are worth moving, and the layer above goes through its values.

use crate::address::Address;
use crate::buffers::Scratch;
use crate::compaction_plan::{CompactionPlan, MAX_MOVED_PAYLOAD};
use crate::error::Result;
use crate::extent::Extent;
use crate::ledger::Ledger;
use crate::payload;

impl Ledger {
    /// Says which payloads are worth moving, because little else is in use around them. None, for one of many writers. In a file, only
    /// payloads among the last `most` bytes in use: when they have moved, the file is shorter, however much else would have to move.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; those of reading.
    pub fn compaction_plan(&self, most: u64) -> Result<CompactionPlan> {
        self.check_writable()?;
        if self.is_one_of_many() {
            return Ok(CompactionPlan::default());
        }
        let mut plan = self.storage().compaction_plan()?;
        if let Some(beyond) = &mut plan.beyond {
            *beyond = (*beyond).max(self.storage().last_used(most)?);
        }
        Ok(plan)
    }

    /// Bytes of a file that this writer freed; 0 in a store.
    pub fn freed_bytes(&self) -> u64 {
        self.storage().freed_bytes()
    }

    /// Whether so much is dead that a close should move what lives, as far as that is known without a request. In a store: more
    /// than lives around it, and 64 MiB. In a file: a sixteenth of what the container needs, and 128 KiB that this writer freed, or one
    /// free run of 64 MiB. Never for one of many writers. Room of a file may be used again from now on without the two seconds that plain copies are given.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `Io`.
    pub fn wants_compaction_at_close(&self) -> Result<bool> {
        self.check_writable()?;
        if self.is_one_of_many() { Ok(false) } else { self.storage().wants_compaction_at_close() }
    }

    /// Bytes of a file that this one of many writers freed, or reserved and did not use: while there are others, nobody gives
    /// them back. 0 for a writer that is alone, for readers, and in a store.
    pub fn room_left_to_others(&self) -> u64 {
        if self.is_one_of_many() { self.storage().room_left_to_others() } else { 0 }
    }

    /// Has a writer that is alone count what others freed before it as freed by itself, so that
    /// [`wants_compaction_at_close`](Self::wants_compaction_at_close) asks what is free, whoever freed it.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `Io`.
    pub fn note_freed(&self, bytes: u64) -> Result<()> {
        self.check_writable()?;
        self.storage().note_freed(bytes)
    }

    /// Writes a payload anew in a better place. The old one stays until it is given back with
    /// [`free_payload`](Ledger::free_payload). `None` if there is no better place.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `NoSpace`, `Io`, `Store`; those of reading: a damaged payload is not moved.
    pub fn move_payload(&self, e: &Extent) -> Result<Option<Extent>> {
        self.check_writable()?;
        let Some(length) = usize::try_from(e.len()).ok().filter(|n| *n as u64 <= MAX_MOVED_PAYLOAD) else {
            return Ok(None);
        };
        payload::check_own(self.storage(), e)?;
        // A read in vain costs as much as one that helps.
        if !self.storage().fits_before(e.place(), e.len())? {
            return Ok(None);
        }
        let mut data = Scratch::new(length);
        // That proves the checksums, which hold in the new place as well.
        payload::read(self.storage(), e, 0, &mut data)?;
        let place = self.storage().write_before(e.place(), &data)?;
        Ok(place.map(|place| e.moved_to(place)))
    }

    /// The same in several parts, each in a place of its own, in order: where no free run is long enough for all of it. They go before a
    /// thirty-second more than the end that the file would have without holes. None if it begins there already, or there is no place
    /// for them.
    ///
    /// # Errors
    /// As for [`move_payload`](Ledger::move_payload).
    pub fn move_payload_in_parts(
        &self,
        e: &Extent,
        most: usize,
        compaction_plan: &CompactionPlan,
    ) -> Result<Vec<Extent>> {
        self.check_writable()?;
        let is_behind = |limit: &u64| e.place().offset >= *limit && e.len() <= MAX_MOVED_PAYLOAD;
        let Some(limit) = compaction_plan.parts_before.filter(is_behind) else { return Ok(Vec::new()) };
        let limit = Address::file(limit, e.len());
        let lengths = self.storage().parts_before(&limit, e.len(), most)?;
        let mut parts = Vec::with_capacity(lengths.len());
        let moved = self.move_parts(e, &lengths, &limit, &mut parts);
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
        limit: &Address,
        parts: &mut Vec<Extent>,
    ) -> Result<bool> {
        let mut at = 0;
        for length in lengths {
            let mut part = Scratch::new(*length as usize);
            payload::read(self.storage(), e, at, &mut part)?;
            let Some(place) = self.storage().write_before(limit, &part)? else { return Ok(false) };
            parts.push(Extent::of(place, &part));
            at += length;
        }
        Ok(true)
    }
}
