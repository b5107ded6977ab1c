//! Multi-writer mode: commits the batch of this writer on top of the commits of other writers.
//!
//! The ledger reports which keys other writers changed since this writer last asked. A key that both sides changed is
//! merged by its kind (`links`, `attributes`, `heap`, `blocks`, `headers`), from three values: the common base, the
//! value of the other writer, and the value of this writer. If a merge is impossible, the writer that committed first
//! wins, unless the option `OnConflict::Last` is set. The later batch is then dropped as a whole (`dropping`), unless
//! the option `OnConflict::Merge` commits its remaining changes.

mod attributes;
mod batch;
mod blocks;
mod collective;
mod conflict;
mod cuts;
mod deleted;
mod deleted_blobs;
mod doubt;
mod dropping;
mod group;
mod groups;
mod headers;
mod heap;
mod kept_blobs;
mod link_index;
mod links;
mod offer;
mod orphans;
mod parts;
mod prefetch;
mod reference_list;
mod references;
mod reused_segments;
mod tree;
mod variable_length;

use crate::attribute::EarlierPlace;
use crate::container::State;
use crate::dataset::Dataset;
use crate::{Container, ErrorKind, OnConflict, Result};
use batch::{Batch, Changed};
use bytes::Bytes;
use deleted_blobs::Place;
use h5lake_filters::unlocked::without_locks;
use h5lake_ledger::locks::MutexGuard;
use h5lake_ledger::{Branch, EntryChange, as_flush_of};
use h5lake_records::keys;
use h5lake_records::record::{LinkRecord, decode};
use link_index::LinkIndex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Weak;

use conflict::{Conflicts, Settle};
pub use parts::ChangedBlock;
pub(crate) use tree::hard;

/// Number of retries of a commit that other writers overtake.
const MAX_COMMIT_ATTEMPTS: u32 = 500;
/// Number of attempts after which the commit lock is taken, if the storage has one, so that other writers cannot
/// commit.
const ATTEMPTS_BEFORE_LOCK: u32 = 3;
/// The number of attempts of a commit to a store that follow each other without a pause.
const ATTEMPTS_BEFORE_PAUSE: u32 = 8;

/// Key letters of the entries that this module merges.
const MERGED: [u8; 6] = [keys::LINK, keys::ATTRIBUTE, keys::USAGE, keys::HEADER, keys::SEGMENT, keys::BLOCK];

/// The author of a change to a key, and the value of the key before it.
#[derive(Debug, Clone)]
pub(crate) struct RemoteChange {
    /// The value that this writer saw last.
    before: Option<Bytes>,
    version: u64,
    host: String,
    pid: u32,
}

impl RemoteChange {
    /// Returns a change found by comparing two versions. Its author is therefore unknown.
    fn of_main_line() -> Self {
        Self { before: None, version: 0, host: String::new(), pid: 0 }
    }
}

/// Remote commits that are known and not merged yet.
#[derive(Default)]
pub(crate) struct RemoteChanges {
    /// Headers that other writers changed, links that they removed, and keys that both sides changed.
    theirs: BTreeMap<Bytes, RemoteChange>,
    /// Blocks that other writers changed, in datasets with headers that this writer changed.
    blocks: BTreeSet<Bytes>,
    /// Corrections that the merge adds to the counts in headers.
    fixes: HashMap<u64, CountDelta>,
    /// Datasets that this writer shrank although they keep their dimensions, with the dimensions that this writer
    /// requested.
    refused: BTreeMap<u64, Vec<u64>>,
    /// Remote links rejected by this merge, as a map from target object to link keys.
    overruled: BTreeMap<u64, BTreeSet<Bytes>>,
    /// Objects deleted by the branch that is being merged. They exist until the merge is committed.
    deleted: BTreeSet<u64>,
    /// Conflicts since the last flush that reported conflicts.
    conflicts: Conflicts,
    /// Objects with new headers, which open handles must reload.
    reload: BTreeSet<u64>,
    /// Objects that other writers changed.
    changed: Changed,
    /// The operations of this batch.
    batch: Batch,
    /// Blobs that this batch deleted and that must stay.
    kept: BTreeSet<(u64, Place)>,
    /// The operations of a commit of unknown outcome.
    outcome_unknown: Option<Batch>,
    /// Blocks of other processes that a failed flush of all processes staged here.
    accepted: Vec<Bytes>,
    /// For headers that are not merged yet: the first creation orders of this batch's new attributes and links after
    /// the last shift.
    shifted: BTreeMap<Bytes, (i64, i64)>,
    /// Remote changes observed while changes of this writer are set aside.
    aside: Option<collective::Aside>,
    /// The links by target object, for the duration of a merge.
    links: LinkIndex,
    /// Blocks loaded into memory for the duration of a merge.
    fetched: prefetch::Fetched,
    /// Number of links that merges have read.
    #[cfg(test)]
    looks: usize,
    /// True if another writer has committed since this writer last read the remote commits for a commit.
    has_remote_commits: bool,
    /// True if the first process has committed what this process has offered, and this process has not moved to that
    /// version.
    is_offer_committed: bool,
    /// The branch that this batch merges, if any: its name, and the version that it is based on.
    branch: Option<(String, u64)>,
}

impl RemoteChanges {
    /// Marks the batch as the merge of `branch`.
    pub(crate) fn merges(&mut self, branch: &Branch) {
        self.branch = Some((branch.name.to_string(), branch.base));
    }

    /// Notes that the branch has deleted an object.
    pub(crate) fn deletes(&mut self, id: u64) {
        self.deleted.insert(id);
    }

    /// Returns whether an object existed when this batch began.
    fn was_there(&self, id: u64) -> bool {
        let theirs = self.theirs.get(keys::of(keys::HEADER, id).as_slice());
        theirs.is_none_or(|their| their.before.is_some())
    }

    /// Clears the changes that wait for a merge. Called when nothing is staged.
    fn forget_unmerged(&mut self) {
        self.theirs.clear();
        self.blocks.clear();
        self.fixes.clear();
        self.refused.clear();
        self.overruled.clear();
        self.shifted.clear();
        self.kept.clear();
        self.changed = Changed::default();
    }

    /// Returns the number of links that merges have read.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> usize {
        self.looks
    }

    /// Returns the number of remote changes in memory.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.theirs.len() + self.blocks.len() + self.fixes.len() + self.shifted.len()
    }

    /// Returns the blocks of a dataset that other writers changed.
    fn blocks_of(&self, id: u64) -> Vec<Bytes> {
        under(&self.blocks, &keys::of(keys::BLOCK, id)).cloned().collect()
    }

    /// Returns the places of open attributes before this batch.
    pub(crate) fn earlier_places(&mut self) -> &mut Vec<EarlierPlace> {
        &mut self.batch.attributes
    }

    /// Returns whether equal changes by both sides count as one change, although neither writer knew of the other. This
    /// holds for a branch: its author has seen the main line, or requests the merge of both. It does not hold for a
    /// writer, because that writer may have relied on the value that it read.
    fn agrees_with_equals(&self) -> bool {
        self.branch.is_some()
    }
}

/// Amounts to add to the counts of a header.
#[derive(Debug, Default, Clone, Copy)]
struct CountDelta {
    /// Links to the object.
    links: i64,
    /// Links in the group.
    entries: i64,
    attributes: i64,
}

/// The three values of a key that both sides changed.
struct ThreeWay {
    key: Bytes,
    base: Option<Bytes>,
    theirs: Option<Bytes>,
    ours: Option<Bytes>,
}

impl Container {
    /// Flushes in multi-writer mode.
    pub(crate) fn flush_shared(&self) -> Result<()> {
        self.commit_batch().flatten()
    }

    /// Commits the batch; see [`commit_shared`](Self::commit_shared).
    fn commit_batch(&self) -> Result<Result<()>> {
        without_locks(|| self.commit_shared(&|_| Ok(())))
    }

    /// Returns whether a flush has anything to commit: staged changes, closed objects that may have no link, or a commit
    /// with an unknown outcome.
    pub(crate) fn has_changes_to_commit(&self) -> Result<bool> {
        without_locks(|| {
            let mut state = self.state();
            let s = &mut *state;
            self.stage_all(s)?;
            if self.ledger.staged_bytes() > 0 || self.ledger.is_outcome_unknown() {
                return Ok(true);
            }
            let closed = self.handles.closed.lock().clone();
            let is_linked =
                |id| self.header(s, crate::ObjectId(id)).is_ok_and(|header| header.link_count > 0);
            Ok(!closed.into_iter().all(is_linked))
        })
    }

    /// Commits the batch on top of the commits of other writers. `prepare` runs after the remote commits are read and
    /// before they are merged. After the outer error all changes are still staged. The inner result is what the end of
    /// the batch reports: a conflict, or an error that followed the commit.
    pub(crate) fn commit_shared(&self, prepare: &dyn Fn(&mut State) -> Result<()>) -> Result<Result<()>> {
        let mut state = self.state();
        let s = &mut *state;
        let (mut hold, mut has_waited) = (None, false);
        for attempt in 0..=MAX_COMMIT_ATTEMPTS {
            self.stage_all(s)?;
            // Uploads the payloads that the commit needs while the remote commits are read.
            self.ledger.send_payloads()?;
            if attempt > 0 || self.expects_remote_commits(s) {
                s.remote.has_remote_commits = false;
                self.learn(s, attempt > 0 && !has_waited)?;
            }
            prepare(s)?;
            self.merge(s)?;
            if self.drops_batch(s) {
                drop(hold);
                return Ok(self.drop_batch(state));
            }
            if self.commit_merged(s).inspect_err(|_| self.note_doubt(s))? {
                break;
            }
            // After a single loss, one more swap is cheaper than a group commit.
            if attempt > 0 {
                self.ledger.note_contention();
            }
            if attempt == MAX_COMMIT_ATTEMPTS {
                let text = format!("{}: other writers commit all the time; flush again", self.name());
                return Err(crate::Error::new(ErrorKind::Conflict, text));
            }
            let is_in_store = self.ledger.is_in_store();
            if attempt == ATTEMPTS_BEFORE_LOCK && !is_in_store {
                hold = Some(self.ledger.lock_commits()?);
            }
            // The lost commit has read the newest version of a store. A retry at once has the best chance, because that
            // version is old after a pause.
            let at_once = if is_in_store { ATTEMPTS_BEFORE_PAUSE } else { 0 };
            has_waited = attempt >= at_once && hold.is_none();
            if has_waited {
                self.ledger.wait_before_retry(attempt - at_once);
            }
        }
        drop(hold);
        self.begin_batch(s);
        // The deletion is a version of its own, which is no flush of several processes.
        if let Err(e) = as_flush_of(0, false, || self.reap_apart(s)) {
            tracing::warn!("{}: objects without links were not deleted: {e}", self.name());
        }
        let conflicts = std::mem::take(&mut s.remote.conflicts);
        let reported = self.conflict_error(s, &conflicts, "All else is committed; refresh and retry");
        let reload = std::mem::take(&mut s.remote.reload);
        let open: Vec<_> =
            reload.iter().filter_map(|id| s.datasets.get(id).and_then(Weak::upgrade)).collect();
        drop(state);
        let reloaded = reload_all(&open);
        // Everything else is committed, so a later flush would not report the conflict.
        Ok(reported.and(reloaded))
    }

    /// Returns whether to read the remote commits before the first attempt of a commit. In a store this costs a
    /// request, which a writer without concurrent writers does not need. If another writer has committed nevertheless,
    /// the attempt fails.
    fn expects_remote_commits(&self, s: &State) -> bool {
        !self.ledger.is_remote() || self.ledger.staged_bytes() == 0 || s.remote.has_remote_commits
    }

    /// Moves to the newest version and retains the uncommitted changes.
    pub(crate) fn refresh_shared(&self) -> Result<bool> {
        without_locks(|| self.advance_shared())
    }

    fn advance_shared(&self) -> Result<bool> {
        let mut state = self.state();
        let s = &mut *state;
        self.stage_all(s)?;
        let before = self.ledger.version();
        self.learn(s, false)?;
        if self.ledger.staged_bytes() == 0 {
            // The next batch begins at this version.
            self.begin_batch(s);
            s.remote.forget_unmerged();
        }
        self.reload_changed(state)?;
        Ok(self.ledger.version() != before)
    }

    /// Lets open datasets reload the headers that remote commits changed, without the lock of the container.
    fn reload_changed(&self, mut state: MutexGuard<'_, State>) -> Result<()> {
        let reload = std::mem::take(&mut state.remote.reload);
        let open: Vec<_> =
            reload.iter().filter_map(|id| state.datasets.get(id).and_then(Weak::upgrade)).collect();
        drop(state);
        reload_all(&open)
    }

    /// Starts a new batch, after all changes were committed.
    fn begin_batch(&self, s: &mut State) {
        self.blocks.lock().forget_touched();
        self.reads.clear();
        (s.remote.batch, s.remote.outcome_unknown) = Default::default();
    }

    /// Returns whether the later of two conflicting changes wins.
    pub(crate) fn last_wins(&self) -> bool {
        self.on_conflict == OnConflict::Last
    }

    fn stage_all(&self, s: &mut State) -> Result<()> {
        self.heap_store(s)?;
        self.blocks.lock().flush(&self.ledger, &[])
    }

    /// Reads the remote commits up to the newest version, and drops cached state that they made stale. Commits that follow
    /// meanwhile are detected by the commit of this writer: a loop that reads until no commit is new would not end beside
    /// writers that commit all the time. `is_overtaken` says that a commit of this writer was just overtaken.
    fn learn(&self, s: &mut State, is_overtaken: bool) -> Result<()> {
        let changes = match is_overtaken {
            true => self.ledger.advance_after_loss(&is_wanted)?,
            false => self.ledger.advance(&is_wanted)?,
        };
        if !changes.is_empty() {
            self.note_changes(s, changes);
        }
        Ok(())
    }

    /// Drops cached state of remotely changed entries, and records the changes that may have to be merged.
    pub(crate) fn note_changes(&self, s: &mut State, changes: Vec<EntryChange>) {
        s.remote.has_remote_commits = true;
        let headers: BTreeSet<_> =
            self.ledger.staged(&[keys::HEADER]).iter().filter_map(|(k, _)| keys::id(k)).collect();
        let contested: BTreeSet<_> = self.ledger.unmerged().into_iter().map(|(k, _)| k).collect();
        for c in changes.into_iter().filter(|c| c.key.first() != Some(&keys::TAG)) {
            self.forget(s, &c.key);
            if let Some(id) = keys::id(&c.key).filter(|_| c.key.first() != Some(&keys::ORPHAN)) {
                s.remote.changed.insert(id, &c);
            }
            if c.key.first() == Some(&keys::BLOCK) && keys::id(&c.key).is_some_and(|id| headers.contains(&id))
            {
                s.remote.blocks.insert(c.key.clone());
            }
            let gone = c.key.first() == Some(&keys::LINK) && c.before.is_some();
            if gone {
                note_removed_link(s, &c);
            }
            let is_structure = c.key.first() == Some(&keys::HEADER) || gone;
            if let Some(aside) = s.remote.aside.as_mut().filter(|a| is_structure || a.keys.contains(&c.key)) {
                note(&mut aside.theirs, c.clone());
            }
            if is_structure || contested.contains(&c.key) {
                note(&mut s.remote.theirs, c);
            }
        }
    }

    fn forget(&self, s: &mut State, key: &[u8]) {
        let (Some(letter), Some(id)) = (key.first(), keys::id(key)) else { return };
        match *letter {
            keys::HEADER => {
                s.headers.pop(&id);
                s.remote.reload.insert(id);
            }
            keys::LINK | keys::ATTRIBUTE => s.lists.forget(id),
            keys::BLOCK | keys::SEGMENT => self.blocks.lock().supersede(key),
            keys::USAGE => {
                if let Some(number) = keys::segment_number(key) {
                    s.heap.forget(id, number);
                }
            }
            _ => (),
        }
    }

    /// Merges the staged changes with the remote commits.
    fn merge(&self, s: &mut State) -> Result<()> {
        self.settle_doubt(s);
        if let Some((branch, _)) = s.remote.branch.as_ref().filter(|_| self.ledger.is_branch_contested()) {
            let text = format!(
                "{}: the branch '{branch}' was committed to meanwhile; nothing is changed; close its writer and try again",
                self.name()
            );
            return Err(crate::Error::new(ErrorKind::Conflict, text));
        }
        let is_apart = s.remote.changed.is_empty() || s.remote.batch.is_empty();
        let is_merged = s.remote.theirs.is_empty() && s.remote.kept.is_empty();
        if is_merged && self.ledger.unmerged().is_empty() && is_apart {
            s.remote.blocks.clear();
            s.remote.changed = Changed::default();
            return Ok(());
        }
        self.forget_links(s);
        self.discard_deleted(s)?;
        self.join_groups(s)?;
        self.shift_orders(s)?;
        self.each_contest(s, keys::LINK, Self::merge_link)?;
        self.each_contest(s, keys::ATTRIBUTE, Self::merge_attribute)?;
        self.compare_deleted_blobs(s)?;
        self.each_contest(s, keys::USAGE, Self::merge_usage)?;
        self.each_contest(s, keys::HEADER, Self::merge_header)?;
        self.fix_headers(s)?;
        self.check_tree(s)?;
        self.check_cuts(s)?;
        self.cut_blocks(s)?;
        self.each_contest(s, keys::SEGMENT, Self::merge_segment)?;
        self.merge_blocks(s)?;
        self.keep_blobs(s)?;
        self.mark_unlinked(s)?;
        self.discard_counters()?;
        self.forget_links(s);
        s.remote.theirs.clear();
        s.remote.blocks.clear();
        s.remote.changed = Changed::default();
        Ok(())
    }

    /// Discards the remaining staged changes, which are counters and marks: the values of the other writers win. Fails
    /// if a change of another kind is among them, because that change would be lost.
    fn discard_counters(&self) -> Result<()> {
        for (key, _) in self.ledger.unmerged() {
            if key.first().is_some_and(|letter| MERGED.contains(letter)) {
                let text =
                    format!("{}: the change of {key:?} was not merged with another writer's", self.name());
                return Err(crate::Error::new(ErrorKind::Conflict, text));
            }
            self.ledger.unstage(&key)?;
        }
        Ok(())
    }

    fn each_contest(
        &self,
        s: &mut State,
        letter: u8,
        merge: fn(&Self, &mut State, ThreeWay) -> Result<()>,
    ) -> Result<()> {
        for (key, base) in self.ledger.unmerged_under(&[letter]) {
            let (theirs, ours) = (self.ledger.committed(&key)?, self.ledger.get(&key)?);
            merge(self, s, ThreeWay { key, base, theirs, ours })?;
        }
        Ok(())
    }
}

/// Returns the keys that begin with a prefix.
fn under<'k>(all: &'k BTreeSet<Bytes>, prefix: &'k [u8]) -> impl Iterator<Item = &'k Bytes> {
    let from = all.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
    from.take_while(move |key| key.starts_with(prefix))
}

/// Returns whether a merge needs the previous value of a changed key, even if the key is not staged here.
fn is_wanted(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(keys::HEADER | keys::LINK)))
}

/// Records a remote change. The previous value of the first change and the author of the last change are retained.
fn note(theirs: &mut BTreeMap<Bytes, RemoteChange>, c: EntryChange) {
    let before = theirs.get(&c.key).map_or(c.before, |known| known.before.clone());
    theirs.insert(c.key, RemoteChange { before, version: c.version, host: c.host, pid: c.pid });
}

/// Tells an open dataset the name of the link that was removed, so that messages can name the dataset.
fn note_removed_link(s: &State, c: &EntryChange) {
    let before = c.before.clone().and_then(|before| decode::<LinkRecord>(before, String::new).ok());
    let Some(before) = before else { return };
    if let Some(open) = before.hard.and_then(|id| s.datasets.get(&id)).and_then(Weak::upgrade) {
        open.note_removed_link(String::from_utf8_lossy(keys::name(&c.key, &before.name)).into_owned());
    }
}

fn reload_all(open: &[std::sync::Arc<Dataset>]) -> Result<()> {
    open.iter().try_for_each(|dataset| dataset.reload_if_there())
}
