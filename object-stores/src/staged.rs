//! A store that stages its writes in a local folder, and uploads them to the store in the background.
//!
//! Each change becomes a file of a queue, and is visible to this store's readers from then on. Threads upload the queue
//! to the store beneath in order, so that its other readers see a prefix of the changes, never a change without the
//! changes before it.

mod content;
mod drain;
mod folder;
mod inherited;
mod leftovers;
mod operation;
mod queue;
mod state;
#[cfg(test)]
mod tests;
mod writes;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;

use self::content::Content;
pub use self::folder::About;
use self::inherited::Inherited;
pub use self::leftovers::{
    Arrival, Brought, Foreign, Leftover, Pending, has_operations, is_drained, leftovers, needs_sync,
};
use self::operation::{Action, Queued};
use self::queue::Queue;
pub use self::queue::StageUse;
use self::writes::Heads;
use crate::store::{check_exact, resolve_range};
use crate::{
    Capabilities, Condition, Error, ErrorKind, Etag, FilterAsk, FilterMatches, GetResult, Key, ListPage,
    ObjectMeta, ObjectStore, Operation, PutMode, PutPayload, PutResult, PutStream, Requests, Result,
};

/// The time that a caller waits while no operation arrives in the store, if no other time is set.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(600);
/// The number of times that a read looks up an object again after its queued file is gone, because the object has
/// arrived in the store by then.
const MAX_LOOKS: u32 = 3;

/// The role of an object in its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The object is temporary, and belongs to no version: changes bypass the queue.
    Straight,
    /// The lock object, which names the writer. Changes bypass the queue, and the lock is deleted when all queued
    /// operations have arrived.
    Lock,
    /// The manifest, or a numbered copy of it: each put of a head commits the objects that were put before it. The
    /// first put waits until the queue has arrived and then bypasses it, and so does each put without a condition that
    /// the store evaluates.
    Head,
    /// An immutable object under a new, random name: it may arrive in any order relative to other immutable objects.
    Immutable,
    /// Any other object. A put with a condition waits until the queue has arrived, and then bypasses it.
    Other,
}

/// A function that returns the role of each object.
type Roles = dyn Fn(&Key) -> Role + Send + Sync;

/// The options of a stage.
#[derive(Clone, Debug)]
pub struct StageOptions {
    /// The staging directory.
    pub dir: PathBuf,
    /// The limit of the bytes that this stage may take there.
    pub bound: u64,
    /// True if queued operations survive a power loss.
    pub sync: bool,
    /// The time that a caller waits while no operation arrives in the store.
    pub patience: Duration,
    /// The store's URL, for a later process that drains the queue.
    pub url: String,
    /// The container's key.
    pub key: String,
}

/// A store behind a stage, for one writer of one container. See the [module](self).
pub struct StagedStore {
    inner: Arc<dyn ObjectStore>,
    queue: Arc<Queue>,
    dir: PathBuf,
    about: About,
    bound: u64,
    roles: Box<Roles>,
    heads: Mutex<Heads>,
    /// True if the lock object names the queue. If so, the folder is retained: that it exists and is empty shows that
    /// all operations have arrived.
    is_named: AtomicBool,
    /// The process that opened it.
    owner: u32,
    inherited: Inherited,
}

impl std::fmt::Debug for StagedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StagedStore")
            .field("inner", &self.inner)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// The state of an object according to the queue.
enum Look {
    /// The queue has no operation for the object: the store beneath is authoritative.
    Beneath,
    /// A deletion of the object is queued.
    Deleted,
    /// A put of the object with this content is queued.
    Queued(Arc<Queued>, Content),
}

impl StagedStore {
    /// Wraps `inner` with a new stage. `roles` returns the role of each object.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub fn open(
        inner: Arc<dyn ObjectStore>,
        options: StageOptions,
        roles: impl Fn(&Key) -> Role + Send + Sync + 'static,
    ) -> Result<Self> {
        let StageOptions { dir, bound, sync, patience, url, key } = options;
        let failed =
            |e| Error::io(Operation::Open, e).because(format!("the stage {} cannot be used", dir.display()));
        let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        let (place, pid) = (inner.place_of(&key), std::process::id());
        let about = About { url, place, key, host, pid, sync };
        let real = folder::make(&dir).map_err(failed)?;
        let folder = folder::Folder::create(&real, &about, sync).map_err(failed)?;
        Ok(StagedStore {
            queue: Queue::new(inner.clone(), folder, Vec::new(), patience),
            inner,
            dir: real,
            about,
            bound,
            roles: Box::new(roles),
            heads: Mutex::default(),
            is_named: AtomicBool::new(false),
            owner: std::process::id(),
            inherited: Inherited::new(),
        })
    }

    /// Returns the staging directory, which contains the queues of all writers.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the name of this store's queue in the staging directory.
    pub fn queue(&self) -> &str {
        self.queue.folder.name()
    }

    /// Waits until all changes made so far have arrived in the store beneath.
    ///
    /// # Errors
    /// If they cannot arrive, or none of them does for a long time. The operations then stay in the stage, and another
    /// call waits again.
    pub fn drain(&self) -> Result<()> {
        if self.is_own() { self.queue.drain() } else { Ok(()) }
    }

    /// Returns the longest time so far that a change has waited before other readers of the store could see it.
    pub fn lag(&self) -> Duration {
        self.queue.lag()
    }

    /// Returns the counters of the operations that passed through the stage.
    pub fn counts(&self) -> Arc<StageUse> {
        self.queue.counts.clone()
    }

    /// Returns whether operations are pending for which a caller has already waited in vain.
    pub fn is_stuck(&self) -> bool {
        self.is_own() && self.queue.state.lock().is_stuck()
    }

    /// Returns whether this process opened the store. A forked child can read, but has none of the uploading threads.
    fn is_own(&self) -> bool {
        self.owner == std::process::id()
    }

    fn error(&self, kind: ErrorKind, operation: Operation, key: &Key) -> Error {
        Error::new(kind, operation).at(key).in_store(self.name())
    }

    fn look(&self, key: &Key) -> Result<Look> {
        let newest = match self.is_own() {
            true => self.queue.state.lock().newest(key).cloned(),
            false => self.inherited.newest(&self.queue, key)?,
        };
        Ok(match newest {
            None => Look::Beneath,
            Some(queued) => match queued.action {
                Action::Put { content, .. } => Look::Queued(queued, content),
                Action::Delete(_) => Look::Deleted,
            },
        })
    }

    /// Reads a queued object with `read`, which gets the number of the operation; if the object is not queued, calls
    /// `beneath`.
    fn either<T>(
        &self,
        operation: Operation,
        key: &Key,
        read: &mut dyn FnMut(u64, ObjectMeta) -> Result<Option<T>>,
        beneath: &mut dyn FnMut() -> Result<T>,
    ) -> Result<T> {
        for _ in 0..MAX_LOOKS {
            match self.look(key)? {
                Look::Beneath => return beneath(),
                Look::Deleted => return Err(self.error(ErrorKind::NotFound, operation, key)),
                Look::Queued(queued, content) => {
                    let meta = ObjectMeta {
                        key: key.clone(),
                        size: content.length,
                        modified: queued.time,
                        etag: Some(self.queue.etag(queued.number)),
                    };
                    if let Some(done) = read(queued.number, meta)? {
                        return Ok(done);
                    }
                }
            }
        }
        // A forked child finds the queue as it was when the child first read it; files that are gone have arrived in
        // the store.
        if self.is_own() {
            let why = format!("a file is missing in {}", self.queue.folder.path().display());
            return Err(self.error(ErrorKind::Corrupt, operation, key).because(why));
        }
        beneath()
    }

    /// Returns an object's metadata as this store shows it: neither the etag nor the time changes when the object
    /// arrives in the store.
    fn shown(&self, meta: ObjectMeta) -> ObjectMeta {
        if !self.is_own() {
            return meta;
        }
        let operation = self.queue.state.lock().operation_of(&meta.key, meta.etag.as_ref());
        match operation {
            Some((number, modified)) => ObjectMeta { modified, etag: Some(self.queue.etag(number)), ..meta },
            None => meta,
        }
    }

    /// Returns the etag in the store beneath of the version that this store shows with the etag `shown`; `None` if it
    /// is unknown whether that version has arrived.
    fn etag_beneath(&self, key: &Key, shown: &Etag) -> Option<Etag> {
        match self.queue.number_in(shown) {
            None => Some(shown.clone()),
            Some(number) if self.is_own() => self.queue.state.lock().translated(key, number),
            Some(_) => None,
        }
    }

    /// Reads a range of a queued object; `None` if its file is gone.
    fn get_queued(
        &self,
        key: &Key,
        number: u64,
        meta: ObjectMeta,
        range: Option<Range<u64>>,
    ) -> Result<Option<GetResult>> {
        let within = resolve_range(range, meta.size).map_err(|e| e.at(key).in_store(self.name()))?;
        let bytes = self.read_queued(Operation::Get, key, number, within)?;
        Ok(bytes.map(|bytes| GetResult { meta, bytes }))
    }

    /// Reads the bytes of a range of a queued object; `None` if its file is gone.
    fn read_queued(
        &self,
        operation: Operation,
        key: &Key,
        number: u64,
        range: Range<u64>,
    ) -> Result<Option<Bytes>> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        let whole = inherited::read_at(&self.queue.folder, number, range.start, |file| {
            bytes.try_reserve_exact(length).map_err(|_| std::io::ErrorKind::OutOfMemory)?;
            std::io::Read::read_to_end(&mut std::io::Read::take(file, length as u64), &mut bytes)
        });
        match whole {
            Ok(Some(read)) if read == length => Ok(Some(Bytes::from(bytes))),
            Ok(Some(_)) => {
                Err(self.error(ErrorKind::Corrupt, operation, key).because("its file in the stage was cut"))
            }
            Ok(None) => Ok(None),
            Err(e) => Err(self.queue.io(e).at(key)),
        }
    }
}

impl ObjectStore for StagedStore {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn place_of(&self, key: &str) -> String {
        self.inner.place_of(key)
    }

    fn capabilities(&self) -> Capabilities {
        // The store beneath stores the changes that bypass the queue, so its properties apply.
        Capabilities { near: false, ..self.inner.capabilities() }
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

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        let read = &mut |number: u64, meta: ObjectMeta| self.get_queued(key, number, meta, range.clone());
        self.either(Operation::Get, key, read, &mut || {
            let got = self.inner.get(key, range.clone())?;
            Ok(GetResult { meta: self.shown(got.meta), bytes: got.bytes })
        })
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        let read = &mut |number: u64, meta: ObjectMeta| match known.is_still(meta.etag.as_ref()) {
            true => Ok(Some(None)),
            false => Ok(self.get_queued(key, number, meta, range.clone())?.map(Some)),
        };
        self.either(Operation::Get, key, read, &mut || {
            let got = match self.etag_beneath(key, known) {
                Some(known) => self.inner.get_if_changed(key, range.clone(), &known)?,
                None => Some(self.inner.get(key, range.clone())?),
            };
            Ok(got.map(|got| GetResult { meta: self.shown(got.meta), bytes: got.bytes }))
        })
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        let length = buf.len() as u64;
        let into = std::cell::RefCell::new(buf);
        let read = &mut |number: u64, meta: ObjectMeta| {
            check_exact(offset, length, meta.size).map_err(|e| e.at(key).in_store(self.name()))?;
            let filled = inherited::read_at(&self.queue.folder, number, offset, |file| {
                std::io::Read::read_exact(file, &mut into.borrow_mut())
            });
            match filled {
                Ok(filled) => Ok(filled.map(|()| meta)),
                Err(e) => Err(self.queue.io(e).at(key)),
            }
        };
        self.either(Operation::GetInto, key, read, &mut || {
            self.inner.get_into(key, offset, &mut into.borrow_mut()).map(|meta| self.shown(meta))
        })
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.either(Operation::Head, key, &mut |_, meta| Ok(Some(meta)), &mut || {
            self.inner.head(key).map(|meta| self.shown(meta))
        })
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        self.put_by_role(key, payload, mode)
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        self.start_stream(key)
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        if self.is_own() && self.queue.state.lock().touches(prefix) {
            self.drain()?;
        }
        let ListPage { objects, more } = self.inner.list_page(prefix, start_after, limit)?;
        Ok(ListPage { objects: objects.into_iter().map(|meta| self.shown(meta)).collect(), more })
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.delete_by_role(std::slice::from_ref(key))
    }

    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        self.delete_by_role(keys)
    }

    fn clock(&self) -> Option<SystemTime> {
        self.inner.clock()
    }

    fn forget(&self, key: &Key) {
        self.inner.forget(key);
    }

    fn spend_reserve(&self) -> bool {
        self.inner.spend_reserve()
    }

    fn filters(&self) -> bool {
        self.inner.filters()
    }

    fn filter(&self, key: &Key, asked: &FilterAsk) -> Result<FilterMatches> {
        match self.look(key)? {
            Look::Beneath => self.inner.filter(key, asked),
            _ => Err(self
                .error(ErrorKind::Unsupported, Operation::Get, key)
                .because("the object has not arrived")),
        }
    }

    fn requests(&self) -> Option<Arc<Requests>> {
        self.inner.requests()
    }

    fn stage(&self) -> Option<&StagedStore> {
        Some(self)
    }
}

impl Drop for StagedStore {
    fn drop(&mut self) {
        if !self.is_own() {
            return;
        }
        if !self.is_stuck() && !self.queue.has_ended() {
            let _next_drain_reports_pending_writes = self.queue.drain();
        }
        self.queue.end();
        if self.queue.state.lock().is_empty()
            && !self.is_named.load(Ordering::Relaxed)
            && let Err(e) = self.queue.folder.remove()
        {
            tracing::warn!(error = %e, "an empty stage was not removed");
        }
    }
}
