//! A writer of a container: its staged objects and frees, and its pending commit.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_stores::{Etag, Key, PutMode, PutPayload};

use super::committer::{Committer, delete_objects};
use super::fetch::Fetcher;
use super::group_commit::{Queued, list};
use super::io::Io;
use super::journal::Journal;
use super::note::Note;
use super::numbers::Numbers;
use super::pack::{PACK_BYTES, PackBuffer};
use super::segments::UnnamedSegment;
use super::staged::Staged;
use super::view::{Told, View, nonce_of};
use crate::address::{Address, Location, PageRef};
use crate::buffers::{self, Scratch};
use crate::core::change::{Change, Commit as CommitChange, NewTables, Reject};
use crate::core::events::Outcome;
use crate::core::ids::ObjectId;
use crate::core::manifest::Manifest;
use crate::core::records::{Data, MAX_CLOSING_RECORD, MAX_CURRENT_RECORD, Record, SegmentRef, Segments};
use crate::core::session::{Entry, Mode};
use crate::error::{Error, ErrorKind, Result, store_error};
use crate::locks::Mutex;
use crate::register::Lease;
use crate::side_by_side::both;
use crate::storage::Commit;
use crate::store::store_clock;
use crate::store::uploads::Uploads;
use crate::store::verified_ranges::VerifiedRanges;
use crate::wal::record::Entries;

/// The maximum size of a record without its content, in bytes.
const RECORD_BYTES: usize = 512;
/// The maximum length of one commit's entries in bytes. Readers reject longer entries.
const MAX_COMMIT_BYTES: usize = if cfg!(test) { 15 << 20 } else { 1 << 30 };
/// The number of object names that a change may need in addition to those of its pages.
const RESERVED_NAMES: usize = 16;
/// A concurrent writer lists the queue beside each commit with a number that this divides.
const COMMITS_PER_LISTING: u64 = 8;
/// The maximum number of times that a commit is prepared again because the inline records grew meanwhile.
const MAX_PREPARATIONS: u32 = 8;

/// Prepares a change again on a newer manifest, with the writer's means to put objects. `None` abandons the change.
type PrepareWith<'a> = &'a mut dyn FnMut(&mut Io, Reject, &Arc<Manifest>) -> Result<Option<Change>>;

/// A commit in progress, or with an unknown outcome.
#[derive(Debug)]
struct Pending {
    /// The objects and frees of the commit.
    staged: Staged,
    /// For a commit that is a checkpoint: the root that contains the commit.
    root: Option<Option<PageRef>>,
    /// The bytes of the record.
    length: u64,
    /// Extents freed by this commit that stay live if the commit fails.
    kept: Vec<Address>,
    /// True if the commit was rolled back while its outcome was unknown.
    gave_up: bool,
    /// The content of a long record, which is needed only if the commit succeeds.
    stored: Option<PageRef>,
    /// The segment that the commit names if it fits.
    segment: Option<SegmentRef>,
}

/// The state of a writer of a container in a store.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) committer: Committer,
    pub(super) io: Io,
    pub(super) mode: Mode,
    pub(super) staged: Staged,
    pack: PackBuffer,
    uploads: Uploads,
    pub(super) segment: UnnamedSegment,
    pub(super) numbers: Numbers,
    /// Extents of pages that the coming root does not need.
    pub(super) freed_pages: Vec<Address>,
    pending: Option<Pending>,
    /// A commit that waits for a group commit.
    pub(super) queued: Option<Queued>,
    /// The newest time of a version that this writer knows. The times of versions and tags ascend.
    pub(super) last_time: u64,
    /// Bytes that went out of use since the last checkpoint.
    obsolete: u64,
    /// The extents that can be [revived](Writer::revive), and the sequence of the manifest from which they were determined.
    pub(super) revivable: Option<(u64, HashSet<Address>)>,
    /// The retention time of replaced versions, if this handle was opened with one.
    pub(super) retention: Option<Duration>,
    pub(super) lease: Option<Lease>,
    pub(super) proven: Option<Arc<Mutex<VerifiedRanges>>>,
    /// The journal of a copy in progress, if objects outlive this process.
    pub(super) journal: Option<Journal>,
    /// True if something was committed.
    pub(super) wrote: bool,
    /// The number of commits without a queue.
    commits: u64,
    /// True if commits of other writers were in the queue when this writer last listed it.
    pub(super) others_wait: bool,
    /// The time at which the staged changes were queued for the first time, in microseconds since 1970.
    pub(super) waits_since: Option<u64>,
    /// Copies of manifests in the store, oldest first; `None` until this writer has listed them.
    pub(super) copies: Option<VecDeque<Key>>,
}

/// Returns a closure that marks uploaded packs as verified, because their checksums were computed from the bytes that the store in memory
/// now holds.
fn arrived(proven: Option<&Mutex<VerifiedRanges>>) -> impl FnMut(Location, Option<Etag>, u64) {
    move |location, etag, length| {
        if let Some(proven) = proven {
            proven.lock().add(location, etag, 0..length);
        }
    }
}

impl Writer {
    pub(super) fn new(
        committer: Committer,
        fetcher: Fetcher,
        mode: Mode,
        lease: Option<Lease>,
        proven: Option<Arc<Mutex<VerifiedRanges>>>,
    ) -> Self {
        let numbers = Numbers { seen: committer.known().numbers, ..Numbers::default() };
        Self {
            committer,
            numbers,
            io: Io::new(fetcher, Segments::default()),
            mode,
            staged: Staged::default(),
            pack: PackBuffer::default(),
            uploads: Uploads::default(),
            segment: UnnamedSegment::default(),
            freed_pages: Vec::new(),
            pending: None,
            queued: None,
            last_time: 0,
            obsolete: 0,
            revivable: None,
            retention: None,
            lease,
            proven,
            journal: None,
            wrote: false,
            commits: 0,
            others_wait: false,
            waits_since: None,
            copies: None,
        }
    }

    pub(super) fn target(&self) -> &str {
        &self.io.fetcher.target
    }

    /// Returns the time for a new version: the time of the store's clock if that is available, but later than the newest version.
    pub(super) fn time(&self) -> u64 {
        let newest = self.committer.known().line.time.max(self.last_time);
        self.present().max(newest + 1)
    }

    pub(super) fn present(&self) -> u64 {
        store_clock::version_time(self.io.fetcher.store.as_ref())
    }

    /// Returns the day for a session's entry.
    pub(super) fn today(&self) -> u64 {
        store_clock::today(self.io.fetcher.store.as_ref())
    }

    // Sessions

    /// Ensures that a manifest lists the session. This is required before the session puts an object.
    pub(super) fn ensure_listed(&mut self) -> Result<()> {
        if self.committer.session.entry() == Entry::Listed {
            return Ok(());
        }
        if self.is_pending() {
            return Err(Error::invalid(
                self.target(),
                "a commit is in doubt; flush again before more is written",
            ));
        }
        // The pending change may be the join itself.
        if self.committer.is_in_doubt() {
            let fetcher = self.io.fetcher.clone();
            self.committer.abandon(&fetcher)?;
            return self.ensure_listed();
        }
        if self.committer.session.entry() == Entry::Gone {
            self.committer.begin_again(self.mode)?;
        }
        let day = self.today();
        let fetcher = self.io.fetcher.clone();
        match self.committer.submit(Change::Join { day }, &fetcher, &mut |_, _| Ok(None))? {
            Outcome::Done { .. } => Ok(()),
            other => Err(self.committer.failure(&other)),
        }
    }

    /// Returns a name for a new object.
    pub(super) fn new_object(&mut self) -> Result<ObjectId> {
        self.ensure_listed()?;
        let none = || Error::new(&self.io.fetcher.target, ErrorKind::Conflict);
        self.committer.session.next_object().ok_or_else(none)
    }

    /// Reserves the object names that a change may need.
    pub(super) fn reserve_names(&mut self) -> Result<()> {
        while self.io.names.len() < RESERVED_NAMES {
            let name = self.new_object()?;
            self.io.names.push_back(name);
        }
        Ok(())
    }

    /// Discards the reserved names, which belong to a session that has ended.
    pub(super) fn forget_names(&mut self) {
        self.io.names.clear();
    }

    // Payloads

    pub(super) fn payload(&mut self, data: &[u8]) -> Result<Address> {
        let place = self.place(data)?;
        let object =
            ObjectId::of(&place).ok_or_else(|| Error::invalid(self.target(), "a place in no object"))?;
        self.gain(object, place.length);
        Ok(place)
    }

    fn place(&mut self, data: &[u8]) -> Result<Address> {
        if let Some(place) = self.pack.add_in_hole(data) {
            return Ok(place);
        }
        if self.pack.is_full_with(data.len()) {
            self.send_pack()?;
        }
        self.reserve_in_pack(data.len())?;
        if self.pack.object.is_none() {
            if self.committer.session.entry() == Entry::Gone {
                self.committer.begin_again(self.mode)?;
            }
            // The session joins when it puts the pack, so that a writer of small changes learns of a conflict only from its flush.
            self.pack.begin(self.committer.session.name_object());
        }
        self.pack.add(data, &self.io.fetcher.target)
    }

    /// Reserves memory for more bytes of the pack. If no memory is available, waits for uploads, because they hold memory.
    fn reserve_in_pack(&mut self, more: usize) -> Result<()> {
        let pack = &mut self.pack.bytes;
        // Most packs become full, so a buffer for a whole pack is taken at once. Buffers are reused, which saves the system the allocation
        // of new pages.
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

    /// Puts all payloads into the store, and notes that another writer's commit may name them.
    pub(super) fn offer(&mut self) -> Result<()> {
        self.finish_everything()?;
        self.staged.offer();
        Ok(())
    }

    /// Ends an offer after the commit of the other writer. Deletes objects that this commit does without.
    pub(super) fn end_offer(&mut self) {
        let needless = self.staged.end_offer();
        delete_objects(&self.io.fetcher, &needless);
    }

    /// Lets the next commit name a payload that another writer has offered.
    pub(super) fn accept(&mut self, place: &Address) -> Result<()> {
        let object =
            ObjectId::of(place).ok_or_else(|| Error::invalid(self.target(), "a place in no object"))?;
        let stood = self.committer.known().sequence;
        self.staged.accept(object, place.length, stood);
        Ok(())
    }

    /// Counts bytes of an object that this writer has put or is filling.
    pub(super) fn gain(&mut self, object: ObjectId, bytes: u64) {
        let stood = self.committer.known().sequence;
        self.staged.gain(object, bytes, stood);
    }

    /// Starts to upload the pack that is being filled.
    pub(super) fn send_pack(&mut self) -> Result<()> {
        let Some(object) = self.pack.object else { return Ok(()) };
        self.ensure_listed()?;
        if object.session != self.committer.session.id() {
            return Err(self.committer.failure(&Outcome::Expelled));
        }
        let fetcher = &self.io.fetcher;
        let key = fetcher.names.object(object, &fetcher.target)?;
        let PackBuffer { bytes, .. } = std::mem::take(&mut self.pack);
        if let Some(journal) = &mut self.journal {
            journal.note_pack(object, bytes.len() as u64);
        }
        // A store in memory keeps the buffer. So a small pack is copied into a buffer of its own length, without unused bytes.
        let few = (bytes.len() <= PACK_BYTES / 2).then(|| buffers::try_copy(&bytes)).flatten();
        let bytes = match few {
            None => Bytes::from_owner(Scratch::from(bytes)),
            Some(few) => {
                buffers::give(bytes);
                Bytes::from(few)
            }
        };
        let mut arrived = arrived(self.proven.as_deref());
        let started = self.uploads.start(&fetcher.store, object.pack(), key, bytes, &mut arrived);
        started.map_err(|e| store_error(&fetcher.target, &e))
    }

    /// Waits until every pack is in the store. After an error, the failed packs remain and can be put again.
    pub(super) fn finish_everything(&mut self) -> Result<()> {
        self.check_settled()?;
        self.finish_packs()
    }

    fn finish_packs(&mut self) -> Result<()> {
        self.send_pack()?;
        self.wait_for_uploads()
    }

    /// Returns the number of packs that were uploaded or are being uploaded, and the number of the first ones among them that are known to
    /// be in the store.
    pub(super) fn uploads(&self) -> (u64, u64) {
        (self.uploads.started(), self.uploads.arrived())
    }

    /// Accounts for finished uploads, up to the first one that is still running.
    pub(super) fn harvest(&mut self) -> Result<()> {
        let mut arrived = arrived(self.proven.as_deref());
        let harvested = self.uploads.harvest(self.io.fetcher.store.as_ref(), &mut arrived);
        harvested.map_err(|e| store_error(self.target(), &e))
    }

    /// Waits for all uploads, and discards those that failed.
    pub(super) fn give_up_uploads(&mut self) {
        self.uploads.give_up();
    }

    fn wait_for_uploads(&mut self) -> Result<()> {
        let mut arrived = arrived(self.proven.as_deref());
        let finished = self.uploads.finish(self.io.fetcher.store.as_ref(), &mut arrived);
        finished.map_err(|e| store_error(self.target(), &e))
    }

    /// Returns a part of an object that is not in the store yet.
    pub(super) fn unput(&self, place: &Address, offset: u64, length: usize) -> Option<&[u8]> {
        let open = self.pack.part(place, offset, length).or_else(|| self.io.open.part(place, offset, length));
        open.or_else(|| self.uploads.part(place, offset, length))
    }

    /// Stages the free of an extent. An extent that was written since the last commit is freed at once.
    pub(super) fn free(&mut self, place: &Address) -> Result<()> {
        if self.staged.revived.remove(place) {
            return Ok(());
        }
        if self.staged.lose(place) {
            // A concurrent writer may retain the extent after all, so its bytes are not overwritten.
            if self.mode == Mode::Exclusive {
                self.pack.leave_hole(place);
            }
            return Ok(());
        }
        if self.staged.freed.contains(place) {
            if self.mode == Mode::Shared {
                return Ok(());
            }
            let why = format!("the extent in {:?} is free already", place.location);
            return Err(Error::invalid(self.target(), why));
        }
        self.staged.freed.push(*place);
        Ok(())
    }

    /// Stages that the next commit uses an extent of an old version again. Returns false, and stages nothing, if the newest version uses the
    /// extent, or it was reclaimed. Only an exclusive writer can revive extents, because its commit has new tables.
    pub(super) fn revive(&mut self, place: &Address) -> Result<bool> {
        if self.mode == Mode::Shared {
            return Ok(false);
        }
        self.check_settled()?;
        let known = self.committer.known();
        if self.revivable.as_ref().is_none_or(|(sequence, _)| *sequence != known.sequence) {
            let tables = self.io.tables(&known)?;
            self.revivable = Some((known.sequence, tables.dead.iter().map(|dead| dead.place).collect()));
        }
        let is_dead = self.revivable.as_ref().is_some_and(|(_, dead)| dead.contains(place));
        if is_dead {
            self.staged.revived.insert(*place);
        }
        Ok(is_dead)
    }

    /// Prepares this writer to [revive](Self::revive) extents: until its next commit, it reclaims nothing.
    pub(super) fn begin_restore(&mut self) {
        self.revivable = Some((0, HashSet::new()));
    }

    /// Puts the tables of a commit that revives extents. Returns `None` for a commit that revives none.
    fn tables_of_restore(&mut self) -> Result<Option<NewTables>> {
        if self.staged.revived.is_empty() {
            return Ok(None);
        }
        self.reserve_names()?;
        let mut tables = self.io.tables(&self.committer.known())?;
        if !tables.revive(&self.staged.revived) {
            // A vacuum has reclaimed the version that is being restored.
            return Err(Error::new(self.target(), ErrorKind::Gone));
        }
        let pages = tables.pages().map_err(|why| Error::corrupt(self.target(), "tables", why))?;
        self.io.put_tables(&pages).map(Some)
    }

    /// Cancels the staged free of an extent that is needed after all.
    pub(super) fn keep(&mut self, place: &Address) {
        self.staged.freed.remove_all([place]);
        if let Some(pending) = &mut self.pending {
            pending.kept.push(*place);
        }
    }

    /// Applies records of other writers: this writer must not free again what they freed.
    pub(super) fn take_notes(&mut self, records: &[Arc<Record>]) {
        for record in records {
            self.last_time = self.last_time.max(record.time);
            for data in record.parts.iter().filter_map(|part| part.data()) {
                self.staged.freed.remove_all(&data.notes.freed);
            }
        }
    }

    pub(super) fn has_freed(&self) -> bool {
        !self.staged.freed.is_empty()
    }

    /// Accounts for a pack that was put under a name of this writer while the writer was not locked.
    pub(super) fn pack_arrived(&mut self, object: ObjectId, etag: Option<Etag>, bytes: u64) {
        self.gain(object, bytes);
        if let Some(proven) = &self.proven {
            proven.lock().add(object.pack(), etag, 0..bytes);
        }
    }

    // Commits

    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Returns the bytes that went out of use since the last checkpoint.
    pub(super) fn obsolete(&self) -> u64 {
        self.obsolete
    }

    pub(super) fn forget_obsolete(&mut self) {
        self.obsolete = 0;
    }

    pub(super) fn rollback(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        self.pack = PackBuffer::default();
        self.uploads.give_up();
        let mut objects = staged.own_objects();
        objects.append(&mut self.io.give_up());
        self.freed_pages.clear();
        self.revivable = None;
        self.waits_since = None;
        if let Some(pending) = &mut self.pending {
            pending.gave_up = true;
            objects.retain(|object| !pending.staged.gained.contains_key(object));
        }
        // No manifest names these objects, and none will.
        delete_objects(&self.io.fetcher, &objects);
    }

    fn check_settled(&mut self) -> Result<()> {
        if self.is_pending() || self.queued.is_some() {
            return Err(Error::invalid(self.target(), "a commit is pending; settle it first"));
        }
        // A pending change is abandoned if no caller waits for its result any more.
        if self.committer.is_in_doubt() {
            let fetcher = self.io.fetcher.clone();
            self.committer.abandon(&fetcher)?;
        }
        Ok(())
    }

    /// Commits the staged changes as the next version. `closes` says that no other commit follows before the close.
    pub(super) fn commit(&mut self, view: &mut View, entries: &dyn Entries, closes: bool) -> Result<Commit> {
        self.check_settled()?;
        if let Some(lease) = &mut self.lease {
            // The lease is advisory. A writer that has lost it is stopped only by its swap.
            let _the_swap_decides = lease.renew_if_due();
        }
        self.finish_packs()?;
        let data = self.data_of(entries)?;
        let (length, is_long) = (data.entries.len() as u64, self.is_long(&data, closes));
        for _ in 0..MAX_PREPARATIONS {
            let stored = if is_long { Some(self.put_long(&data)?) } else { None };
            let tables = self.tables_of_restore()?;
            let sets_tables = tables.is_some();
            let change = self.commit_change(view, data.clone(), (stored, tables), closes)?;
            let segment = change.segment;
            if !closes {
                self.start_segment_beside(segment.as_ref());
            }
            let staged = std::mem::take(&mut self.staged);
            self.pending = Some(Pending {
                staged,
                root: None,
                length,
                kept: Vec::new(),
                gave_up: false,
                stored,
                segment,
            });
            let fetcher = self.io.fetcher.clone();
            let by = (self.mode, &*fetcher.target);
            self.commits += 1;
            let looks = self.looks_at_queue();
            let now = if looks { self.present() } else { 0 };
            let queued = || looks && list(&fetcher, now).is_ok_and(|queued| !queued.is_empty());
            let (committer, numbers) = (&mut self.committer, &self.numbers);
            let (others_wait, done) = both(looks, queued, || {
                // If another writer made a version, the layers above must merge first.
                committer.submit(Change::Commit(change.clone()), &fetcher, &mut |why, on| {
                    numbers.prepared_again(by, &change, (why, on))
                })
            });
            self.others_wait |= others_wait;
            let concluded = self.conclude(view, done);
            if sets_tables {
                self.conclude_tables(matches!(concluded, Ok(Concluded::Commit(Commit::Done(_)))));
            }
            match concluded? {
                Concluded::Again => (),
                Concluded::Commit(commit) => return Ok(commit),
            }
        }
        Err(Error::invalid(self.target(), "the inline records of other writers leave no room; try again"))
    }

    /// Returns whether to list the queue beside the swap of this commit. A busy writer of a remote store wins each race, because
    /// writers that lost must load the manifest before they swap. So the busy writer looks for queued commits, and its next group includes
    /// them.
    fn looks_at_queue(&self) -> bool {
        let is_busy = self.mode == Mode::Shared && self.commits.is_multiple_of(COMMITS_PER_LISTING);
        is_busy && self.io.fetcher.store.capabilities().remote
    }

    fn data_of(&self, entries: &dyn Entries) -> Result<Data> {
        let entries = Bytes::from(entries.encoded());
        if entries.len() > MAX_COMMIT_BYTES {
            let why = format!(
                "a commit has a record of {} bytes, and {MAX_COMMIT_BYTES} are possible; commit more often",
                entries.len()
            );
            return Err(Error::invalid(self.target(), why));
        }
        Ok(Data { notes: self.staged.notes(), author: Bytes::new(), entries })
    }

    fn is_long(&self, data: &Data, closes: bool) -> bool {
        let longest = if closes { MAX_CLOSING_RECORD } else { MAX_CURRENT_RECORD };
        data.size() + RECORD_BYTES > longest
    }

    /// Puts the content of a long commit as a separate object.
    fn put_long(&mut self, data: &Data) -> Result<PageRef> {
        let object = self.new_object()?;
        self.io.put_page(object, data.to_object())
    }

    fn commit_change(
        &mut self,
        view: &View,
        data: Data,
        (stored, tables): (Option<PageRef>, Option<NewTables>),
        closes: bool,
    ) -> Result<Box<CommitChange>> {
        let told = self.told(view)?;
        let segment = self.segment_for_commit()?;
        let known = self.committer.known();
        // A session that has put no object joins with a commit after which it will put a segment.
        let wants_entry = !closes && known.line.wants_segment();
        let joins = if wants_entry { self.committer.session.day_to_join(self.today()) } else { None };
        let leaves = closes && self.committer.session.entry() == Entry::Listed;
        let bytes = data.entries.len() as u64 + self.staged.bytes();
        Ok(Box::new(CommitChange {
            on: told.version,
            time: self.time(),
            note: Note::of_now(bytes).encode(),
            data,
            others: self.staged.other_sessions(self.committer.session.id()),
            stored,
            numbers: self.numbers.of_commit(self.mode, &known),
            joins,
            leaves,
            closes,
            segment,
            members: Vec::new(),
            conditions: Vec::new(),
            segments: Segments::default(),
            tables,
        }))
    }

    pub(super) fn told(&self, view: &View) -> Result<Told> {
        view.told.ok_or_else(|| Error::invalid(self.target(), "a commit before the container was read"))
    }

    /// Determines the result of the commit with an unknown outcome.
    pub(super) fn settle(&mut self, view: &mut View) -> Result<Commit> {
        if self.pending.is_none() {
            return Err(Error::invalid(self.target(), "no commit is pending"));
        }
        let fetcher = self.io.fetcher.clone();
        let gave_up = self.pending.as_ref().is_some_and(|pending| pending.gave_up);
        let done = match gave_up {
            true => self.committer.abandon(&fetcher),
            false => self.committer.settle(&fetcher, &mut |_, _| Ok(None)),
        };
        if matches!(done, Ok(Outcome::NotCommitted)) {
            // The objects and frees of the commit are staged again, unless the commit was rolled back.
            self.take_back();
            return Ok(Commit::Superseded);
        }
        match self.conclude(view, done)? {
            Concluded::Commit(commit) => Ok(commit),
            Concluded::Again => Ok(Commit::Superseded),
        }
    }

    /// Applies the result of a commit to the writer's state.
    fn conclude(&mut self, view: &mut View, done: Result<Outcome>) -> Result<Concluded> {
        let outcome = match done {
            Err(e) if self.committer.is_in_doubt() => {
                return Ok(Concluded::Commit(Commit::OutcomeUnknown(e)));
            }
            Err(e) => {
                self.take_back();
                return Err(e);
            }
            Ok(outcome) => outcome,
        };
        let Some(pending) = self.pending.take() else { return Ok(Concluded::Commit(Commit::Superseded)) };
        match outcome {
            Outcome::Done { sequence, numbers } => {
                let length = pending.length;
                self.numbers.take_in(numbers);
                self.take_in(view, pending, sequence);
                Ok(Concluded::Commit(Commit::Done(length)))
            }
            // The commit may be in the container, so all of its objects remain.
            Outcome::Undecided => Err(self.committer.failure(&Outcome::Undecided)),
            other => {
                self.pending = Some(pending);
                self.take_back();
                match other {
                    Outcome::NotCommitted if self.mode == Mode::Shared => {
                        Ok(Concluded::Commit(Commit::Superseded))
                    }
                    Outcome::Rejected(Reject::Full(_)) if self.grew() => Ok(Concluded::Again),
                    other => Err(self.committer.failure(&other)),
                }
            }
        }
    }

    /// Returns whether a segment would make space for the commit, because inline records take too much of the manifest.
    fn grew(&self) -> bool {
        self.committer.known().line.wants_segment()
    }

    /// Applies a commit that took effect.
    fn take_in(&mut self, view: &mut View, pending: Pending, sequence: Option<u64>) {
        let known = self.committer.known();
        self.wrote = true;
        self.revivable = None;
        self.waits_since = None;
        self.obsolete += pending.staged.freed.bytes();
        self.staged.freed.remove_all(pending.staged.freed.iter());
        let line = &known.line;
        if let (Some(told), Some(version)) = (&mut view.told, sequence) {
            told.version = version;
            told.number += 1;
            if pending.root.is_some() {
                told.root = line.root;
                self.obsolete = 0;
            }
        }
        let newest = line.tail.iter().rev().find(|record| Some(record.version) == sequence);
        if let Some(told) = &mut view.told {
            // The nonce may be missing here. It serves to detect that a program restored older objects, which does not happen to an open
            // writer.
            told.nonce = newest.and_then(|record| nonce_of(record));
        }
        self.last_time = self.last_time.max(newest.map_or(0, |record| record.time));
        // The segment did not fit any more if the manifest of the commit itself does not name it. A later manifest may name it in its
        // tables.
        if Some(known.sequence) == sequence {
            self.segment.take_back(pending.segment.filter(|at| !line.segments.contains(at)));
        }
        view.manifest = known.clone();
        delete_objects(&self.io.fetcher, &pending.staged.unused());
    }

    /// Stages the objects and frees of a commit that will never take effect again, for the next commit.
    fn take_back(&mut self) {
        let Some(mut pending) = self.pending.take() else { return };
        let stored = pending.stored.and_then(|page| ObjectId::of(&page.place));
        delete_objects(&self.io.fetcher, stored.as_slice());
        self.segment.take_back(pending.segment);
        self.numbers.wanted = None;
        if pending.gave_up {
            // The commit was rolled back, so nothing needs its objects.
            let objects = pending.staged.own_objects();
            delete_objects(&self.io.fetcher, &objects);
            return;
        }
        pending.staged.freed.remove_all(&pending.kept);
        self.staged.take_back(pending.staged);
    }

    /// Submits a commit that is contained in the new root of the same swap.
    pub(super) fn submit_root(
        &mut self,
        view: &mut View,
        root: Option<PageRef>,
        change: Change,
        prepare: PrepareWith<'_>,
    ) -> Result<Commit> {
        let staged = std::mem::take(&mut self.staged);
        let length = staged.bytes();
        self.pending = Some(Pending {
            staged,
            root: Some(root),
            length,
            kept: Vec::new(),
            gave_up: false,
            stored: None,
            segment: None,
        });
        let fetcher = self.io.fetcher.clone();
        let Self { committer, io, .. } = self;
        let done = committer.submit(change, &fetcher, &mut |why, on| prepare(io, why, on));
        match self.conclude(view, done)? {
            Concluded::Commit(commit) => Ok(commit),
            Concluded::Again => Ok(Commit::Superseded),
        }
    }

    /// Submits a change that is not a commit of the staged changes. The outcome is `NotCommitted` if the change was abandoned.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn make(&mut self, change: Change, prepare: PrepareWith<'_>) -> Result<Outcome> {
        self.check_settled()?;
        let fetcher = self.io.fetcher.clone();
        let Self { committer, io, .. } = self;
        match committer.submit(change, &fetcher, &mut |why, on| prepare(io, why, on)) {
            // The next request may show the result of the change. If it fails as well, the first error is returned.
            Err(e) if committer.is_in_doubt() => committer.abandon(&fetcher).map_err(|_| e),
            done => done,
        }
    }

    /// Puts an object of payloads in the calling thread. The caller should hold no lock, because this waits for the store.
    pub(super) fn put_pack(fetcher: &Fetcher, object: ObjectId, pieces: PutPayload) -> Result<Option<Etag>> {
        let key = fetcher.names.object(object, &fetcher.target)?;
        // The name was never used, so the put replaces nothing.
        let put = fetcher.store.put(&key, pieces, PutMode::Overwrite);
        Ok(put.map_err(|e| store_error(&fetcher.target, &e))?.etag)
    }
}

/// The result of an attempt to commit.
enum Concluded {
    Commit(Commit),
    /// The inline records grew. The caller must put a segment and try again.
    Again,
}
