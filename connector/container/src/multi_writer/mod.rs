//! One of many writers: committing on top of what others committed.
//!
//! The ledger tells which keys others changed since this writer last looked. What both changed is merged kind by kind
//! (`links`, `attributes`, `heap`, `blocks`, `headers`), with three values at hand: the one that both started from, theirs
//! and ours. Where that cannot be done the writer that committed first wins, unless the last is to win. The later batch is
//! then dropped as a whole (`dropping`), unless the rest of it is to be committed.

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
use crate::filters::unlocked::without_locks;
use crate::record::{LinkRecord, decode};
use crate::{Container, ErrorKind, OnConflict, Result, keys};
use batch::{Batch, Changed};
use bytes::Bytes;
use deleted_blobs::Place;
use h5lake_ledger::{Branch, EntryChange};
use link_index::LinkIndex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Weak;

use conflict::{Conflicts, Settle};
pub use parts::ChangedBlock;
pub(crate) use tree::hard;

/// How often a commit is tried that others overtake.
const MAX_COMMIT_ATTEMPTS: u32 = 500;
/// After so many tries the others are kept from committing, where that is possible.
const ATTEMPTS_BEFORE_LOCK: u32 = 3;

/// What is merged, by the letters of keys.
const MERGED: [u8; 6] = [keys::LINK, keys::ATTRIBUTE, keys::USAGE, keys::HEADER, keys::SEGMENT, keys::BLOCK];

/// Who changed a key, and what it held before.
#[derive(Debug, Clone)]
pub(crate) struct RemoteChange {
    /// The value that we last saw.
    before: Option<Bytes>,
    version: u64,
    host: String,
    pid: u32,
}

impl RemoteChange {
    /// One that is found out by comparing two versions, whoever made it.
    fn of_main_line() -> Self {
        Self { before: None, version: 0, host: String::new(), pid: 0 }
    }
}

/// What is known of others' commits and not merged yet.
#[derive(Default)]
pub(crate) struct RemoteChanges {
    /// Headers that they changed, links that they took away, and keys that both changed.
    theirs: BTreeMap<Bytes, RemoteChange>,
    /// Blocks that they changed of datasets whose headers we changed.
    blocks: BTreeSet<Bytes>,
    /// What merging adds to counts in headers.
    fixes: HashMap<u64, CountDelta>,
    /// Datasets that we shrank and that keep their dimensions, with those that we wanted.
    refused: BTreeMap<u64, Vec<u64>>,
    /// Objects to which links of theirs led that stay out, by their ids, with the keys of the links.
    overruled: BTreeMap<u64, BTreeSet<Bytes>>,
    /// Objects that the branch deleted which is merged. They are there until the merge is committed.
    deleted: BTreeSet<u64>,
    /// What could not be merged since the last flush that told.
    conflicts: Conflicts,
    /// Objects whose headers are new, for those who have them open.
    reload: BTreeSet<u64>,
    /// Objects that they changed.
    changed: Changed,
    /// What this batch did.
    batch: Batch,
    /// Blobs that this batch deleted and that are to stay.
    kept: BTreeSet<(u64, Place)>,
    /// The same of a commit of which nobody knows whether it was made.
    in_doubt: Option<Batch>,
    /// Of headers that are not merged yet, where the orders of our new attributes and links begin since they were shifted.
    shifted: BTreeMap<Bytes, (i64, i64)>,
    /// What others do while changes are set aside.
    aside: Option<collective::Aside>,
    /// What links lead to, while a merge asks.
    links: LinkIndex,
    /// What is in memory of blocks, while they are merged.
    fetched: prefetch::Fetched,
    /// How often merges looked at a link.
    #[cfg(test)]
    looks: usize,
    /// Whether others commit all the time.
    contention: group::Contention,
    /// The batch is a branch that is being merged: its name, and the version that it began with.
    branch: Option<(String, u64)>,
}

impl RemoteChanges {
    /// From now on the batch is this branch.
    pub(crate) fn merges(&mut self, branch: &Branch) {
        self.branch = Some((branch.name.to_string(), branch.base));
    }

    /// The branch has deleted an object.
    pub(crate) fn deletes(&mut self, id: u64) {
        self.deleted.insert(id);
    }

    /// Whether an object was there when this batch began.
    fn was_there(&self, id: u64) -> bool {
        let theirs = self.theirs.get(keys::of(keys::HEADER, id).as_slice());
        theirs.is_none_or(|their| their.before.is_some())
    }

    /// With nothing staged there is nothing to merge.
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

    /// How often merges looked at a link.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> usize {
        self.looks
    }

    /// How much is known of others' commits.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.theirs.len() + self.blocks.len() + self.fixes.len() + self.shifted.len()
    }

    /// The blocks of a dataset that they changed.
    fn blocks_of(&self, id: u64) -> Vec<Bytes> {
        under(&self.blocks, &keys::of(keys::BLOCK, id)).cloned().collect()
    }

    /// Where open attributes were before this batch.
    pub(crate) fn earlier_places(&mut self) -> &mut Vec<EarlierPlace> {
        &mut self.batch.attributes
    }

    /// Whether what both did alike is one change, although neither knew of the other. A writer may have counted on what it read; the
    /// author of a branch has seen the main line, or asks for what the merge makes of both.
    fn agrees_with_equals(&self) -> bool {
        self.branch.is_some()
    }
}

/// What is to be added to the counts of a header.
#[derive(Debug, Default, Clone, Copy)]
struct CountDelta {
    /// Links to the object.
    links: i64,
    /// Links in the group.
    entries: i64,
    attributes: i64,
}

/// The three values of a key that both changed.
struct ThreeWay {
    key: Bytes,
    base: Option<Bytes>,
    theirs: Option<Bytes>,
    ours: Option<Bytes>,
}

impl Container {
    /// Like a flush, where others write too.
    pub(crate) fn flush_with_others(&self) -> Result<()> {
        without_locks(|| self.commit_with_others(&|_| Ok(())))
    }

    /// Commits on top of what others committed. `prepare` comes between learning of that and merging with it.
    pub(crate) fn commit_with_others(&self, prepare: &dyn Fn(&mut State) -> Result<()>) -> Result<()> {
        let mut state = self.state();
        let s = &mut *state;
        let mut hold = None;
        for attempt in 0..=MAX_COMMIT_ATTEMPTS {
            self.stage_all(s)?;
            // While one looks for news, what has to be there before the commit is on its way.
            self.ledger.send_payloads()?;
            self.learn(s)?;
            prepare(s)?;
            self.merge(s)?;
            if self.drops_batch(s) {
                drop(hold);
                return self.drop_batch(state);
            }
            if self.commit_merged(s).inspect_err(|_| self.note_doubt(s))? {
                break;
            }
            s.others.contention.met();
            if attempt == MAX_COMMIT_ATTEMPTS {
                let text = format!("{}: other writers commit all the time; flush again", self.name());
                return Err(crate::Error::new(ErrorKind::Conflict, text));
            }
            if attempt == ATTEMPTS_BEFORE_LOCK {
                hold = Some(self.ledger.lock_commits()?);
            } else if attempt < ATTEMPTS_BEFORE_LOCK || !self.near() {
                self.ledger.wait_before_retry(attempt);
            }
        }
        drop(hold);
        self.begin_batch(s);
        if let Err(e) = self.reap_apart(s) {
            tracing::warn!("{}: objects without links were not deleted: {e}", self.name());
        }
        let conflicts = std::mem::take(&mut s.others.conflicts);
        let told = self.conflict_error(s, &conflicts, "All else is committed; refresh and retry");
        let reload = std::mem::take(&mut s.others.reload);
        let open: Vec<_> =
            reload.iter().filter_map(|id| s.datasets.get(id).and_then(Weak::upgrade)).collect();
        drop(state);
        let reloaded = reload_all(&open);
        // All else is committed: no later flush tells it.
        told?;
        reloaded
    }

    /// Moves to the newest version under what is not flushed.
    pub(crate) fn refresh_with_others(&self) -> Result<bool> {
        without_locks(|| self.advance_with_others())
    }

    fn advance_with_others(&self) -> Result<bool> {
        let mut state = self.state();
        let s = &mut *state;
        self.stage_all(s)?;
        let before = self.ledger.version();
        self.learn(s)?;
        if self.ledger.staged_bytes() == 0 {
            // The next batch begins at this version.
            self.begin_batch(s);
            s.others.forget_unmerged();
        }
        let reload = std::mem::take(&mut s.others.reload);
        let open: Vec<_> =
            reload.iter().filter_map(|id| s.datasets.get(id).and_then(Weak::upgrade)).collect();
        drop(state);
        reload_all(&open)?;
        Ok(self.ledger.version() != before)
    }

    /// All that was changed is committed.
    fn begin_batch(&self, s: &mut State) {
        self.blocks.lock().forget_touched();
        self.reads.clear();
        (s.others.batch, s.others.in_doubt) = Default::default();
    }

    /// Whether of two changes of the same thing the later one stays.
    pub(crate) fn last_wins(&self) -> bool {
        self.on_conflict == OnConflict::Last
    }

    fn stage_all(&self, s: &mut State) -> Result<()> {
        self.heap_store(s)?;
        self.blocks.lock().flush(&self.ledger, &[])
    }

    /// Learns what others committed; what is in memory of it is forgotten.
    fn learn(&self, s: &mut State) -> Result<()> {
        loop {
            let changes = self.ledger.advance(&is_wanted)?;
            if changes.is_empty() {
                return Ok(());
            }
            self.note_changes(s, changes);
            // A store was asked until there was nothing newer, and to ask once more is a round trip: the commit finds out.
            if self.ledger.is_remote() {
                return Ok(());
            }
        }
    }

    /// Forgets what is in memory of what others changed, and notes what may have to be merged with it.
    pub(crate) fn note_changes(&self, s: &mut State, changes: Vec<EntryChange>) {
        let headers: BTreeSet<_> =
            self.ledger.staged(&[keys::HEADER]).iter().filter_map(|(k, _)| keys::id(k)).collect();
        let contested: BTreeSet<_> = self.ledger.unmerged().into_iter().map(|(k, _)| k).collect();
        for c in changes.into_iter().filter(|c| c.key.first() != Some(&keys::TAG)) {
            self.forget(s, &c.key);
            if let Some(id) = keys::id(&c.key).filter(|_| c.key.first() != Some(&keys::ORPHAN)) {
                s.others.changed.insert(id, &c);
            }
            if c.key.first() == Some(&keys::BLOCK) && keys::id(&c.key).is_some_and(|id| headers.contains(&id))
            {
                s.others.blocks.insert(c.key.clone());
            }
            let gone = c.key.first() == Some(&keys::LINK) && c.before.is_some();
            if gone {
                note_lost_link(s, &c);
            }
            let is_structure = c.key.first() == Some(&keys::HEADER) || gone;
            if let Some(aside) = s.others.aside.as_mut().filter(|a| is_structure || a.keys.contains(&c.key)) {
                note(&mut aside.theirs, c.clone());
            }
            if is_structure || contested.contains(&c.key) {
                note(&mut s.others.theirs, c);
            }
        }
    }

    fn forget(&self, s: &mut State, key: &[u8]) {
        let (Some(letter), Some(id)) = (key.first(), keys::id(key)) else { return };
        match *letter {
            keys::HEADER => {
                s.headers.pop(&id);
                s.others.reload.insert(id);
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

    /// Merges what is staged with what others committed.
    fn merge(&self, s: &mut State) -> Result<()> {
        self.settle_doubt(s);
        if let Some((branch, _)) = s.others.branch.as_ref().filter(|_| self.ledger.is_branch_contested()) {
            let text = format!(
                "{}: the branch '{branch}' was committed to meanwhile; nothing is changed; close its writer and try again",
                self.name()
            );
            return Err(crate::Error::new(ErrorKind::Conflict, text));
        }
        let is_apart = s.others.changed.is_empty() || s.others.batch.is_empty();
        let is_merged = s.others.theirs.is_empty() && s.others.kept.is_empty();
        if is_merged && self.ledger.unmerged().is_empty() && is_apart {
            s.others.blocks.clear();
            s.others.changed = Changed::default();
            return Ok(());
        }
        self.forget_links(s);
        self.give_up_deleted(s)?;
        self.join_groups(s)?;
        self.shift_orders(s)?;
        self.each_contest(s, keys::LINK, Self::merge_link)?;
        self.each_contest(s, keys::ATTRIBUTE, Self::merge_attribute)?;
        self.meet_deleted_blobs(s)?;
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
        self.give_up_counters()?;
        self.forget_links(s);
        s.others.theirs.clear();
        s.others.blocks.clear();
        s.others.changed = Changed::default();
        Ok(())
    }

    /// What is left are counters and marks; theirs count. A change of anything else would be lost so.
    fn give_up_counters(&self) -> Result<()> {
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

/// The keys under a prefix.
fn under<'k>(all: &'k BTreeSet<Bytes>, prefix: &'k [u8]) -> impl Iterator<Item = &'k Bytes> {
    let from = all.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
    from.take_while(move |key| key.starts_with(prefix))
}

/// Of which changed keys a merge needs the value before, whether they are staged or not.
fn is_wanted(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(keys::HEADER | keys::LINK)))
}

/// The value before is that of the first time, the author the last.
fn note(theirs: &mut BTreeMap<Bytes, RemoteChange>, c: EntryChange) {
    let before = theirs.get(&c.key).map_or(c.before, |known| known.before.clone());
    theirs.insert(c.key, RemoteChange { before, version: c.version, host: c.host, pid: c.pid });
}

/// An open dataset that goes with this link is called by its name.
fn note_lost_link(s: &State, c: &EntryChange) {
    let before = c.before.clone().and_then(|before| decode::<LinkRecord>(before, String::new).ok());
    let Some(before) = before else { return };
    if let Some(open) = before.hard.and_then(|id| s.datasets.get(&id)).and_then(Weak::upgrade) {
        open.note_lost_link(String::from_utf8_lossy(keys::name(&c.key, &before.name)).into_owned());
    }
}

fn reload_all(open: &[std::sync::Arc<Dataset>]) -> Result<()> {
    open.iter().try_for_each(|dataset| dataset.reload_if_there())
}
