//! Checkpoints of a file: pages, the history, the free list, and the commit slot that publishes them.

use super::{FileWriter, Noted};
use crate::address::{Address, PageRef};
use crate::error::{Error, Result};
use crate::file::file_io::FileIo;
use crate::file::free_space::{PendingFree, round, run_of};
use crate::file::locks::Locks;
use crate::file::log;
use crate::file::space_delta::{self, Pairs};
use crate::file::superblock::Slot;
use crate::file::version_lookup;
use crate::history::{History, Mark, warn_of_given_up};
use crate::storage::Checkpoint;

/// Additional bytes for the changes of a free list by its own allocation: one more run, and longer integers.
const LIST_RESERVE_BYTES: u64 = 64;

/// A checkpoint, and the commit slot that is about to publish it.
#[derive(Debug)]
pub(super) struct PendingCheckpoint {
    pub(super) base: Checkpoint,
    /// The version of the slot, and the time of that version.
    pub(super) version: u64,
    pub(super) version_time: u64,
    /// The time of the slot.
    pub(super) time: u64,
    /// Runs that are not in use any more from that slot on.
    pub(super) gone: Pairs,
    /// Runs that were written and are part of neither a version nor this checkpoint. If the process dies, no structure
    /// names them, so they count as free.
    pub(super) unborn: Pairs,
}

impl FileWriter {
    pub(crate) fn checkpoint_write(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        data: &[u8],
    ) -> Result<Address> {
        let at = self.allocate(raw, locks, data.len() as u64)?;
        self.checkpoint.fresh.insert(at, round(data.len() as u64));
        self.put(raw, at, data, "writing a page")?;
        Ok(Address::file(at, data.len() as u64))
    }

    pub(crate) fn checkpoint_free(&mut self, place: &Address) {
        let run = run_of(place);
        // A page of this checkpoint may be replaced by the same checkpoint. No reader ever reads such a page.
        if self.checkpoint.fresh.get(&run.0) == Some(&run.1) {
            self.checkpoint.fresh.remove(&run.0);
            self.put_back(run.0, run.1);
        } else if !self.checkpoint.kept.supersede(run) {
            self.checkpoint.freed.push(run);
        }
    }

    pub(crate) fn checkpoint_rollback(&mut self) {
        for (o, l) in std::mem::take(&mut self.checkpoint.fresh) {
            self.put_back(o, l);
        }
        self.checkpoint.freed.clear();
        self.checkpoint.kept.superseded.clear();
    }

    /// Publishes the checkpoint `base`.
    pub(crate) fn checkpoint_commit(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        base: Checkpoint,
    ) -> Result<()> {
        self.check_alone(raw)?;
        // The free space is computed from the log, of which the checkpointed part is about to be freed. A checkpoint that
        // wrote no page has not loaded it yet.
        self.load(raw)?;
        let gone = std::mem::take(&mut self.checkpoint.freed);
        let unborn = self.staged.fresh.iter().map(|(o, l)| (*o, *l)).collect();
        let time = self.next_time();
        let coming = PendingCheckpoint {
            base,
            version: self.head.version,
            version_time: self.head.time,
            time,
            gone,
            unborn,
        };
        self.put_folded(raw, locks, coming)
    }

    /// Publishes a checkpoint that contains the records up to its version.
    pub(super) fn put_folded(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        mut coming: PendingCheckpoint,
    ) -> Result<()> {
        let (checkpointed, kept): (Vec<_>, Vec<_>) =
            self.log.iter().cloned().partition(|n| n.version <= coming.base.version);
        coming.gone.extend(checkpointed.iter().map(|n| run_of(&n.at.place)));
        // Until the checkpoint is published, the log keeps all records, because a caller that reads the free list again
        // replays them.
        self.put_base(raw, locks, coming, &checkpointed, kept)
    }

    fn put_base(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        mut coming: PendingCheckpoint,
        checkpointed: &[Noted],
        kept: Vec<Noted>,
    ) -> Result<()> {
        let base = coming.base;
        coming.gone.extend(self.head.free.iter().chain(&self.head.history).map(|p| run_of(&p.place)));
        // Records are adjacent, so their runs are joined and freed as one run.
        let held = self.tags.held.clone();
        coming.gone = space_delta::joined(coming.gone).into_iter().flat_map(|run| held.split(run)).collect();
        self.wake(raw, locks)?;
        self.trim(raw)?;
        let (past, history) = self.write_history(raw, locks, base.version, checkpointed, &kept)?;
        let free = self.write_list(raw, locks, &coming)?;
        let end = self.used_end(raw)?;
        let next = Slot {
            sequence: self.head.sequence + 1,
            version: coming.version,
            time: coming.version_time,
            end,
            base_version: base.version,
            base_end: end,
            log_bytes: kept.iter().map(|n| n.at.place.length).sum(),
            // Concurrent writers follow the pointers of records that they have not read yet across the checkpoint.
            record: self.head.record.filter(|_| self.shared.is_some()),
            root: base.root,
            free,
            history: Some(history),
            retention: self.reclaim.retention,
        };
        self.write_head(raw, next)?;
        self.log = kept;
        self.history = Some(past);
        self.checkpoint.fresh.clear();
        self.quarantine(raw, coming.gone, coming.time)?;
        if self.shared.is_none() {
            self.shorten(raw);
        }
        Ok(())
    }

    /// Returns the history to which the newest slot refers.
    fn known_history(&mut self, raw: &dyn FileIo) -> Result<&History> {
        if self.history.is_none() {
            self.history = Some(version_lookup::history(raw, &self.head, &self.target)?);
        }
        Ok(self.history.get_or_insert_default())
    }

    /// Returns the retention time that the user set, in microseconds.
    fn asked_retention(&self) -> u64 {
        self.reclaim.retention.saturating_sub(1).saturating_mul(1000)
    }

    /// Returns whether the next checkpoint should be delayed until the log is very long, so that the history has few enough
    /// checkpoints.
    pub(crate) fn spares_checkpoints(&mut self, raw: &dyn FileIo) -> Result<bool> {
        let (now, retention) = (self.now(), self.asked_retention());
        let is_long = self.head.history.is_some_and(|p| History::may_be_crowded(p.place.length));
        Ok(retention > 0 && is_long && self.known_history(raw)?.is_crowded(now, retention))
    }

    /// Writes the history that leads to the versions before the coming checkpoint.
    fn write_history(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        version: u64,
        checkpointed: &[Noted],
        kept: &[Noted],
    ) -> Result<(History, PageRef)> {
        let mut history = self.known_history(raw)?.clone();
        // The checkpoint is complete until a part of it is freed: by this slot, or by the version after it.
        let reclaim_epoch = kept.first().map_or(self.head.sequence + 1, |next| next.sequence - 1);
        let base = match checkpointed.last() {
            Some(n) => Mark { version, reclaim_epoch, time: n.time, bytes: n.added, author: n.by.clone() },
            None => Mark { version, reclaim_epoch, ..history.base.clone() },
        };
        let log = (checkpointed.last().map(|n| n.at), checkpointed.iter().map(|n| n.at.place.length).sum());
        let horizon = self.horizon(raw)?;
        let given_up = history.advance(base, self.head.root, log, horizon);
        warn_of_given_up(&self.target, given_up, self.now(), self.asked_retention());
        let (bytes, crc) = history.encode();
        let place = self.checkpoint_write(raw, locks, &bytes)?;
        Ok((history, PageRef { place, crc }))
    }

    /// Writes the free list of the coming checkpoint.
    fn write_list(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        coming: &PendingCheckpoint,
    ) -> Result<Option<PageRef>> {
        let version = coming.version;
        let (runs, quarantined) = self.free_at_death(raw, coming)?;
        if runs.is_empty() && quarantined.is_empty() {
            return Ok(None);
        }
        let (bytes, _) = self.encode_list(version, &runs, &quarantined, None)?;
        let bound = round(bytes.len() as u64 + LIST_RESERVE_BYTES);
        if bound > log::MAX_BLOCK_BYTES {
            let why = format!(
                "the free list has {bound} bytes, and {} are possible; copy the container with 'h5lake copy'",
                log::MAX_BLOCK_BYTES
            );
            return Err(Error::invalid(&self.target, why));
        }
        let at = self.allocate(raw, locks, bound)?;
        self.checkpoint.fresh.insert(at, bound);
        let (runs, quarantined) = self.free_at_death(raw, coming)?;
        let (bytes, crc) = self.encode_list(version, &runs, &quarantined, Some(bound as usize))?;
        if bytes.len() as u64 > bound {
            return Err(Error::invalid(&self.target, "a free list outgrew its space; commit again"));
        }
        self.put(raw, at, &bytes, "writing a free list")?;
        Ok(Some(PageRef { place: Address::file(at, bytes.len() as u64), crc }))
    }

    fn encode_list(
        &self,
        version: u64,
        runs: &[(u64, u64)],
        quarantined: &[PendingFree],
        length: Option<usize>,
    ) -> Result<(Vec<u8>, u32)> {
        let encoded = space_delta::encode_list(version, runs, quarantined, length);
        encoded.map_err(|why| Error::corrupt(&self.target, "free list", why))
    }

    /// Returns the runs that are free and those in quarantine if this process dies directly after the coming checkpoint is
    /// published.
    fn free_at_death(
        &mut self,
        raw: &dyn FileIo,
        coming: &PendingCheckpoint,
    ) -> Result<(Pairs, Vec<PendingFree>)> {
        let (sequence, time) = (self.head.sequence + 1, coming.time);
        let mut runs = coming.unborn.clone();
        runs.extend(self.shared.iter().flat_map(|s| s.reserved.iter()));
        // Reserved or free space at the end of the file is beyond the end in the coming slot.
        let end = self.used_end(raw)?;
        runs.extend(self.growth.reservations.kept());
        let free_space = self.load(raw)?;
        runs.extend(free_space.runs.iter());
        runs.retain(|(o, _)| *o < end);
        runs.iter_mut().for_each(|(o, l)| *l = (*l).min(end - *o));
        let pending_free = |run: &(u64, u64)| PendingFree::new(*run, sequence, time);
        let gone = coming.gone.iter().map(pending_free);
        Ok((space_delta::joined(runs), free_space.waiting().chain(gone).collect()))
    }

    /// Truncates the file to its end. A failure is harmless, because no structure names the bytes beyond the end.
    fn shorten(&mut self, raw: &dyn FileIo) {
        let end = self.head.end;
        if !self.owes_sync() && raw.len().is_ok_and(|len| len > end) {
            let _harmless = raw.set_len(end);
            self.pending.forget_length();
            self.growth.reached = 0;
        }
    }
}
