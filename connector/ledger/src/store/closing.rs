//! The end of a writer, and its changes that are not commits of staged changes.

use std::sync::Arc;

use bytes::Bytes;

use super::ObjectStorage;
use super::fetch::commit_record;
use super::note::Note;
use super::reclaim::all_tags;
use super::view::{Told, View, main_line, news};
use super::writer::Writer;
use crate::codec::Decoded;
use crate::core::change::{Change, Commit as CommitChange};
use crate::core::events::Outcome;
use crate::core::lines::MAIN;
use crate::core::manifest::Manifest;
use crate::core::records::{Data, Record, SegmentRef, Segments};
use crate::core::references::Tag;
use crate::core::session::Entry;
use crate::core::usage::Dead;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Commit, RemoteCommits};
use crate::wal::record::{CommitRecord, Entries};

/// The maximum number of attempts of a separate commit.
const MAX_ATTEMPTS: u32 = 200;

impl Writer {
    /// Commits. If the store is full and the commit frees more than it adds, tries again with the space that the store reserves for this
    /// case.
    pub(super) fn commit_with_reserve(
        &mut self,
        view: &mut View,
        entries: &dyn Entries,
        closes: bool,
    ) -> Result<Commit> {
        match self.commit(view, entries, closes) {
            Err(e) if self.staged.frees_more() && e.is_full() && self.io.fetcher.store.spend_reserve() => {
                self.commit(view, entries, closes)
            }
            done => done,
        }
    }

    /// Makes a separate commit at once, without the staged changes. `make` gets the records that the ledger has not observed yet.
    pub(super) fn commit_independent(
        &mut self,
        view: &mut View,
        make: &mut dyn FnMut(&[CommitRecord]) -> Result<Vec<u8>>,
    ) -> Result<()> {
        for _ in 0..MAX_ATTEMPTS {
            let known = self.committer.known();
            let line = main_line(&known);
            let told = self.told(view)?;
            if !line.reaches(told.version) {
                return Err(Error::new(self.target(), ErrorKind::Gone));
            }
            let fetcher = self.io.fetcher.clone();
            let unseen = fetcher.records(line, (told.version, line.version), &mut self.io.segments)?;
            let convert = |record: &Arc<Record>| commit_record(record).transpose();
            let unseen: Decoded<Vec<_>> = unseen.iter().filter_map(convert).collect();
            let entries = make(&unseen.map_err(|_| Error::new(&fetcher.target, ErrorKind::Gone))?)?;
            let segment = self.segment_for_commit()?;
            match self.submit_entries(&known, entries.into(), segment)? {
                Outcome::Done { .. } => {
                    // The ledger observes the version like a remote commit.
                    view.manifest = self.committer.known();
                    return Ok(());
                }
                Outcome::NotCommitted => self.committer.refresh().map(drop)?,
                other => return Err(self.committer.failure(&other)),
            }
        }
        Err(Error::new(self.target(), ErrorKind::Conflict))
    }

    fn submit_entries(
        &mut self,
        known: &Manifest,
        entries: Bytes,
        segment: Option<SegmentRef>,
    ) -> Result<Outcome> {
        let joins = self.committer.session.day_to_join(self.today());
        let change = Change::Commit(Box::new(CommitChange {
            line: MAIN,
            on: main_line(known).version,
            time: self.time(),
            note: Note::of_now(entries.len() as u64).encode(),
            data: Data { entries, ..Data::default() },
            others: Vec::new(),
            stored: None,
            numbers: None,
            joins,
            leaves: false,
            closes: false,
            segment,
            members: Vec::new(),
            conditions: Vec::new(),
            segments: Segments::default(),
        }));
        self.make(change, &mut |_, _, _| Ok(None))
    }

    /// Determines the result of a change for which no caller waits any more. Returns the commits that the ledger must apply, because a
    /// checkpoint may have taken effect.
    pub(super) fn resolve(&mut self, view: &mut View) -> Result<Option<RemoteCommits>> {
        if self.is_pending() || self.queued.is_some() {
            return Ok(None);
        }
        let fetcher = self.io.fetcher.clone();
        if self.committer.is_in_doubt() {
            self.committer.abandon(&fetcher)?;
        }
        let known = self.committer.known();
        let (line, told) = (main_line(&known), view.told);
        let has_moved = |told: Told| line.root != told.root && line.version == told.version;
        if known.id != self.committer.session.container() || !told.is_some_and(has_moved) {
            return Ok(None);
        }
        let Some(found) = news(line, told, u64::MAX, false, &mut self.io.segments, &fetcher)? else {
            return Ok(None);
        };
        (view.told, view.manifest) = (Some(found.told), known.clone());
        Ok(Some(found.commits))
    }

    /// Returns the number of bytes that only tags need.
    pub(super) fn held_bytes(&mut self) -> Result<u64> {
        let known = self.committer.known();
        let tables = self.io.tables(&known)?;
        let line = main_line(&known);
        let tags = all_tags(&known, &self.io.fetcher)?;
        let is_tagged = |dead: &Dead| {
            let holds =
                |tag: &Tag| tag.line == dead.line && (dead.birth..dead.death).contains(&tag.mark.version);
            tags.iter().any(holds)
        };
        let dead = tables.dead.iter().filter(|dead| dead.death <= line.horizon && is_tagged(dead));
        Ok(dead.fold(0, |sum, dead| sum.saturating_add(dead.place.length)))
    }

    /// Removes the session's entry.
    pub(super) fn end_session(&mut self, view: &mut View) -> Result<()> {
        if self.committer.session.entry() == Entry::Listed && !self.is_pending() {
            self.make(Change::Leave, &mut |_, _, _| Ok(None))?;
            self.forget_names();
            view.manifest = self.committer.known();
        }
        Ok(())
    }

    /// Ends the session, and discards its staged changes.
    pub(super) fn close(&mut self, view: &mut View) -> Result<()> {
        self.rollback();
        self.forget_segment();
        if let Err(e) = self.end_session(view) {
            // A vacuum will remove the entry.
            tracing::debug!(error = %e, "a session was not ended");
        }
        match self.lease.take() {
            Some(lease) => lease.release(),
            None => Ok(()),
        }
    }
}

impl ObjectStorage {
    /// Deletes a new container that no other process can have seen yet.
    pub(super) fn discard_new(&self) -> Result<()> {
        self.discard_draft()
    }
}
