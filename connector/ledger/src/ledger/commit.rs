//! Commits, checkpoints, and spilled batches.

use std::time::Duration;

use super::close::note_broken;
use super::refresh::lay_over;
use super::{Ledger, Settled, State, UnknownCommit};
use bytes::Bytes;

use crate::address::PageRef;
use crate::author;
use crate::checkpoint;
use crate::error::{ErrorKind, Result};
use crate::file::FileStorage;
use crate::memtable::{EMPTY, Memtable, merged};
use crate::storage::{Checkpoint, Commit};
use crate::storage_kinds::StorageKinds;
use crate::wal::delta::Edits;
use crate::wal::record::Entries;

/// A log of up to this many bytes is read with one fast request, so that it needs no checkpoint.
const MIN_CHECKPOINT_LOG_BYTES: u64 = 64 << 10;
/// The factor by which a log may exceed its bounds if the history has space for few more checkpoints.
const SPARING_LOG_FACTOR: u64 = 16;
/// Approximate memory of a staged key, in addition to the key and value bytes.
const KEY_MEMORY_BYTES: u64 = 190;
/// Approximate size of a key in a record, in addition to the key and value bytes.
const KEY_RECORD_BYTES: u64 = 4;
/// Changes count as scattered if spilling them writes more than this many times their bytes.
const SCATTERED_WRITE_FACTOR: u64 = 8;
/// The maximum factor by which the spill bound is raised for scattered changes.
const MAX_SPILL_FACTOR: u64 = 8;

/// The operation that follows a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    More,
    Close,
}

/// Staged changes in uncommitted pages. The pages also contain the log, and share the unchanged pages of the checkpoint.
#[derive(Debug)]
pub(super) struct SpilledBatch {
    pub(super) root: Option<PageRef>,
    /// The size of the spilled keys and values in bytes.
    pub(super) bytes: u64,
}

impl Ledger {
    /// Commits all staged changes as one new version and returns its number, or the current version if nothing is staged.
    ///
    /// When this returns, every reader that opens or refreshes sees the version, and it is as durable as the
    /// [`SyncPolicy`](crate::SyncPolicy) promises. After an error all changes are still staged, and in a file no reader sees any of them,
    /// unless the error is `Broken`: then only reopening the container shows the outcome. A store that returned no answer may have applied
    /// the request: the next commit determines the outcome first, and if the commit did not take effect, it commits the changes that were
    /// staged then.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `Conflict`, `NoSpace`, `Io`, `Store`.
    pub fn commit(&self) -> Result<u64> {
        self.commit_before(After::More)
    }

    /// Commits like [`commit`](Ledger::commit) when [`close`](Ledger::close) follows: if the close would write a checkpoint, the commit
    /// writes it directly and skips the log.
    ///
    /// # Errors
    /// The errors of [`commit`](Ledger::commit).
    pub fn commit_to_close(&self) -> Result<u64> {
        self.commit_before(After::Close)
    }

    fn commit_before(&self, after: After) -> Result<u64> {
        if self.is_multi_writer {
            return self.commit_many();
        }
        let mut s = self.writable()?;
        if after == After::Close {
            self.stop_growing();
        }
        let version = s.version;
        let version = self.commit_staged(&mut s, after)?.unwrap_or(version);
        self.storage.make_durable()?;
        drop(s);
        if after == After::Close {
            // The lock is released first, because the upload may take long.
            self.storage.arrive().map_err(|e| note_broken(&mut self.lock(), e))?;
        }
        Ok(version)
    }

    /// Commits the staged changes. Returns `None` if another writer committed first.
    pub(crate) fn commit_staged(&self, s: &mut State, after: After) -> Result<Option<u64>> {
        self.settle(s)?;
        if s.staged.is_empty() && s.spilled.is_none() && !self.storage.has_freed() && !author::makes_version()
        {
            if let Some(file) = self.storage.as_file() {
                file.check_file().map_err(|e| match e.kind() {
                    ErrorKind::Tampered { .. } => note_broken(s, e),
                    _ => e,
                })?;
            }
            // The current version may come from a writer that did not sync it.
            self.storage.make_durable().map_err(|e| note_broken(s, e))?;
            return Ok(Some(s.version));
        }
        let must = s.spilled.is_some();
        let as_base = must || (self.commits_as_checkpoints() && self.will_be_long(s, after));
        if as_base {
            match self.commit_as_checkpoint(s) {
                Ok(()) => return Ok(Some(s.version)),
                Err(e) if must || e.is_final() => return Err(note_broken(s, e)),
                // A record is cheaper than a checkpoint: it reads no old page.
                Err(e) => tracing::warn!(error = %e, "a commit could not be a checkpoint"),
            }
        }
        if !self.commit_record(s, after)? {
            return Ok(None);
        }
        if !as_base {
            self.checkpoint_if_long(s);
        }
        Ok(Some(s.version))
    }

    pub(crate) fn checkpoint_if_long(&self, s: &mut State) {
        let long = self.is_long(s.log_bytes, s.log_records, || s.log.len());
        if (long || self.storage.wants_checkpoint())
            && let Err(e) = self.checkpoint(s)
        {
            // The version is committed. Only the log stays long; the next commit tries the checkpoint again.
            tracing::warn!(error = %e, "a checkpoint failed");
            note_broken(s, e);
        }
    }

    /// Appends the staged changes to the log. Returns false if another writer committed first.
    fn commit_record(&self, s: &mut State, after: After) -> Result<bool> {
        let edits = Edits { staged: &s.staged, log: &s.log };
        let entries: &dyn Entries = if self.properties.takes_edits { &edits } else { &s.staged };
        let bytes = match self.storage.commit(s.version + 1, entries, after == After::Close) {
            Ok(Commit::Done(bytes)) => bytes,
            Ok(Commit::Superseded) => return Ok(false),
            Ok(Commit::OutcomeUnknown(e)) => {
                s.outcome_unknown = Some(UnknownCommit::Record(s.staged.clone()));
                return Err(e);
            }
            Err(e) => return Err(note_broken(s, e)),
        };
        s.version += 1;
        let staged = std::mem::take(&mut s.staged);
        s.staged_bytes = 0;
        lay_layer_over(&mut s.log, staged);
        s.log_bytes += bytes;
        s.log_records += 1;
        Ok(true)
    }

    /// Returns whether a commit was attempted and its outcome is unknown, or is not applied to this handle yet.
    pub fn is_outcome_unknown(&self) -> bool {
        self.lock().is_outcome_unknown()
    }

    /// Returns the outcome of a commit of [unknown outcome](Ledger::is_outcome_unknown) once it is known. The outcome is returned only once.
    pub fn take_settled(&self) -> Option<Settled> {
        self.lock().settled.take()
    }

    /// Determines the outcome of a commit of [unknown outcome](Ledger::is_outcome_unknown), and returns it until
    /// [`take_settled`](Ledger::take_settled) has returned it.
    ///
    /// # Errors
    /// The errors of [`commit`](Ledger::commit), if the outcome stays unknown.
    pub fn settle_commit(&self) -> Result<Option<Settled>> {
        let mut s = self.writable()?;
        self.settle(&mut s)?;
        Ok(s.settled)
    }

    /// Determines the outcome of a commit of unknown outcome. If it was committed, its changes are no longer staged unless they were
    /// changed since.
    pub(crate) fn settle(&self, s: &mut State) -> Result<()> {
        self.settle_group(s)?;
        let Some(tried) = s.outcome_unknown.take() else {
            // While a batch is spilled, no other checkpoint is written.
            let moved = if s.spilled.is_none() { self.storage.resolve()? } else { None };
            return moved.map_or(Ok(()), |commits| self.apply(s, &commits));
        };
        match self.storage.settle_commit() {
            Ok(Commit::Done(bytes)) => {
                match tried {
                    UnknownCommit::Record(layer) => {
                        unstage_committed(s, &layer);
                        lay_layer_over(&mut s.log, layer);
                        s.log_bytes += bytes;
                        s.log_records += 1;
                    }
                    UnknownCommit::Checkpoint(root) => stand_on_pages(s, root),
                }
                s.version += 1;
                s.settled = Some(Settled::Committed);
                Ok(())
            }
            Ok(Commit::Superseded) => {
                s.settled = Some(Settled::NotCommitted);
                Ok(())
            }
            Ok(Commit::OutcomeUnknown(e)) => {
                s.outcome_unknown = Some(tried);
                Err(e)
            }
            Err(e) => {
                s.outcome_unknown = Some(tried).filter(|_| !e.is_final());
                Err(note_broken(s, e))
            }
        }
    }

    pub(crate) fn commits_as_checkpoints(&self) -> bool {
        self.properties.commits_as_checkpoints
    }

    /// Returns whether the log would need a checkpoint after this commit. Then the staged changes can skip the log.
    fn will_be_long(&self, s: &State, after: After) -> bool {
        let staged = s.staged_bytes + s.staged.len() as u64 * KEY_RECORD_BYTES;
        let bytes = s.log_bytes + staged;
        let least = s.log.len().max(s.staged.len());
        let all = || s.log.len() + s.staged.keys().filter(|k| !s.log.contains_key(*k)).count();
        let keys = || if self.bytes_of_pages(least) < bytes { all() } else { least };
        let records = s.log_records + 1;
        let at_close = || after == After::Close && self.is_long_at_close(bytes, records, all);
        // The pages of an empty map are about as large as the record, and the close does not have to write the changes a second time.
        let at_first = || s.root.is_none() && self.is_long_at_close(staged, 0, || 0);
        self.is_long(bytes, records, keys) || at_close() || at_first()
    }

    /// Returns whether a log needs a checkpoint. If the same few keys change again and again, as in a growing dataset, even a short log
    /// does: the checkpoint writes little, and every reader that opens the container skips these records.
    fn is_long(&self, bytes: u64, records: u64, keys: impl Fn() -> usize) -> bool {
        let may = !self.is_multi_writer && !self.properties.is_in_store;
        let few_keys = || may && bytes > MIN_CHECKPOINT_LOG_BYTES && bytes > self.bytes_of_pages(keys());
        let is_long = bytes > self.bytes_bound || records > self.records_bound || few_keys();
        is_long && !self.spares_checkpoint(bytes, records)
    }

    /// Returns whether a long log stays without a checkpoint, because many more checkpoints would reclaim versions before their retention
    /// time.
    pub(super) fn spares_checkpoint(&self, bytes: u64, records: u64) -> bool {
        bytes <= self.bytes_bound.saturating_mul(SPARING_LOG_FACTOR)
            && records <= self.records_bound.saturating_mul(SPARING_LOG_FACTOR)
            && self.storage.as_file().is_some_and(FileStorage::spares_checkpoints)
    }

    /// The maximum number of bytes that a checkpoint of this many keys writes.
    fn bytes_of_pages(&self, keys: usize) -> u64 {
        keys as u64 * self.properties.sizes.page as u64
    }

    /// Commits the staged changes as a checkpoint: they are written into pages, and no record is written.
    fn commit_as_checkpoint(&self, s: &mut State) -> Result<()> {
        let (root, _) = match self.checkpoint_staged(s) {
            // This frees space in a full store.
            Err(e) if e.is_full() && self.storage.has_freed() && self.storage.spend_reserve() => {
                self.checkpoint_staged(s)?
            }
            made => made?,
        };
        let done = self.storage.commit_as_checkpoint(Checkpoint { version: s.version + 1, root });
        if !matches!(done, Ok(Commit::Done(_))) {
            match s.spilled.is_some() {
                true => take_spilled(s, root),
                // The changes can be committed as a record.
                false => self.storage.checkpoint_forget(),
            }
        }
        match done {
            Ok(Commit::Done(_)) => {
                s.version += 1;
                set_base(s, root);
                clear_staged(s);
                Ok(())
            }
            Ok(Commit::Superseded) => Err(self.fail(ErrorKind::Conflict)),
            Ok(Commit::OutcomeUnknown(e)) => {
                s.outcome_unknown = Some(UnknownCommit::Checkpoint(root));
                Err(e)
            }
            Err(e) => Err(e),
        }
    }

    /// Merges the staged changes and the layers below into pages that the storage keeps for the commit. Returns their root and the number
    /// of bytes written.
    fn checkpoint_staged(&self, s: &State) -> Result<(Option<PageRef>, u64)> {
        let (root, below) = match &s.spilled {
            Some(spilled) if s.staged.is_empty() => return Ok((spilled.root, 0)),
            Some(spilled) => (spilled.root, &EMPTY),
            None => (s.root, &s.log),
        };
        let done = checkpoint::write(self.tree(root), &merged(&s.staged, below))
            .and_then(|root| Ok((root, self.storage.checkpoint_keep()?)));
        if done.is_err() {
            self.storage.checkpoint_rollback();
        }
        done
    }

    /// Spills the staged changes into pages if they take too much memory. If this fails, they stay in memory, and the commit reports the
    /// error.
    pub(super) fn spill_if_large(&self, s: &mut State) {
        let memory = s.staged_bytes + s.staged.len() as u64 * KEY_MEMORY_BYTES;
        let bound = self.spill_bound.max(s.spill_at);
        if memory <= bound || self.is_multi_writer {
            return;
        }
        let spilled = match self.storage.begin_spill() {
            Ok(false) => return,
            begun => begun.and_then(|_| self.checkpoint_staged(s)),
        };
        match spilled {
            Ok((root, written)) => {
                let scattered = written > s.staged_bytes.saturating_mul(SCATTERED_WRITE_FACTOR);
                let next = if scattered { bound.saturating_mul(2) } else { bound };
                s.spill_at = next.min(self.spill_bound.saturating_mul(MAX_SPILL_FACTOR));
                take_spilled(s, root);
            }
            Err(e) => {
                tracing::warn!(error = %e, "what is staged stays in memory");
                // Avoids another attempt at each put.
                s.spill_at = memory.saturating_mul(2);
            }
        }
    }

    pub(crate) fn checkpoint(&self, s: &mut State) -> Result<()> {
        if s.spilled.is_some() {
            return Ok(());
        }
        if !self.is_multi_writer {
            return self.write_checkpoint(s, |_| Ok(()));
        }
        if !self.storage.begin_checkpoint() {
            return Ok(());
        }
        match self.write_checkpoint(s, |_| Ok(())) {
            // Another writer committed first, or prevents commits: a later writer writes the checkpoint.
            Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::CommitsLocked { .. }) => Ok(()),
            other => other,
        }
    }

    /// Writes a checkpoint of the current version. `then` may replace its root before the checkpoint is committed.
    fn write_checkpoint(
        &self,
        s: &mut State,
        then: impl FnOnce(&mut Option<PageRef>) -> Result<()>,
    ) -> Result<()> {
        self.hold_tags_if_any(s);
        let done = checkpoint::write(self.tree(s.root), &merged(&s.log, &EMPTY)).and_then(|mut root| {
            then(&mut root)?;
            self.storage.checkpoint_commit(Checkpoint { version: s.version, root })?;
            Ok(root)
        });
        match done {
            Ok(root) => {
                set_base(s, root);
                Ok(())
            }
            Err(e) => {
                self.storage.checkpoint_rollback();
                Err(e)
            }
        }
    }

    /// Writes a checkpoint. In a file, the checkpoint relocates pages that prevent free space from being released.
    fn compact_pages(&self, s: &mut State) -> Result<()> {
        let Some(file) = self.storage.as_file().filter(|_| !self.is_multi_writer && s.spilled.is_none())
        else {
            return self.checkpoint(s);
        };
        let done = file.begin_compaction().and_then(|()| {
            self.write_checkpoint(s, |root| {
                *root = checkpoint::relocate(self.tree(*root), &|place| file.must_relocate(place))?;
                Ok(())
            })
        });
        file.end_compaction();
        done
    }

    /// Releases the space that is reserved for the growth of payloads.
    pub(super) fn stop_growing(&self) {
        if let Some(file) = self.storage.as_file() {
            file.stop_growing();
        }
    }

    /// Returns the time until freed space may be reused or released from the file, as far as it depends on time: a
    /// [`vacuum`](Ledger::vacuum) after that releases more. Readers may retain it for longer. Returns `None` if there is little to reclaim.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; read errors.
    pub fn reclaim_delay(&self) -> Result<Option<Duration>> {
        let _s = self.writable()?;
        self.storage.as_file().map_or(Ok(None), FileStorage::reclaim_delay)
    }

    /// Makes the local clock alone decide from now on whether the retention time is over. By default a writer reclaims space only if
    /// commits of an earlier writer confirm the time, too, because its own clock may be wrong.
    pub fn trust_clock(&self) {
        if let Some(file) = self.storage.as_file() {
            file.trust_clock();
        }
    }

    /// Checkpoints the log, moves pages away from the end, and releases unreferenced space: the free end of a file, or in an object store
    /// the objects that have been unreferenced for the retention time and the orphaned objects of writers that died before their commit.
    /// Returns the number of bytes by which the container became smaller. Staged changes stay staged. If they are
    /// [spilled](crate::Options::spill_bytes), no checkpoint is written and the end of the file is not released before they are committed.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; read and write errors. Committed data is safe after an error.
    pub fn vacuum(&self) -> Result<u64> {
        let before = self.storage.size()?;
        self.trust_clock();
        self.give_back()?;
        self.storage.sweep()?;
        Ok(before.saturating_sub(self.storage.size()?))
    }

    /// Checkpoints the log, moves pages away from the end of a file, and releases unreferenced space like [`vacuum`](Ledger::vacuum), but
    /// only as far as all clocks agree, and without a search for orphaned objects of other writers.
    ///
    /// # Errors
    /// The errors of [`vacuum`](Ledger::vacuum).
    pub fn give_back(&self) -> Result<()> {
        let mut s = self.writable()?;
        self.settle(&mut s)?;
        self.stop_growing();
        let gathered = match self.compact_pages(&mut s) {
            // This frees space in a full store.
            Err(e) if e.is_full() && self.storage.spend_reserve() => self.compact_pages(&mut s),
            done => done,
        };
        if let Err(e) = gathered {
            return Err(note_broken(&mut s, e));
        }
        Ok(())
    }

    /// Discards all staged changes, including the payloads that were written since the last commit.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn rollback(&self) -> Result<()> {
        let mut s = self.writable()?;
        self.forget_staged(&mut s)
    }

    pub(super) fn forget_staged(&self, s: &mut State) -> Result<()> {
        clear_staged(s);
        s.unmerged.clear();
        self.storage.rollback()
    }
}

/// Removes committed changes from the staged changes, unless the same key was staged again with another value.
pub(crate) fn unstage_committed(s: &mut State, layer: &Memtable) {
    for (key, value) in layer {
        if s.staged.get(key) == Some(value) {
            s.staged.remove(key);
            s.staged_bytes -= (key.as_ref().len() + value.as_ref().map_or(0, Bytes::len)) as u64;
        }
    }
}

fn set_base(s: &mut State, root: Option<PageRef>) {
    s.root = root;
    s.log.clear();
    (s.log_bytes, s.log_records) = (0, 0);
}

/// Applies a commit as a checkpoint that had an unknown outcome. Changes that were staged since stay above its pages.
fn stand_on_pages(s: &mut State, root: Option<PageRef>) {
    set_base(s, root);
    (s.spilled, s.spill_at) = (None, 0);
}

fn clear_staged(s: &mut State) {
    s.staged.clear();
    s.spilled = None;
    (s.staged_bytes, s.spill_at) = (0, 0);
}

fn take_spilled(s: &mut State, root: Option<PageRef>) {
    let before = s.spilled.take().map_or(0, |spilled| spilled.bytes);
    s.spilled = Some(SpilledBatch { root, bytes: before + s.staged_bytes });
    s.staged.clear();
    s.staged_bytes = 0;
}

/// Merges the layer `over` into `layer`: two layers of similar size are merged in one walk.
fn lay_layer_over(layer: &mut Memtable, mut over: Memtable) {
    if layer.is_empty() {
        *layer = over;
    } else if over.len() > layer.len() / 8 {
        layer.append(&mut over);
    } else {
        lay_over(layer, over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Options, Replace};

    #[test]
    fn a_log_of_few_keys_is_folded_early() {
        let dir = tempfile::tempdir().unwrap();
        let longest = |keys: u32| {
            let path = dir.path().join(format!("{keys}.h5"));
            let l = Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
            let commit = |n: u32| {
                l.put(&(n % keys).to_be_bytes(), vec![n as u8; 400]).unwrap();
                l.commit().unwrap();
                l.lock().log_bytes
            };
            (0..600).map(commit).max().unwrap()
        };
        assert!((MIN_CHECKPOINT_LOG_BYTES / 2..=MIN_CHECKPOINT_LOG_BYTES).contains(&longest(2)), "two keys");
        assert!(longest(600) > MIN_CHECKPOINT_LOG_BYTES * 3, "as many keys as commits");
    }

    /// Returns the longest log, in records, that sessions leave if each session commits once and the sessions change `keys` keys in turn.
    fn longest_left(path: &std::path::Path, keys: u32) -> u64 {
        let session = |n: u32| {
            let l = Ledger::open_file(path, crate::options::Access::ReadWrite, Options::default()).unwrap();
            assert_eq!(l.get(b"n").unwrap().map(|v| v.to_vec()), n.checked_sub(1).map(|b| vec![b as u8; 9]));
            l.put(b"n", vec![n as u8; 9]).unwrap();
            l.put(&(n % keys).to_be_bytes(), vec![n as u8; 9]).unwrap();
            l.commit_to_close().unwrap();
            let left = l.lock().log_records;
            l.close().unwrap();
            left
        };
        Ledger::create_file(path, Replace::Fail, Options::default()).unwrap().close().unwrap();
        (0..200).map(session).max().unwrap()
    }

    #[test]
    fn many_records_of_few_keys_are_not_left_to_be_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(longest_left(&dir.path().join("few.h5"), 3), 64);
        assert_eq!(longest_left(&dir.path().join("many.h5"), 100), 200);
    }

    /// Checkpointed records are adjacent, so that they become one run of free space.
    #[test]
    fn space_freed_by_a_fold_takes_little_space_in_the_free_list() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let l = Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
        for n in 0..4000u32 {
            l.put(b"k", vec![n as u8; 400]).unwrap();
            l.commit().unwrap();
        }
        l.close().unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert!(bytes < 4000 * 512, "{bytes} bytes");
    }

    /// Creates a container with `keys` keys of about 100 bytes, and opens it with the bound `spill_bytes`.
    fn filled(path: &std::path::Path, keys: u32, spill_bytes: u64) -> Ledger {
        let l = Ledger::create_file(path, Replace::Fail, Options::default()).unwrap();
        (0..keys).for_each(|n| l.put(&n.to_be_bytes(), vec![1; 96]).unwrap());
        l.commit().unwrap();
        l.close().unwrap();
        let opts = Options { spill_bytes, ..Options::default() };
        Ledger::open_file(path, crate::options::Access::ReadWrite, opts).unwrap()
    }

    /// Returns the largest memory of the staged changes while `keys` are put, and the number of spills.
    fn most_staged(l: &Ledger, keys: impl Iterator<Item = u32>) -> (u64, u32) {
        let (mut most, mut spills, mut before) = (0, 0, 0);
        for n in keys {
            l.put(&n.to_be_bytes(), vec![2; 96]).unwrap();
            let s = l.lock();
            let memory = s.staged_bytes + s.staged.len() as u64 * KEY_MEMORY_BYTES;
            spills += u32::from(memory < before);
            (most, before) = (most.max(memory), memory);
        }
        (most, spills)
    }

    #[test]
    fn staged_changes_take_bounded_memory() {
        let dir = tempfile::tempdir().unwrap();
        let l = filled(&dir.path().join("a.h5"), 100, 64 << 10);
        let (most, spills) = most_staged(&l, 0..20_000);
        assert!(most <= 64 << 10 && spills >= 50, "{most} bytes, {spills} spills");
        assert!(l.staged_bytes() >= 20_000 * 100, "{}", l.staged_bytes());
        assert_eq!(l.commit().unwrap(), 2);
        assert_eq!(l.staged_bytes(), 0);
    }

    #[test]
    fn scattered_changes_are_spilled_less_often() {
        let dir = tempfile::tempdir().unwrap();
        let l = filled(&dir.path().join("a.h5"), 20_000, 8 << 10);
        // Each put changes another page than the previous puts.
        let (most, spills) = most_staged(&l, (0..20_000).map(|n| n * 7919 % 20_000));
        assert!((33 << 10..=64 << 10).contains(&most), "{most} bytes, {spills} spills");
        l.rollback().unwrap();
        assert_eq!(l.lock().spill_at, 0);
    }
}
