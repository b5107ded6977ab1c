//! The writer's side of the file storage: free space, extents written since the last commit, and the commit slot that the
//! next commit replaces.

mod append_reservation;
mod checkpoint;
mod checkpoint_commit;
mod commit_slots;
mod end_of_file;
mod state;
mod time;

use std::io::IoSliceMut;
use std::ops::Range;

use bytes::Bytes;

use self::state::{Growth, KnownTags, Reclaim, StagedCheckpoint, StagedExtents};
use self::time::Timekeeper;
use crate::address::{Address, Location, PageRef};
use crate::author::Author;
use crate::clock::Nonces;
use crate::codec::Decoded;
use crate::error::{Error, ErrorKind, Result};
use crate::file::compaction::loose_end;
use crate::file::file_io::FileIo;
use crate::file::free_space::{self, FreeSpace, PendingFree, ReclaimRule, round, run_of};
use crate::file::locks::Locks;
use crate::file::log::{self, LoggedRecord};
use crate::file::multi_writer::Shared;
use crate::file::preallocate::Preallocation;
use crate::file::reclaim_horizon;
use crate::file::space_delta::{self, Pairs, SpaceDelta};
use crate::file::superblock::Slot;
use crate::file::write_buffer::WriteBuffer;
use crate::history::History;
use crate::options::SyncPolicy;
use crate::wal::record::{self, Entries, Header};

/// Bytes that must stay free on the disk in addition to a payload: for records, pages and lists.
const DISK_RESERVE_BYTES: u64 = 256 << 10;

#[derive(Debug)]
pub(crate) struct FileWriter {
    pub(super) target: String,
    /// The newest commit slot.
    pub(crate) head: Slot,
    /// The free space. It is loaded when it is first needed, because its size is proportional to the container's.
    pub(super) free_space: Option<FreeSpace>,
    /// The records since the checkpoint, which the next checkpoint frees.
    pub(super) log: Vec<Noted>,
    pending: WriteBuffer,
    pub(super) staged: StagedExtents,
    pub(super) checkpoint: StagedCheckpoint,
    pub(super) growth: Growth,
    pub(super) reclaim: Reclaim,
    pub(super) tags: KnownTags,
    pub(super) sync: SyncPolicy,
    nonces: Nonces,
    /// The history to which the newest slot refers, once it has been read.
    pub(super) history: Option<History>,
    /// The additional state of a concurrent writer.
    pub(super) shared: Option<Shared>,
    /// True once this writer has written a commit slot.
    has_written_head: bool,
    timekeeper: Timekeeper,
    /// The highest sequence of a slot that is known to survive a power loss; 0 before this writer has synced anything.
    durable: u64,
    /// The sequence of the newest slot, as of the last check before a write.
    looked_at: Option<u64>,
    /// The error after which nothing may be written any more.
    broken: Option<Error>,
}

/// A record of the log, with the data that the accounting of free space needs.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    pub(super) version: u64,
    /// The sequence of the slot that published the record.
    sequence: u64,
    time: u64,
    by: Author,
    at: PageRef,
    /// Bytes that the record's version added.
    added: u64,
    /// The notes of the record. Empty if they are not needed any more.
    notes: Bytes,
}

impl From<&LoggedRecord> for Noted {
    fn from(l: &LoggedRecord) -> Self {
        let (h, notes) = (&l.record.header, l.record.notes.clone());
        let (sequence, used) = SpaceDelta::outline(&notes).unwrap_or_default();
        let (by, added) = (h.by.clone(), used.saturating_add(l.at.place.length));
        Self { version: h.version, sequence, time: h.time, by, at: l.at, added, notes }
    }
}

impl Noted {
    pub(super) fn notes(&self) -> Decoded<SpaceDelta> {
        SpaceDelta::decode(&self.notes)
    }

    /// Returns the length of the record's run in bytes.
    pub(super) fn run_bytes(&self) -> u64 {
        run_of(&self.at.place).1
    }

    /// Replays the record's notes on the free space, which must be that of the version before.
    pub(super) fn replay(&self, free_space: &mut FreeSpace) -> Decoded<SpaceDelta> {
        let notes = self.notes()?;
        notes.replay(free_space, self.time)?;
        let (offset, length) = run_of(&self.at.place);
        free_space.replay_use(offset, length)?;
        Ok(notes)
    }
}

impl FileWriter {
    pub(crate) fn new(
        target: String,
        head: Slot,
        records: &[LoggedRecord],
        (rule, retention): (ReclaimRule, u64),
        sync: SyncPolicy,
        nonces: Nonces,
        shared: Option<Shared>,
    ) -> Self {
        Self {
            target,
            head,
            free_space: None,
            log: records.iter().map(Noted::from).collect(),
            pending: WriteBuffer::default(),
            staged: StagedExtents::default(),
            checkpoint: StagedCheckpoint::default(),
            growth: Growth::default(),
            reclaim: Reclaim {
                rule,
                retention,
                horizon: None,
                asked_at: None,
                freed: 0,
                forks: crate::process::forks(),
            },
            tags: KnownTags::default(),
            sync,
            nonces,
            history: None,
            shared,
            has_written_head: false,
            timekeeper: Timekeeper::new(head.time),
            durable: 0,
            looked_at: None,
            broken: None,
        }
    }

    pub(super) fn io(&self, what: &str, e: &std::io::Error) -> Error {
        Error::io(&self.target, what, e)
    }

    /// Returns the error of a write. It may say that there is no space: the disk is full, a quota is reached, or the file
    /// has its greatest length.
    pub(super) fn unwritten(&mut self, what: &str, e: &std::io::Error) -> Error {
        let error = self.io(what, e);
        if error.is_full() {
            (self.growth.is_full, self.growth.lengthened_at) = (true, None);
        }
        error
    }

    /// Reads the free list of the checkpoint and replays the notes of later records.
    pub(super) fn load(&mut self, raw: &dyn FileIo) -> Result<&mut FreeSpace> {
        if self.free_space.is_none() {
            let damaged = |why: &str| Error::corrupt(&self.target, "free list", why);
            let (of, mut free_space) = match self.head.free {
                None => (self.head.base_version, FreeSpace::new(self.head.base_end)),
                Some(p) => {
                    let bytes = log::read_block(raw, &p.place, "free list", &self.target)?;
                    space_delta::decode_list(&bytes, p.crc, self.head.base_end).map_err(damaged)?
                }
            };
            // With concurrent writers, a checkpoint may be older than the free list that is written with it.
            for noted in self.log.iter().filter(|n| n.version > of) {
                noted.replay(&mut free_space).map_err(damaged)?;
            }
            if self.head.end > free_space.end {
                free_space.replay_end(self.head.end).map_err(damaged)?;
            }
            free_space.hold(self.tags.held.clone());
            self.date(&mut free_space);
            if self.shared.is_some() {
                self.claim(&mut free_space)?;
            } else {
                self.log.iter_mut().for_each(|n| n.notes = Bytes::new());
                self.find_unused(&free_space);
            }
            self.free_space = Some(free_space);
        }
        self.free_space.as_mut().ok_or_else(|| Error::corrupt(&self.target, "free list", "not loaded"))
    }

    /// Allocates `length` bytes. Reclaims space from the quarantine before it lets the file grow.
    fn allocate(&mut self, raw: &dyn FileIo, locks: &Locks, length: u64) -> Result<u64> {
        self.look_once(raw)?;
        let length = round(length.max(1));
        if self.shared.is_some() {
            return self.allocate_shared(raw, locks, length);
        }
        if let Some(below) = self.growth.below {
            let free_space = self.load(raw)?;
            let before = free_space.take_before(length, below);
            if let Some(at) = before.or_else(|| free_space.take_before(length, loose_end(below))) {
                return Ok(at);
            }
        }
        if self.growth.is_full
            && let Some(at) = self.take_within(raw, locks, length)?
        {
            return Ok(at);
        }
        if let Some(at) = self.load(raw)?.take(length) {
            return Ok(at);
        }
        self.wake_once(raw, locks)?;
        if let Some(at) = self.load(raw)?.take(length) {
            return Ok(at);
        }
        if self.is_disk_short(raw, length)? {
            self.wake_without_courtesy(raw, locks)?;
            if let Some(at) = self.load(raw)?.take(length) {
                return Ok(at);
            }
        }
        let free_space = self.load(raw)?;
        let grown = free_space.extend(length);
        self.growth.lengthened_at = self.growth.lengthened_at.or(grown);
        grown.ok_or_else(|| self.too_long())
    }

    /// Allocates within the present length of the file, because the file cannot be lengthened. The free space of the disk
    /// says nothing about a quota or the greatest length of a file.
    fn take_within(&mut self, raw: &dyn FileIo, locks: &Locks, length: u64) -> Result<Option<u64>> {
        let counted = self.head.end;
        if let Some(at) = self.load(raw)?.take_before(length, counted) {
            return Ok(Some(at));
        }
        self.wake_without_courtesy(raw, locks)?;
        Ok(self.load(raw)?.take_before(length, counted))
    }

    /// Allocates space for a record, adjacent to the previous record if possible.
    fn allocate_record(&mut self, raw: &dyn FileIo, locks: &Locks, length: u64) -> Result<u64> {
        if self.shared.is_some() || self.growth.below.is_some() {
            return self.allocate(raw, locks, length);
        }
        self.look_once(raw)?;
        let behind =
            self.log.last().map(|noted| run_of(&noted.at.place)).map(|(offset, length)| offset + length);
        let counted = self.head.end;
        let beside = self.load(raw)?.take_for_record(round(length.max(1)), behind, counted);
        beside.map_or_else(|| self.allocate(raw, locks, length), Ok)
    }

    /// Returns whether the disk may have no space for a longer file while space in quarantine could be used instead.
    fn is_disk_short(&mut self, raw: &dyn FileIo, length: u64) -> Result<bool> {
        if !self.load(raw)?.has_quarantined() {
            return Ok(false);
        }
        let needed = length.saturating_add(DISK_RESERVE_BYTES);
        if needed > self.growth.disk_left {
            let available = raw.available().unwrap_or(u64::MAX);
            if needed > available {
                return Ok(true);
            }
            // Other programs use the disk, too.
            self.growth.disk_left = available / 2;
        }
        self.growth.disk_left = self.growth.disk_left.saturating_sub(length);
        Ok(false)
    }

    pub(super) fn too_long(&self) -> Error {
        Error::new(&self.target, ErrorKind::NoSpace { errno: 27 })
    }

    /// Reclaims space from the quarantine, unless that was already tried since the newest slot was written.
    pub(super) fn wake_once(&mut self, raw: &dyn FileIo, locks: &Locks) -> Result<()> {
        if self.reclaim.asked_at.replace(self.head.sequence) == Some(self.head.sequence) {
            return Ok(());
        }
        self.wake(raw, locks)
    }

    /// Returns allocated space to the free runs, or to the reserved runs of a concurrent writer.
    pub(super) fn put_back(&mut self, offset: u64, length: u64) {
        self.note_unused(offset, length);
        let runs = match &mut self.shared {
            Some(s) => Some(&mut s.reserved),
            None => self.free_space.as_mut().map(|r| &mut r.runs),
        };
        let mut free = (offset, length);
        if let Some(runs) = runs {
            let _it_was_in_use = runs.add(offset, length);
            // Includes adjacent runs that were returned before and were too short to be released alone.
            free = runs.around(offset).unwrap_or(free);
        }
        self.pending.give_up(free.0, free.1);
    }

    /// Reclaims the runs in quarantine that no reader needs any more.
    pub(super) fn wake(&mut self, raw: &dyn FileIo, locks: &Locks) -> Result<()> {
        self.wake_by(raw, locks, self.reclaim.rule)
    }

    /// Reclaims space that is reserved for concurrent file copies, because there is no other free space.
    pub(super) fn wake_without_courtesy(&mut self, raw: &dyn FileIo, locks: &Locks) -> Result<()> {
        self.wake_by(raw, locks, ReclaimRule { courtesy: 0, ..self.reclaim.rule })
    }

    fn wake_by(&mut self, raw: &dyn FileIo, locks: &Locks, rule: ReclaimRule) -> Result<()> {
        let (sequence, now) = (self.head.sequence, self.now());
        let rule = self.doubting(rule, now);
        // The time is checked first, because testing for pins is a system call.
        if !self.load(raw)?.is_ripe(now, rule) {
            return Ok(());
        }
        let own = self.shared.as_ref().and_then(Shared::oldest_pin).unwrap_or(sequence);
        let limit = |locks: &Locks| locks.lowest_pin(sequence).unwrap_or(sequence).min(own);
        let Some(last) = self.load(raw)?.last_ripe(limit(locks), now, rule) else { return Ok(()) };
        self.look_once(raw)?;
        if !self.is_freed_durably(raw, last) {
            return Ok(());
        }
        let mut until = last;
        if self.shared.is_some() {
            // Other writers write the horizon, too.
            self.reclaim.horizon = None;
        }
        if last > self.horizon(raw)? {
            reclaim_horizon::write(raw, last, &self.target)?;
            self.reclaim.horizon = Some(last);
            // A reader that pinned an old version before the horizon was written must be noticed now.
            until = limit(locks).min(last);
        }
        self.load(raw)?.wake(until, now, rule);
        Ok(())
    }

    /// Returns the reclaim horizon: versions with a lower sequence may be incomplete.
    pub(super) fn horizon(&mut self, raw: &dyn FileIo) -> Result<u64> {
        let horizon = match self.reclaim.horizon {
            Some(horizon) => horizon,
            None => match reclaim_horizon::read(raw, &self.target) {
                Ok(horizon) => horizon,
                // A writer died while it wrote the horizon, so only the newest version is known to be complete.
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt { .. }) => {
                    reclaim_horizon::write(raw, self.head.sequence, &self.target)?;
                    self.head.sequence
                }
                Err(e) => return Err(e),
            },
        };
        self.reclaim.horizon = Some(horizon);
        Ok(horizon)
    }

    /// Allocates space for a payload and writes it. Passes each part to `on_bytes` just before it is written.
    pub(crate) fn payload(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        data: &[u8],
        on_bytes: &mut dyn FnMut(&[u8]),
    ) -> Result<Address> {
        let (len, shift) = (data.len() as u64, free_space::shift(data.len() as u64));
        let place = Address::file(self.allocate(raw, locks, shift + len)? + shift, len);
        self.staged.fresh.extend([run_of(&place)]);
        let mut written = self.pending.push(raw, place.offset, data, on_bytes);
        if self.growth.is_full {
            // Flush while the space can still be returned.
            written = written.and_then(|()| self.pending.flush(raw));
        }
        written.map_err(|e| {
            self.give_back(&place);
            self.unwritten("writing a payload", &e)
        })?;
        Ok(place)
    }

    /// Writes the buffered bytes to the file.
    pub(super) fn write_pending(&mut self, raw: &dyn FileIo) -> std::io::Result<()> {
        self.pending.flush(raw)
    }

    pub(super) fn put(&mut self, raw: &dyn FileIo, at: u64, data: &[u8], what: &str) -> Result<()> {
        self.pending.push(raw, at, data, &mut |_| ()).map_err(|e| self.unwritten(what, &e))
    }

    /// Cancels the staged free of a payload that is needed after all.
    pub(crate) fn keep(&mut self, place: &Address) {
        let (offset, length) = run_of(place);
        if self.staged.freed.get(&offset) == Some(&length) {
            self.staged.freed.remove(&offset);
        }
    }

    /// Frees space at once that was allocated since the last commit. Returns false if the extent is older.
    pub(crate) fn give_back(&mut self, place: &Address) -> bool {
        let (offset, length) = run_of(place);
        let known = self.staged.fresh.get(&offset) == Some(&length);
        if known && !self.return_accepted(offset, length) {
            self.staged.fresh.remove(&offset);
            self.put_back(offset, length);
        }
        known
    }

    pub(crate) fn free(&mut self, raw: &dyn FileIo, place: &Address) -> Result<()> {
        if place.location == Location::File && self.give_back(place) {
            return Ok(());
        }
        let (offset, length) = run_of(place);
        let taken = self.staged.freed.range(..offset.saturating_add(length)).next_back();
        let twice = taken.is_some_and(|(o, l)| o + l > offset);
        let in_use = self.load(raw)?.in_use(offset, length);
        // Another writer freed the extent, in a version that this writer has not read yet. The bytes are pinned until then.
        if self.shared.is_some() && place.location == Location::File && !twice && !in_use {
            return Ok(());
        }
        if place.location != Location::File || twice || !in_use {
            let why = format!("the extent at byte {offset} is free already, or was never in use");
            return Err(Error::invalid(&self.target, why));
        }
        self.staged.freed.insert(offset, length);
        Ok(())
    }

    pub(crate) fn has_freed(&self) -> bool {
        !self.staged.freed.is_empty()
    }

    /// Copies buffered bytes into the parts of a read, and returns their range in the file. Writes nothing, because a
    /// forked child may read, too.
    pub(crate) fn read_pending(&self, parts: &mut [IoSliceMut<'_>], at: u64) -> Range<u64> {
        self.pending.read(parts, at)
    }

    pub(crate) fn rollback(&mut self) {
        self.looked_at = None;
        self.checkpoint_forget();
        self.disown_all();
        for (o, l) in std::mem::take(&mut self.staged.fresh) {
            self.put_back(o, l);
        }
        self.staged.freed.clear();
    }

    /// Writes the record of `version` and the commit slot that publishes it. Returns the record's length.
    pub(crate) fn commit(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        version: u64,
        entries: &dyn Entries,
    ) -> Result<u64> {
        self.check_alone(raw)?;
        let used = self.staged.fresh.iter().map(|(o, l)| (*o, *l)).collect();
        let freed = self.freed_extents();
        let length = self.append(raw, locks, version, entries, (used, freed.clone()))?;
        self.note_growth();
        self.staged = StagedExtents::default();
        self.quarantine(raw, freed, self.now().max(self.head.time))?;
        Ok(length)
    }

    /// Clears the mark that the file is full if the commit contains extents in a lengthened part of the file.
    fn note_growth(&mut self) {
        let lengthened_at = self.growth.lengthened_at.take().filter(|_| self.growth.is_full);
        if lengthened_at.is_some_and(|at| self.staged.fresh.range(at..).next().is_some()) {
            self.growth.is_full = false;
        }
    }

    /// Returns the runs that the next commit frees. A replay frees a run in quarantine as a whole, so an exclusive writer
    /// splits runs of which a tag holds a part. Concurrent writers do not split runs, because they compare freed runs as a
    /// whole.
    fn freed_extents(&self) -> Pairs {
        let freed = self.staged.freed.iter().map(|(o, l)| (*o, *l));
        match self.shared {
            Some(_) => freed.collect(),
            None => freed.flat_map(|run| self.tags.held.split(run)).collect(),
        }
    }

    /// Writes a record with the given notes of used and freed space, and the commit slot that publishes it. Returns the
    /// record's length.
    pub(super) fn append(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        version: u64,
        entries: &dyn Entries,
        (used, freed): (Pairs, Pairs),
    ) -> Result<u64> {
        let end = self.used_end(raw)?;
        let notes =
            SpaceDelta { sequence: self.head.sequence + 1, end, used: space_delta::joined(used), freed };
        let damaged = |why: &str| Error::corrupt(&self.target, "notes of a record", why);
        let notes_bytes = notes.encode().map_err(damaged)?;
        let time = self.next_time();
        let nonce = self.nonces.next();
        let by = Author::myself();
        let header = Header { by, previous: self.head.record, ..Header::of_now(version, nonce, time) };
        let (bytes, crc) = record::encode(&header, &notes_bytes, entries);
        let length = bytes.len() as u64;
        if length > log::MAX_BLOCK_BYTES {
            let why = format!(
                "a commit has a record of {length} bytes, and {} are possible; commit more often",
                log::MAX_BLOCK_BYTES
            );
            return Err(Error::invalid(&self.target, why));
        }
        if self.head.log_bytes.saturating_add(length) > log::MAX_LOG_BYTES {
            let why = format!(
                "the log would be longer than {} bytes, because checkpoints fail; copy the container with 'h5lake copy' or 'h5lake repair'",
                log::MAX_LOG_BYTES
            );
            return Err(Error::invalid(&self.target, why));
        }
        let at = match self.kept_for_record(length) {
            Some(at) => at,
            None => self.allocate_record(raw, locks, length)?,
        };
        let place = Address::file(at, length);
        let written = self.put(raw, place.offset, &bytes, "writing a record").and_then(|()| {
            let behind = at + round(length) > end;
            let end = if behind { self.used_end(raw)? } else { end };
            let next = Slot {
                sequence: notes.sequence,
                version,
                time,
                end,
                log_bytes: self.head.log_bytes + place.length,
                record: Some(PageRef { place, crc }),
                retention: self.reclaim.retention,
                ..self.head
            };
            self.write_head(raw, next)
        });
        if let Err(e) = written {
            let (offset, length) = run_of(&place);
            self.put_back(offset, length);
            return Err(e);
        }
        let added = notes.used.iter().map(|(_, l)| l).sum::<u64>() + place.length;
        let notes = if self.shared.is_some() { notes_bytes.into() } else { Bytes::new() };
        let (sequence, by, at) = (self.head.sequence, header.by, PageRef { place, crc });
        self.log.push(Noted { version, sequence, time, by, at, added, notes });
        Ok(place.length)
    }

    fn quarantine(
        &mut self,
        raw: &dyn FileIo,
        runs: impl IntoIterator<Item = (u64, u64)>,
        time: u64,
    ) -> Result<()> {
        let (sequence, now) = (self.head.sequence, self.now());
        let free_space = self.load(raw)?;
        let mut freed = 0_u64;
        for run in runs {
            freed = freed.saturating_add(run.1);
            let pending = PendingFree { since: now, ..PendingFree::new(run, sequence, time) };
            // The run was checked when it was freed. If it is invalid all the same, it is leaked and never used twice.
            if let Err(why) = free_space.quarantine(pending) {
                tracing::warn!(offset = run.0, length = run.1, why, "a freed run is not given back");
            }
        }
        self.reclaim.freed = self.reclaim.freed.saturating_add(freed);
        Ok(())
    }

    /// Turns on preallocation if a lock guarantees that no other process writes.
    pub(crate) fn take_blocks_ahead(&mut self, locks: &Locks) {
        let is_alone = self.shared.is_none() && locks.work();
        self.pending = WriteBuffer::new(if is_alone { Preallocation::On } else { Preallocation::Off });
    }

    /// Releases preallocated blocks that were not used. Called at close.
    pub(crate) fn give_back_blocks(&mut self, raw: &dyn FileIo) {
        self.pending.give_back(raw);
    }
}
