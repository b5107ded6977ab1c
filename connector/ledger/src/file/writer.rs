//! The writer's side of the file space: room, what was written since the last commit, and the head that it will replace.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::clock::{self, Nonces};
use crate::error::{Error, ErrorKind, Result};
use crate::file::free::{FreeSpace, GRAIN, RestRule, Resting, round};
use crate::file::head::{self, Slot};
use crate::file::locks::Locks;
use crate::file::log::{self, Logged};
use crate::file::notes::{self, Notes, Pairs};
use crate::file::raw::{Combined, LARGE, RawFile};
use crate::file::{past, reclaimed};
use crate::history::{History, Mark};
use crate::options::SyncPolicy;
use crate::place::{Place, Room};
use crate::record::{self, Author, Header};
use crate::space::{Base, Pointer};

/// Slack for what taking its own room changes in a free list: one run more, and longer integers.
const LIST_SLACK: u64 = 64;

#[derive(Debug)]
pub(crate) struct Writer {
    target: String,
    /// The head that is in force.
    pub(crate) head: Slot,
    /// The room; loaded at the first need of it, because its size follows the container's.
    room: Option<FreeSpace>,
    /// Notes of the records since the base, until the room is loaded.
    unread: Vec<(u64, Place, Bytes)>,
    /// The records since the base, which the next checkpoint frees.
    log: Vec<Place>,
    pending: Combined,
    /// The file is known to be this long.
    reached: u64,
    /// Written since the last commit, by offset; and what will not be in use after the next.
    pub(super) fresh: BTreeMap<u64, u64>,
    freed: BTreeMap<u64, u64>,
    /// The same for the checkpoint being made.
    fold_fresh: BTreeMap<u64, u64>,
    fold_freed: Pairs,
    rule: RestRule,
    sync: SyncPolicy,
    nonces: Nonces,
    /// Who made the newest version, and the bytes that it added; `None` when that was before the base.
    newest: Option<(Author, u64)>,
    /// What the head's history says, once it is read.
    history: Option<History>,
    /// For the heads to come; see [`Slot`].
    retention: u64,
    /// The sequence before which no version is whole, once it is read.
    lost: Option<u64>,
    /// The room was asked for in vain since this sequence; it is not worth asking again before the next.
    asked: Option<u64>,
}

impl Writer {
    pub(crate) fn new(
        target: String,
        head: Slot,
        records: &[Logged],
        (rule, retention): (RestRule, u64),
        sync: SyncPolicy,
        nonces: Nonces,
    ) -> Self {
        let unread =
            records.iter().map(|l| (l.record.header.time, l.at.place, l.record.notes.clone())).collect();
        Self {
            target,
            head,
            room: None,
            unread,
            log: records.iter().map(|l| l.at.place).collect(),
            pending: Combined::default(),
            reached: 0,
            fresh: BTreeMap::new(),
            freed: BTreeMap::new(),
            fold_fresh: BTreeMap::new(),
            fold_freed: Vec::new(),
            rule,
            sync,
            nonces,
            newest: records.last().map(|l| (l.record.header.by.clone(), past::added(l))),
            history: None,
            retention,
            lost: None,
            asked: None,
        }
    }

    pub(super) fn io(&self, what: &str, e: &std::io::Error) -> Error {
        Error::io(&self.target, what, e)
    }

    /// Reads the free list of the base and the notes since.
    pub(super) fn load(&mut self, raw: &dyn RawFile) -> Result<&mut FreeSpace> {
        if self.room.is_none() {
            let damaged = |why: &str| Error::corrupt(&self.target, "free list", why);
            let mut room = match self.head.free {
                None => FreeSpace::new(self.head.base_end),
                Some(p) => {
                    let mut bytes = vec![0; p.place.length as usize];
                    raw.read_at(&mut bytes, p.place.offset)
                        .map_err(|e| log::unreadable(&self.target, "free list", &e))?;
                    notes::decode_list(&bytes, p.crc, self.head.base_end).map_err(damaged)?
                }
            };
            for (time, place, bytes) in &self.unread {
                let notes = Notes::decode(bytes).map_err(damaged)?;
                notes.replay(&mut room, *time).map_err(damaged)?;
                room.replay_use(place.offset, round(place.length)).map_err(damaged)?;
            }
            room.replay_end(self.head.end).map_err(damaged)?;
            self.unread.clear();
            self.room = Some(room);
        }
        self.room.as_mut().ok_or_else(|| Error::corrupt(&self.target, "free list", "not loaded"))
    }

    /// Room for `length` bytes; wakes what has rested before it lets the file grow.
    fn allocate(&mut self, raw: &dyn RawFile, locks: &Locks, length: u64) -> Result<u64> {
        let length = round(length.max(1));
        let sequence = self.head.sequence;
        let asked = self.asked;
        let target = self.target.clone();
        let room = self.load(raw)?;
        if let Some(at) = room.take(length) {
            return Ok(at);
        }
        if asked != Some(sequence) {
            self.wake(raw, locks)?;
            self.asked = Some(sequence);
            if let Some(at) = self.load(raw)?.take(length) {
                return Ok(at);
            }
        }
        let room = self.load(raw)?;
        room.extend(length).ok_or_else(|| Error::new(&target, ErrorKind::NoSpace { errno: 27 }))
    }

    /// Frees what has rested enough.
    pub(super) fn wake(&mut self, raw: &dyn RawFile, locks: &Locks) -> Result<()> {
        let (sequence, rule, now) = (self.head.sequence, self.rule, clock::now());
        // Asking for pins is a system call; time is asked first.
        if !self.load(raw)?.is_ripe(now, rule) {
            return Ok(());
        }
        let limit = locks.lowest_pin(sequence).unwrap_or(sequence);
        let Some(last) = self.load(raw)?.last_ripe(limit, now, rule) else { return Ok(()) };
        let mut limit = last;
        if last > self.lost(raw)? {
            reclaimed::write(raw, last, &self.target)?;
            self.lost = Some(last);
            // Whoever pinned an old version before that was written has to be seen now.
            limit = locks.lowest_pin(sequence).unwrap_or(sequence).min(last);
        }
        self.load(raw)?.wake(limit, now, rule);
        Ok(())
    }

    /// The sequence before which no version is whole.
    fn lost(&mut self, raw: &dyn RawFile) -> Result<u64> {
        let lost = match self.lost {
            Some(lost) => lost,
            None => match reclaimed::read(raw, &self.target) {
                Ok(lost) => lost,
                // A writer that died while it wrote this: nobody can tell what is whole but the newest.
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt { .. }) => {
                    reclaimed::write(raw, self.head.sequence, &self.target)?;
                    self.head.sequence
                }
                Err(e) => return Err(e),
            },
        };
        self.lost = Some(lost);
        Ok(lost)
    }

    /// Takes room for a payload. Small ones are written by this; for large ones the caller writes, without the lock.
    pub(crate) fn payload(&mut self, raw: &dyn RawFile, locks: &Locks, data: &[u8]) -> Result<(Place, bool)> {
        let at = self.allocate(raw, locks, data.len() as u64)?;
        self.fresh.insert(at, round(data.len() as u64));
        let place = Place::file(at, data.len() as u64);
        match self.put(raw, at, data) {
            Ok(written) => Ok((place, written)),
            Err(e) => {
                self.give_back(&place);
                Err(e)
            }
        }
    }

    /// Keeps a small write back; for a large one, only sees to the order.
    pub(super) fn put(&mut self, raw: &dyn RawFile, at: u64, data: &[u8]) -> Result<bool> {
        let small = data.len() < LARGE;
        let done = if small { self.pending.push(raw, at, data, GRAIN) } else { self.pending.flush(raw) };
        done.map(|()| small).map_err(|e| self.io("writing", &e))
    }

    /// Gives fresh room back at once; false if it is not fresh.
    pub(crate) fn give_back(&mut self, place: &Place) -> bool {
        let known = self.fresh.get(&place.offset) == Some(&round(place.length));
        if known && let (Some(l), Some(room)) = (self.fresh.remove(&place.offset), self.room.as_mut()) {
            let _fresh_runs_are_in_use = room.runs.add(place.offset, l);
        }
        known
    }

    pub(crate) fn free(&mut self, raw: &dyn RawFile, place: &Place) -> Result<()> {
        if place.room == Room::File && self.give_back(place) {
            return Ok(());
        }
        let (offset, length) = (place.offset, round(place.length));
        let taken = self.freed.range(..offset.saturating_add(length)).next_back();
        let twice = taken.is_some_and(|(o, l)| o + l > offset);
        if place.room != Room::File || twice || !self.load(raw)?.in_use(offset, length) {
            let why = format!("the extent at byte {offset} is free already, or was never in use");
            return Err(Error::invalid(&self.target, why));
        }
        self.freed.insert(offset, length);
        Ok(())
    }

    pub(crate) fn has_freed(&self) -> bool {
        !self.freed.is_empty()
    }

    /// Before a read: what was kept back has to be in the file.
    pub(crate) fn settle(&mut self, raw: &dyn RawFile, offset: u64, length: u64) -> Result<()> {
        if self.pending.overlaps(offset, length) {
            self.pending.flush(raw).map_err(|e| self.io("writing", &e))?;
        }
        Ok(())
    }

    pub(crate) fn rollback(&mut self) {
        if let Some(room) = self.room.as_mut() {
            for (o, l) in std::mem::take(&mut self.fresh) {
                let _fresh_runs_are_in_use = room.runs.add(o, l);
            }
        }
        self.freed.clear();
    }

    /// Writes the record of `version` and the head that makes it count. Returns the record's length.
    pub(crate) fn commit(
        &mut self,
        raw: &dyn RawFile,
        locks: &Locks,
        version: u64,
        entries: &[u8],
    ) -> Result<u64> {
        self.check_alone(raw, locks)?;
        let end = self.load(raw)?.end;
        let notes = Notes {
            sequence: self.head.sequence + 1,
            end,
            used: notes::joined(self.fresh.iter().map(|(o, l)| (*o, *l)).collect()),
            freed: self.freed.iter().map(|(o, l)| (*o, *l)).collect(),
        };
        let time = clock::now().max(self.head.time);
        let nonce = self.nonces.next();
        let header = Header { version, nonce, time, by: Author::myself(), previous: self.head.record };
        let (bytes, crc) = record::encode(&header, &notes.encode(), entries);
        let place = Place::file(self.allocate(raw, locks, bytes.len() as u64)?, bytes.len() as u64);
        let written = self.write_record(raw, &place, &bytes).and_then(|()| {
            let end = self.load(raw)?.end;
            let next = Slot {
                sequence: notes.sequence,
                version,
                time,
                end,
                log_bytes: self.head.log_bytes + place.length,
                record: Some(Pointer { place, crc }),
                retention: self.retention,
                ..self.head
            };
            self.write_head(raw, next)
        });
        if let Err(e) = written {
            if let Some(room) = self.room.as_mut() {
                let _taken_above = room.runs.add(place.offset, round(place.length));
            }
            return Err(e);
        }
        let used: u64 = notes.used.iter().map(|(_, l)| l).sum();
        self.newest = Some((Author::myself(), used + place.length));
        self.log.push(place);
        self.fresh.clear();
        let freed = std::mem::take(&mut self.freed);
        self.lay_to_rest(raw, freed, time)?;
        Ok(place.length)
    }

    fn write_record(&mut self, raw: &dyn RawFile, place: &Place, bytes: &[u8]) -> Result<()> {
        if !self.put(raw, place.offset, bytes)? {
            raw.write_at(bytes, place.offset).map_err(|e| self.io("writing a record", &e))?;
        }
        Ok(())
    }

    fn lay_to_rest(
        &mut self,
        raw: &dyn RawFile,
        runs: impl IntoIterator<Item = (u64, u64)>,
        time: u64,
    ) -> Result<()> {
        let sequence = self.head.sequence;
        let room = self.load(raw)?;
        for (offset, length) in runs {
            // Checked when it was freed; were it wrong all the same, the run is lost and not used twice.
            if let Err(why) = room.rest(Resting { offset, length, sequence, time }) {
                tracing::warn!(offset, length, why, "a freed run is not given back");
            }
        }
        Ok(())
    }

    /// Without a working lock another writer may have been here.
    fn check_alone(&self, raw: &dyn RawFile, locks: &Locks) -> Result<()> {
        if !locks.work() && log::newest_slot(raw, &self.target)? != self.head {
            return Err(Error::new(&self.target, ErrorKind::Conflict));
        }
        Ok(())
    }

    /// Room that was taken and not written yet (or given back) may lie at the end. A file shorter than its head says would
    /// pass for one that was cut off.
    fn fill(&mut self, raw: &dyn RawFile, end: u64) -> Result<()> {
        self.reached = self.reached.max(self.pending.end());
        if self.reached < end {
            self.reached = raw.len().map_err(|e| self.io("asking for the length", &e))?;
        }
        if self.reached < end {
            raw.set_len(end).map_err(|e| self.io("lengthening", &e))?;
            self.reached = end;
        }
        Ok(())
    }

    /// Puts what was kept back into the file, then the head.
    fn write_head(&mut self, raw: &dyn RawFile, next: Slot) -> Result<()> {
        self.pending.flush(raw).map_err(|e| self.io("writing", &e))?;
        self.fill(raw, next.end)?;
        let broken = |what: &str, e: &std::io::Error| {
            Error::new(&self.target, ErrorKind::Broken { why: format!("{what}: {e}") })
        };
        if self.sync == SyncPolicy::Commit {
            // After a failed sync the system may have dropped what it could not write: nothing can be retried.
            raw.sync().map_err(|e| broken("syncing data", &e))?;
        }
        if let Err(e) = raw.write_at(&next.encode(), next.position()) {
            // Did it arrive all the same? If the head in force is still the old one, nothing happened.
            return match log::newest_slot(raw, &self.target) {
                Ok(s) if s == self.head => Err(self.io("writing the head", &e)),
                _ => Err(broken("writing the head", &e)),
            };
        }
        if self.sync == SyncPolicy::Commit {
            raw.sync().map_err(|e| broken("syncing the head", &e))?;
        }
        self.head = next;
        Ok(())
    }

    pub(crate) fn fold_write(&mut self, raw: &dyn RawFile, locks: &Locks, data: &[u8]) -> Result<Place> {
        let at = self.allocate(raw, locks, data.len() as u64)?;
        self.fold_fresh.insert(at, round(data.len() as u64));
        if !self.put(raw, at, data)? {
            raw.write_at(data, at).map_err(|e| self.io("writing a page", &e))?;
        }
        Ok(Place::file(at, data.len() as u64))
    }

    pub(crate) fn fold_free(&mut self, place: &Place) {
        let run = (place.offset, round(place.length));
        // A page of this very checkpoint can be superseded by it: then no reader ever sees it.
        if self.fold_fresh.get(&run.0) == Some(&run.1) {
            self.fold_fresh.remove(&run.0);
            if let Some(room) = self.room.as_mut() {
                let _fresh_runs_are_in_use = room.runs.add(run.0, run.1);
            }
        } else {
            self.fold_freed.push(run);
        }
    }

    pub(crate) fn fold_rollback(&mut self) {
        if let Some(room) = self.room.as_mut() {
            for (o, l) in std::mem::take(&mut self.fold_fresh) {
                let _fresh_runs_are_in_use = room.runs.add(o, l);
            }
        }
        self.fold_freed.clear();
    }

    /// Makes `base` count.
    pub(crate) fn fold_commit(&mut self, raw: &dyn RawFile, locks: &Locks, base: Base) -> Result<()> {
        self.check_alone(raw, locks)?;
        let mut gone = std::mem::take(&mut self.fold_freed);
        gone.extend(self.log.iter().map(|p| (p.offset, round(p.length))));
        gone.extend(
            self.head.free.iter().chain(&self.head.history).map(|p| (p.place.offset, round(p.place.length))),
        );
        self.wake(raw, locks)?;
        self.load(raw)?.trim();
        let time = clock::now().max(self.head.time);
        let (past, history) = self.write_history(raw, locks, base.version)?;
        let free = self.write_list(raw, locks, &gone, time)?;
        let end = self.load(raw)?.end;
        let next = Slot {
            sequence: self.head.sequence + 1,
            end,
            base_version: base.version,
            base_end: end,
            log_bytes: 0,
            record: None,
            root: base.root,
            free,
            history: Some(history),
            retention: self.retention,
            ..self.head
        };
        self.write_head(raw, next)?;
        self.history = Some(past);
        self.fold_fresh.clear();
        self.log.clear();
        self.lay_to_rest(raw, gone, time)?;
        self.shorten(raw);
        Ok(())
    }

    /// Writes what will lead to the versions before the base that is coming.
    fn write_history(
        &mut self,
        raw: &dyn RawFile,
        locks: &Locks,
        version: u64,
    ) -> Result<(History, Pointer)> {
        let mut history = match self.history.take() {
            Some(history) => history,
            None => past::history(raw, &self.head, &self.target)?,
        };
        self.history = Some(history.clone());
        let (author, bytes) =
            self.newest.clone().unwrap_or_else(|| (history.base.author.clone(), history.base.bytes));
        let base = Mark { version, moment: self.head.sequence + 1, time: self.head.time, bytes, author };
        let lost = self.lost(raw)?;
        history.advance(base, self.head.root, (self.head.record, self.head.log_bytes), lost);
        let (bytes, crc) = history.encode();
        let place = self.fold_write(raw, locks, &bytes)?;
        Ok((history, Pointer { place, crc }))
    }

    /// Writes the free list of the base that is coming. What was written since the last commit counts as free in it:
    /// should this process die, nobody knows of it.
    fn write_list(
        &mut self,
        raw: &dyn RawFile,
        locks: &Locks,
        gone: &[(u64, u64)],
        time: u64,
    ) -> Result<Option<Pointer>> {
        let sequence = self.head.sequence + 1;
        let fresh: Pairs = self.fresh.iter().map(|(o, l)| (*o, *l)).collect();
        let coming = gone.iter().map(|(o, l)| Resting { offset: *o, length: *l, sequence, time });
        let snapshot = |room: &FreeSpace| -> (Pairs, Vec<Resting>) {
            let runs = notes::joined(room.runs.iter().chain(fresh.iter().copied()).collect());
            (runs, room.resting.iter().copied().chain(coming.clone()).collect())
        };
        let (runs, resting) = snapshot(self.load(raw)?);
        if runs.is_empty() && resting.is_empty() {
            return Ok(None);
        }
        let bound = round(notes::encode_list(&runs, &resting, None).0.len() as u64 + LIST_SLACK);
        let at = self.allocate(raw, locks, bound)?;
        self.fold_fresh.insert(at, bound);
        let (runs, resting) = snapshot(self.load(raw)?);
        let (bytes, crc) = notes::encode_list(&runs, &resting, Some(bound as usize));
        if bytes.len() as u64 > bound {
            return Err(Error::invalid(&self.target, "a free list outgrew its room; commit again"));
        }
        if !self.put(raw, at, &bytes)? {
            raw.write_at(&bytes, at).map_err(|e| self.io("writing a free list", &e))?;
        }
        Ok(Some(Pointer { place: Place::file(at, bytes.len() as u64), crc }))
    }

    /// Cuts off what lies behind the end. Failing is harmless: those bytes belong to nobody.
    fn shorten(&mut self, raw: &dyn RawFile) {
        let end = self.head.end;
        if raw.len().is_ok_and(|len| len > end) {
            let _harmless = raw.set_len(end);
            self.reached = 0;
        }
    }

    /// Leaves a note for those that the lock keeps out.
    pub(crate) fn leave_note(raw: &dyn RawFile) {
        let _only_a_courtesy = raw.write_at(&head::encode_note(&head::myself()), head::NOTE);
    }
}
