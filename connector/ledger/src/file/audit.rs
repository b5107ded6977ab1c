//! The checks of a whole file: slots, history, free list, and that used and free space add up.

use std::collections::BTreeSet;

use crate::address::{Address, PageRef};
use crate::audit::{
    Audit, Claims, Epoch, Finding, Findings, HitVersions, Versions, claimed_twice, place_name, why_damaged,
};
use crate::error::{Error, ErrorKind, Result};
use crate::file::free_space::{FreeSpace, run_of};
use crate::file::superblock::{self, DATA, FIXED, Slot};
use crate::file::version_lookup::{FileHistorySegment, OldVersions};
use crate::file::{FileStorage, lock, log, reclaim_horizon, space_delta};
use crate::tags::{TagEntry, TagName};

/// A check of one file.
pub(super) struct FileAudit<'a> {
    storage: &'a FileStorage,
    head: Slot,
    /// The parts of the history, newest first.
    segments: Vec<FileHistorySegment>,
    horizon: u64,
    /// Records after the checkpoint. The free list does not contain their changes yet.
    records: Vec<log::LoggedRecord>,
}

/// The number of times that slots are read before they count as damaged, because a writer may be writing one of them.
const MAX_HEAD_READS: u32 = 20;
/// The number of times that the pin of older versions is moved before their check is abandoned.
const MAX_PIN_MOVES: u32 = 8;

impl<'a> FileAudit<'a> {
    pub(super) fn of(storage: &'a FileStorage) -> Option<Self> {
        let head = (*lock(&storage.seen))?;
        Some(Self { storage, head, segments: Vec::new(), horizon: 0, records: Vec::new() })
    }

    fn io(&self, e: &std::io::Error) -> Error {
        log::unreadable(&self.storage.target, "the head", e)
    }

    /// Returns the damage of the bytes before the first extent. A reader uses one slot only. Damage to the other slot or
    /// the copies is reported as well, because they are needed to recover from later damage.
    fn slots(&self) -> Result<Vec<Finding>> {
        let mut bytes = vec![0; DATA as usize];
        self.storage.raw.read_at(&mut bytes, 0).map_err(|e| self.io(&e))?;
        let mut found = Vec::new();
        let mut bad = |what: &'static str, from: u64, length: usize, why: &str| {
            found.push(Finding::damage(what, place_name(&Address::file(from, length as u64)), why));
        };
        if let Err(e) = superblock::Fixed::decode(&bytes[..FIXED], &self.storage.target) {
            bad("head", 0, FIXED, &why_damaged(&e).unwrap_or_else(|| e.to_string()));
        }
        let newest = superblock::newest(&bytes[superblock::SLOTS_AT as usize..]).ok().flatten();
        let is_ahead = |slot: &Slot| newest.is_some_and(|newest| slot.sequence > newest.sequence);
        for (what, at) in superblock::SLOT_PLACES {
            let part = &bytes[at as usize..at as usize + superblock::SLOT];
            let is_empty = part.iter().all(|b| *b == 0);
            match Slot::decode(part) {
                Ok(Some(slot)) if what == "head slot" && slot.position() != at => {
                    bad(what, at, superblock::SLOT, "a head of another slot is in it");
                }
                // An older copy of the file was restored in place. No reader uses such a copy of a slot.
                Ok(Some(slot)) if is_ahead(&slot) => {
                    let why = "it is newer than both slots, so it is of another history";
                    bad(what, at, superblock::SLOT, why);
                }
                Ok(Some(_)) => (),
                Ok(None) if is_empty && what == "copy of a head slot" => (),
                // The first commit writes the other slot.
                Ok(None) if is_empty && self.head.sequence < 2 => (),
                Ok(None) => bad(
                    what,
                    at,
                    superblock::SLOT,
                    "the checksum does not match; another slot or copy stands in for it",
                ),
                Err(why) => bad(what, at, superblock::SLOT, why),
            }
        }
        let note = &bytes[superblock::NOTE as usize..superblock::NOTE as usize + superblock::NOTE_LEN];
        if note.iter().any(|b| *b != 0) && superblock::decode_note(note).is_none() {
            bad("writer's note", superblock::NOTE, superblock::NOTE_LEN, "the checksum does not match");
        }
        Ok(found)
    }

    /// Checks the slots, and ignores findings that disappear because a writer was writing there.
    fn check_slots(&self, out: &mut Findings) -> Result<()> {
        let mut found = self.slots()?;
        for _ in 0..MAX_HEAD_READS {
            if found.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
            let again = self.slots()?;
            found.retain(|f| again.contains(f));
        }
        found.into_iter().for_each(|f| out.add(f));
        Ok(())
    }

    /// Pins the oldest version that can be opened, and all later ones.
    fn pin_older(&mut self, out: &mut Findings) -> Result<bool> {
        let (raw, target) = (self.storage.raw.as_ref(), &self.storage.target);
        for _ in 0..MAX_PIN_MOVES {
            let before = match reclaim_horizon::read(raw, target) {
                Ok(horizon) => horizon,
                Err(e) => {
                    let Some(why) = why_damaged(&e) else { return Err(e) };
                    let at = place_name(&Address::file(superblock::RECLAIMED, 16));
                    out.add(Finding::damage(
                        "reclaimed space",
                        at,
                        format!("{why}; older versions cannot be told from lost ones"),
                    ));
                    return Ok(false);
                }
            };
            let locks = lock(&self.storage.locks);
            locks.pin(before, target)?;
            self.horizon = reclaim_horizon::read(raw, target)?;
            if self.horizon == before {
                return Ok(true);
            }
            if before != self.head.sequence {
                locks.unpin(before);
            }
        }
        out.add(Finding::warning(
            "older versions",
            "not checked",
            "a writer uses their space again all the time",
        ));
        Ok(false)
    }

    fn record_place(l: &log::LoggedRecord) -> Address {
        l.at.place
    }

    /// Returns the free space of the newest version, as a writer would compute it.
    fn free(&self, out: &mut Findings) -> Result<Option<FreeSpace>> {
        let (of, free_space) = match self.head.free {
            None => {
                (self.head.base_version, Ok((self.head.base_version, FreeSpace::new(self.head.base_end))))
            }
            Some(p) => {
                let bytes = self.bytes(&p)?;
                let list = bytes.and_then(|b| {
                    space_delta::decode_list(&b, p.crc, self.head.base_end).map_err(str::to_owned)
                });
                (0, list)
            }
        };
        let at = self.head.free.map_or_else(String::new, |p| place_name(&p.place));
        let (of, mut free_space) = match free_space {
            Ok((version, free_space)) => (version.max(of), free_space),
            Err(why) => {
                out.add(Finding::damage("free list", at, why));
                return Ok(None);
            }
        };
        let replayed = self.records.iter().filter(|l| l.record.header.version > of).try_for_each(|l| {
            let notes = space_delta::SpaceDelta::decode(&l.record.notes)?;
            notes.replay(&mut free_space, l.record.header.time)?;
            let (offset, length) = run_of(&l.at.place);
            free_space.replay_use(offset, length)
        });
        let replayed = replayed.and_then(|()| match self.head.end > free_space.end {
            true => free_space.replay_end(self.head.end),
            false => Ok(()),
        });
        match replayed {
            Ok(()) => Ok(Some(free_space)),
            Err(why) => {
                out.add(Finding::damage("free list", at, format!("{why}, as the records behind it say")));
                Ok(None)
            }
        }
    }

    fn bytes(&self, p: &PageRef) -> Result<std::result::Result<Vec<u8>, String>> {
        let raw = self.storage.raw.as_ref();
        let length = raw.len().map_err(|e| self.io(&e))?;
        if p.place.offset.saturating_add(p.place.length) > length {
            return Ok(Err("the file ends before it".into()));
        }
        match log::read_block(raw, &p.place, "free list", &self.storage.target) {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(e) => why_damaged(&e).map(Err).ok_or(e),
        }
    }
}

/// Reports space that tags list and that counts as free.
fn check_held(tags: &[(TagName, TagEntry)], free_space: &FreeSpace, out: &mut Findings) {
    for (name, entry) in tags {
        for (from, length) in &entry.runs {
            let free = free_space.free_in(*from, from + length);
            if free > 0 {
                let why = format!(
                    "the tag '{name}' lists these bytes, and {free} of them are said to be free or beyond the end"
                );
                let found = Finding::damage("space", place_name(&Address::file(*from, *length)), why);
                out.add(found.of(HitVersions::Tagged(*name)));
            }
        }
    }
}

impl Audit for FileAudit<'_> {
    fn begin(&mut self, versions: Versions, claims: &mut Claims, out: &mut Findings) -> Result<usize> {
        self.check_slots(out)?;
        for p in [self.head.free, self.head.history].into_iter().flatten() {
            let (offset, length) = run_of(&p.place);
            claims
                .add(&Address::file(offset, length), &mut |c| out.add(claimed_twice(c)))
                .map_err(|e| self.io(&e))?;
        }
        let raw = self.storage.raw.as_ref();
        self.records = log::records(raw, &self.head, self.head.base_version, &self.storage.target)?;
        // The history is always read, because it is a part of the newest version's space.
        let segments = match OldVersions::of(raw, &self.head, &self.storage.target) {
            Ok(past) => past.segments,
            Err(e) => {
                let Some(why) = why_damaged(&e) else { return Err(e) };
                let at = self.head.history.map_or_else(String::new, |p| place_name(&p.place));
                out.add(Finding::damage("history", at, format!("{why}; older versions cannot be found")));
                return Ok(1);
            }
        };
        if versions == Versions::Newest || !self.pin_older(out)? {
            return Ok(1);
        }
        let horizon = self.horizon;
        self.segments = segments;
        self.segments.retain(|s| s.is_whole(horizon));
        Ok(self.segments.len().max(1))
    }

    fn epoch(&mut self, n: usize, out: &mut Findings) -> Result<Option<Epoch>> {
        let newest = n == 0;
        let hit = if newest { HitVersions::Newest } else { HitVersions::OlderOnly };
        let Some(segment) = self.segments.get(n) else {
            // Only the newest version is checked.
            let last = self.records.len();
            let records = self.records.iter().enumerate();
            let records =
                records.map(|(i, l)| (l.record.clone(), Self::record_place(l), i + 1 == last)).collect();
            return Ok(newest.then(|| Epoch {
                root: self.head.root,
                base_is_whole: last == 0,
                records,
                hit,
            }));
        };
        let base_is_whole = segment.base.version > 0 && segment.base.reclaim_epoch >= self.horizon;
        let raw = self.storage.raw.as_ref();
        let records = match segment.records(raw, 0, &self.storage.target) {
            Ok(records) => records,
            Err(_) if self.is_overtaken(n)? => {
                return if newest {
                    Err(Error::new(&self.storage.target, ErrorKind::Gone))
                } else {
                    Ok(None)
                };
            }
            Err(e) => {
                let Some(why) = why_damaged(&e) else { return Err(e) };
                let at = match e.kind() {
                    ErrorKind::Corrupt { at, .. } => at.clone(),
                    _ => String::new(),
                };
                out.add(Finding::damage("record", at, why).of(hit));
                Vec::new()
            }
        };
        let mut seen = BTreeSet::new();
        let horizon = self.horizon;
        let whole =
            |sequence: u64, version: u64| sequence >= horizon || (newest && version == self.head.version);
        let records =
            records.into_iter().rev().filter(|(_, l)| seen.insert(l.record.header.version)).map(|(q, l)| {
                let is_whole = whole(q, l.record.header.version);
                (l.record.clone(), Self::record_place(&l), is_whole)
            });
        Ok(Some(Epoch { root: segment.slot.root, base_is_whole, records: records.collect(), hit }))
    }

    fn is_overtaken(&self, n: usize) -> Result<bool> {
        if n == 0 {
            // The pin protects the snapshot in use, if locks work.
            return Ok(self.storage.is_reclaimed());
        }
        let horizon = reclaim_horizon::read(self.storage.raw.as_ref(), &self.storage.target)?;
        Ok(horizon > self.horizon || self.segments.get(n).is_some_and(|s| !s.is_whole(horizon)))
    }

    fn unclaimed(
        &mut self,
        claims: &mut Claims,
        tags: &[(TagName, TagEntry)],
        out: &mut Findings,
    ) -> Result<()> {
        let Some(free_space) = self.free(out)? else { return Ok(()) };
        check_held(tags, &free_space, out);
        let length = self.storage.raw.len().map_err(|e| self.io(&e))?;
        if length + crate::file::free_space::ALLOC_UNIT <= self.head.end {
            let why = format!("the file has {length} bytes of {}; it was cut off", self.head.end);
            out.add(Finding::damage("end of file", format!("byte {length}"), why));
        }
        let (mut at, mut leaked, mut runs, mut first) = (DATA, 0u64, 0u64, None);
        let mut overlaps = Vec::new();
        // Space between two claims should be free or in quarantine.
        let mut gap = |from: u64, to: u64| {
            for (o, l) in free_space.used_in(from, to) {
                (leaked, runs) = (leaked + l, runs + 1);
                first.get_or_insert((o, l));
            }
        };
        let mut twice = Vec::new();
        claims
            .sorted(&mut |c| twice.push(claimed_twice(c)), &mut |c| {
                gap(at, c.offset);
                at = at.max(c.end);
                let used: u64 = free_space.used_in(c.offset, c.end).map(|(_, l)| l).sum();
                if used < c.end - c.offset {
                    overlaps.push((c.offset, c.end, c.end - c.offset - used));
                }
            })
            .map_err(|e| self.io(&e))?;
        gap(at, free_space.end);
        twice.into_iter().for_each(|f| out.add(f));
        for (from, to, free) in overlaps {
            let why = format!("{free} of these bytes are in use, and said to be free or beyond the end");
            out.add(Finding::damage("space", place_name(&Address::file(from, to - from)), why));
        }
        // Space that is referenced only below a damaged page is in use, too, at unknown addresses.
        let is_complete =
            !out.list.iter().any(|f| f.hit.is_newest() && (f.keys.is_some() || f.key.is_some()));
        if let Some((o, l)) = first.filter(|_| is_complete) {
            let why = format!(
                "{leaked} bytes in {runs} runs are neither in use nor free; a copy of the objects to a new container does without them"
            );
            out.add(Finding::warning("space", format!("from {} on", place_name(&Address::file(o, l))), why));
        }
        Ok(())
    }
}
