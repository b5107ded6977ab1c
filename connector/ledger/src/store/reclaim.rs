//! Reclaim: raises horizons, and deletes the objects that no version needs any more.

use super::checkpoint::retention_micros;
use super::committer::delete_objects;
use super::fetch::Fetcher;
use super::io::Io;
use super::journal::delete_journal;
use super::names::object_of;
use super::open::usual_retention;
use super::past;
use super::view::View;
use super::writer::Writer;
use crate::compaction_plan::CompactionPlan;
use crate::core::change::{Change, Reclaim};
use crate::core::events::Outcome;
use crate::core::ids::{ContainerId, ObjectId, SessionId};
use crate::core::manifest::{Manifest, SessionEntry};
use crate::core::reclaim::plan;
use crate::core::references::{ReadTags, Tag};
use crate::core::session::Mode;
use crate::core::sweep::{ListedObjects, named};
use crate::core::usage::Tables;
use crate::error::{Result, store_error};
use crate::liveness;
use object_stores::ObjectStoreExt;

/// The number of dead bytes in an object from which on moving its live payloads is worth the requests.
const MIN_DEAD_BYTES: u64 = 64 << 10;
/// The number of dead bytes from which on moving payloads at a close is worth the time.
const MIN_DEAD_BYTES_AT_CLOSE: u64 = 64 << 20;
/// The number of days after which a listed session counts as dead.
pub(super) const MAX_SESSION_DAYS: u64 = 1;

/// The maximum number of sessions of dead writers that a close clears up after.
const MAX_CLEARED_SESSIONS: usize = 64;

/// Returns whether the process of a session is known to have ended.
fn is_of_dead(entry: &SessionEntry) -> bool {
    entry.process.as_ref().is_some_and(liveness::has_ended)
}

/// Returns the tags of a manifest.
pub(super) fn all_tags(manifest: &Manifest, fetcher: &Fetcher) -> Result<Vec<Tag>> {
    tags_with(manifest, &fetcher.tags(&manifest.references)?, fetcher)
}

/// Returns the tags of a manifest; `read` is its references page.
pub(super) fn tags_with(manifest: &Manifest, read: &ReadTags, fetcher: &Fetcher) -> Result<Vec<Tag>> {
    let all = manifest.references.all(read).ok_or_else(|| fetcher.corrupt("references", "another page"))?;
    Ok(all.cloned().collect())
}

/// Returns the new horizon: the version that was the newest one when the retention time began.
fn horizon(io: &mut Io, manifest: &Manifest, now: u64, retention: u64) -> Result<u64> {
    let line = &manifest.line;
    if retention == 0 {
        return Ok(line.version);
    }
    let since = now.saturating_sub(retention);
    let fetcher = io.fetcher.clone();
    let marks = past::marks(manifest, usize::MAX, &mut io.segments, &fetcher)?;
    // The marks are sorted, newest first. A version was replaced when the next one was made.
    let replaced_before = marks.iter().position(|mark| mark.time <= since);
    Ok(replaced_before.map_or(line.horizon, |n| marks[n].version))
}

/// Prepares the change that raises the horizon, and removes everything from the tables that is not needed then. Returns
/// `None` if there is nothing to do.
fn prepared(io: &mut Io, manifest: &Manifest, now: u64, retention: u64) -> Result<Option<Change>> {
    let horizon = horizon(io, manifest, now, retention)?;
    let read = io.fetcher.tags(&manifest.references)?;
    let tags = tags_with(manifest, &read, &io.fetcher)?;
    let tables = io.tables(manifest)?;
    let before = tables.dead.iter().count();
    let eras = tables.eras.iter().count();
    let planned = plan(manifest, tags.iter(), tables, horizon);
    let planned = planned.map_err(|why| io.fetcher.corrupt("tables", why))?;
    let after = planned.kept.0;
    if after == before && planned.kept.1 == eras {
        return Ok(None);
    }
    let new = io.put_tables(&planned.pages)?;
    Ok(Some(Change::Reclaim(Box::new(Reclaim::new(planned, read, new)))))
}

impl Writer {
    /// Reclaims everything that is needed by no version that is retained, tagged or current.
    pub(super) fn reclaim(&mut self, view: &mut View) -> Result<()> {
        let known = self.committer.known();
        if known.tables.dead.is_empty() && known.tables.history.is_empty() {
            return Ok(());
        }
        // The next commit restores a version, which may not be held any more.
        if self.revivable.is_some() {
            return Ok(());
        }
        // The pages that the ledger still reads must not be reclaimed.
        if view.reported.is_some_and(|reported| reported.root != known.line.root) {
            return Ok(());
        }
        self.reserve_names()?;
        let known = self.committer.known();
        let asked = self.retention.map(crate::clock::micros);
        let mut retention = asked.unwrap_or_else(|| retention_micros(&known.line));
        if self.mode == Mode::Shared {
            // Other writers still read older versions.
            retention = retention.max(crate::clock::micros(usual_retention(self.io.fetcher.store.as_ref())));
        }
        let now = self.present();
        let Some(change) = prepared(&mut self.io, &known, now, retention)? else { return Ok(()) };
        let done = self.make(change, &mut |io, _, on| prepared(io, on, now, retention));
        self.conclude_tables(matches!(done, Ok(Outcome::Done { .. })));
        view.manifest = self.committer.known();
        match done? {
            Outcome::Done { .. } => Ok(()),
            Outcome::NotCommitted => {
                let needless = self.io.give_up();
                delete_objects(&self.io.fetcher, &needless);
                Ok(())
            }
            other => Err(self.committer.failure(&other)),
        }
    }

    /// Removes the entries of dead sessions. Their writers may have left objects that no manifest will name.
    pub(super) fn expel_dead(&mut self, view: &mut View) -> Result<()> {
        self.committer.refresh()?;
        let (known, today) = (self.committer.known(), self.today());
        // The holder of the lease is the only exclusive writer, so another listed one is dead.
        let has_lease = self.lease.is_some();
        let is_old = |entry: &SessionEntry| today > entry.day + MAX_SESSION_DAYS;
        let sessions =
            self.other_sessions(|entry| has_lease && entry.is_alone || is_old(entry) || is_of_dead(entry));
        let dead = known.copies.iter().filter(|entry| today > entry.day + MAX_SESSION_DAYS);
        let copies: Vec<_> = dead.map(|entry| (entry.id, entry.session)).collect();
        self.expel(view, sessions, copies)
    }

    /// Returns the known sessions of other writers with a property.
    fn other_sessions(&self, has_it: impl Fn(&SessionEntry) -> bool) -> Vec<SessionId> {
        let (known, own) = (self.committer.known(), self.committer.session.id());
        let found = known.sessions.iter().filter(|entry| entry.id != own && has_it(entry));
        found.map(|entry| entry.id).collect()
    }

    /// Removes the known sessions of processes of this system that have ended, and the objects that they left. Without
    /// this, the objects of a killed writer stay until a vacuum.
    pub(super) fn clear_up_after_dead(&mut self, view: &mut View) -> Result<()> {
        let mut dead = self.other_sessions(is_of_dead);
        dead.truncate(MAX_CLEARED_SESSIONS);
        if dead.is_empty() {
            return Ok(());
        }
        self.expel(view, dead.clone(), Vec::new())?;
        let mut objects = Vec::new();
        for session in dead {
            objects.extend(list(&self.io.fetcher, Some(session))?);
        }
        if objects.is_empty() { Ok(()) } else { self.delete_unnamed(view, objects) }
    }

    fn expel(
        &mut self,
        view: &mut View,
        sessions: Vec<SessionId>,
        copies: Vec<(ContainerId, SessionId)>,
    ) -> Result<()> {
        if sessions.is_empty() && copies.is_empty() {
            return Ok(());
        }
        let done = self.make(Change::Expel { sessions, copies }, &mut |_, _, _| Ok(None))?;
        view.manifest = self.committer.known();
        match done {
            Outcome::Done { .. } => Ok(()),
            other => Err(self.committer.failure(&other)),
        }
    }

    /// Deletes all objects that the manifest neither names nor protects.
    pub(super) fn sweep(&mut self, view: &mut View) -> Result<()> {
        let objects = list(&self.io.fetcher, None)?;
        self.delete_unnamed(view, objects)?;
        if self.journal.is_none() {
            // The container was once a copy, and its journal was not deleted.
            let fetcher = &self.io.fetcher;
            delete_journal(fetcher.store.as_ref(), &fetcher.names)
                .map_err(|e| store_error(&fetcher.target, &e))?;
        }
        Ok(())
    }

    /// Deletes those of the listed objects that the manifest neither names nor protects. The listing precedes the load of
    /// the manifest.
    fn delete_unnamed(&mut self, view: &mut View, listed: Vec<ObjectId>) -> Result<()> {
        let objects = ListedObjects::new(self.committer.session.container(), listed);
        self.committer.refresh()?;
        let known = self.committer.known();
        view.manifest = known.clone();
        let tables = self.io.tables(&known)?;
        let line = &known.line;
        // Long records and segments are read, so that the objects that they name are known.
        let fetcher = self.io.fetcher.clone();
        let records = fetcher.records(line, (line.base(), line.version), &mut self.io.segments)?;
        let unread = |_| fetcher.corrupt("segment", "it is not there although it was read");
        let mut spared = named(&known, &tables, &self.io.segments).map_err(unread)?;
        for record in &records {
            let data = record.parts.iter().filter_map(|part| part.data());
            spared.extend(data.flat_map(|data| &data.notes.gained).map(|gained| gained.object));
        }
        spared.extend(super::fetch::stored_objects(&records));
        spared.extend(self.staged.gained.keys().copied());
        delete_objects(&fetcher, &objects.deletable(&known, &spared));
        // Other writers may have left copies of manifests. The next copy of this writer lists all of them.
        self.copies = None;
        Ok(())
    }

    /// Returns the objects of which little is in use.
    pub(super) fn compaction_plan(&mut self) -> Result<CompactionPlan> {
        let known = self.committer.known();
        let tables = self.io.tables(&known)?;
        let spare = spare(&tables);
        let garbage = spare.iter().map(|(_, dead, _)| dead).sum();
        let locations = spare.iter().map(|(object, ..)| object.pack()).collect();
        Ok(CompactionPlan { locations, garbage, ..CompactionPlan::default() })
    }

    /// Returns whether the objects that are worth emptying have more dead bytes than needed ones, and many dead bytes in all.
    pub(super) fn wants_compaction_at_close(&mut self) -> Result<bool> {
        let known = self.committer.known();
        if known.tables.usage.is_none() || !self.wrote {
            return Ok(false);
        }
        let spare = spare(&self.io.tables(&known)?);
        let (dead, live) = spare.iter().fold((0_u64, 0_u64), |(dead, live), (_, d, l)| (dead + d, live + l));
        Ok(dead > live && dead >= MIN_DEAD_BYTES_AT_CLOSE)
    }
}

/// Returns the objects with many dead bytes of which at most half is needed: their dead bytes, and their needed bytes. Bytes that a
/// retained version needs are not dead.
fn spare(tables: &Tables) -> Vec<(ObjectId, u64, u64)> {
    let is_spare = |(object, usage): (&ObjectId, &crate::core::usage::Usage)| {
        let dead = usage.total.saturating_sub(usage.named);
        (usage.named > 0 && usage.named <= usage.total / 2 && dead >= MIN_DEAD_BYTES).then_some((
            *object,
            dead,
            usage.named,
        ))
    };
    tables.usage.iter().filter_map(is_spare).collect()
}

/// Lists the objects of a container that one session has put, or all sessions.
fn list(fetcher: &Fetcher, session: Option<SessionId>) -> Result<Vec<ObjectId>> {
    let folder = format!("{}/", fetcher.names.lake);
    let prefix = session.map_or_else(|| folder.clone(), |session| format!("{folder}{:016x}-", session.0));
    let mut all = Vec::new();
    for meta in fetcher.store.list(&prefix, None) {
        let key = meta.map_err(|e| store_error(&fetcher.target, &e))?.key;
        all.extend(key.as_str().strip_prefix(&folder).and_then(object_of));
    }
    Ok(all)
}
