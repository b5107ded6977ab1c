//! A concurrent writer of a file.
//!
//! A writer reserves space by locking its bytes, in regions that hold many writes, while no other writer reserves or
//! commits. So the lock of a dead writer frees its reservation. Commits are made one at a time, and a writer reads the
//! commits of other writers before its own. Otherwise a writer does not wait for other writers.

use crate::address::PageRef;
use crate::error::{Error, ErrorKind, Result};
use crate::file::file_io::FileIo;
use crate::file::free_space::{FreeRuns, FreeSpace};
use crate::file::locks::Locks;
use crate::file::log::{self, LoggedRecord};
use crate::file::superblock::{DATA, Slot};
use crate::file::writer::{FileWriter, Noted};
use crate::storage::{Checkpoint, Commit, RemoteCommits};
use crate::wal::record::CommitRecord;

/// The length of the first region that a writer reserves, in bytes. Each region is twice as long as the one before, up to
/// the greatest length.
const MIN_REGION_BYTES: u64 = 64 << 10;
const MAX_REGION_BYTES: u64 = 4 << 20;
/// A writer that needs a longer run than it has reserved returns its reserved runs if they have at least this many bytes.
const MAX_REMAINDER_BYTES: u64 = MAX_REGION_BYTES / 2;

/// The state of a concurrent writer in addition to its free space.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Reserved runs that are not in use.
    pub(super) reserved: FreeRuns,
    /// The locked regions.
    regions: Vec<(u64, u64)>,
    next_region: u64,
    /// The version that the ledger above has read, and its checkpoint.
    view: u64,
    base: (u64, Option<PageRef>),
    /// Pinned sequences, ascending: that of the view, and those of older versions that are still being read.
    pins: Vec<u64>,
    /// True if the commit lock is held between calls.
    held: bool,
    /// True if the commit lock is held.
    entered: bool,
    /// True if this writer has offered payloads to another writer, whose record may name space that this writer has reserved.
    offers: bool,
}

impl Shared {
    /// Creates the state of a writer that has read `slot` and pinned it.
    pub(crate) fn new(slot: &Slot) -> Self {
        Self {
            reserved: FreeRuns::default(),
            regions: Vec::new(),
            next_region: MIN_REGION_BYTES,
            view: slot.version,
            base: (slot.base_version, slot.root),
            pins: vec![slot.sequence],
            held: false,
            entered: false,
            offers: false,
        }
    }

    /// Sets whether other writers' records may name payloads of this writer.
    pub(super) fn set_offers(&mut self, offers: bool) {
        self.offers = offers;
    }

    /// Returns whether other writers' records may name payloads of this writer.
    pub(super) fn has_offered(&self) -> bool {
        self.offers
    }

    pub(super) fn oldest_pin(&self) -> Option<u64> {
        self.pins.first().copied()
    }
}

/// Sorts the runs and joins those that touch.
fn merged(mut runs: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    runs.sort_unstable();
    runs.dedup_by(|(offset, length), (before, reach)| {
        let touches = *offset <= *before + *reach;
        if touches {
            *reach = (*offset + *length - *before).max(*reach);
        }
        touches
    });
    runs
}

/// Returns the parts of a region that overlap one of the `busy` runs (ascending and disjoint). Parts with less than
/// [`MIN_REGION_BYTES`] between them are joined.
fn busy_parts((offset, length): (u64, u64), busy: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let end = offset + length;
    let first = busy.partition_point(|(o, l)| o + l <= offset);
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for &(o, l) in busy[first..].iter().take_while(|(o, _)| *o < end) {
        let (from, to) = (o.max(offset), (o + l).min(end));
        match parts.last_mut() {
            Some((at, reach)) if from - (*at + *reach) < MIN_REGION_BYTES => *reach = to - *at,
            _ => parts.push((from, to - from)),
        }
    }
    parts
}

impl FileWriter {
    pub(super) fn shared(&mut self) -> Result<&mut Shared> {
        match &mut self.shared {
            Some(s) => Ok(s),
            None => Err(Error::invalid(&self.target, "the container was not opened for many writers")),
        }
    }

    /// Runs `body` while no other writer reserves or commits.
    pub(super) fn alone<T>(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        body: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let inside = self.shared()?.entered;
        if !inside {
            locks.enter(&self.target)?;
            self.shared()?.entered = true;
        }
        let done = self.catch_up(raw).and_then(|()| body(self));
        if !inside && !self.shared()?.held {
            self.shared()?.entered = false;
            locks.leave();
        }
        done
    }

    /// Prevents other writers from committing until [`FileWriter::unlock_commits`].
    pub(super) fn lock_commits(&mut self, raw: &dyn FileIo, locks: &Locks) -> Result<()> {
        self.alone(raw, locks, |w| {
            w.shared()?.held = true;
            Ok(())
        })
    }

    pub(super) fn unlock_commits(&mut self, locks: &Locks) {
        if let Some(s) = &mut self.shared
            && std::mem::take(&mut s.held)
        {
            s.entered = false;
            locks.leave();
        }
    }

    /// Reads the commits of other writers, as far as they concern free space.
    fn catch_up(&mut self, raw: &dyn FileIo) -> Result<()> {
        let slot = log::newest_slot(raw, &self.target)?;
        if slot == self.head {
            return Ok(());
        }
        if slot.sequence < self.head.sequence || slot.version < self.head.version {
            return Err(Error::corrupt(
                &self.target,
                "head slot",
                "it is older than one that was there before",
            ));
        }
        let records = log::records(raw, &slot, self.head.version, &self.target)?;
        let reached = records.first().map_or(slot.record, |first| first.record.header.previous);
        if reached != self.head.record {
            let why = "its versions do not follow those that were there before";
            return Err(Error::corrupt(&self.target, "head slot", why));
        }
        let checkpointed = (slot.base_version, slot.root, slot.free)
            != (self.head.base_version, self.head.root, self.head.free);
        // A checkpoint allocates and frees space that only its free list shows.
        if checkpointed {
            (self.free_space, self.history) = (None, None);
        }
        let (known, noted) = (self.head, self.log.len());
        self.head = slot;
        self.heed_retention(slot.retention);
        self.learn_tags(&records);
        let taken = self.take_notes(&records);
        if taken.is_err() {
            // Otherwise the next call would find no new commits, and space in use would count as free.
            self.head = known;
            self.log.truncate(noted);
            self.free_space = None;
        } else if checkpointed {
            self.log.retain(|n| n.version > slot.base_version);
        }
        taken
    }

    /// Brings free space and log to the newest slot. After an error they are updated in part.
    fn take_notes(&mut self, records: &[LoggedRecord]) -> Result<()> {
        for logged in records {
            let noted = Noted::from(logged);
            self.take_note(&noted)?;
            self.log.push(noted);
        }
        let end = self.head.end;
        if let Some(free_space) = self.free_space.as_mut().filter(|r| r.end < end) {
            let damaged = |why: &str| Error::corrupt(&self.target, "head slot", why);
            free_space.replay_end(end).map_err(damaged)?;
        }
        Ok(())
    }

    /// Adopts a longer retention time of another writer, as long as both write.
    fn heed_retention(&mut self, theirs: u64) {
        if theirs > self.reclaim.retention {
            self.reclaim.retention = theirs;
            self.reclaim.rule = self.reclaim.rule.with_retention(theirs - 1);
            self.date_again();
        }
    }

    fn take_note(&mut self, noted: &Noted) -> Result<()> {
        self.hand_over(noted)?;
        let damaged = |why: &str| Error::corrupt(&self.target, "notes of a record", why);
        let notes = match &mut self.free_space {
            Some(free_space) => noted.replay(free_space).map_err(damaged)?,
            None => noted.notes().map_err(damaged)?,
        };
        // An extent that another writer freed must not be freed again. The value that this writer staged with its free was
        // changed by the other writer, too, so the two values will be merged.
        for (offset, length) in notes.freed {
            if self.staged.freed.get(&offset) == Some(&length) {
                self.staged.freed.remove(&offset);
            }
        }
        Ok(())
    }

    /// Removes from newly read free space the runs that this writer has reserved, or written and not committed.
    pub(super) fn claim(&self, free_space: &mut FreeSpace) -> Result<()> {
        let damaged = |why: &str| Error::corrupt(&self.target, "free list", why);
        let reserved = self.shared.iter().flat_map(|s| s.reserved.iter());
        let written = self.staged.fresh.iter().chain(&self.checkpoint.fresh).map(|(o, l)| (*o, *l));
        reserved.chain(written).try_for_each(|(o, l)| free_space.replay_use(o, l)).map_err(damaged)
    }

    pub(super) fn allocate_shared(&mut self, raw: &dyn FileIo, locks: &Locks, length: u64) -> Result<u64> {
        if self.growth.is_full {
            self.give_up_holes(raw, locks)?;
        }
        if let Some(at) = self.shared()?.reserved.take(length) {
            return Ok(at);
        }
        self.alone(raw, locks, |w| w.reserve(raw, locks, length))?;
        let at = self.shared()?.reserved.take(length);
        at.ok_or_else(|| {
            Error::corrupt(&self.target, "reserved space", "it is shorter than what was asked for")
        })
    }

    /// Releases reserved runs without disk blocks, because a full disk cannot provide these blocks.
    fn give_up_holes(&mut self, raw: &dyn FileIo, locks: &Locks) -> Result<()> {
        let holes = raw.holes().unwrap_or_default();
        let reserved = &mut self.shared()?.reserved;
        let hollow: Vec<(u64, u64)> =
            reserved.iter().filter(|(o, l)| holes.iter().any(|(h, n)| *h < o + l && *o < h + n)).collect();
        if hollow.is_empty() {
            return Ok(());
        }
        for (offset, length) in hollow {
            reserved.carve(offset, length);
        }
        self.shared()?.next_region = MIN_REGION_BYTES;
        // Space that no writer has reserved becomes free again.
        self.free_space = None;
        self.alone(raw, locks, |w| w.let_go(locks))
    }

    /// Reserves space for at least one write of `length` bytes.
    fn reserve(&mut self, raw: &dyn FileIo, locks: &Locks, length: u64) -> Result<()> {
        self.return_remainders(raw)?;
        self.let_go(locks)?;
        let is_full = self.growth.is_full;
        if is_full {
            self.wake_without_courtesy(raw, locks)?;
        } else {
            self.wake_once(raw, locks)?;
        }
        // The region holds a whole number of such writes, so that no remainder is too short for the next one.
        let region = self.shared()?.next_region.max(length);
        let want = region - region % length.max(1);
        let least = if is_full { length } else { length.max(want / 16) };
        let mut taken = locks.reserved(&self.target)?;
        taken.extend(&self.shared()?.regions);
        taken.sort_unstable();
        let holes = if is_full { raw.holes().unwrap_or_default() } else { Vec::new() };
        let unfit = merged(taken.iter().chain(&holes).copied().collect());
        let free_space = self.load(raw)?;
        let (at, length) = match free_space.find_clear(least, want, &unfit) {
            Some(found) => found,
            None => {
                let behind = taken.last().map_or(0, |(o, l)| o + l).max(free_space.end).max(DATA);
                let at = behind.next_multiple_of(super::free_space::ALLOC_UNIT);
                self.growth.lengthened_at = self.growth.lengthened_at.or(Some(at));
                (at, want)
            }
        };
        if !locks.reserve(at, length, &self.target)? {
            // No concurrent writer holds this lock, because they reserve one at a time.
            return Err(locks.locked_by_foreign_process(&self.target, at));
        }
        let got = self.take_region(raw, at, length);
        if got.is_err() {
            locks.release(at, length);
        }
        got
    }

    fn take_region(&mut self, raw: &dyn FileIo, at: u64, length: u64) -> Result<()> {
        // The file is lengthened here, so that no writer writes beyond its end or has to query its length.
        let fail = |e: &std::io::Error| Error::io(&self.target, "lengthening", e);
        if raw.len().map_err(|e| fail(&e))? < at + length {
            raw.set_len(at + length).map_err(|e| fail(&e))?;
        }
        let free_space = self.load(raw)?;
        let taken = if at >= free_space.end {
            free_space.extend_at(at, length)
        } else {
            free_space.runs.carve(at, length).then_some(())
        };
        taken.ok_or_else(|| self.too_long())?;
        let shared = self.shared()?;
        shared.regions.push((at, length));
        shared.next_region = (shared.next_region * 2).min(MAX_REGION_BYTES);
        let _it_was_free = shared.reserved.add(at, length);
        Ok(())
    }

    /// Returns reserved runs that are too short for what the writer writes, once they are much. Otherwise each region would
    /// leave such a remainder, and no other writer could use it.
    fn return_remainders(&mut self, raw: &dyn FileIo) -> Result<()> {
        if self.shared()?.reserved.bytes() < MAX_REMAINDER_BYTES {
            return Ok(());
        }
        // Loaded before, so that these runs are not among the free runs yet.
        self.load(raw)?;
        let returned = std::mem::take(&mut self.shared()?.reserved);
        let free_space = self.load(raw)?;
        for (offset, length) in returned.iter() {
            let _was_reserved = free_space.runs.add(offset, length);
        }
        Ok(())
    }

    /// Unlocks the parts of regions in which nothing is reserved and no uncommitted extent is. All writers know which space
    /// is in use. Short parts between two locked ones stay locked, so that locks stay few.
    fn let_go(&mut self, locks: &Locks) -> Result<()> {
        let written = self.staged.fresh.iter().chain(&self.checkpoint.fresh).map(|(o, l)| (*o, *l));
        let shared = self.shared.iter().flat_map(|s| s.reserved.iter());
        let busy = merged(shared.chain(written).collect());
        let shared = self.shared()?;
        let mut regions = Vec::with_capacity(shared.regions.len());
        for region in shared.regions.drain(..) {
            let parts = busy_parts(region, &busy);
            if parts != [region] {
                locks.narrow(region, &parts);
            }
            regions.extend(parts);
        }
        shared.regions = regions;
        Ok(())
    }

    /// Commits if `version` is the next one.
    pub(super) fn commit_shared(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        version: u64,
        entries: &[u8],
    ) -> Result<Commit> {
        self.alone(raw, locks, |w| {
            if w.head.version + 1 != version {
                return Ok(Commit::Superseded);
            }
            // Pinned before the slot is written, because a version that cannot be protected must not be committed.
            let coming = w.head.sequence + 1;
            locks.pin(coming, &w.target)?;
            let length = w.commit(raw, locks, version, &entries).inspect_err(|_| locks.unpin(coming))?;
            let (sequence, base) = (w.head.sequence, (w.head.base_version, w.head.root));
            let shared = w.shared()?;
            shared.view = version;
            shared.pins.push(sequence);
            // If a checkpoint was written meanwhile, the ledger learns it from the remote commits. Until then it reads the
            // pages of the old checkpoint.
            if shared.base == base {
                w.unpin_old(locks);
            }
            // Other writers can read the commit, so it must be accounted for, even if its sync failed.
            w.check_sound()?;
            Ok(Commit::Done(length))
        })
    }

    /// Releases the pins of older versions, which are not read any more.
    pub(super) fn unpin_old(&mut self, locks: &Locks) {
        if let Some(s) = &mut self.shared
            && let Some(newest) = s.pins.pop()
        {
            s.pins.drain(..).filter(|p| *p != newest).for_each(|p| locks.unpin(p));
            s.pins.push(newest);
        }
    }

    /// Makes a separate commit without the changes that are staged here. `make` gets the records that were not reported to
    /// the ledger yet, and returns the entries.
    pub(super) fn commit_independent(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        make: &mut dyn FnMut(&[CommitRecord]) -> Result<Vec<u8>>,
    ) -> Result<()> {
        self.alone(raw, locks, |w| {
            let view = w.shared()?.view;
            let unseen_commits = log::records(raw, &w.head, view, &w.target)?;
            let unseen_commits: Vec<_> = unseen_commits.into_iter().map(|l| l.record).collect();
            let entries = make(&unseen_commits)?;
            let version = w.head.version + 1;
            w.append(raw, locks, version, &entries.as_slice(), (Vec::new(), Vec::new()))?;
            w.check_sound()
        })
    }

    /// Returns the commits that the ledger above has not read yet.
    pub(super) fn unseen_commits(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
    ) -> Result<Option<RemoteCommits>> {
        self.catch_up(raw)?;
        let head = self.head;
        let shared = self.shared()?;
        let (view, base) = (shared.view, (head.base_version, head.root));
        let rebased = shared.base != base;
        if head.version == view && !rebased {
            return Ok(None);
        }
        locks.pin(head.sequence, &self.target)?;
        let shared = self.shared()?;
        if shared.pins.last() != Some(&head.sequence) {
            shared.pins.push(head.sequence);
        }
        let after = if rebased { view.min(head.base_version) } else { view };
        let records = log::records(raw, &head, after, &self.target)?;
        let split = if rebased {
            records.partition_point(|l| l.record.header.version <= head.base_version)
        } else {
            0
        };
        let mut records: Vec<_> = records.into_iter().map(|l| l.record).collect();
        let tail = records.split_off(split);
        let shared = self.shared()?;
        (shared.view, shared.base) = (head.version, base);
        let restart = rebased.then_some(Checkpoint { version: head.base_version, root: head.root });
        Ok(Some(RemoteCommits {
            version: head.version,
            restart,
            records: tail,
            skipped: records,
            ..RemoteCommits::default()
        }))
    }

    /// Publishes a checkpoint, unless another one was published meanwhile.
    pub(super) fn checkpoint_commit_shared(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        base: Checkpoint,
    ) -> Result<()> {
        self.alone(raw, locks, |w| {
            let seen = w.shared()?.base;
            if seen != (w.head.base_version, w.head.root) {
                return Err(Error::new(&w.target, ErrorKind::Conflict));
            }
            let (coming, is_seen) = (w.head.sequence + 1, w.shared()?.view == w.head.version);
            if is_seen {
                locks.pin(coming, &w.target)?;
            }
            w.checkpoint_commit(raw, locks, base).inspect_err(|_| {
                if is_seen {
                    locks.unpin(coming);
                }
            })?;
            w.shared()?.base = (base.version, base.root);
            if is_seen {
                w.shared()?.pins.push(coming);
                w.unpin_old(locks);
            }
            Ok(())
        })
    }

    /// Releases all locks. Called at close.
    pub(super) fn give_up(&mut self, locks: &Locks) {
        if let Some(s) = &mut self.shared {
            s.regions.drain(..).for_each(|(o, l)| locks.release(o, l));
            s.pins.drain(..).for_each(|p| locks.unpin(p));
            s.reserved = FreeRuns::default();
            if std::mem::take(&mut s.entered) {
                locks.leave();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_region_that_are_busy_stay_locked() {
        let apart = MIN_REGION_BYTES;
        let region = (1 << 20, 16 * apart);
        let at = |n: u64| region.0 + n * apart;
        assert_eq!(busy_parts(region, &[]), []);
        assert_eq!(busy_parts(region, &[(0, at(0)), (at(16), 64)]), [], "beside it");
        assert_eq!(busy_parts(region, &[(0, 1 << 40)]), [region]);
        let busy = [(at(0) - 64, 128), (at(1), 64), (at(1) + 128, 64), (at(15), 2 * apart)];
        assert_eq!(busy_parts(region, &busy), [(at(0), 64 + apart - 64 + 192), (at(15), apart)]);
    }
}
