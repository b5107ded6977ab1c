//! The opened container.

mod close;
mod open;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use self::close::note_broken;
use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::fold;
use crate::layers::{Layer, Layers};
use crate::options::{Access, Identity, Options, Version, Writers};
use crate::payload::{self, Part};
use crate::record;
use crate::space::{Base, Commit, News, Pointer, Space};
use crate::tree::Tree;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 64 << 10;
/// The longest value, in bytes. Anything bigger belongs into a payload.
pub const MAX_VALUE: usize = 256 << 20;
/// Values whose pages are looked for at the same time.
const TOGETHER: usize = 256;

/// An opened container: one snapshot to read, and for a writer the changes that it stages on it.
///
/// All methods can be called from several threads. Nothing is committed but by [`commit`](Ledger::commit): closing or
/// dropping a handle forgets what is staged.
#[derive(Debug)]
pub struct Ledger {
    space: Box<dyn Space>,
    cache: Cache,
    state: Mutex<State>,
    access: Access,
    opener: u32,
    bytes_bound: u64,
    records_bound: u64,
    many: bool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) version: u64,
    pub(crate) root: Option<Pointer>,
    /// The changes of the log since the base.
    pub(crate) log: Layer,
    log_bytes: u64,
    log_records: u64,
    pub(crate) staged: Layer,
    pub(crate) staged_bytes: u64,
    /// Staged keys that other writers changed, with the values that both started from.
    pub(crate) unmerged: BTreeMap<Bytes, Option<Bytes>>,
    /// What the space told, and could not be taken in yet.
    pub(crate) untold: Option<News>,
    pub(crate) broken: Option<Error>,
    closed: bool,
}

impl Ledger {
    pub(crate) fn start(space: Box<dyn Space>, access: Access, opts: &Options) -> Result<Self> {
        let records_bound = space.shape().records;
        let ledger = Self {
            space,
            cache: Cache::new(opts.cache_bytes),
            state: Mutex::default(),
            access,
            opener: std::process::id(),
            bytes_bound: opts.checkpoint_bytes,
            records_bound: opts.checkpoint_records.min(records_bound),
            many: access == Access::ReadWrite && opts.writers == Writers::Many,
        };
        ledger.refresh_state(&mut ledger.lock())?;
        Ok(ledger)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the state was locked cannot leave half a change: each field is set whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fail(&self, kind: ErrorKind) -> Error {
        Error::new(self.space.target(), kind)
    }

    pub(crate) fn space(&self) -> &dyn Space {
        self.space.as_ref()
    }

    fn may_write(&self) -> Result<()> {
        if self.access == Access::ReadOnly {
            return Err(self.fail(ErrorKind::ReadOnly));
        }
        // After fork both processes hold the same lock; only the one that took it may use it.
        if std::process::id() != self.opener {
            return Err(self.fail(ErrorKind::Forked));
        }
        Ok(())
    }

    pub(crate) fn writable(&self) -> Result<MutexGuard<'_, State>> {
        self.may_write()?;
        let s = self.lock();
        match &s.broken {
            Some(e) => Err(e.clone()),
            None => Ok(s),
        }
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.writable().map(drop)
    }

    pub(crate) fn tree(&self, root: Option<Pointer>) -> Tree<'_> {
        Tree { root, space: self.space.as_ref(), cache: &self.cache }
    }

    fn layers<'a>(&'a self, s: &'a State) -> Layers<'a> {
        Layers { over: [&s.staged, &s.log], tree: self.tree(s.root) }
    }

    /// The version that this handle sees; 0 is a new, empty container.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// Whether this is a writer and others may write at the same time.
    pub fn is_one_of_many(&self) -> bool {
        self.many
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
        self.layers(&self.lock()).get(key)
    }

    /// The values under several keys, in their order. In a store the pages that hold them are read side by side, which makes
    /// it one wait for each level of the map.
    ///
    /// # Errors
    /// Those of [`get`](Ledger::get).
    pub fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|n| keys[*n]);
        let sorted: Vec<&[u8]> = order.iter().map(|n| keys[*n]).collect();
        let mut out = vec![None; keys.len()];
        let state = self.lock();
        let layers = self.layers(&state);
        let mut places = order.iter();
        for some in sorted.chunks(TOGETHER) {
            for (value, place) in layers.get_many(some)?.into_iter().zip(places.by_ref()) {
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
        Ok(self.layers(&self.lock()).scan(after, end, 1)?.pop())
    }

    /// The greatest entry in a range.
    ///
    /// # Errors
    /// Those of reading.
    pub fn prev(&self, start: Bound<&[u8]>, before: Bound<&[u8]>) -> Result<Option<(Bytes, Bytes)>> {
        self.layers(&self.lock()).last(start, before)
    }

    /// Up to `limit` entries whose keys begin with `prefix`, ascending, behind the key `after`.
    ///
    /// # Errors
    /// Those of reading.
    pub fn scan_prefix(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let lower = match after {
            Some(a) if a >= prefix => Bound::Excluded(a),
            _ => Bound::Included(prefix),
        };
        let end = successor(prefix);
        let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.layers(&self.lock()).scan(lower, upper, limit)
    }

    /// Stages a put.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; `Invalid` if the key or the value is too long.
    pub fn put(&self, key: &[u8], value: impl Into<Bytes>) -> Result<()> {
        let value = value.into();
        if key.len() > MAX_KEY || value.len() > MAX_VALUE {
            let why = format!("a key of {} or a value of {} bytes is too long", key.len(), value.len());
            return Err(Error::invalid(self.space.target(), why));
        }
        self.stage(key, Some(value))
    }

    /// Stages a delete; deleting what is not there is no error.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        self.stage(key, None)
    }

    fn stage(&self, key: &[u8], value: Option<Bytes>) -> Result<()> {
        let mut s = self.writable()?;
        let weight = |v: &Option<Bytes>| (key.len() + v.as_ref().map_or(0, Bytes::len)) as u64;
        s.staged_bytes += weight(&value);
        if let Some(old) = s.staged.insert(Bytes::copy_from_slice(key), value) {
            s.staged_bytes -= weight(&old);
        }
        Ok(())
    }

    /// Writes a payload. The bytes are written now, and become part of the container when a value that holds the
    /// extent commits; else they are garbage, given back by [`rollback`](Ledger::rollback) or the next opening.
    ///
    /// A commit takes over all payloads written before it. One that no value refers to by then, nor will later, has to be
    /// given back with [`free_payload`](Ledger::free_payload).
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `NoSpace`, `Io`, `Store`.
    pub fn write_payload(&self, data: &[u8]) -> Result<Extent> {
        drop(self.writable()?);
        let place = self.space.write_payload(data)?;
        Ok(Extent::of(place, data))
    }

    /// Reads a part of a payload, exactly `buf.len()` bytes from `offset` on. The checksums of the blocks touched are
    /// verified. After an error the content of `buf` is unspecified.
    ///
    /// # Errors
    /// `Invalid` if the range is not within the payload; those of reading.
    pub fn read_payload(&self, e: &Extent, offset: u64, buf: &mut [u8]) -> Result<()> {
        payload::read(self.space.as_ref(), e, offset, buf)
    }

    /// Reads several parts of payloads, each as [`read_payload`](Ledger::read_payload) does; the answers are in the order
    /// asked, and empty for parts that bring their own room. In a store neighbours come in one request, and requests are
    /// under way side by side.
    ///
    /// # Errors
    /// `Invalid` if a part is not within its payload, or has other room than it needs; those of reading. What was given to
    /// be filled is then unspecified.
    pub fn read_payloads(&self, parts: Vec<Part<'_>>) -> Result<Vec<Bytes>> {
        payload::read_many(self.space.as_ref(), parts)
    }

    /// Whether reading takes round trips to a store, so that asking for several things at once is worth while.
    pub fn is_remote(&self) -> bool {
        self.space.is_remote()
    }

    /// Stages the return of a payload's space. Readers of older snapshots keep the bytes. A payload written since the last
    /// commit is given back at once.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; `Invalid` if the extent is free already.
    pub fn free_payload(&self, e: &Extent) -> Result<()> {
        let _s = self.writable()?;
        if e.is_empty() { Ok(()) } else { self.space.free_payload(e.place()) }
    }

    /// Makes all that is staged one new version, and returns its number; the present one if nothing is staged.
    ///
    /// When this returns, the version is seen by every reader that opens or refreshes, and survives what the
    /// [`SyncPolicy`](crate::SyncPolicy) says. After an error nothing of it is seen and all of it is still staged, unless the
    /// error is `Broken`: then only reopening can tell.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `Conflict`, `NoSpace`, `Io`, `Store`.
    pub fn commit(&self) -> Result<u64> {
        if self.many {
            return self.commit_many();
        }
        let mut s = self.writable()?;
        let version = s.version;
        Ok(self.commit_staged(&mut s)?.unwrap_or(version))
    }

    /// `None` when one of the other writers was first.
    pub(crate) fn commit_staged(&self, s: &mut State) -> Result<Option<u64>> {
        if s.staged.is_empty() && !self.space.has_freed() {
            return Ok(Some(s.version));
        }
        let entries = record::encode_changes(s.staged.iter());
        let bytes = match self.space.commit(s.version + 1, &entries) {
            Ok(Commit::Done(bytes)) => bytes,
            Ok(Commit::Behind) => return Ok(None),
            Err(e) => return Err(note_broken(s, e)),
        };
        s.version += 1;
        let staged = std::mem::take(&mut s.staged);
        s.staged_bytes = 0;
        lay_layer_over(&mut s.log, staged);
        s.log_bytes += bytes;
        s.log_records += 1;
        let long =
            s.log_bytes > self.bytes_bound || s.log_records > self.records_bound || self.folds_cheaply(s);
        if (long || self.space.is_crowded())
            && let Err(e) = self.checkpoint(s)
        {
            // The version is committed. Only the log stays long; the next commit tries again.
            tracing::warn!(error = %e, "a checkpoint failed");
            note_broken(s, e);
        }
        Ok(Some(s.version))
    }

    /// Whether the log is worth folding before it is long: where the same few keys change again and again, as in a dataset
    /// that grows, that writes little, and every reader that opens is spared the records.
    fn folds_cheaply(&self, s: &State) -> bool {
        let pages = s.log.len() as u64 * self.space.shape().page as u64;
        !self.many && !self.space.is_remote() && s.log_bytes > pages.max(WORTH_FOLDING)
    }

    fn checkpoint(&self, s: &mut State) -> Result<()> {
        if !self.many {
            return self.fold(s);
        }
        if !self.space.begin_fold() {
            return Ok(());
        }
        let done = self.fold(s);
        self.space.end_fold();
        match done {
            // Another writer was first.
            Err(e) if *e.kind() == ErrorKind::Conflict => Ok(()),
            other => other,
        }
    }

    fn fold(&self, s: &mut State) -> Result<()> {
        let done = fold::fold(self.tree(s.root), &s.log).and_then(|root| {
            self.space.fold_commit(Base { version: s.version, root })?;
            Ok(root)
        });
        match done {
            Ok(root) => {
                s.root = root;
                s.log.clear();
                (s.log_bytes, s.log_records) = (0, 0);
                Ok(())
            }
            Err(e) => {
                self.space.fold_rollback();
                Err(e)
            }
        }
    }

    /// Folds the log and gives back what nobody needs: the free end of a file; in an object store, objects in which nothing is in
    /// use since the retention time, and those that writers left that died before their commit. Returns how many bytes the
    /// container takes less. What is staged stays staged.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; those of reading and writing. What was committed is safe all the same.
    pub fn vacuum(&self) -> Result<u64> {
        let mut s = self.writable()?;
        let before = self.space.size()?;
        if let Err(e) = self.checkpoint(&mut s) {
            return Err(note_broken(&mut s, e));
        }
        self.space.sweep()?;
        Ok(before.saturating_sub(self.space.size()?))
    }

    /// Forgets all that is staged, payloads written since the last commit included.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn rollback(&self) -> Result<()> {
        let mut s = self.writable()?;
        s.staged.clear();
        s.staged_bytes = 0;
        s.unmerged.clear();
        self.space.rollback()
    }

    /// Moves a reader to the newest version; true if that is another one. A writer is always at the newest; one of many
    /// gets there by [`advance`](Ledger::advance).
    ///
    /// # Errors
    /// Those of reading. The old snapshot then stays in use.
    pub fn refresh(&self) -> Result<bool> {
        match self.access {
            Access::ReadWrite => Ok(false),
            Access::ReadOnly => self.refresh_state(&mut self.lock()),
        }
    }

    fn refresh_state(&self, s: &mut State) -> Result<bool> {
        let Some(news) = self.space.news()? else { return Ok(false) };
        let changed = news.version != s.version;
        self.learn(s, news)?;
        Ok(changed)
    }

    pub(crate) fn learn(&self, s: &mut State, news: News) -> Result<()> {
        let mut fresh = Layer::new();
        let mut bytes = 0;
        let count = news.records.len() as u64;
        for record in news.records {
            bytes += record.len() as u64;
            let damaged = |why: &str| Error::corrupt(self.space.target(), "record", why);
            let changes = record::decode(&record).and_then(|r| r.changes()).map_err(damaged)?;
            lay_over(&mut fresh, changes);
        }
        if let Some(base) = news.restart {
            s.root = base.root;
            if let (Some(root), Some(bytes)) = (&base.root, news.root) {
                // Were it damaged, whoever needs it would be told then.
                let _damage_is_met_again = self.tree(s.root).take_in(root, bytes);
            }
            s.log = fresh;
            (s.log_bytes, s.log_records) = (bytes, count);
        } else {
            lay_over(&mut s.log, fresh);
            s.log_bytes += bytes;
            s.log_records += count;
        }
        s.version = news.version;
        Ok(())
    }

    /// The versions that can be opened with [`Options::at`], newest first, at most so many. They are all those whose bytes are
    /// whole: at least those that were replaced no longer ago than the retention time.
    ///
    /// # Errors
    /// Those of reading.
    pub fn versions(&self, most: usize) -> Result<Vec<Version>> {
        self.space.versions(most)
    }

    /// Bytes of keys and values that are staged, payloads not counted.
    pub fn staged_bytes(&self) -> u64 {
        self.lock().staged_bytes
    }

    /// Bytes that the container takes in its file or store.
    ///
    /// # Errors
    /// Those of the file system or the store.
    pub fn size(&self) -> Result<u64> {
        self.space.size()
    }

    /// Where in its file it begins, in bytes: behind a user block. `None` for one in an object store.
    pub fn offset_in_file(&self) -> Option<u64> {
        self.space.offset_in_file()
    }

    /// What makes this container the same as another opened one.
    pub fn identity(&self) -> Identity {
        self.space.identity()
    }
}

/// Logs up to this many bytes are read at once, in no time.
const WORTH_FOLDING: u64 = 64 << 10;

/// Lays a layer over another: two of about the same size are joined in one walk.
fn lay_layer_over(layer: &mut Layer, mut over: Layer) {
    if over.len() > layer.len() / 8 {
        layer.append(&mut over);
    } else {
        lay_over(layer, over);
    }
}

fn lay_over(layer: &mut Layer, changes: impl IntoIterator<Item = record::Change>) {
    for (k, v) in changes {
        layer.insert(k, v);
    }
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
        assert!((WORTH_FOLDING / 2..=WORTH_FOLDING).contains(&longest(2)), "two keys");
        assert!(longest(600) > WORTH_FOLDING * 3, "as many keys as commits");
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
