//! Commits of a writer: their preparation, their swap, and what follows from its outcome.

use std::sync::Arc;

use bytes::Bytes;

use super::{Pending, Writer};
use crate::address::PageRef;
use crate::core::change::{Change, Commit as CommitChange, NewTables, Reject};
use crate::core::events::Outcome;
use crate::core::ids::ObjectId;
use crate::core::manifest::Manifest;
use crate::core::records::{Data, MAX_CLOSING_RECORD, MAX_CURRENT_RECORD, Segments};
use crate::core::session::{Entry, Mode};
use crate::error::{Error, Result};
use crate::side_by_side::both;
use crate::storage::Commit;
use crate::store::committer::delete_objects;
use crate::store::group_commit::list;
use crate::store::io::Io;
use crate::store::note::Note;
use crate::store::pack::PackBuffer;
use crate::store::view::{Reported, View, nonce_of};
use crate::wal::record::Entries;

/// The maximum number of times that a commit is prepared again because the inline records grew meanwhile.
const MAX_PREPARATIONS: u32 = 8;
/// A concurrent writer lists the queue beside each commit with a number that this divides.
const COMMITS_PER_LISTING: u64 = 8;
/// The maximum length of one commit's entries in bytes. Readers reject longer entries.
const MAX_COMMIT_BYTES: usize = if cfg!(test) { 15 << 20 } else { 1 << 30 };
/// The maximum size of a record without its content, in bytes.
const RECORD_BYTES: usize = 512;

/// Prepares a change again on a newer manifest, with the writer's means to put objects. `None` abandons the change.
type PrepareWith<'a> = &'a mut dyn FnMut(&mut Io, Reject, &Arc<Manifest>) -> Result<Option<Change>>;

impl Writer {
    pub(in crate::store) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Returns the bytes that went out of use since the last checkpoint.
    pub(in crate::store) fn obsolete(&self) -> u64 {
        self.obsolete
    }

    pub(in crate::store) fn forget_obsolete(&mut self) {
        self.obsolete = 0;
    }

    pub(in crate::store) fn rollback(&mut self) {
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

    pub(super) fn check_settled(&mut self) -> Result<()> {
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
    pub(in crate::store) fn commit(
        &mut self,
        view: &mut View,
        entries: &dyn Entries,
        closes: bool,
    ) -> Result<Commit> {
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
            let (saw_queued_commits, done) = both(looks, queued, || {
                // If another writer made a version, the layers above must merge first.
                committer.submit(Change::Commit(change.clone()), &fetcher, &mut |why, on| {
                    numbers.prepared_again(by, &change, (why, on))
                })
            });
            self.saw_queued_commits |= saw_queued_commits;
            let concluded = self.conclude(view, done);
            if sets_tables {
                self.conclude_tables(matches!(concluded, Ok(Concluded::Commit(Commit::Done(_)))));
            }
            match concluded? {
                Concluded::Again => (),
                Concluded::Commit(commit) => return Ok(commit),
            }
        }
        Err(Error::invalid(self.target(), "the inline records of other writers leave no space; try again"))
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
        let reported = self.reported(view)?;
        let segment = self.segment_for_commit()?;
        let known = self.committer.known();
        // A session that has put no object joins with a commit after which it will put a segment.
        let wants_entry = !closes && known.line.wants_segment();
        let joins = if wants_entry { self.committer.session.day_to_join(self.today()) } else { None };
        let leaves = closes && self.committer.session.entry() == Entry::Listed;
        let bytes = data.entries.len() as u64 + self.staged.bytes();
        Ok(Box::new(CommitChange {
            on: reported.version,
            time: self.time(),
            note: Note::of_now(bytes).encode(),
            data,
            other_sessions: self.staged.other_sessions(self.committer.session.id()),
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

    pub(in crate::store) fn reported(&self, view: &View) -> Result<Reported> {
        view.reported.ok_or_else(|| Error::invalid(self.target(), "a commit before the container was read"))
    }

    /// Determines the result of the commit with an unknown outcome.
    pub(in crate::store) fn settle(&mut self, view: &mut View) -> Result<Commit> {
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
        if let (Some(reported), Some(version)) = (&mut view.reported, sequence) {
            reported.version = version;
            reported.number += 1;
            if pending.root.is_some() {
                reported.root = line.root;
                self.obsolete = 0;
            }
        }
        let newest = line.tail.iter().rev().find(|record| Some(record.version) == sequence);
        if let Some(reported) = &mut view.reported {
            // The nonce may be missing here. It serves to detect that a program restored older objects, which does not happen to an open
            // writer.
            reported.nonce = newest.and_then(|record| nonce_of(record));
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
    pub(in crate::store) fn submit_root(
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
    pub(in crate::store) fn make(&mut self, change: Change, prepare: PrepareWith<'_>) -> Result<Outcome> {
        self.check_settled()?;
        let fetcher = self.io.fetcher.clone();
        let Self { committer, io, .. } = self;
        match committer.submit(change, &fetcher, &mut |why, on| prepare(io, why, on)) {
            // The next request may show the result of the change. If it fails as well, the first error is returned.
            Err(e) if committer.is_in_doubt() => committer.abandon(&fetcher).map_err(|_| e),
            done => done,
        }
    }
}

/// The result of an attempt to commit.
enum Concluded {
    Commit(Commit),
    /// The inline records grew. The caller must put a segment and try again.
    Again,
}
