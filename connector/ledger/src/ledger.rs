//! The opened container.

mod branch;
mod branch_view;
mod close;
mod commit;
mod continued;
mod differences;
mod held_room;
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
pub use self::differences::{Differences, EntryDifference};
pub use self::held_room::{HeldRoom, PayloadPlace};
pub use self::publication::Publication;
pub use self::tag::Tag;
use crate::address::PageRef;
use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result, Salvage};
use crate::history::Mark;
use crate::journal::PartBuffer;
use crate::key::Key;
use crate::limits::{MAX_KEY, MAX_SCAN_BYTES, MAX_VALUE};
use crate::locks::{Mutex, MutexGuard};
use crate::memtable::{EMPTY, Memtable, value_in};
use crate::merged_view::Layers;
use crate::options::{Access, ContainerIdentity, Options, Version, Writers};
use crate::sources::Sources;
use crate::storage::{RemoteCommits, Snapshot, Storage};
use crate::tree::Tree;

/// Values whose pages are looked for at the same time.
const MAX_VALUES_PER_LOOKUP: usize = 256;
/// Pages that are kept of a container that a reader closes, in bytes.
const MAX_REMEMBERED_PAGE_BYTES: u64 = 1 << 20;

/// An opened container: one snapshot to read, and for a writer the changes that it stages on it.
///
/// All methods can be called from several threads. Nothing is committed but by [`commit`](Ledger::commit): closing or
/// dropping a handle forgets what is staged.
#[derive(Debug)]
pub struct Ledger {
    storage: Box<dyn Storage>,
    cache: Cache,
    state: Mutex<State>,
    access: Access,
    opener: u32,
    bytes_bound: u64,
    records_bound: u64,
    spill_bound: u64,
    is_multi_writer: bool,
    /// Of a copy that is being made: the next part of its journal.
    part: Mutex<PartBuffer>,
    sources: Sources,
    /// What it shows, if that is not the main line.
    branch: Option<Box<BranchView>>,
}

/// What became of a commit that was in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is a version.
    Committed,
    /// It will never be one. What it held is staged.
    NotCommitted,
}

/// A commit whose end is not known.
#[derive(Debug)]
pub(crate) enum InDoubt {
    /// What was staged.
    Record(Memtable),
    /// The root of the pages that it was to have.
    Checkpoint(Option<PageRef>),
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) version: u64,
    pub(crate) root: Option<PageRef>,
    /// The changes of the log since the base.
    pub(crate) log: Memtable,
    log_bytes: u64,
    log_records: u64,
    pub(crate) staged: Memtable,
    pub(crate) staged_bytes: u64,
    /// A commit that was tried whose end is not known.
    pub(crate) in_doubt: Option<InDoubt>,
    /// The same of a commit that may go together with others'.
    pub(crate) in_group: Option<Memtable>,
    /// What this writer committed together with others in a version, and that version, until it is taken in.
    pub(crate) joined: Option<(Memtable, u64)>,
    /// What became of the last commit that was in doubt, until somebody asks.
    pub(crate) settled: Option<Settled>,
    /// This writer led the last group commit.
    pub(crate) leads: bool,
    /// What was staged before, and did not stay in memory.
    spilled: Option<SpilledBatch>,
    /// The memory that what is staged may take before it is spilled, where that is more than the bound.
    spill_at: u64,
    /// Staged keys that other writers changed, with the values that both started from.
    pub(crate) unmerged: BTreeMap<Bytes, Option<Bytes>>,
    /// The time and the author of the version in use, or of an earlier one: its number says which.
    pub(crate) mark: Option<Mark>,
    /// What the storage told, and could not be taken in yet.
    pub(crate) unseen_commits: Option<RemoteCommits>,
    pub(crate) broken: Option<Error>,
    /// A writer has seen a change to tags.
    knows_tags: bool,
    closed: bool,
}

impl State {
    /// Whether a commit was tried of which it is not known, or not taken in, what became of it.
    fn is_in_doubt(&self) -> bool {
        self.in_doubt.is_some() || self.in_group.is_some() || self.joined.is_some()
    }

    fn knowing(s: Snapshot) -> Self {
        let Snapshot { version, root, log, log_bytes, log_records, .. } = s;
        Self { version, root, log, log_bytes, log_records, ..Self::default() }
    }

    /// Takes out what a reader knows.
    fn snapshot(&mut self, cache: &Cache) -> Snapshot {
        let Self { version, root, log_bytes, log_records, .. } = *self;
        let (log, pages) = (std::mem::take(&mut self.log), cache.take_used(MAX_REMEMBERED_PAGE_BYTES));
        Snapshot { version, root, log, log_bytes, log_records, pages }
    }
}

impl Ledger {
    pub(crate) fn start(storage: Box<dyn Storage>, access: Access, opts: &Options) -> Result<Self> {
        let known = storage.cached_snapshot().unwrap_or_default();
        Self::start_knowing(storage, access, opts, known)
    }

    /// The same without what an earlier reader of this process knew: all is read.
    pub(crate) fn start_afresh(storage: Box<dyn Storage>, access: Access, opts: &Options) -> Result<Self> {
        Self::start_knowing(storage, access, opts, Snapshot::default())
    }

    fn start_knowing(
        storage: Box<dyn Storage>,
        access: Access,
        opts: &Options,
        mut known: Snapshot,
    ) -> Result<Self> {
        let records_bound = storage.shape().records;
        let (root, pages) = (known.root, std::mem::take(&mut known.pages));
        let ledger = Self {
            storage,
            cache: Cache::holding(opts.cache_bytes, opts.statistics.clone(), pages),
            state: Mutex::new(State::knowing(known)),
            access,
            opener: crate::process::id(),
            bytes_bound: opts.checkpoint_bytes,
            records_bound: opts.checkpoint_records.min(records_bound),
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
        // A panic while the state was locked cannot leave half a change: each field is set whole.
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

    /// Whether this process is the one that opened the container: after a fork both hold the same lock, and only the one that
    /// took it may use it.
    ///
    /// # Errors
    /// `Forked`.
    pub fn check_opener(&self) -> Result<()> {
        if crate::process::id() == self.opener { Ok(()) } else { Err(self.fail(ErrorKind::Forked)) }
    }

    pub(crate) fn writable(&self) -> Result<MutexGuard<'_, State>> {
        self.may_write()?;
        let s = self.lock();
        match &s.broken {
            Some(e) => Err(e.clone()),
            None => Ok(s),
        }
    }

    /// Whether changes may be staged, for whoever stages them later.
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

    /// What `staged` lies over.
    fn layers_under<'a>(
        &'a self,
        staged: &'a Memtable,
        log: &'a Memtable,
        root: Option<PageRef>,
        spilled: Option<&SpilledBatch>,
    ) -> Layers<'a> {
        match spilled {
            // They hold what the log says, too.
            Some(spilled) => Layers { over: [staged, &EMPTY], tree: self.tree(spilled.root) },
            None => Layers { over: [staged, log], tree: self.tree(root) },
        }
    }

    /// The version that this handle sees; 0 is a new, empty container.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// Whether this is a writer and others may write at the same time.
    pub fn is_one_of_many(&self) -> bool {
        self.is_multi_writer
    }

    /// What the handle may do.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The value under a key, staged changes included.
    ///
    /// # Errors
    /// Those of reading: `Corrupt`, `Gone`, `Io`, `Store`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.seen(&self.lock(), key)
    }

    /// The values under several keys, in their order. In a store the pages that hold them are read side by side, which makes
    /// it one wait for each level of the map.
    ///
    /// # Errors
    /// Those of [`get`](Ledger::get).
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

    /// The smallest entry in a range.
    ///
    /// # Errors
    /// Those of reading.
    pub fn next(&self, after: Bound<&[u8]>, end: Bound<&[u8]>) -> Result<Option<(Bytes, Bytes)>> {
        Ok(self.scan(&self.lock(), after, end, 1, usize::MAX)?.pop())
    }

    /// The greatest entry in a range.
    ///
    /// # Errors
    /// Those of reading.
    pub fn prev(&self, start: Bound<&[u8]>, before: Bound<&[u8]>) -> Result<Option<(Bytes, Bytes)>> {
        self.last(&self.lock(), start, before)
    }

    /// Up to `limit` entries whose keys begin with `prefix`, ascending, behind the key `after`. There are fewer at the end, and where
    /// their values have 64 MiB ([`is_last_page`](crate::is_last_page)).
    ///
    /// # Errors
    /// Those of reading.
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

    /// Up to `limit` keys that begin with `prefix`, ascending, behind the key `after`. There are fewer at the end only. Values that do
    /// not lie in the pages of the map are not read.
    ///
    /// # Errors
    /// Those of reading.
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

    /// Stages a put, if nothing is under the key; says whether.
    ///
    /// # Errors
    /// As for [`put`](Ledger::put), and those of reading.
    pub fn put_new(&self, key: &[u8], value: impl Into<Bytes>) -> Result<bool> {
        self.put_over(key, value.into(), |before| before.is_none()).map(|before| before.is_none())
    }

    /// Stages a put, and says what was under the key: one look for it where [`get`](Ledger::get) and [`put`](Ledger::put) take
    /// two.
    ///
    /// # Errors
    /// As for [`put`](Ledger::put), and those of reading; then nothing is staged.
    pub fn replace(&self, key: &[u8], value: impl Into<Bytes>) -> Result<Option<Bytes>> {
        self.put_over(key, value.into(), |_| true)
    }

    /// Stages a put over what `may` allows, and says what is under the key before.
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

    /// Stages a delete; deleting what is not there is no error. A key that was put since the last commit, and is not below that, leaves
    /// nothing staged: programs make and delete any number of objects between two commits.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        if self.withdraw(&mut *self.writable()?, key) {
            return Ok(());
        }
        self.stage(key, None)
    }

    /// As [`delete`](Self::delete), for a key that no commit has: without a look for it, nothing stays staged.
    ///
    /// # Errors
    /// As for [`delete`](Self::delete).
    pub fn delete_uncommitted(&self, key: &[u8]) -> Result<()> {
        let mut s = self.writable()?;
        let may_be_elsewhere = self.is_multi_writer || s.spilled.is_some() || s.is_in_doubt();
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

    /// Takes back the staged put of a key that nothing else has. Returns false, and changes nothing, where that is not known for certain.
    fn withdraw(&self, s: &mut State, key: &[u8]) -> bool {
        let is_put = matches!(value_in(&s.staged, key), Some(Some(_)));
        if !is_put || self.is_multi_writer || self.branch_of(key).is_some() || s.is_in_doubt() {
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

    /// Stages what the map is to have under a key.
    pub(crate) fn stage_stored(&self, s: &mut State, key: &[u8], value: Option<Bytes>) {
        let weight = |v: &Option<Bytes>| (key.len() + v.as_ref().map_or(0, Bytes::len)) as u64;
        s.staged_bytes += weight(&value);
        if let Some(old) = s.staged.insert(Key::from(Bytes::copy_from_slice(key)), value) {
            s.staged_bytes -= weight(&old);
        }
    }

    /// Whether reading takes round trips to a store, so that asking for several things at once is worth while.
    pub fn is_remote(&self) -> bool {
        self.is_in_store() && !self.storage.is_in_memory()
    }

    /// Whether it lies in objects of a store, be that far away or in this process's memory, and not in a file.
    pub fn is_in_store(&self) -> bool {
        self.storage.is_remote()
    }

    /// The versions that can be opened with [`Options::at`], newest first, at most so many. They are all those whose bytes are
    /// whole: at least those that were replaced no longer ago than the retention time.
    ///
    /// # Errors
    /// Those of reading.
    pub fn versions(&self, most: usize) -> Result<Vec<Version>> {
        self.storage.versions(most)
    }

    /// Whether others have committed since one of many writers last looked: [`advance`](Ledger::advance) tells what.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; those of reading.
    pub fn has_unseen_commits(&self) -> Result<bool> {
        let mut s = self.writable()?;
        // Else an own record would be news.
        self.settle(&mut s)?;
        s.unseen_commits =
            s.unseen_commits.take().map_or_else(|| self.storage().poll_commits(), |known| Ok(Some(known)))?;
        Ok(s.unseen_commits.is_some())
    }

    /// Bytes of keys and values that are staged, payloads not counted. A key that was staged again after it was
    /// [spilled](crate::Options::spill_bytes) counts twice.
    pub fn staged_bytes(&self) -> u64 {
        let s = self.lock();
        s.staged_bytes + s.spilled.as_ref().map_or(0, |spilled| spilled.bytes)
    }

    /// Bytes that the container takes in its file or store.
    ///
    /// # Errors
    /// Those of the file system or the store.
    pub fn size(&self) -> Result<u64> {
        self.storage.size()
    }

    /// Where in its file it begins, in bytes: behind a user block. `None` for one in an object store.
    pub fn offset_in_file(&self) -> Option<u64> {
        self.storage.offset_in_file()
    }

    /// Its file, opened anew to read, also if it was renamed or replaced since. `None` for one that is no file of the file system.
    pub fn reopened_file(&self) -> Option<std::io::Result<std::fs::File>> {
        self.storage.reopened()
    }

    /// Writes to the user block of a container in a file, from byte `at` on. It is as durable as the next commit. In an
    /// object store there is none, and nothing happens.
    ///
    /// # Errors
    /// For more bytes than there is room for; those of the file system.
    pub fn write_user_block(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.storage.write_user_block(at, bytes)
    }

    /// What makes this container the same as another opened one.
    pub fn identity(&self) -> ContainerIdentity {
        self.storage.identity()
    }
}

/// The range of the keys that begin with `prefix`, behind the key `after`; `end` is the [successor] of the prefix.
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

/// The smallest key that is greater than every key with this prefix.
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
        // As it is in a child: the process is another one than the opener.
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
