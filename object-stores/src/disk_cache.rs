//! A cache of immutable objects on local disk, in front of a store that is far away.

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

/// Objects are kept in blocks of so many bytes: what is not asked for is not fetched, but for the rest of a block.
const BLOCK_BYTES: u64 = 256 << 10;

/// Which objects never change once they are there, under no key that is used again.
type Immutable = dyn Fn(&Key) -> bool + Send + Sync;

/// Keeps what was read of immutable objects in a local directory, and reads it from there the next time, in any process.
///
/// Which objects are immutable the caller says; all others pass through. Each block that is kept has a checksum and the name
/// of its object in its file: a file that is damaged, or another object's, is removed and its bytes are fetched again. Files
/// appear whole, by a rename, and are not synced. Any number of processes may share a directory; each of them keeps it to the
/// bound, give or take what it added since it last looked (a sixteenth), and removes what was used longest ago. Where the
/// directory cannot be read or written, everything is fetched.
///
/// A read of one version ([`get_unchanged`](ObjectStore::get_unchanged)) is kept under that version's etag, whatever the object
/// is. A listing, a `head` and a read of a whole object always ask the store.
#[derive(Clone)]
pub struct DiskCache {
    inner: Arc<dyn ObjectStore>,
    folder: Arc<Folder>,
    immutable: Arc<Immutable>,
    changes: Arc<Changes>,
}

/// Counts changes of objects through a store: what was read meanwhile is not kept.
#[derive(Debug, Default)]
struct Changes {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Changes {
    /// How many have begun, if all of them have ended.
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

/// The folders in use: stores of one process share what is known of them.
static FOLDERS: PerProcess<Folders> = PerProcess::new();

fn folders() -> MutexGuard<'static, HashMap<PathBuf, Weak<Folder>>> {
    let Ok(folders) = FOLDERS.get_or_make(|| Ok::<_, Infallible>(Mutex::default()));
    folders.lock()
}

impl DiskCache {
    /// `inner`, with what `immutable` holds for kept in the directory `path`, which is made if it is missing, for this user
    /// alone. `bound` is in bytes; of several stores in one process on one directory the first one's counts.
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

    /// As [`open`](Self::open); without a cache for a store that is gone with its process, and with a warning once where the
    /// directory cannot be used: what is kept saves time and nothing else.
    pub fn open_if_possible(
        inner: Arc<dyn ObjectStore>,
        path: &Path,
        bound: u64,
        immutable: impl Fn(&Key) -> bool + Send + Sync + 'static,
    ) -> Arc<dyn ObjectStore> {
        static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        // What ends with the process has other objects under the same names the next time.
        if !inner.capabilities().persistent {
            return inner;
        }
        match DiskCache::open(inner.clone(), path, bound, immutable) {
            Ok(cached) => Arc::new(cached),
            Err(e) => {
                if WARNED.lock().insert(path.to_owned()) {
                    // A closed stderr is no reason to fail.
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

    /// Reads a range whose beginning and end are known to make sense, by blocks. With a version only what is of that one.
    fn cached(
        &self,
        key: &Key,
        range: Range<u64>,
        version: Option<&ObjectMeta>,
    ) -> Result<(ObjectMeta, Bytes)> {
        let mut name = self.inner.place_of(key.as_str());
        if let Some(ObjectMeta { etag: Some(etag), size, modified, .. }) = version {
            // No key has a line feed. Some stores count their etags, and begin anew when they are made anew. All tell the second.
            let seconds = modified.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
            name = format!("{name}\n{etag} {size} {seconds}");
        }
        let blocks = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
        let mut found: Vec<Option<Block>> = blocks.clone().map(|n| self.folder.read(&name, n)).collect();
        let mut meta = found.iter().flatten().next().map(|block| block.meta(key));
        let mut at = 0;
        while at < found.len() {
            // The object may end before; then there is nothing more to fetch.
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

    /// Fetches whole blocks, and keeps them.
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
        // A change that came between the look and the keeping has forgotten the object before.
        if before.is_some() && self.changes.settled() != before {
            self.folder.forget(name);
        }
        Ok((got.meta, blocks))
    }

    /// A range as it has to be to be looked for in blocks.
    fn is_cacheable(&self, key: &Key, range: &Range<u64>) -> bool {
        makes_sense(range) && (self.immutable)(key)
    }

    /// Changes an object: what is kept of it is forgotten.
    fn changed<T>(&self, keys: &[Key], act: impl FnOnce() -> Result<T>) -> Result<T> {
        let kept: Vec<_> = keys.iter().filter(|key| (self.immutable)(key)).collect();
        if kept.is_empty() {
            return act();
        }
        // No lock is held while the store works: others' changes go beside this one, and a child may be forked.
        self.changes.begun.fetch_add(1, Ordering::SeqCst);
        let answer = act();
        kept.iter().for_each(|key| self.folder.forget(&self.inner.place_of(key.as_str())));
        self.changes.ended.fetch_add(1, Ordering::SeqCst);
        answer
    }
}

/// Whether the blocks of a range have numbers.
fn makes_sense(range: &Range<u64>) -> bool {
    range.start < range.end && range.end <= u64::MAX - BLOCK_BYTES
}

/// The bytes of a range out of neighbouring blocks, the first of which begins at `first`.
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
        // A weak etag does not tell bytes from others that mean the same.
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
        // The store decides whether the object has changed, so that blocks on the disk cannot.
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
