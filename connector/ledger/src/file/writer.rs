//! The writer's side of the file storage: room, what was written since the last commit, and the head that it will replace.

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
use crate::wal::record::{self, Author, Entries, Header};

/// Room that the disk has to have besides what a payload takes: for records, pages and lists.
const DISK_RESERVE_BYTES: u64 = 256 << 10;

#[derive(Debug)]
pub(crate) struct FileWriter {
    pub(super) target: String,
    /// The head that is in force.
    pub(crate) head: Slot,
    /// The room; loaded at the first need of it, because its size follows the container's.
    pub(super) free_space: Option<FreeSpace>,
    /// The records since the base, which the next checkpoint frees.
    pub(super) log: Vec<Noted>,
    pending: WriteBuffer,
    pub(super) staged: StagedExtents,
    pub(super) checkpoint: StagedCheckpoint,
    pub(super) growth: Growth,
    pub(super) reclaim: Reclaim,
    pub(super) tags: KnownTags,
    pub(super) sync: SyncPolicy,
    nonces: Nonces,
    /// What the head's history says, once it is read.
    pub(super) history: Option<History>,
    /// What one of many writers has to know beside.
    pub(super) shared: Option<Shared>,
    /// Since this one began to write.
    has_written_head: bool,
    timekeeper: Timekeeper,
    /// The highest sequence whose head is known to survive a loss of power; 0 before this one has synced anything.
    durable: u64,
    /// The sequence of the head that was found in force when something was last about to be written.
    looked_at: Option<u64>,
    /// Why nothing may be written any more.
    broken: Option<Error>,
}

/// A record of the log, as the room has to know it.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    pub(super) version: u64,
    /// Of the head that made it count.
    sequence: u64,
    time: u64,
    by: Author,
    at: PageRef,
    /// Bytes that its version added.
    added: u64,
    /// Empty where nobody will ask any more.
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

    /// Bytes of its run.
    pub(super) fn run_bytes(&self) -> u64 {
        run_of(&self.at.place).1
    }

    /// Brings the room from the version before to this one's.
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

    /// The error of a write, which may have found no room: on a full disk, at a quota, or beyond the longest file.
    pub(super) fn unwritten(&mut self, what: &str, e: &std::io::Error) -> Error {
        let error = self.io(what, e);
        if error.is_full() {
            (self.growth.is_full, self.growth.lengthened_at) = (true, None);
        }
        error
    }

    /// Reads the free list of the base and the notes since.
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
            // With many writers a checkpoint may be older than the list that it is written with.
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

    /// Room for `length` bytes; wakes what has rested before it lets the file grow.
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

    /// Room that the file has, as it cannot be lengthened. What a disk has left does not tell of a quota or of the longest file.
    fn take_within(&mut self, raw: &dyn FileIo, locks: &Locks, length: u64) -> Result<Option<u64>> {
        let counted = self.head.end;
        if let Some(at) = self.load(raw)?.take_before(length, counted) {
            return Ok(Some(at));
        }
        self.wake_without_courtesy(raw, locks)?;
        Ok(self.load(raw)?.take_before(length, counted))
    }

    /// Room for a record, beside the one before it if that can be.
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

    /// Whether something rests that would do, while the disk may have no room for a longer file.
    fn is_disk_short(&mut self, raw: &dyn FileIo, length: u64) -> Result<bool> {
        if !self.load(raw)?.has_resting() {
            return Ok(false);
        }
        let needed = length.saturating_add(DISK_RESERVE_BYTES);
        if needed > self.growth.disk_left {
            let available = raw.available().unwrap_or(u64::MAX);
            if needed > available {
                return Ok(true);
            }
            // Others use the disk, too.
            self.growth.disk_left = available / 2;
        }
        self.growth.disk_left = self.growth.disk_left.saturating_sub(length);
        Ok(false)
    }

    pub(super) fn too_long(&self) -> Error {
        Error::new(&self.target, ErrorKind::NoSpace { errno: 27 })
    }

    /// Wakes what has rested, if that was not tried since the head in force.
    pub(super) fn wake_once(&mut self, raw: &dyn FileIo, locks: &Locks) -> Result<()> {
        if self.reclaim.asked_at.replace(self.head.sequence) == Some(self.head.sequence) {
            return Ok(());
        }
        self.wake(raw, locks)
    }

    /// Gives room that was taken back to where it came from.
    pub(super) fn put_back(&mut self, offset: u64, length: u64) {
        self.note_unused(offset, length);
        let runs = match &mut self.shared {
            Some(s) => Some(&mut s.reserved),
            None => self.free_space.as_mut().map(|r| &mut r.runs),
        };
        let mut free = (offset, length);
        if let Some(runs) = runs {
            let _it_was_in_use = runs.add(offset, length);
            // With what beside it was given back before, and could not be given up alone.
            free = runs.around(offset).unwrap_or(free);
        }
        self.pending.give_up(free.0, free.1);
    }

    /// Frees what has rested enough.
    pub(super) fn wake(&mut self, raw: &dyn FileIo, locks: &Locks) -> Result<()> {
        self.wake_by(raw, locks, self.reclaim.rule)
    }

    /// Courtesy to who copies ends where there is no other room.
    pub(super) fn wake_without_courtesy(&mut self, raw: &dyn FileIo, locks: &Locks) -> Result<()> {
        self.wake_by(raw, locks, ReclaimRule { courtesy: 0, ..self.reclaim.rule })
    }

    fn wake_by(&mut self, raw: &dyn FileIo, locks: &Locks, rule: ReclaimRule) -> Result<()> {
        let (sequence, now) = (self.head.sequence, self.now());
        let rule = self.doubting(rule, now);
        // Asking for pins is a system call; time is asked first.
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
            // Others write it too.
            self.reclaim.horizon = None;
        }
        if last > self.lost(raw)? {
            reclaim_horizon::write(raw, last, &self.target)?;
            self.reclaim.horizon = Some(last);
            // Whoever pinned an old version before that was written has to be seen now.
            until = limit(locks).min(last);
        }
        self.load(raw)?.wake(until, now, rule);
        Ok(())
    }

    /// The sequence before which no version is whole.
    pub(super) fn lost(&mut self, raw: &dyn FileIo) -> Result<u64> {
        let lost = match self.reclaim.horizon {
            Some(lost) => lost,
            None => match reclaim_horizon::read(raw, &self.target) {
                Ok(lost) => lost,
                // A writer that died while it wrote this: nobody can tell what is whole but the newest.
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt { .. }) => {
                    reclaim_horizon::write(raw, self.head.sequence, &self.target)?;
                    self.head.sequence
                }
                Err(e) => return Err(e),
            },
        };
        self.reclaim.horizon = Some(lost);
        Ok(lost)
    }

    /// Takes room for a payload and writes it. Each part is shown to `on_bytes` just before.
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
            // While it can be given back.
            written = written.and_then(|()| self.pending.flush(raw));
        }
        written.map_err(|e| {
            self.give_back(&place);
            self.unwritten("writing a payload", &e)
        })?;
        Ok(place)
    }

    /// Writes what is kept back.
    pub(super) fn write_pending(&mut self, raw: &dyn FileIo) -> std::io::Result<()> {
        self.pending.flush(raw)
    }

    pub(super) fn put(&mut self, raw: &dyn FileIo, at: u64, data: &[u8], what: &str) -> Result<()> {
        self.pending.push(raw, at, data, &mut |_| ()).map_err(|e| self.unwritten(what, &e))
    }

    /// Takes back that a payload is given back: somebody needs it after all.
    pub(crate) fn keep(&mut self, place: &Address) {
        let (offset, length) = run_of(place);
        if self.staged.freed.get(&offset) == Some(&length) {
            self.staged.freed.remove(&offset);
        }
    }

    /// Gives fresh room back at once; false if it is not fresh.
    pub(crate) fn give_back(&mut self, place: &Address) -> bool {
        let (offset, length) = run_of(place);
        let known = self.staged.fresh.get(&offset) == Some(&length);
        if known && self.staged.fresh.remove(&offset).is_some() {
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
        // Another writer gave it back, in a version that is not seen here yet. Its bytes are pinned until then.
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

    /// Fills in what of a read is not in the file yet; returns where in the file that belongs. Reading writes nothing: a forked
    /// child does it, too.
    pub(crate) fn read_pending(&self, parts: &mut [IoSliceMut<'_>], at: u64) -> Range<u64> {
        self.pending.read(parts, at)
    }

    pub(crate) fn rollback(&mut self) {
        self.looked_at = None;
        self.checkpoint_forget();
        for (o, l) in std::mem::take(&mut self.staged.fresh) {
            self.put_back(o, l);
        }
        self.staged.freed.clear();
    }

    /// Writes the record of `version` and the head that makes it count. Returns the record's length.
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
        self.staged.fresh.clear();
        self.staged.freed.clear();
        self.lay_to_rest(raw, freed, self.now().max(self.head.time))?;
        Ok(length)
    }

    /// A file that was lengthened by what is committed is not full any more.
    fn note_growth(&mut self) {
        let lengthened_at = self.growth.lengthened_at.take().filter(|_| self.growth.is_full);
        if lengthened_at.is_some_and(|at| self.staged.fresh.range(at..).next().is_some()) {
            self.growth.is_full = false;
        }
    }

    /// What the next commit gives back. A replay frees a resting run as a whole, so one writer cuts what a tag holds a part of.
    /// Many writers compare what they give back, whole.
    fn freed_extents(&self) -> Pairs {
        let freed = self.staged.freed.iter().map(|(o, l)| (*o, *l));
        match self.shared {
            Some(_) => freed.collect(),
            None => freed.flat_map(|run| self.tags.held.split(run)).collect(),
        }
    }

    /// Writes a record that says of room what it is told, and the head that makes it count.
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

    fn lay_to_rest(
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
            let resting = PendingFree { since: now, ..PendingFree::new(run, sequence, time) };
            // Checked when it was freed; were it wrong all the same, the run is lost and not used twice.
            if let Err(why) = free_space.rest(resting) {
                tracing::warn!(offset = run.0, length = run.1, why, "a freed run is not given back");
            }
        }
        self.reclaim.freed = self.reclaim.freed.saturating_add(freed);
        Ok(())
    }

    /// Lets the file have blocks ahead of what is written, if a lock says that nobody else writes.
    pub(crate) fn take_blocks_ahead(&mut self, locks: &Locks) {
        let is_alone = self.shared.is_none() && locks.work();
        self.pending = WriteBuffer::new(if is_alone { Preallocation::On } else { Preallocation::Off });
    }

    /// At the end: gives back what the file was given and has no use for.
    pub(crate) fn give_back_blocks(&mut self, raw: &dyn FileIo) {
        self.pending.give_back(raw);
    }
}
