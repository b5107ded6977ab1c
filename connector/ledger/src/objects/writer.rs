//! The writer's side of the object storage: what was written since the last commit, and which objects are in use.

mod checkpoint;
mod head_commit;
mod kept_pages;
mod manifests;
mod pending;
mod staged_packs;
mod state;

use head_commit::{Intent, PendingHead};
use pending::{CreateOutcome, Pending};
use state::{ManifestState, PackBuffer, StagedCheckpoint, StagedPayloads, UsageState, fill};

use std::sync::Arc;

use bytes::Bytes;
use object_stores::{Etag, ObjectStore, PutMode, PutPayload};

use crate::address::{Address, Location, PageRef};
use crate::buffers::{self, Scratch};
use crate::clock::{Moment, Nonces};
use crate::compaction_plan::CompactionPlan;
use crate::error::{Error, ErrorKind, Result};
use crate::history::{History, Mark};
use crate::locks::Mutex;
use crate::objects::inline_log::InlineLog;
use crate::objects::journal::Journal;
use crate::objects::lease::Lease;
use crate::objects::manifest::{Head, MAX_LOG_OBJECT_BYTES, Names, store_error};
use crate::objects::object_usage::{UsageDelta, UsageTable};
use crate::objects::verified_ranges::VerifiedRanges;
use crate::objects::{FetchedRecord, lock, store_clock, version_lookup};
use crate::storage::Commit;
use crate::tags::Held;
use crate::wal::record::{Entries, Header};

/// Looks at a head whose room table others delete meanwhile.
const MAX_LOOKS: u32 = 16;
/// Payloads up to this many bytes ride in the log object of the commit, so that a small flush is one put.
const MAX_INLINE_PAYLOAD: usize = 64 << 10;
/// All small payloads of one commit together.
const MAX_AREA_BYTES: usize = 256 << 10;
/// A pack is put when it has this many bytes.
pub(super) const PACK_BYTES: usize = 8 << 20;
/// The head is put again after this many commits, so that nobody has to ask for more records one by one.
pub(super) const COMMITS_PER_HEAD: u64 = 16;
/// A checkpoint is worth it when this many bytes went out of use since the last one: only checkpoints delete objects.
const MIN_DEAD_BYTES_TO_CHECKPOINT: u64 = 64 << 20;

#[derive(Debug)]
pub(crate) struct ObjectWriter {
    pub(super) target: String,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) names: Names,
    pub(super) manifest: ManifestState,
    pub(crate) version: u64,
    usage: UsageState,
    pub(super) payloads: StagedPayloads,
    checkpoint: StagedCheckpoint,
    lease: Option<Lease>,
    /// Of the newest version or base: each is later than the one before it.
    pub(super) last_time: u64,
    /// The newest version as a base will remember it, its epoch aside; `None` when it is the base.
    newest: Option<Mark>,
    /// What the head's history says, once it is read.
    history: Option<History>,
    pub(super) nonces: Nonces,
    /// A commit of which the store has not said what became of it.
    pending: Option<Pending>,
    /// The same of one that a head makes.
    pending_head: Option<PendingHead>,
    /// What keeps the number of a commit that a head is to make.
    intent: Option<Intent>,
    /// What a queued commit says of room.
    pub(super) queued: Option<UsageDelta>,
    /// It is one of many.
    pub(super) shared: bool,
    /// For a store in memory: what is known to be right of what lies there.
    pub(super) proven: Option<Arc<Mutex<VerifiedRanges>>>,
    /// Of a copy that is being made: what of it is there.
    pub(super) journal: Option<Journal>,
    /// What is under way was rolled back since.
    pub(super) gave_up: bool,
    /// What heads name that the store refused.
    refused: Vec<Location>,
    /// It has committed something.
    pub(super) wrote: bool,
    /// It has looked after containers that were replaced.
    swept: bool,
    /// Another writer's record is where its own was to be.
    overtaken: bool,
    /// The objects that tags hold.
    pub(super) held: Held,
    /// The version of which that is known.
    pub(super) held_as_of: u64,
}

/// What becomes of a pack that came to be in the store: its checksums were made of the bytes that lie there now.
fn arrived(proven: Option<&Mutex<VerifiedRanges>>) -> impl FnMut(Location, Option<Etag>, u64) {
    move |location, etag, length| {
        if let Some(proven) = proven {
            lock(proven).add(location, etag, 0..length);
        }
    }
}

impl ObjectWriter {
    pub(crate) fn new(
        target: String,
        store: Arc<dyn ObjectStore>,
        names: Names,
        (head, etag): (Head, Option<Etag>),
        records: &[FetchedRecord],
        lease: Option<Lease>,
        nonces: Nonces,
    ) -> Self {
        let version = records.last().map_or(head.base.version, |l| l.record.header.version);
        let last_time = records.last().map_or(0, |l| l.record.header.time).max(head.reclaim_epoch);
        let unread = records.iter().map(|l| (l.record.header.time, l.record.notes.clone())).collect();
        let held = if head.tagged.is_some() { Held::Everything } else { Held::default() };
        let mut tail = InlineLog::default();
        records.iter().for_each(|l| tail.add(l.record.header.version, l.object.clone()));
        Self {
            target,
            store,
            names,
            manifest: ManifestState::new(head, etag, tail),
            version,
            usage: UsageState { table: None, newer: None, unread, obsolete: 0 },
            payloads: StagedPayloads::default(),
            checkpoint: StagedCheckpoint::default(),
            lease,
            last_time,
            newest: records.last().map(version_lookup::mark_of),
            history: None,
            nonces,
            pending: None,
            pending_head: None,
            intent: None,
            queued: None,
            shared: false,
            proven: None,
            journal: None,
            gave_up: false,
            refused: Vec::new(),
            wrote: false,
            swept: false,
            overtaken: false,
            held,
            held_as_of: 0,
        }
    }

    /// What time it is, by the store's clock where that is at hand.
    pub(super) fn present(&self) -> u64 {
        store_clock::version_time(self.store.as_ref())
    }

    fn fail(&self, e: &object_stores::Error) -> Error {
        store_error(&self.target, e)
    }

    fn put_new(&self, location: &Location, bytes: Vec<u8>) -> Result<()> {
        let key = self.names.object_key(location, &self.target)?;
        // The name is random and new, so there is nothing to replace and a repetition is harmless.
        let put = self.store.put(&key, PutPayload::from(bytes), PutMode::Overwrite);
        put.map(drop).map_err(|e| self.fail(&e))
    }

    pub(super) fn load(&mut self) -> Result<&mut UsageTable> {
        if self.usage.table.is_none() {
            let damaged = |why: &str| Error::corrupt(&self.target, "room table", why);
            let mut table = match self.manifest.head.table {
                None => UsageTable::default(),
                Some(p) => self.table_of(&self.manifest.head, p)?,
            };
            for (time, bytes) in &self.usage.unread {
                let notes = UsageDelta::decode(bytes).map_err(damaged)?;
                table.replay(&notes, *time).map_err(damaged)?;
            }
            self.usage.unread.clear();
            self.usage.table = Some(table);
        }
        self.usage.table.as_mut().ok_or_else(|| Error::corrupt(&self.target, "room table", "not loaded"))
    }

    /// The room table of a head, at its base.
    fn table_of(&self, head: &Head, at: PageRef) -> Result<UsageTable> {
        let key = self.names.object_key(&at.place.location, &self.target)?;
        let range = at.place.offset..at.place.offset + at.place.length;
        let got = self.store.get(&key, Some(range)).map_err(|e| {
            let here = (self.store.as_ref(), &self.names, self.target.as_str());
            version_lookup::part_unread(here, head, ("room table", |head| head.table), &e)
        })?;
        UsageTable::decode(&got.bytes, at.crc).map_err(|why| Error::corrupt(&self.target, "room table", why))
    }

    /// What says of which objects something is in use. For one of many whose base others have reclaimed that is the newest base: what
    /// is free there was given back by another, and is not given back again.
    pub(super) fn table_to_free(&mut self) -> Result<&UsageTable> {
        // Until the next base nobody asks again for what is gone.
        if self.usage.newer.is_none() {
            match self.load().map(drop) {
                Err(e) if self.shared && *e.kind() == ErrorKind::Gone => {
                    self.usage.newer = Some(self.newest_table()?);
                }
                Err(e) => return Err(e),
                Ok(()) => return self.load().map(|table| &*table),
            }
        }
        Ok(self.usage.newer.get_or_insert_default())
    }

    fn newest_table(&self) -> Result<UsageTable> {
        let gone = || Error::new(&self.target, ErrorKind::Gone);
        for _ in 0..MAX_LOOKS {
            let head = self.head_there()?.filter(|head| head.fixed.id == self.manifest.head.fixed.id);
            let head = head.ok_or_else(gone)?;
            let Some(at) = head.table else { return Ok(UsageTable::default()) };
            match self.table_of(&head, at) {
                Err(e) if *e.kind() == ErrorKind::Gone => (),
                table => return table,
            }
        }
        Err(gone())
    }

    pub(crate) fn payload(&mut self, data: &[u8]) -> Result<Address> {
        let place = self.place(data)?;
        self.gain(place.location, place.length);
        Ok(place)
    }

    /// Puts a payload where it goes into the store with others.
    fn place(&mut self, data: &[u8]) -> Result<Address> {
        // One of many does not know which log object will be its own, and one that is pending does not change.
        if self.area_is_open()
            && data.len() <= MAX_INLINE_PAYLOAD
            && let Some(offset) = self.place_in_area(data)
        {
            return Ok(Address {
                location: Location::Log(self.version + 1),
                offset,
                length: data.len() as u64,
            });
        }
        if let Some(place) = self.payloads.pack.add_in_hole(data) {
            return Ok(place);
        }
        if self.payloads.pack.is_full_with(data.len()) {
            self.send_pack()?;
        }
        self.reserve_in_pack(data.len())?;
        self.payloads.pack.add(data, Location::Pack, &self.target)
    }

    /// Reserves memory for more bytes of the pack. If no memory is available, waits for packs that are being uploaded, because
    /// these packs hold some.
    fn reserve_in_pack(&mut self, more: usize) -> Result<()> {
        let pack = &mut self.payloads.pack.bytes;
        // Packs become full, most of them; their memory is used again, which saves the system making it anew.
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

    /// Whether the area of the coming record changes yet.
    fn area_is_open(&self) -> bool {
        !self.shared && !self.is_pending() && !self.has_intent()
    }

    /// Puts a small payload into the area of the coming record, if there is room; returns where in the log object.
    fn place_in_area(&mut self, data: &[u8]) -> Option<u64> {
        let at = match fill(&mut self.payloads.inline_gaps, &mut self.payloads.inline, data) {
            Some(at) => at,
            None if self.payloads.inline.len() + data.len() <= MAX_AREA_BYTES => {
                self.payloads.inline.extend_from_slice(data);
                (self.payloads.inline.len() - data.len()) as u64
            }
            None => return None,
        };
        Some(super::AREA_AT as u64 + at)
    }

    /// Counts what was put in an object of its own.
    pub(super) fn gain(&mut self, location: Location, bytes: u64) {
        self.payloads.since.get_or_insert_with(Moment::now);
        *self.payloads.notes.gained.entry(location).or_default() += bytes;
    }

    /// Sends the pack that is being filled on its way.
    pub(super) fn send_pack(&mut self) -> Result<()> {
        if let Some(location) = self.payloads.pack.location {
            let key = self.names.object_key(&location, &self.target)?;
            let PackBuffer { bytes, .. } = std::mem::take(&mut self.payloads.pack);
            // A store in memory keeps it: not with room for what never came.
            let few = (bytes.len() <= PACK_BYTES / 2).then(|| buffers::try_copy(&bytes)).flatten();
            let bytes = match few {
                None => Bytes::from_owner(Scratch::from(bytes)),
                Some(few) => {
                    buffers::give(bytes);
                    Bytes::from(few)
                }
            };
            if let Some(journal) = &mut self.journal {
                journal.note_pack(location, bytes.len() as u64);
            }
            let mut arrived = arrived(self.proven.as_deref());
            let started = self.payloads.uploads.start(&self.store, location, key, bytes, &mut arrived);
            started.map_err(|e| store_error(&self.target, &e))?;
        }
        Ok(())
    }

    /// Takes in the packs that are in the store by now.
    pub(super) fn harvest(&mut self) -> Result<()> {
        let mut arrived = arrived(self.proven.as_deref());
        let harvested = self.payloads.uploads.harvest(self.store.as_ref(), &mut arrived);
        harvested.map_err(|e| store_error(&self.target, &e))
    }

    /// Sees to it that every pack is in the store. After an error those that are not stay to be put.
    pub(super) fn finish_packs(&mut self) -> Result<()> {
        self.send_pack()?;
        self.wait_for_uploads()
    }

    fn wait_for_uploads(&mut self) -> Result<()> {
        let mut arrived = arrived(self.proven.as_deref());
        let finished = self.payloads.uploads.finish(self.store.as_ref(), &mut arrived);
        finished.map_err(|e| store_error(&self.target, &e))
    }

    /// What was staged is committed. What was written since then is not as old.
    pub(super) fn forget_since(&mut self) {
        if self.payloads.notes.gained.is_empty() {
            self.payloads.since = None;
        }
    }

    /// A part of what is not in the store yet.
    pub(crate) fn unput(&self, place: &Address, offset: u64, len: usize) -> Option<&[u8]> {
        if place.location == Location::Log(self.version + 1) {
            let from = usize::try_from(place.offset + offset).ok()?.checked_sub(super::AREA_AT)?;
            return self.payloads.inline.get(from..from.checked_add(len)?);
        }
        let filling = self
            .payloads
            .pack
            .part(place, offset, len)
            .or_else(|| self.checkpoint.pages.part(place, offset, len));
        filling.or_else(|| self.payloads.uploads.part(place, offset, len))
    }

    pub(crate) fn free(&mut self, place: &Address) -> Result<()> {
        let twice = || {
            let why = format!("the extent in {:?} is free already, or was never in use", place.location);
            Error::invalid(&self.target, why)
        };
        if let Some(bytes) = self.payloads.notes.gained.get_mut(&place.location) {
            *bytes = bytes.checked_sub(place.length).ok_or_else(twice)?;
            self.leave_hole(place);
            return Ok(());
        }
        if self.payloads.notes.freed.contains(place) {
            return Err(twice());
        }
        let staged = self.payloads.notes.freed.bytes_in(&place.location);
        let live = self.table_to_free()?.locations.get(&place.location).map_or(0, |u| u.live);
        if live + self.pending_live(&place.location) < staged + place.length {
            // Another writer gave it back, in a version that is not seen here yet.
            if self.shared {
                return Ok(());
            }
            let why = format!("the extent in {:?} is free already, or was never in use", place.location);
            return Err(Error::invalid(&self.target, why));
        }
        self.payloads.notes.freed.push(*place);
        Ok(())
    }

    /// A payload of this commit that is given back leaves room for another one, where it was not put yet. One of many may
    /// keep it after all.
    fn leave_hole(&mut self, place: &Address) {
        let (holes, bytes, begin) = match place.location {
            _ if self.shared || self.is_pending() => return,
            Location::Log(_) if self.has_intent() => return,
            Location::Log(n) if n == self.version + 1 => {
                (&mut self.payloads.inline_gaps, &self.payloads.inline, super::AREA_AT)
            }
            location if self.payloads.pack.location == Some(location) => {
                (&mut self.payloads.pack.holes, &self.payloads.pack.bytes, 0)
            }
            _ => return,
        };
        let from = usize::try_from(place.offset).ok().and_then(|n| n.checked_sub(begin));
        let length = usize::try_from(place.length).ok();
        if let (Some(from), Some(length)) = (from, length)
            && from.checked_add(length).is_some_and(|end| end <= bytes.len())
        {
            holes.give(from, length);
        }
    }

    /// Takes back that a payload is given back: somebody needs it after all.
    pub(crate) fn keep(&mut self, place: &Address) {
        self.payloads.notes.freed.remove_all([place]);
        // A commit in doubt may say so yet; if another takes its place, its notes are said again, but for this.
        if let Some(pending) = &mut self.pending {
            pending.kept.push(*place);
        }
    }

    /// Takes in the notes of another's record, whole or not at all; nothing of one that is known.
    pub(super) fn take_note(&mut self, logged: &FetchedRecord) -> Result<()> {
        let (version, time) = (logged.record.header.version, logged.record.header.time);
        if version <= self.version {
            return Ok(());
        }
        let bytes = &logged.record.notes;
        let damaged = |why: &str| Error::corrupt(&self.target, "notes of a record", why);
        let notes = UsageDelta::decode(bytes).map_err(damaged)?;
        if let Some(table) = &mut self.usage.table {
            table.replay(&notes, time).map_err(damaged)?;
        } else {
            self.usage.unread.push((time, bytes.clone()));
        }
        self.usage.obsolete += notes.freed.bytes();
        // What another gave back is not ours to give back again.
        self.payloads.notes.freed.remove_all(notes.freed.iter());
        (self.version, self.last_time) = (version, self.last_time.max(time));
        self.newest = Some(version_lookup::mark_of(logged));
        Ok(())
    }

    /// Starts from another's base, with the records behind it.
    pub(super) fn rebase(&mut self, head: Head, behind: &[&FetchedRecord]) {
        self.last_time = self.last_time.max(head.reclaim_epoch);
        self.manifest.take_over(head);
        (self.usage.table, self.usage.newer) = (None, None);
        self.history = None;
        self.newest = behind.last().map(|l| version_lookup::mark_of(l));
        self.usage.obsolete = 0;
        self.manifest.tail = InlineLog::default();
        self.usage.unread = behind.iter().map(|l| (l.record.header.time, l.record.notes.clone())).collect();
    }

    /// Creates a record that has nothing to do with what is staged here, later than `after`.
    pub(super) fn commit_independent(&mut self, version: u64, after: u64, entries: &[u8]) -> Result<()> {
        let time = self.present().max(self.last_time.max(after) + 1);
        let nonce = self.nonces.next();
        let header = Header::of_now(version, nonce, time);
        let bytes = super::log_object(&header, &UsageDelta::default().encode(), &[], &entries);
        match self.create_log(version, nonce, bytes.into()) {
            CreateOutcome::Ours => Ok(()),
            CreateOutcome::Others => Err(Error::new(&self.target, ErrorKind::Conflict)),
            // Should it arrive all the same, it is like another's.
            CreateOutcome::Failed(e) | CreateOutcome::Unknown(e) => Err(e),
        }
    }

    pub(crate) fn has_freed(&self) -> bool {
        !self.payloads.notes.freed.is_empty()
    }

    /// The objects of which little is in use.
    pub(crate) fn compaction_plan(&mut self) -> Result<CompactionPlan> {
        let held = std::sync::Arc::new(self.held.clone());
        Ok(CompactionPlan { held, ..self.load()?.compaction_plan() })
    }

    /// Whether they keep much dead room, if the table is at hand.
    pub(crate) fn wants_compaction_at_close(&self) -> bool {
        self.usage.table.as_ref().is_some_and(UsageTable::is_fragmented)
    }

    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.usage.obsolete > MIN_DEAD_BYTES_TO_CHECKPOINT
    }

    pub(crate) fn rollback(&mut self) {
        let notes = std::mem::take(&mut self.payloads.notes);
        if !self.is_pending() {
            self.payloads.inline.clear();
            self.payloads.inline_gaps.clear();
        }
        self.payloads.pack = PackBuffer::default();
        self.payloads.uploads.give_up();
        self.gave_up |= self.is_pending() || self.queued.is_some();
        // Packs and pages that were put already belong to nobody, unless the store refused a head that names them.
        let unnamed = notes.gained.keys().filter(|r| matches!(r, Location::Pack(_) | Location::Page(_)));
        match self.has_intent() {
            true => self.refused.extend(unnamed),
            false => self.delete(&unnamed.copied().collect::<Vec<_>>()),
        }
    }

    /// Makes the record of a version and sees what becomes of it. One that gives back more than it takes may use the room that a
    /// full store keeps for that.
    pub(crate) fn commit(&mut self, version: u64, entries: &dyn Entries) -> Result<Commit> {
        self.with_reserve(|w| w.commit_once(version, entries))
    }

    /// Tries a commit again with the room that a full store keeps for one that gives back more than it takes.
    fn with_reserve(&mut self, commit: impl Fn(&mut Self) -> Result<Commit>) -> Result<Commit> {
        match commit(self) {
            Err(e) if self.frees_more() && e.is_full() && self.store.spend_reserve() => commit(self),
            done => done,
        }
    }

    fn frees_more(&self) -> bool {
        self.payloads.notes.freed.bytes() > self.payloads.notes.gained.values().sum::<u64>()
    }

    fn commit_once(&mut self, version: u64, entries: &dyn Entries) -> Result<Commit> {
        // What a queued commit says of room is not in the notes that this one would take along.
        if self.is_pending() || self.queued.is_some() || self.has_intent() {
            return Err(Error::invalid(&self.target, "a commit is pending; settle it first"));
        }
        let since = Moment::now();
        if let Some(lease) = &mut self.lease {
            lease.renew()?;
        }
        self.finish_packs()?;
        self.renew_staged_packs()?;
        if let Some(journal) = &mut self.journal {
            journal.note_commit();
        }
        let head_last = self.manifest.holds_first();
        if !head_last {
            self.await_first_head()?;
            self.fence()?;
        }
        let time = self.present().max(self.last_time + 1);
        let nonce = self.nonces.next();
        let header = Header::of_now(version, nonce, time);
        let notes = self.payloads.notes.encode();
        let bytes = super::log_object(&header, &notes, &self.payloads.inline, entries);
        // No reader takes a longer one.
        if bytes.len() as u64 > MAX_LOG_OBJECT_BYTES {
            let why = format!(
                "a commit has a record of {} bytes, and {MAX_LOG_OBJECT_BYTES} are possible; commit more often",
                bytes.len()
            );
            return Err(Error::invalid(&self.target, why));
        }
        let record_length = (bytes.len() - super::AREA_AT - self.payloads.inline.len()) as u64;
        let (bytes, notes) = (bytes.into(), std::mem::take(&mut self.payloads.notes));
        self.pending = Some(Pending {
            version,
            nonce,
            time,
            bytes,
            record_length,
            notes,
            kept: Vec::new(),
            in_doubt: false,
            since,
        });
        let done = self.settle()?;
        // While it is in doubt, the head would show a container without it.
        if head_last && matches!(done, Commit::Done(_)) {
            self.put_held_head()?;
        }
        Ok(done)
    }
}
