//! Checkpoints: a new root, and the tables that belong to it.
//!
//! ```text
//!   tree of the map ──▶ pages ┐
//!   inline records ──▶ segment ├─▶ objects ──▶ swap: root, tables, segment
//!   records, tables ──▶ tables ┘
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::committer::{delete_objects, given_up};
use super::io::Io;
use super::note::Note;
use super::staged::Staged;
use super::view::View;
use super::writer::Writer;
use crate::address::{Address, PageRef};
use crate::clock;
use crate::core::change::{Change, Checkpoint as CheckpointChange, Reject};
use crate::core::events::Outcome;
use crate::core::ids::ObjectId;
use crate::core::line::{Line, MAX_SEGMENTS, Root};
use crate::core::manifest::Manifest;
use crate::core::records::{Gained, Record};
use crate::core::session::Mode;
use crate::core::usage::{NOW, Tables};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Checkpoint, Commit};

/// The minimum number of records that the line retains, so that writers can determine unknown outcomes.
const MIN_RECORDS: u64 = 256;
/// The minimum time for which the line retains these records, in microseconds: 20 minutes.
const MIN_RECORD_AGE: u64 = 20 * 60 * 1_000_000;
/// The number of bytes out of use since the last checkpoint from which on another checkpoint is worthwhile. A vacuum cannot find these
/// bytes before it.
const MIN_DEAD_BYTES: u64 = 64 << 20;

/// The input of a checkpoint. The change is prepared anew on each manifest to which it is applied.
#[derive(Debug, Clone)]
struct Plan {
    root: Option<PageRef>,
    /// The root from which the pages were made.
    old: Root,
    /// The version that the new root contains.
    base: u64,
    /// For a commit that the new root also contains: its time, the note about its author, the objects that it gains and the extents that it
    /// frees.
    commit: Option<(u64, Bytes, Vec<Gained>, Vec<Address>)>,
    /// For a commit of an exclusive writer: the counter of numbers that the commit depends on.
    numbers: Option<u64>,
    /// The objects with pages, and the bytes of pages in each.
    pages: Vec<(ObjectId, u64)>,
    freed_pages: Vec<Address>,
    /// Extents of the dead list that the commit uses again.
    revived: HashSet<Address>,
    now: u64,
}

impl Writer {
    pub(super) fn wants_checkpoint(&self) -> bool {
        self.obsolete() > MIN_DEAD_BYTES
    }

    pub(super) fn checkpoint_write(&mut self, data: &[u8]) -> Result<Address> {
        self.reserve_names()?;
        if self.io.open.is_full_with(data.len()) {
            self.io.finish()?;
        }
        self.io.add_page(data)
    }

    pub(super) fn checkpoint_rollback(&mut self) {
        let objects = self.io.give_up();
        self.freed_pages.clear();
        delete_objects(&self.io.fetcher, &objects);
    }

    /// Retains the pages that were written for the coming root, for a later commit. Returns the number of bytes written since the last
    /// call.
    pub(super) fn checkpoint_keep(&mut self) -> Result<u64> {
        self.io.finish()?;
        let put = std::mem::take(&mut self.io.put);
        let bytes = put.iter().map(|(_, bytes)| bytes).sum();
        for (object, bytes) in put {
            self.gain(object, bytes);
        }
        for place in std::mem::take(&mut self.freed_pages) {
            if !self.staged.lose(&place) {
                self.staged.freed.push(place);
            }
        }
        // These objects have pages that later pages replaced before the commit. No other session knows them.
        let unused = self.staged.unused();
        self.staged.gained.retain(|_, gained| gained.bytes > 0);
        delete_objects(&self.io.fetcher, &unused);
        Ok(bytes)
    }

    /// Returns whether pages may be put for a later commit. A concurrent writer must not do so, because the other writers find changed keys
    /// in records only.
    pub(super) fn may_spill(&self) -> bool {
        self.mode == Mode::Exclusive && !self.is_pending()
    }

    fn plan(&mut self, view: &View, root: Option<PageRef>) -> Result<Plan> {
        let reported = self.reported(view)?;
        Ok(Plan {
            root,
            old: reported.root,
            base: reported.version,
            commit: None,
            numbers: None,
            pages: self.io.page_objects().collect(),
            freed_pages: self.freed_pages.clone(),
            revived: HashSet::new(),
            now: self.present(),
        })
    }

    /// Publishes `base` as the root that readers start from.
    pub(super) fn checkpoint_commit(&mut self, view: &mut View, base: Checkpoint) -> Result<()> {
        self.reserve_names()?;
        let plan = self.plan(view, base.root)?;
        let known = self.committer.known();
        let change = prepared(&mut self.io, &known, &plan)?.ok_or_else(|| self.overtaken())?;
        let made = self.make(change, &mut |io, _, on| prepared(io, on, &plan));
        self.conclude_tables(matches!(made, Ok(Outcome::Done { .. })));
        match made? {
            Outcome::Done { .. } => {
                let known = self.committer.known();
                if let Some(reported) = &mut view.reported {
                    reported.root = known.line.root;
                }
                view.manifest = known;
                self.take_in_root();
                self.copy_manifest();
                self.reclaim_after_checkpoint(view);
                Ok(())
            }
            Outcome::NotCommitted => Err(self.overtaken()),
            other => Err(self.committer.failure(&other)),
        }
    }

    /// Returns the error of a checkpoint that lost the race against another writer. A concurrent writer leaves the checkpoint to that
    /// writer.
    fn overtaken(&self) -> Error {
        match self.mode {
            Mode::Shared => Error::new(self.target(), ErrorKind::Conflict),
            Mode::Exclusive => given_up(self.target()),
        }
    }

    /// Reclaims what no version needs any more. A failure does not affect the checkpoint.
    pub(super) fn reclaim_after_checkpoint(&mut self, view: &mut View) {
        if let Err(e) = self.reclaim(view) {
            tracing::debug!(error = %e, "nothing was reclaimed after a checkpoint");
        }
    }

    /// Applies the result of a change of tables. If the change took effect, this deletes the tables and segments that were put for it and
    /// are not used.
    pub(super) fn conclude_tables(&mut self, is_made: bool) {
        // If a swap was sent and may take effect, or may have taken effect, it needs everything that was put for it.
        let may_be_named = self.committer.is_in_doubt() || self.committer.session.may_be_named();
        if is_made {
            let needless = self.io.conclude(&self.committer.known());
            if !may_be_named {
                delete_objects(&self.io.fetcher, &needless);
            }
        } else if may_be_named {
            self.io.forget();
        }
    }

    fn take_in_root(&mut self) {
        self.io.put.clear();
        self.freed_pages.clear();
        self.forget_obsolete();
    }

    /// Commits the retained pages as the next version, which is the new root.
    pub(super) fn commit_root(&mut self, view: &mut View, base: Checkpoint) -> Result<Commit> {
        self.finish_everything()?;
        self.reserve_names()?;
        let notes = self.staged.notes();
        let time = self.time();
        let note = Note::of_now(self.staged.bytes()).encode();
        let mut plan = self.plan(view, base.root)?;
        plan.commit = Some((time, note, notes.gained, notes.freed));
        plan.revived.clone_from(&self.staged.revived);
        plan.numbers = self.numbers.seen_alone(self.mode);
        let known = self.committer.known();
        let change = prepared(&mut self.io, &known, &plan)?.ok_or_else(|| given_up(self.target()))?;
        let done = self.submit_root(view, base.root, change, &mut |io, why, on| match why {
            // This does not occur, because another version on the line of an exclusive writer fences that writer.
            Reject::Moved => Ok(None),
            Reject::NumbersMoved => Err(Error::new(&io.fetcher.target, ErrorKind::Conflict)),
            _ => prepared(io, on, &plan),
        });
        self.conclude_tables(matches!(done, Ok(Commit::Done(_))));
        let done = done?;
        if matches!(done, Commit::Done(_)) {
            self.take_in_root();
            self.copy_manifest();
            self.reclaim_after_checkpoint(view);
        }
        Ok(done)
    }
}

/// Returns the tables of a manifest with the records up to version `to` applied, and these records, which begin with the record of the
/// root's version.
pub(super) fn folded(io: &mut Io, manifest: &Manifest, to: u64) -> Result<(Tables, Vec<Arc<Record>>)> {
    let line = &manifest.line;
    let mut tables = io.tables(manifest)?;
    let base = line.base();
    let mut records = io.fetcher.record_heads(line, (base.saturating_sub(1), base), &mut io.segments)?;
    let over = io.fetcher.records(line, (base, to), &mut io.segments)?;
    let plain: Vec<&Record> = over.iter().map(AsRef::as_ref).collect();
    tables.fold(&plain).map_err(|why| Error::corrupt(&io.fetcher.target, "tables", why))?;
    records.extend(over);
    Ok((tables, records))
}

/// Removes extents from the dead list, because the commit of a restored version uses them again.
///
/// # Errors
/// `Gone` if a vacuum has reclaimed the version that is being restored.
pub(super) fn revive(tables: &mut Tables, wanted: &HashSet<Address>, target: &str) -> Result<()> {
    if tables.revive(wanted) { Ok(()) } else { Err(Error::new(target, ErrorKind::Gone)) }
}

/// Prepares the change of a checkpoint on a manifest: its tables, and the segment of the records that lie over the old root. Returns `None`
/// if the manifest has another root than the one from which the checkpoint was made.
fn prepared(io: &mut Io, manifest: &Manifest, plan: &Plan) -> Result<Option<Change>> {
    let line = &manifest.line;
    if line.root != plan.old || line.version < plan.base {
        return Ok(None);
    }
    let (mut tables, records) = folded(io, manifest, plan.base)?;
    let target = io.fetcher.target.clone();
    let before = line;
    let (line, segment) = io.with_segment(before, plan.base)?;
    let damaged = |why| Error::corrupt(&target, "tables", why);
    revive(&mut tables, &plan.revived, &target)?;
    for (object, bytes) in &plan.pages {
        tables.gain_pages(*object, *bytes, plan.base);
    }
    let mut end = plan.base;
    if let Some((_, _, gained, freed)) = &plan.commit {
        gained.iter().for_each(|g| tables.gain(g.object, g.bytes, g.stood));
        freed.iter().try_for_each(|place| tables.bury(place, NOW)).map_err(damaged)?;
        end += 1;
    }
    plan.freed_pages.iter().try_for_each(|place| tables.bury(place, NOW)).map_err(damaged)?;
    let marked: Vec<&Record> = records.iter().map(AsRef::as_ref).collect();
    tables.end_era(before, &line, end, &marked).map_err(damaged)?;
    let records_from = records_from(io, &line, plan)?;
    let pages = tables.pages().map_err(damaged)?;
    let tables = io.put_tables(&pages)?;
    let commit = plan.commit.as_ref().map(|(time, note, ..)| (*time, note.clone()));
    let (root, base) = (plan.root, plan.base);
    Ok(Some(Change::Checkpoint(Box::new(CheckpointChange {
        root,
        base,
        commit,
        numbers: plan.numbers,
        segment,
        records_from,
        tables,
    }))))
}

/// Returns the version from which on the line retains its records, so that writers can determine unknown outcomes.
fn records_from(io: &mut Io, line: &Line, plan: &Plan) -> Result<u64> {
    let mut left: u64 = line.segments.iter().map(|at| at.count).sum::<u64>() + line.tail.len() as u64;
    let mut from = line.records_from;
    for (n, at) in line.segments.iter().enumerate() {
        let is_crowded = line.segments.len() - n > MAX_SEGMENTS / 2;
        if left.saturating_sub(at.count) < MIN_RECORDS && !is_crowded {
            break;
        }
        if !is_crowded {
            if io.segments.get(at).is_none() {
                let fetcher = io.fetcher.clone();
                fetcher.segments(std::slice::from_ref(at), &mut io.segments)?;
            }
            let newest =
                io.segments.get(at).and_then(|s| s.records.iter().map(|r| r.time).max()).unwrap_or(0);
            if newest.saturating_add(MIN_RECORD_AGE) > plan.now {
                break;
            }
        }
        left -= at.count.min(left);
        from = at.last + 1;
    }
    // The record of the old root's version remains, because it is the first record of the root's era.
    Ok(from.min(line.base()))
}

impl Staged {
    /// Returns whether the commit frees more bytes than it adds.
    pub(super) fn frees_more(&self) -> bool {
        self.freed.bytes() > self.bytes()
    }
}

/// Returns the retention time of the line, which is stored in milliseconds, in microseconds.
pub(super) fn retention_micros(line: &Line) -> u64 {
    line.retention.saturating_mul(clock::micros(std::time::Duration::from_millis(1)))
}
