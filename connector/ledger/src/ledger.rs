//! The opened container: reads, staged changes, and commits.

mod branch;
mod branch_view;
mod close;
mod commit;
mod continued;
mod counter;
mod differences;
mod held_space;
mod open;
mod origin;
mod payloads;
mod publication;
mod refresh;
mod sources;
mod tag;
mod whole;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use bytes::Bytes;

pub use self::branch::Branch;
use self::branch_view::BranchView;
pub(crate) use self::close::note_broken;
use self::commit::SpilledBatch;
pub(crate) use self::commit::{After, unstage_committed};
pub use self::continued::WholeCopy;
pub(crate) use self::counter::Counter;
pub use self::differences::{Differences, EntryDifference};
pub use self::held_space::{HeldSpace, PayloadPlace};
pub use self::publication::Publication;
pub use self::tag::Tag;
use crate::address::PageRef;
use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result, Salvage};
use crate::file::FileStorage;
use crate::history::Mark;
use crate::journal::PartBuffer;
use crate::key::Key;
use crate::limits::{MAX_KEY, MAX_SCAN_BYTES, MAX_VALUE};
use crate::locks::{Mutex, MutexGuard};
use crate::memtable::{EMPTY, Memtable, value_in};
use crate::merged_view::Layers;
use crate::options::{Access, ContainerIdentity, Options, Version, Writers};
use crate::sources::Sources;
use crate::storage::{Properties, RemoteCommits, Snapshot, Storage};
use crate::storage_kinds::StorageKinds;
use crate::tree::Tree;

/// Maximum number of values that [`Ledger::get_many`] looks up in one batch.
const MAX_VALUES_PER_LOOKUP: usize = 256;
/// Maximum size of the pages, in bytes, that stay cached after a reader has closed its container.
const MAX_REMEMBERED_PAGE_BYTES: u64 = 1 << 20;

/// An opened container: one snapshot to read and, for a writer, the changes that are staged on top of it.
///
/// All methods can be called from several threads. Only [`commit`](Ledger::commit) makes staged changes a version: closing or dropping a
/// handle discards them.
#[derive(Debug)]
pub struct Ledger {
    storage: Box<dyn Storage>,
    properties: Properties,
    cache: Cache,
    state: Mutex<State>,
    access: Access,
    opener: u32,
    bytes_bound: u64,
    records_bound: u64,
    spill_bound: u64,
    is_multi_writer: bool,
    /// The next part of the journal of a copy, while this handle makes that copy.
    part: Mutex<PartBuffer>,
    sources: Sources,
    /// The branch that this handle shows; `None` for the main line.
    branch: Option<Box<BranchView>>,
}

/// The outcome of a commit that was unknown at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The commit is a version.
    Committed,
    /// The commit will never become a version. Its changes are still staged.
    NotCommitted,
}

/// A commit of unknown outcome.
#[derive(Debug)]
pub(crate) enum UnknownCommit {
    /// A commit of a log record: the changes that were staged.
    Record(Memtable),
    /// A commit as a checkpoint: the root of its pages.
    Checkpoint(Option<PageRef>),
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) version: u64,
    pub(crate) root: Option<PageRef>,
    /// The changes in the log since the checkpoint.
    pub(crate) log: Memtable,
    log_bytes: u64,
    log_records: u64,
    pub(crate) staged: Memtable,
    pub(crate) staged_bytes: u64,
    /// The number of commits that a concurrent writer will still make in groups, because it has met other writers.
    pub(crate) group_commits_left: u32,
    /// A commit that was attempted and has an unknown outcome.
    pub(crate) outcome_unknown: Option<UnknownCommit>,
    /// The changes of an attempted group commit that has an unknown outcome.
    pub(crate) in_group: Option<Memtable>,
    /// The counter from which this concurrent writer has taken numbers.
    pub(crate) counter: Option<Counter>,
    /// The changes that this writer committed in a group commit, and the version of that commit, until this handle has applied the version.
    pub(crate) joined: Option<(Memtable, u64)>,
    /// The outcome of the last commit of unknown outcome, once it is known and until [`Ledger::take_settled`] returns it.
    pub(crate) settled: Option<Settled>,
    /// True if this writer led the last group commit.
    pub(crate) leads: bool,
    /// Earlier staged changes that were spilled from memory to uncommitted pages.
    spilled: Option<SpilledBatch>,
    /// The memory that staged changes may take before they are spilled, if that is more than `spill_bound`.
    spill_at: u64,
    /// Staged keys that other writers changed too, with the common base value of both changes.
    pub(crate) unmerged: BTreeMap<Bytes, Option<Bytes>>,
    /// The time and the author of the current version or of an earlier one; its version number tells which.
    pub(crate) mark: Option<Mark>,
    /// Remote commits that the storage has reported and that could not be applied yet.
    pub(crate) unseen_commits: Option<RemoteCommits>,
    pub(crate) broken: Option<Error>,
    /// True from [`Ledger::offer_payloads`] until the offer is concluded or withdrawn. Meanwhile nothing is staged or committed.
    pub(crate) has_offer: bool,
    /// True if this writer has observed a change to tags.
    knows_tags: bool,
    closed: bool,
}

impl State {
    /// Returns whether a commit was attempted and its outcome is unknown or not applied yet.
    fn is_outcome_unknown(&self) -> bool {
        self.outcome_unknown.is_some() || self.in_group.is_some() || self.joined.is_some()
    }

    fn knowing(s: Snapshot) -> Self {
        let Snapshot { version, root, log, log_bytes, log_records, .. } = s;
        Self { version, root, log, log_bytes, log_records, ..Self::default() }
    }

    /// Removes the reader's state from the handle and returns it as a snapshot.
    fn snapshot(&mut self, cache: &Cache) -> Snapshot {
        let Self { version, root, log_bytes, log_records, .. } = *self;
        let (log, pages) = (std::mem::take(&mut self.log), cache.take_used(MAX_REMEMBERED_PAGE_BYTES));
        Snapshot { version, root, log, log_bytes, log_records, pages }
    }
}

impl Ledger {
    pub(crate) fn start(storage: Box<dyn Storage>, access: Access, opts: &Options) -> Result<Self> {
        let known = storage.as_file().and_then(FileStorage::cached_snapshot).unwrap_or_default();
        Self::start_knowing(storage, access, opts, known)
    }

    /// Starts without the cached snapshot of an earlier reader in this process, so that everything is read again.
    pub(crate) fn start_afresh(storage: Box<dyn Storage>, access: Access, opts: &Options) -> Result<Self> {
        Self::start_knowing(storage, access, opts, Snapshot::default())
    }

    fn start_knowing(
        storage: Box<dyn Storage>,
        access: Access,
        opts: &Options,
        mut known: Snapshot,
    ) -> Result<Self> {
        let properties = storage.properties();
        let (root, pages) = (known.root, std::mem::take(&mut known.pages));
        let ledger = Self {
            storage,
            properties,
            cache: Cache::holding(opts.cache_bytes, opts.statistics.clone(), pages),
            state: Mutex::new(State::knowing(known)),
            access,
            opener: crate::process::id(),
            bytes_bound: opts.checkpoint_bytes,
            records_bound: opts.checkpoint_records.min(properties.sizes.records),
            spill_bound: opts.spill_bytes,
            is_multi_writer: access == Access::ReadWrite && opts.writers == Writers::Many,
            part: Mutex::new(PartBuffer::new(opts.journal_bytes)),
            sources: Sources::new(opts.source_opener.clone()),
            branch: None,
        };
        let salvage = match (ledger.offset_in_file(), opts.salvage && access == Access::ReadOnly) {
            (None, _) => Salvage::Useless,
            (Some(_), false) => Salvage::Untried,
            (Some(_), true) => Salvage::InVain,
        };
        ledger.refresh_state(&mut ledger.lock(), u64::MAX).map_err(|e| e.salvaging(salvage))?;
        if ledger.lock().root != root {
            ledger.cache.clear();
        }
        if access == Access::ReadWrite {
            ledger.hold_tags_if_any(&ledger.lock());
        }
        Ok(ledger)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the state was locked cannot leave a partial change, because each field is set as a whole.
        self.state.lock()
    }

    pub(crate) fn fail(&self, kind: ErrorKind) -> Error {
        Error::new(self.storage.target(), kind)
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    pub(crate) fn source_files(&self) -> &Sources {
        &self.sources
    }

    fn may_write(&self) -> Result<()> {
        if self.access == Access::ReadOnly {
            return Err(self.fail(ErrorKind::ReadOnly));
        }
        self.check_opener()
    }

    /// Checks that this process opened the container. After a fork the parent and the child hold the same lock, and only the process that
    /// acquired it may use it.
    ///
    /// # Errors
    /// `Forked`.
    pub fn check_opener(&self) -> Result<()> {
        if crate::process::id() == self.opener { Ok(()) } else { Err(self.fail(ErrorKind::Forked)) }
    }

    pub(crate) fn writable(&self) -> Result<MutexGuard<'_, State>> {
        self.may_write()?;
        let s = self.lock();
        if s.has_offer {
            let what = "it is not known yet whether the last flush of all processes was committed; flush again in all processes";
            return Err(self.fail(ErrorKind::Io { errno: None, what: what.into() }));
        }
        Self::unbroken(s)
    }

    /// Locks the state to end an offer.
    pub(crate) fn offering(&self) -> Result<MutexGuard<'_, State>> {
        self.may_write()?;
        Self::unbroken(self.lock())
    }

    fn unbroken(s: MutexGuard<'_, State>) -> Result<MutexGuard<'_, State>> {
        match &s.broken {
            Some(e) => Err(e.clone()),
            None => Ok(s),
        }
    }

    /// Checks that changes can be staged, for callers that stage them later.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn check_writable(&self) -> Result<()> {
        self.writable().map(drop)
    }

    pub(crate) fn tree(&self, root: Option<PageRef>) -> Tree<'_> {
        Tree { root, storage: self.storage.as_ref(), cache: &self.cache }
    }

    fn layers<'a>(&'a self, s: &'a State) -> Layers<'a> {
        self.layers_under(&s.staged, &s.log, s.root, s.spilled.as_ref())
    }

    /// Returns the layers below and including `staged`.
    fn layers_under<'a>(
        &'a self,
        staged: &'a Memtable,
        log: &'a Memtable,
        root: Option<PageRef>,
        spilled: Option<&SpilledBatch>,
    ) -> Layers<'a> {
        match spilled {
            // The spilled pages already contain the log.
            Some(spilled) => Layers { over: [staged, &EMPTY], tree: self.tree(spilled.root) },
            None => Layers { over: [staged, log], tree: self.tree(root) },
        }
    }

    /// The version that this handle shows. Version 0 is a new, empty container.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// Returns whether this handle is a concurrent writer: other writers may have the container open at the same time.
    pub fn is_shared(&self) -> bool {
        self.is_multi_writer
    }

    /// The access mode of this handle.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Returns the value of a key, including staged changes.
    ///
    /// # Errors
    /// Read errors: `Corrupt`, `Gone`, `Io`, `Store`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.seen(&self.lock(), key)
    }

    /// Returns the values of several keys, in the order of `keys`. In a store the pages of one level are read in parallel, so that the call
    /// waits for one round trip for each level of the map.
    ///
    /// # Errors
    /// The errors of [`get`](Ledger::get).
    pub fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_unstable_by_key(|n| keys[*n]);
        let sorted: Vec<&[u8]> = order.iter().map(|n| keys[*n]).collect();
        let mut out = vec![None; keys.len()];
        let state = self.lock();
        let mut places = order.iter();
        for some in sorted.chunks(MAX_VALUES_PER_LOOKUP) {
            for (value, place) in self.seen_many(&state, some)?.into_iter().zip(places.by_ref()) {
                out[*place] = value;
            }
        }
        Ok(out)
    }

    /// Returns the entry with the smallest key in a range.
    ///
    /// # Errors
    /// Read errors.
    pub fn next(&self, after: Bound<&[u8]>, end: Bound<&[u8]>) -> Result<Option<(Bytes, Bytes)>> {
        Ok(self.scan(&self.lock(), after, end, 1, usize::MAX)?.pop())
    }

    /// Returns the entry with the greatest key in a range.
    ///
    /// # Errors
    /// Read errors.
    pub fn prev(&self, start: Bound<&[u8]>, before: Bound<&[u8]>) -> Result<Option<(Bytes, Bytes)>> {
        self.last(&self.lock(), start, before)
    }

    /// Returns up to `limit` entries with keys that begin with `prefix` and follow the key `after`, in ascending order. The result is
    /// shorter at the end of the range, and as soon as the values have 64 MiB (see [`is_last_page`](crate::is_last_page)).
    ///
    /// # Errors
    /// Read errors.
    pub fn scan_prefix(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let end = successor(prefix);
        let (lower, upper) = range_behind(prefix, after, end.as_deref());
        self.scan(&self.lock(), lower, upper, limit, MAX_SCAN_BYTES)
    }

    /// Returns up to `limit` keys that begin with `prefix` and follow the key `after`, in ascending order. The result is shorter only at
    /// the end of the range. Values that are stored outside the pages of the map are not read.
    ///
    /// # Errors
    /// Read errors.
    pub fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Bytes>> {
        let end = successor(prefix);
        let (lower, upper) = range_behind(prefix, after, end.as_deref());
        self.scan_keys(&self.lock(), lower, upper, limit)
    }

    /// Stages a put.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; `Invalid` if the key or the value is too long.
    pub fn put(&self, key: &[u8], value: impl Into<Bytes>) -> Result<()> {
        let value = value.into();
        self.check_length(key, &value)?;
        self.stage(key, Some(value))
    }

    fn check_length(&self, key: &[u8], value: &[u8]) -> Result<()> {
        if key.len() > MAX_KEY || value.len() > MAX_VALUE {
            let why = format!("a key of {} or a value of {} bytes is too long", key.len(), value.len());
            return Err(Error::invalid(self.storage.target(), why));
        }
        Ok(())
    }

    /// Stages a put if the key has no value. Returns whether the put was staged.
    ///
    /// # Errors
    /// The errors of [`put`](Ledger::put), and read errors.
    pub fn put_new(&self, key: &[u8], value: impl Into<Bytes>) -> Result<bool> {
        self.put_over(key, value.into(), |before| before.is_none()).map(|before| before.is_none())
    }

    /// Stages a put and returns the previous value of the key. This takes one lookup, while [`get`](Ledger::get) followed by
    /// [`put`](Ledger::put) takes two.
    ///
    /// # Errors
    /// The errors of [`put`](Ledger::put), and read errors; after an error nothing is staged.
    pub fn replace(&self, key: &[u8], value: impl Into<Bytes>) -> Result<Option<Bytes>> {
        self.put_over(key, value.into(), |_| true)
    }

    /// Stages a put if `may` accepts the current value of the key. Returns that value.
    fn put_over(
        &self,
        key: &[u8],
        value: Bytes,
        may: impl FnOnce(&Option<Bytes>) -> bool,
    ) -> Result<Option<Bytes>> {
        self.check_length(key, &value)?;
        let mut s = self.writable()?;
        if self.branch_of(key).is_some() {
            let before = self.seen(&s, key)?;
            if may(&before) {
                let stored = self.stored_value(key, Some(value))?;
                self.stage_stored(&mut s, &self.stored_key(key), stored);
            }
            return Ok(before);
        }
        let State { staged, log, root, spilled, .. } = &mut *s;
        let below = self.layers_under(&EMPTY, log, *root, spilled.as_ref());
        let weight = (key.len() + value.len()) as u64;
        let before = match staged.entry(Key::from(Bytes::copy_from_slice(key))) {
            Entry::Occupied(mut there) => {
                if !may(there.get()) {
                    return Ok(there.get().clone());
                }
                let before = there.insert(Some(value));
                s.staged_bytes -= (key.len() + before.as_ref().map_or(0, Bytes::len)) as u64;
                before
            }
            Entry::Vacant(place) => {
                let before = below.get(key)?;
                if !may(&before) {
                    return Ok(before);
                }
                place.insert(Some(value));
                before
            }
        };
        s.staged_bytes += weight;
        self.spill_if_large(&mut s);
        Ok(before)
    }

    /// Stages a delete. Deleting an absent key is not an error. If the key was put since the last commit and exists in no commit, nothing
    /// stays staged, because programs create and delete any number of objects between two commits.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        if self.withdraw(&mut *self.writable()?, key) {
            return Ok(());
        }
        self.stage(key, None)
    }

    /// Deletes a key like [`delete`](Self::delete) if no commit contains the key: it is not looked up, and nothing stays staged.
    ///
    /// # Errors
    /// The errors of [`delete`](Self::delete).
    pub fn delete_uncommitted(&self, key: &[u8]) -> Result<()> {
        let mut s = self.writable()?;
        let may_be_elsewhere = self.is_multi_writer || s.spilled.is_some() || s.is_outcome_unknown();
        if may_be_elsewhere || self.branch_of(key).is_some() {
            drop(s);
            return self.stage(key, None);
        }
        self.take_back(&mut s, key);
        Ok(())
    }

    pub(crate) fn take_back(&self, s: &mut State, key: &[u8]) {
        if let Some(value) = s.staged.remove(&Key::from(Bytes::copy_from_slice(key))) {
            s.staged_bytes -= (key.len() + value.map_or(0, |value| value.len())) as u64;
        }
    }

    /// Withdraws the staged put of a key that exists nowhere else. Returns false and changes nothing if that is not certain.
    fn withdraw(&self, s: &mut State, key: &[u8]) -> bool {
        let is_put = matches!(value_in(&s.staged, key), Some(Some(_)));
        if !is_put || self.is_multi_writer || self.branch_of(key).is_some() || s.is_outcome_unknown() {
            return false;
        }
        let State { log, root, spilled, .. } = &*s;
        let is_nowhere_else =
            matches!(self.layers_under(&EMPTY, log, *root, spilled.as_ref()).get(key), Ok(None));
        if is_nowhere_else {
            self.take_back(s, key);
        }
        is_nowhere_else
    }

    fn stage(&self, key: &[u8], value: Option<Bytes>) -> Result<()> {
        let mut s = self.writable()?;
        let stored = self.stored_value(key, value)?;
        self.stage_stored(&mut s, &self.stored_key(key), stored);
        self.spill_if_large(&mut s);
        Ok(())
    }

    /// Stages a value under a key of the stored map. `None` stages a delete.
    pub(crate) fn stage_stored(&self, s: &mut State, key: &[u8], value: Option<Bytes>) {
        let weight = |v: &Option<Bytes>| (key.len() + v.as_ref().map_or(0, Bytes::len)) as u64;
        s.staged_bytes += weight(&value);
        if let Some(old) = s.staged.insert(Key::from(Bytes::copy_from_slice(key)), value) {
            s.staged_bytes -= weight(&old);
        }
    }

    /// Returns whether a read takes a round trip to a store, so that batching requests saves time.
    pub fn is_remote(&self) -> bool {
        self.properties.is_remote()
    }

    /// Returns whether the container consists of objects in a store (a remote store or a store in memory) and not of a file.
    pub fn is_in_store(&self) -> bool {
        self.properties.is_in_store
    }

    /// Returns up to `most` versions that can be opened with [`Options::at`], newest first. These are all complete versions, at least those
    /// that were replaced within the retention time.
    ///
    /// # Errors
    /// Read errors.
    pub fn versions(&self, most: usize) -> Result<Vec<Version>> {
        self.storage.versions(most)
    }

    /// Returns whether a concurrent writer has remote commits to merge; [`advance`](Ledger::advance) reports them.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; read errors.
    pub fn has_unseen_commits(&self) -> Result<bool> {
        let mut s = self.writable()?;
        // Otherwise a record of this writer's own would count as a remote commit.
        self.settle(&mut s)?;
        s.unseen_commits = s
            .unseen_commits
            .take()
            .map_or_else(|| self.storage().poll_commits(u64::MAX), |known| Ok(Some(known)))?;
        Ok(s.unseen_commits.is_some())
    }

    /// Returns the size of the staged keys and values in bytes, without payloads. A key that was staged again after it was
    /// [spilled](crate::Options::spill_bytes) counts twice.
    pub fn staged_bytes(&self) -> u64 {
        let s = self.lock();
        s.staged_bytes + s.spilled.as_ref().map_or(0, |spilled| spilled.bytes)
    }

    /// Returns the size of the container in its file or store, in bytes.
    ///
    /// # Errors
    /// The errors of the file system or the store.
    pub fn size(&self) -> Result<u64> {
        self.storage.size()
    }

    /// The offset of the container in its file, in bytes, which is the size of the user block. `None` for a container in an object store.
    pub fn offset_in_file(&self) -> Option<u64> {
        self.storage.as_file().map(FileStorage::offset_in_file)
    }

    /// Opens the container's file again for reading, even if the file was renamed or replaced since. `None` if the container is not in a
    /// file of the file system.
    pub fn reopened_file(&self) -> Option<std::io::Result<std::fs::File>> {
        self.storage.as_file()?.reopened()
    }

    /// Writes to the user block of a container in a file, starting at byte `at`. The bytes are as durable as the next commit. A container
    /// in an object store has no user block, and the call does nothing.
    ///
    /// # Errors
    /// An error if the bytes do not fit into the user block; the errors of the file system.
    pub fn write_user_block(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.storage.as_file().map_or(Ok(()), |file| file.write_user_block(at, bytes))
    }

    /// The identity of the container, which is equal for two handles of the same container.
    pub fn identity(&self) -> ContainerIdentity {
        self.storage.identity()
    }
}

/// Returns the range of the keys that begin with `prefix` and follow the key `after`; `end` is the [successor] of the prefix.
fn range_behind<'k>(
    prefix: &'k [u8],
    after: Option<&'k [u8]>,
    end: Option<&'k [u8]>,
) -> (Bound<&'k [u8]>, Bound<&'k [u8]>) {
    let lower = match after {
        Some(a) if a >= prefix => Bound::Excluded(a),
        _ => Bound::Included(prefix),
    };
    (lower, end.map_or(Bound::Unbounded, Bound::Excluded))
}

/// Returns the smallest key that is greater than every key with this prefix.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Replace;

    #[test]
    fn the_successor_of_a_prefix_bounds_it() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(b"a\xff"), Some(b"b".to_vec()));
        assert_eq!((successor(b"\xff\xff"), successor(b"")), (None, None));
    }

    #[test]
    fn a_forked_child_neither_writes_nor_unlocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let mut l = Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
        l.put(b"k", "v").unwrap();
        // A forked child has another process id than the opener.
        l.opener ^= 1;
        for refused in [l.put(b"k", "w"), l.commit().map(drop), l.rollback(), l.write_payload(b"x").map(drop)]
        {
            assert_eq!(refused.unwrap_err().kind(), &ErrorKind::Forked);
        }
        l.finish().unwrap();
        let second = Ledger::open_file(&path, Access::ReadWrite, Options::default());
        assert!(matches!(second.unwrap_err().kind(), ErrorKind::Locked { .. }));
        l.opener ^= 1;
        assert_eq!(l.commit().unwrap(), 1);
        drop(l);
        Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap();
    }
}
