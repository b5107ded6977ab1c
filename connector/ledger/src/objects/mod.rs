//! The object storage: a container in an object store.

mod audit;
mod basis;
mod batch_read;
mod continued;
mod filtering;
pub(crate) mod freed_places;
mod group_commit;
mod initial_manifest;
mod inline_log;
mod intents;
mod joint;
mod journal;
mod lease;
mod leftovers;
pub(crate) mod listing;
mod manifest;
mod multi_writer;
mod object_usage;
mod open;
mod orphans;
pub(crate) mod pack_gaps;
pub(crate) mod queue_turn;
mod records;
mod removal;
mod replaced;
mod storage;
pub(crate) mod store_clock;
mod summary;
mod tagging;
pub(crate) mod uploads;
pub(crate) mod verified_ranges;
mod version_lookup;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use object_stores::{Etag, ObjectStore, PutMode, PutPayload};

pub(crate) use continued::{BegunCopy, create_copy};
pub(crate) use leftovers::{drain, forget};
pub(crate) use manifest::{is_immutable, is_past, role_of};
use open::usual_retention;
pub(crate) use open::{break_lock, create, lock_holder, open, probe};
pub(crate) use removal::remove;
pub(crate) use replaced::{list as replaced_of, restore, sweep_name};

use crate::address::{Address, Location, Run};
use crate::buffers::{self, Scratch};
use crate::clock::{self, Moment, Nonces};
use crate::codec::{Decoded, Reader};
use crate::error::{Error, ErrorKind, Result};
use crate::locks::{Mutex, MutexGuard};
use crate::objects::basis::Basis;
pub(crate) use crate::objects::initial_manifest::FirstHeadPut;
use crate::objects::initial_manifest::PendingPut;
use crate::objects::inline_log::InlineLog;
use crate::objects::journal::Journal;
use crate::objects::lease::Lease;
use crate::objects::manifest::{Head, Names, read_head, store_error};
use crate::objects::records::Log;
use crate::objects::verified_ranges::VerifiedRanges;
use crate::objects::writer::ObjectWriter;
use crate::options::{At, Writers};
use crate::storage::RemoteCommits;
use crate::tags::TagEntry;
use crate::wal::record::{self, CommitRecord, Entries, Header};

const LOG_MAGIC: &[u8; 4] = b"h5lL";
/// Where payloads begin in a log object.
const AREA_AT: usize = 8;
/// How many records are asked for at the same time: as many as a log usually has, so that opening is one round trip.
const MAX_RECORDS_PER_FETCH: usize = 65;

/// How many heads an opening follows that others put meanwhile.
const MAX_HEADS: usize = 10;

/// A record as it was read.
#[derive(Debug)]
pub(crate) struct FetchedRecord {
    pub(crate) record: CommitRecord,
    /// The log object that it is in.
    object: Bytes,
}

/// The log object of a record, with small payloads in its area.
fn log_object(header: &Header, notes: &[u8], area: &[u8], entries: &dyn Entries) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(AREA_AT + area.len() + record::length_of(notes, entries));
    bytes.extend_from_slice(LOG_MAGIC);
    bytes.extend_from_slice(&(area.len() as u32).to_le_bytes());
    bytes.extend_from_slice(area);
    record::encode_onto(&mut bytes, header, notes, entries);
    bytes
}

/// Takes a log object apart.
pub(crate) fn parse_log(bytes: &Bytes) -> Decoded<FetchedRecord> {
    let mut r = Reader::new(bytes);
    if r.take(4)? != LOG_MAGIC {
        return Err("not a log object");
    }
    let length = r.u32()? as usize;
    let area = r.take(length)?;
    // Copied, so that keeping the record's keys does not keep the payloads in memory.
    let record = Bytes::copy_from_slice(r.take(r.remaining())?);
    let mut record = record::decode(&record)?;
    record.members = joint::decode_members(area);
    Ok(FetchedRecord { record, object: bytes.clone() })
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock()
}

/// What a handle was last told.
#[derive(Debug, Clone)]
struct ReaderState {
    head: Head,
    etag: Option<Etag>,
    /// When the head was read: records that it does not cover cannot have been deleted for the retention time after.
    read: Moment,
    version: Option<u64>,
    /// The nonce of that version's record, if it lies behind the base.
    nonce: Option<u64>,
    /// Of an old version: when it began, which says whether it is still whole.
    reclaim_epoch: Option<u64>,
    /// The version at which one of many writers last looked for a newer base.
    looked: u64,
    /// One of many writers is to look for a newer base when it looks for news.
    looks_for_base: bool,
}

/// A container in an object store.
#[derive(Debug)]
pub(crate) struct ObjectStorage {
    target: String,
    store: Arc<dyn ObjectStore>,
    names: Names,
    id: [u8; 16],
    /// It was made for extents in sources.
    is_for_sources: bool,
    seen: Mutex<ReaderState>,
    /// What the snapshot in use stands on. Read while `seen` is locked, also by helper threads: nothing else is locked under it.
    basis: Mutex<Basis>,
    /// A writer's; `None` for readers. The inner `None` is before the first look at the log.
    writer: Option<Mutex<Option<ObjectWriter>>>,
    lease: Mutex<Option<Lease>>,
    /// Of a container that this handle made: its records, which nobody else can have added to.
    born: Mutex<Option<Vec<FetchedRecord>>>,
    /// Log objects that came with a closed head.
    tail: Mutex<InlineLog>,
    /// Of a container that this handle made, until the writer has it.
    first_head: Mutex<Option<PendingPut>>,
    /// Of a copy, until the writer has it.
    journal: Mutex<Option<Journal>>,
    /// The first head follows the first commit.
    head_last: bool,
    /// What a writer's heads have to say whose they are.
    fencing_token: u64,
    /// Of one of many: the version and length of a record of its own of which it is not known whether the head names its container,
    /// and whether it was the first of its number.
    unnamed: Mutex<Option<(u64, u64, bool)>>,
    /// A commit of one of many that waits to be taken in with others.
    queue: Mutex<Option<group_commit::Queue>>,
    /// The version to show, if not the newest.
    at: Option<At>,
    writers: Writers,
    /// The retention time that was asked for.
    retention: Option<Duration>,
    /// Of a container in memory: it is not deleted before this is dropped.
    _opened: Option<replaced::Opened>,
    /// For a store in this process's memory: what is known to be right of what lies there.
    proven: Option<Arc<Mutex<VerifiedRanges>>>,
    /// The snapshot in use is reclaimed.
    gone: AtomicBool,
    /// The tag whose version is to be shown, and not the newest.
    pub(crate) tagged: Option<Box<TagEntry>>,
}

impl ObjectStorage {
    fn with_writer<T>(&self, f: impl FnOnce(&mut ObjectWriter) -> Result<T>) -> Result<T> {
        let Some(w) = &self.writer else { return Err(Error::new(&self.target, ErrorKind::ReadOnly)) };
        match lock(w).as_mut() {
            Some(w) => f(w),
            None => Err(Error::new(&self.target, ErrorKind::ReadOnly)),
        }
    }

    /// Puts an object of some payloads. Only its name is the writer's business, so several can be made at once.
    fn pack_of(&self, pieces: PutPayload, lengths: impl Iterator<Item = usize>) -> Result<Vec<Address>> {
        self.with_writer(|_| Ok(()))?;
        let location = Location::Pack(clock::random(&self.target)?);
        let key = self.names.object_key(&location, &self.target)?;
        let mut total = 0;
        let mut place = |length: usize| {
            let place = Address { location, offset: total, length: length as u64 };
            total += length as u64;
            place
        };
        let places = lengths.map(&mut place).collect();
        // The name is random and new, so there is nothing to replace.
        let put = self.store.put(&key, pieces, PutMode::Overwrite);
        let etag = put.map_err(|e| store_error(&self.target, &e))?.etag;
        self.with_writer(|w| {
            w.gain(location, total);
            Ok(())
        })?;
        if let Some(proven) = &self.proven {
            lock(proven).add(location, etag, 0..total);
        }
        Ok(places)
    }

    /// A copy of some payloads, one behind the other; `None` if there is no memory for it.
    fn joined(data: &[&[u8]], total: usize) -> Option<PutPayload> {
        let (mut bytes, mut at) = (buffers::try_take(total)?, 0);
        for data in data {
            bytes[at..at + data.len()].copy_from_slice(data);
            at += data.len();
        }
        Some(PutPayload::from(Bytes::from_owner(Scratch::from(bytes))))
    }

    /// Whether the head in hand is too old to be relied on.
    fn is_old(&self, seen: &ReaderState) -> bool {
        let asked = Duration::from_millis(seen.head.retention);
        // Another writer may have asked for less; records stay for the usual time all the same.
        let sure = match self.is_shared() || seen.head.is_after_many_writers() {
            true => asked.min(usual_retention(self.store.as_ref())),
            false => asked,
        };
        seen.read.elapsed() >= sure / 2
    }

    /// What is known once the head is read again, the base's records aside.
    fn look_again(&self, seen: &ReaderState) -> Result<ReaderState> {
        let read = Moment::now();
        let found = read_head(self.store.as_ref(), &self.names.head, &self.target)?;
        let (bytes, etag) = found.ok_or_else(|| self.gone())?;
        let head = Head::decode(&bytes, &self.target)?;
        if head.fixed.id != self.id {
            return Err(self.gone());
        }
        self.gone.store(false, Ordering::Relaxed);
        Ok(ReaderState { head, etag, read, ..seen.clone() })
    }

    /// Reads the head again. The base in use is told apart from the head's by `restart`, so it may be replaced only there.
    fn reread(&self, seen: &mut ReaderState) -> Result<()> {
        let fresh = self.look_again(seen)?;
        let version = seen.version.filter(|_| fresh.head.base == seen.head.base);
        *seen = ReaderState { version, ..fresh };
        self.stand_on(seen);
        Ok(())
    }

    /// The same, with the retention time that this handle was asked for.
    fn reread_as_asked(&self, seen: &mut ReaderState) -> Result<()> {
        self.reread(seen)?;
        if let Some(asked) = self.retention.filter(|_| self.writer.is_some()) {
            seen.head.retention = clock::micros(asked) / 1000;
        }
        Ok(())
    }

    /// The news where the records behind a version cannot be read: those of a newer base, which does without them.
    ///
    /// # Errors
    /// The one given, if there is no such base.
    fn past_unreadable(
        &self,
        seen: &mut ReaderState,
        version: u64,
        error: Error,
    ) -> Result<Option<RemoteCommits>> {
        if self.writer.is_some() || !matches!(error.kind(), ErrorKind::Corrupt { .. }) {
            return Err(error);
        }
        self.reread(seen)?;
        if seen.head.base.version <= version {
            return Err(error);
        }
        self.first_commits(seen, u64::MAX).map(Some)
    }

    /// Whether the newest version that a reader knows is still one of this container: a program may have put older objects back.
    /// `None` where no record says so.
    fn is_still_there(&self, seen: &ReaderState) -> Result<Option<bool>> {
        let (Some(version), Some(nonce)) = (seen.version, seen.nonce) else { return Ok(Some(true)) };
        Ok(self.record(version)?.map(|found| found.record.header.nonce == nonce))
    }

    fn root(&self, place: &Address) -> Result<Bytes> {
        let run = Run { place: *place, offset: 0, length: place.length.min(crate::page::MAX_PAGE_BYTES) };
        self.get(&run)
    }

    /// Leaves a reader the records up to version `last`, and a writer all.
    fn cut_off(&self, records: &mut Vec<FetchedRecord>, last: u64) {
        if self.writer.is_none() {
            records.truncate(records.partition_point(|logged| logged.record.header.version <= last));
        }
    }

    /// The records behind the base of the newest head, which is the one in hand unless these say otherwise, and its root page if that
    /// came along.
    fn newest_log(&self, seen: &mut ReaderState) -> Result<(Vec<FetchedRecord>, Option<Bytes>)> {
        for _ in 0..MAX_HEADS {
            let head = seen.head.clone();
            match self.newest_records(&head) {
                (Ok(Log { intent: Some(version), .. }), _) if self.writer.is_some() => {
                    self.void_intent(version)?;
                    self.reread_as_asked(seen)?;
                }
                (Ok(log), root) => return Ok((log.records, root)),
                // A checkpoint may have overtaken the head in hand; only if it did not is something lost.
                (Err(e), _) if matches!(e.kind(), ErrorKind::Corrupt { .. }) => {
                    self.reread_as_asked(seen)?;
                    if seen.head == head {
                        return Err(e);
                    }
                }
                (Err(e), _) => return Err(e),
            }
        }
        Err(Error::new(&self.target, ErrorKind::Conflict))
    }

    /// The base of the head in hand, and the records behind it; for a reader up to version `last`, if the base is not later.
    fn first_commits(&self, seen: &mut ReaderState, last: u64) -> Result<RemoteCommits> {
        let born = lock(&self.born).take();
        let (mut records, root) = match born {
            Some(records) => (records, None),
            None => self.newest_log(seen)?,
        };
        let base = seen.head.base;
        if base.version <= last {
            self.cut_off(&mut records, last);
        }
        let version = records.last().map_or(base.version, |l| l.record.header.version);
        if let Some(w) = &self.writer {
            let head = (seen.head.clone(), seen.etag.clone());
            let nonces = Nonces::new(&self.target)?;
            let lease = lock(&self.lease).take();
            let (target, store, names) = (self.target.clone(), self.store.clone(), self.names.clone());
            let mut writer = ObjectWriter::new(target, store, names, head, &records, lease, nonces);
            writer.shared = self.writers == Writers::Many;
            writer.manifest.fencing_token = self.fencing_token;
            writer.manifest.retention = self.retention.map(|asked| clock::micros(asked) / 1000);
            writer.manifest.first = lock(&self.first_head).take();
            writer.manifest.first_is_held = self.head_last;
            writer.journal = lock(&self.journal).take();
            writer.proven = self.proven.clone();
            *lock(w) = Some(writer);
        }
        (seen.version, seen.nonce) = (Some(version), records.last().map(|l| l.record.header.nonce));
        let records = records.into_iter().map(|l| l.record).collect();
        Ok(RemoteCommits { version, restart: Some(base), records, root, ..RemoteCommits::default() })
    }
}

/// Feeds bytes that nobody wrote to the decoders of this storage.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(body: &[u8]) {
    let mut table = object_usage::UsageTable::default();
    if let Ok(notes) = object_usage::UsageDelta::decode(body) {
        let _ = table.replay(&notes, 7);
    }
    let mut sealed = [b"h5lT".as_slice(), body].concat();
    let crc = crate::checksum::seal(&mut sealed);
    let _ = object_usage::UsageTable::decode(&sealed, crc);
    for magic in [b"h5lC", b"h5lE"] {
        let mut sealed = [magic.as_slice(), &[1], body].concat();
        crate::checksum::seal(&mut sealed);
        let _ = crate::journal::JournalHeader::decode(&sealed);
        let _ = crate::journal::JournalPart::decode(&sealed);
    }
    let mut queued = [b"h5lQ".as_slice(), body].concat();
    crate::checksum::seal(&mut queued);
    let _ = joint::QueuedCommit::decode(&queued.into());
    let mut members = [b"h5lJ".as_slice(), body].concat();
    crate::checksum::seal(&mut members);
    let _ = joint::decode_members(&members);
    let mut head = crate::file::superblock::Fixed {
        id: [1; 16],
        base: 0,
        created: 0,
        edits: false,
        tags: false,
        sources: false,
    }
    .encode();
    head.extend_from_slice(body);
    crate::checksum::seal(&mut head);
    let _ = Head::decode(&head, "x");
}

#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod held_up_tests;
