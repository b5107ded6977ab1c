//! The end of a writer, and its changes that are not commits of staged changes.

use super::reclaim::all_tags;
use super::view::{Reported, View, new_commits};
use super::writer::Writer;
use crate::core::change::Change;
use crate::core::session::Entry;
use crate::core::usage::Dead;
use crate::error::Result;
use crate::storage::{Commit, RemoteCommits};
use crate::wal::record::Entries;

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
        let (line, reported) = (&known.line, view.reported);
        let has_moved = |reported: Reported| line.root != reported.root && line.version == reported.version;
        if known.id != self.committer.session.container() || !reported.is_some_and(has_moved) {
            return Ok(None);
        }
        let Some(found) = new_commits(&known, reported, u64::MAX, false, &mut self.io.segments, &fetcher)?
        else {
            return Ok(None);
        };
        (view.reported, view.manifest) = (Some(found.reported), known.clone());
        Ok(Some(found.commits))
    }

    /// Returns the number of bytes that only tags need.
    pub(super) fn held_bytes(&mut self) -> Result<u64> {
        let known = self.committer.known();
        let tables = self.io.tables(&known)?;
        let line = &known.line;
        let tags = all_tags(&known, &self.io.fetcher)?;
        let is_tagged =
            |dead: &Dead| tags.iter().any(|tag| (dead.birth..dead.death).contains(&tag.mark.version));
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
        if !self.is_pending()
            && let Err(e) = self.clear_up_after_dead(view)
        {
            tracing::debug!(error = %e, "what dead writers left was not removed");
        }
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
