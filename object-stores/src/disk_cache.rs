//! A cache of immutable objects on the local disk, in front of a remote store.

mod blocks;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::UNIX_EPOCH;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};

use self::blocks::{Block, Folder};
use crate::per_process::PerProcess;
use crate::store::{check_exact, resolve_range};
use crate::{
    Capabilities, Condition, Error, ErrorKind, Etag, FilterAsk, FilterMatches, GetResult, Key, ListPage,
    ObjectMeta, ObjectStore, Operation, PutMode, PutPayload, PutResult, PutStream, Requests, Result,
    printable,
};

/// The length of a block of the cache, in bytes. Bytes that are not requested are not fetched, except for the remainder
/// of a block.
const BLOCK_BYTES: u64 = 256 << 10;

/// A function that returns whether an object is immutable once it exists, and its key is never reused.
type Immutable = dyn Fn(&Key) -> bool + Send + Sync;

/// Caches the read parts of immutable objects in a local directory. Later reads, in any process, use the directory.
///
/// The caller decides which objects are immutable; reads of all other objects pass through. The file of each block
/// contains a checksum and the name of its object: if a file is damaged, or belongs to another object, it is removed
/// and its bytes are fetched again. Files appear whole, by a rename, and are not synced. Any number of processes may
/// share a directory. Each of them enforces the bound, apart from what it has added since it last listed the directory
/// (a sixteenth), and evicts the least recently used blocks. If the directory cannot be read or written, everything is
/// fetched from the store.
///
/// A read of a given version ([`get_unchanged`](ObjectStore::get_unchanged)) is cached under that version's etag, for
/// any object. A listing, a `head` and a read of a whole object always ask the store.
#[derive(Clone)]
pub struct DiskCache {
    inner: Arc<dyn ObjectStore>,
    folder: Arc<Folder>,
    immutable: Arc<Immutable>,
    changes: Arc<Changes>,
}

/// Counts changes of objects through a store: objects that were read during a change are not cached.
#[derive(Debug, Default)]
struct Changes {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Changes {
    /// Returns the number of changes that have begun, if all of them have ended.
    fn settled(&self) -> Option<u64> {
        let ended = self.ended.load(Ordering::SeqCst);
        Some(self.begun.load(Ordering::SeqCst)).filter(|begun| *begun == ended)
    }
}

impl std::fmt::Debug for DiskCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskCache")
            .field("inner", &self.inner)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

type Folders = Mutex<HashMap<PathBuf, Weak<Folder>>>;

/// The folders in use. Stores of one process share the state of a folder.
static FOLDERS: PerProcess<Folders> = PerProcess::new();

fn folders() -> MutexGuard<'static, HashMap<PathBuf, Weak<Folder>>> {
    let Ok(folders) = FOLDERS.get_or_make(|| Ok::<_, Infallible>(Mutex::default()));
    folders.lock()
}

impl DiskCache {
    /// Opens a cache of the objects of `inner` for which `immutable` is true, in the directory `path`. If the directory
    /// is missing, it is made, for this user alone. `bound` is in bytes; if several stores in one process use the same
    /// directory, the bound of the first one applies.
    ///
    /// # Errors
    /// If the directory cannot be made or is no directory.
    pub fn open(
        inner: Arc<dyn ObjectStore>,
        path: &Path,
        bound: u64,
        immutable: impl Fn(&Key) -> bool + Send + Sync + 'static,
    ) -> Result<DiskCache> {
        let mut folders = folders();
        let failed = |e| {
            Error::io(Operation::Open, e)
                .because(format!("the local cache {} cannot be used", path.display()))
        };
        let real = blocks::make(path).map_err(failed)?;
        let folder = match folders.get(&real).and_then(Weak::upgrade) {
            Some(folder) => folder,
            None => {
                let folder = Arc::new(Folder::new(real.clone(), bound));
                folders.retain(|_, folder| folder.strong_count() > 0);
                folders.insert(real, Arc::downgrade(&folder));
                folder
            }
        };
        Ok(DiskCache { inner, folder, immutable: Arc::new(immutable), changes: Arc::default() })
    }

    /// Opens a cache as [`open`](Self::open) does. Returns the store without a cache if the store does not outlive its
    /// process, or, with a single warning, if the directory cannot be used, because the cache only saves time.
    pub fn open_if_possible(
        inner: Arc<dyn ObjectStore>,
        path: &Path,
        bound: u64,
        immutable: impl Fn(&Key) -> bool + Send + Sync + 'static,
    ) -> Arc<dyn ObjectStore> {
        static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        // A store that ends with the process has other objects under the same names the next time.
        if !inner.capabilities().persistent {
            return inner;
        }
        match DiskCache::open(inner.clone(), path, bound, immutable) {
            Ok(cached) => Arc::new(cached),
            Err(e) => {
                if WARNED.lock().insert(path.to_owned()) {
                    // An error of stderr, which may be closed, is ignored.
                    writeln!(
                        std::io::stderr(),
                        "h5lake: going on without a local cache: {}",
                        printable(&e.to_string())
                    )
                    .ok();
                }
                inner
            }
        }
    }

    /// Reads a range by blocks. The range is known to be valid. With a version, only blocks of that version are used.
    fn cached(
        &self,
        key: &Key,
        range: Range<u64>,
        version: Option<&ObjectMeta>,
    ) -> Result<(ObjectMeta, Bytes)> {
        let mut name = self.inner.place_of(key.as_str());
        if let Some(ObjectMeta { etag: Some(etag), size, modified, .. }) = version {
            // No key contains a line feed. Some stores count their etags, and start again when they are recreated, so
            // the length and the time in seconds, which every store returns, are part of the name.
            let seconds = modified.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
            name = format!("{name}\n{etag} {size} {seconds}");
        }
        let blocks = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
        let mut found: Vec<Option<Block>> = blocks.clone().map(|n| self.folder.read(&name, n)).collect();
        let mut meta = found.iter().flatten().next().map(|block| block.meta(key));
        let mut at = 0;
        while at < found.len() {
            // The object may end here; then no further block is fetched.
            let begins = (blocks.start + at as u64) * BLOCK_BYTES;
            if meta.as_ref().is_some_and(|meta| begins >= meta.size) {
                break;
            }
            if found[at].is_some() {
                at += 1;
                continue;
            }
            let missing = found[at..].iter().take_while(|block| block.is_none()).count();
            let got = self.fetch(key, &name, begins..begins + missing as u64 * BLOCK_BYTES, version)?;
            for (n, part) in got.1.into_iter().enumerate() {
                found[at + n] = Some(part);
            }
            meta = Some(got.0);
            at += missing;
        }
        let meta = meta
            .ok_or_else(|| Error::new(ErrorKind::ShortRead, Operation::Get).at(key).in_store(self.name()))?;
        Ok((meta, joined(found, blocks.start * BLOCK_BYTES, &range)))
    }

    /// Fetches whole blocks, and caches them.
    fn fetch(
        &self,
        key: &Key,
        name: &str,
        range: Range<u64>,
        version: Option<&ObjectMeta>,
    ) -> Result<(ObjectMeta, Vec<Block>)> {
        let before = self.changes.settled();
        let got = match version {
            Some(version) => self.inner.get_unchanged(key, range.clone(), version)?,
            None => self.inner.get(key, Some(range.clone()))?,
        };
        let wanted = range.end.min(got.meta.size).saturating_sub(range.start);
        if got.bytes.len() as u64 != wanted {
            return Err(Error::new(ErrorKind::ShortRead, Operation::Get).at(key).in_store(self.name()));
        }
        let mut blocks = Vec::new();
        let mut rest = got.bytes;
        let mut n = range.start / BLOCK_BYTES;
        while !rest.is_empty() {
            let bytes = rest.split_to(rest.len().min(BLOCK_BYTES as usize));
            let block = Block::new(&got.meta, bytes);
            if before.is_some() && self.changes.settled() == before {
                self.folder.keep(name, n, &block);
            }
            blocks.push(block);
            n += 1;
        }
        // If a change came between the check and the caching, it had invalidated the object before the blocks were
        // cached, so they are invalidated again.
        if before.is_some() && self.changes.settled() != before {
            self.folder.forget(name);
        }
        Ok((got.meta, blocks))
    }

    /// Returns whether a range of an object can be read from blocks.
    fn is_cacheable(&self, key: &Key, range: &Range<u64>) -> bool {
        makes_sense(range) && (self.immutable)(key)
    }

    /// Changes an object, and invalidates its cached blocks.
    fn changed<T>(&self, keys: &[Key], act: impl FnOnce() -> Result<T>) -> Result<T> {
        let kept: Vec<_> = keys.iter().filter(|key| (self.immutable)(key)).collect();
        if kept.is_empty() {
            return act();
        }
        // No lock is held while the store works, so that other changes can run in parallel, and the process can fork.
        self.changes.begun.fetch_add(1, Ordering::SeqCst);
        let answer = act();
        kept.iter().for_each(|key| self.folder.forget(&self.inner.place_of(key.as_str())));
        self.changes.ended.fetch_add(1, Ordering::SeqCst);
        answer
    }
}

/// Returns whether the range is not empty and the numbers of its blocks do not overflow.
fn makes_sense(range: &Range<u64>) -> bool {
    range.start < range.end && range.end <= u64::MAX - BLOCK_BYTES
}

/// Returns the bytes of a range from adjacent blocks, the first of which begins at `first`.
fn joined(blocks: Vec<Option<Block>>, first: u64, range: &Range<u64>) -> Bytes {
    let mut blocks = blocks.into_iter().flatten().map(|block| block.bytes);
    let skip = (range.start - first) as usize;
    let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let Some(one) = blocks.next() else { return Bytes::new() };
    let from = one.slice(skip.min(one.len())..);
    if from.len() >= length {
        return from.slice(..length);
    }
    let mut all = BytesMut::from(from);
    for block in blocks {
        all.extend_from_slice(&block[..block.len().min(length - all.len())]);
    }
    all.freeze()
}

impl ObjectStore for DiskCache {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn honours(&self, condition: Condition) -> bool {
        self.inner.honours(condition)
    }

    fn why_not(&self, condition: Condition) -> Option<String> {
        self.inner.why_not(condition)
    }

    fn keeps_noncurrent(&self, key: &Key) -> Result<Option<bool>> {
        self.inner.keeps_noncurrent(key)
    }

    fn why_not_key(&self, key: &Key) -> Option<String> {
        self.inner.why_not_key(key)
    }

    fn place_of(&self, key: &str) -> String {
        self.inner.place_of(key)
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        let Some(range) = range.clone().filter(|range| self.is_cacheable(key, range)) else {
            return self.inner.get(key, range);
        };
        let (meta, bytes) = self.cached(key, range.clone(), None)?;
        resolve_range(Some(range), meta.size).map_err(|e| e.at(key).in_store(self.name()))?;
        Ok(GetResult { meta, bytes })
    }

    fn get_unchanged(&self, key: &Key, range: Range<u64>, version: &ObjectMeta) -> Result<GetResult> {
        // Equal weak etags do not prove equal bytes.
        let is_exact = version.etag.as_ref().is_some_and(|etag| !etag.is_weak());
        if !is_exact || !makes_sense(&range) {
            return self.inner.get_unchanged(key, range, version);
        }
        let (meta, bytes) = self.cached(key, range.clone(), Some(version))?;
        resolve_range(Some(range), meta.size).map_err(|e| e.at(key).in_store(self.name()))?;
        Ok(GetResult { meta, bytes })
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        // Only the store decides whether the object has changed, so cached blocks are not used.
        self.inner.get_if_changed(key, range, known)
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        let range = offset..offset.saturating_add(buf.len() as u64);
        if !self.is_cacheable(key, &range) {
            return self.inner.get_into(key, offset, buf);
        }
        let in_get_into =
            |e: Error| Error::new(e.kind(), Operation::GetInto).at(key).in_store(self.name()).with_source(e);
        let (meta, bytes) = self.cached(key, range, None).map_err(in_get_into)?;
        check_exact(offset, buf.len() as u64, meta.size).map_err(|e| e.at(key).in_store(self.name()))?;
        buf.copy_from_slice(&bytes);
        Ok(meta)
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.inner.head(key)
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        self.changed(std::slice::from_ref(key), || self.inner.put(key, payload, mode))
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        let inner = self.inner.put_stream(key)?;
        Ok(Box::new(Stream { inner, key: key.clone(), cache: self.clone() }))
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        self.inner.list_page(prefix, start_after, limit)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.changed(std::slice::from_ref(key), || self.inner.delete(key))
    }

    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        self.changed(keys, || self.inner.delete_many(keys))
    }

    fn filters(&self) -> bool {
        self.inner.filters()
    }

    fn filter(&self, key: &Key, asked: &FilterAsk) -> Result<FilterMatches> {
        self.inner.filter(key, asked)
    }

    fn clock(&self) -> Option<std::time::SystemTime> {
        self.inner.clock()
    }

    fn requests(&self) -> Option<Arc<Requests>> {
        self.inner.requests()
    }

    fn forget(&self, key: &Key) {
        self.folder.forget(&self.inner.place_of(key.as_str()));
        self.inner.forget(key);
    }

    fn spend_reserve(&self) -> bool {
        self.inner.spend_reserve()
    }
}

#[derive(Debug)]
struct Stream {
    inner: Box<dyn PutStream>,
    key: Key,
    cache: DiskCache,
}

impl PutStream for Stream {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.inner.write(bytes)
    }

    fn write_bytes(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.write_bytes(bytes)
    }

    fn finish(self: Box<Self>) -> Result<PutResult> {
        let Stream { inner, key, cache } = *self;
        cache.changed(std::slice::from_ref(&key), || inner.finish())
    }

    fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort()
    }
}
