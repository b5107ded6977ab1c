//! The opened container: its state, and the operations on the container as a whole.

mod flush;
mod open;

pub use open::read_record;

use crate::CodecProvider;
use crate::attribute::{LongValues, OpenAttributes, Unstored};
use crate::chunk::admission::Latency;
use crate::chunk::cache::BlockCache;
use crate::chunk::read_set::Reads;
use crate::dataset::Dataset;
use crate::heap::HeapState;
use crate::id_map::{IdHashes, IdMap};
use crate::ids::Ids;
use crate::listing_cache::ListingCache;
use crate::loss;
use crate::multi_writer::RemoteChanges;
use crate::registry::RegistryKey;
use crate::statistics::{ReportAtClose, Statistics};
use crate::{Error, ErrorKind, ObjectId, OnConflict, Result, Together, registry};
use bytes::Bytes;
use h5lake_ledger::each_entry;
use h5lake_ledger::locks::{Mutex, MutexGuard, RwLock};
use h5lake_ledger::{Ledger, LockFiles, LockPolicy};
use h5lake_records::record::{ContainerRecord, HeaderRecord};
use lru::LruCache;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Capacity of the cache of decoded headers, in headers.
pub(crate) const MAX_CACHED_HEADERS: usize = 8192;

/// The state of an open container that changes, behind one lock. The lock is never held while a function of the caller
/// runs, and never while an [`OpenObject`](crate::OpenObject) is dropped that could be the last handle of its object.
pub(crate) struct State {
    pub headers: LruCache<u64, Arc<HeaderRecord>, IdHashes>,
    /// Changed headers that are not staged in the ledger yet. The header of a group changes with each of its links and
    /// is staged once.
    pub unstored: IdMap<Arc<HeaderRecord>>,
    /// New objects without links. Their orphan marks are not staged yet, because most objects get a link before the next flush.
    pub unmarked: BTreeSet<u64>,
    pub lists: ListingCache,
    pub attributes: OpenAttributes,
    /// The attribute that changed last, if the change is not staged yet.
    pub unstored_attribute: Option<Unstored>,
    /// Incremented when attributes change without the handles that have them open.
    pub edition: u64,
    pub datasets: IdMap<Weak<Dataset>>,
    pub heap: HeapState,
    pub ids: Ids,
    /// Remote commits that are known and not merged yet.
    pub remote: RemoteChanges,
}

impl State {
    /// Caches a decoded header. The cache grows with its use, because allocating its full capacity at each open would
    /// cost more than all other steps of the open.
    pub(crate) fn keep_header(&mut self, id: u64, header: Arc<HeaderRecord>) {
        self.headers.put(id, header);
        if self.headers.len() > MAX_CACHED_HEADERS {
            self.headers.pop_lru();
        }
    }
}

/// Objects that the handles of this process have open.
#[derive(Default)]
pub(crate) struct OpenObjects {
    /// Number of open handles per object.
    pub(crate) counts: Mutex<IdMap<u32>>,
    /// Objects that have lost their last handle. They are checked when the state is locked next.
    pub(crate) closed: Mutex<Vec<u64>>,
    /// Open objects with disabled metadata flushes, see `corked.rs`.
    pub(crate) corked: Mutex<HashSet<u64, IdHashes>>,
}

/// A stamp of the visible content: it differs once anything was changed here, or another version is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition {
    changes: u64,
    version: u64,
}

/// An opened container, which HDF5 calls a file. Opened once per process and shared.
pub struct Container {
    pub(crate) ledger: Ledger,
    state: Mutex<State>,
    pub(crate) blocks: Arc<Mutex<BlockCache>>,
    pub(crate) handles: OpenObjects,
    pub(crate) long_values: LongValues,
    /// Groups created here that were merged with a group of another writer, and that group.
    pub(crate) joined: RwLock<HashMap<u64, u64>>,
    /// Lenders of codecs for datasets that are not open here.
    pub(crate) lenders: Mutex<Vec<Weak<dyn CodecProvider>>>,
    /// The error of a loss that no call has reported yet.
    unreported: Mutex<Option<Error>>,
    /// Incremented with each change.
    changes: AtomicU64,
    /// The value of `changes` when a flush last failed and its caller got the error.
    reported_changes: AtomicU64,
    record: ContainerRecord,
    place: Mutex<Option<RegistryKey>>,
    /// This container, for code that needs a shared reference to it.
    me: OnceLock<Weak<Container>>,
    name: String,
    file_number: u64,
    writable: bool,
    distance: Latency,
    /// True if only the thread that called for the data may read.
    reads_in_caller: bool,
    /// True if the container is in a store that retains nothing of a put's input, so that buffers may be lent to a put.
    pub(crate) takes_lent: bool,
    lock: LockPolicy,
    pub(crate) lock_files: Option<LockFiles>,
    /// The processes that opened the container together with this one.
    pub(crate) together: Option<Together>,
    /// True once all these processes have closed it.
    pub(crate) has_parted: AtomicBool,
    /// The behaviour of a flush that encounters a conflict.
    pub(crate) on_conflict: OnConflict,
    /// The data that this writer has read since its last flush, in multi-writer mode.
    pub(crate) reads: Reads,
    /// True once a vacuum has freed the unused space and reported its size.
    pub(crate) is_vacuumed: AtomicBool,
    pid: u32,
    statistics: Arc<Statistics>,
    /// Dropped last, so that it reports the complete statistics.
    _report_at_close: ReportAtClose,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("name", &self.name).field("writable", &self.writable).finish()
    }
}

impl Container {
    pub(crate) fn records_version(&self) -> u32 {
        self.record.version
    }

    /// Returns a shared reference to this container; `None` while it is being dropped.
    pub(crate) fn shared(&self) -> Option<Arc<Self>> {
        self.me.get().and_then(Weak::upgrade)
    }

    pub(crate) fn set_place(self: &Arc<Self>, place: RegistryKey) {
        let _only_once = self.me.set(Arc::downgrade(self));
        *self.place.lock() = Some(place);
    }

    /// Locks the state, and deletes objects without links that have lost their last handle.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        self.reap(&mut state);
        state
    }

    /// Deletes objects like [`Self::state`] if the lock is free; otherwise the present or the next holder of the lock
    /// deletes them.
    pub(crate) fn reap_if_free(&self) {
        if let Some(mut state) = self.state_if_free() {
            self.reap(&mut state);
        }
    }

    /// Returns the state if its lock is free, without deleting closed objects.
    pub(crate) fn state_if_free(&self) -> Option<MutexGuard<'_, State>> {
        self.state.try_lock()
    }

    /// Returns whether other processes may also have the container open for writing.
    pub fn has_many_writers(&self) -> bool {
        self.ledger.is_shared()
    }

    /// Returns the stamp of the visible content.
    pub fn edition(&self) -> Edition {
        Edition { changes: self.changes.load(Ordering::Relaxed), version: self.ledger.version() }
    }

    /// Returns whether changes are allowed.
    pub fn writable(&self) -> bool {
        self.writable
    }

    /// Returns a number that is the same for every open of this container in this process; never 0.
    pub fn file_number(&self) -> u64 {
        self.file_number
    }

    /// Returns the ledger with the entries of the container.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the size of the container in bytes.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn size(&self) -> Result<u64> {
        Ok(self.ledger.size()?)
    }

    /// Opens the container's file anew for reading, even if it was renamed or replaced since. Returns `None` if the
    /// container is not a file of the file system.
    pub fn reopened_file(&self) -> Option<std::io::Result<std::fs::File>> {
        self.ledger.reopened_file()
    }

    /// Returns the root group.
    pub fn root(&self) -> ObjectId {
        ObjectId::ROOT
    }

    /// Returns the file creation properties, as given at creation.
    pub fn creation_properties(&self) -> Bytes {
        self.record.creation_properties.clone()
    }

    /// Returns the size of the user block in bytes: of the bytes before the container in its file, or else as requested
    /// at creation.
    pub fn user_block(&self) -> u64 {
        self.ledger.offset_in_file().unwrap_or(self.record.user_block)
    }

    /// Returns the container's name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether reads take about as long as memory copies.
    pub(crate) fn near(&self) -> bool {
        self.distance != Latency::Far
    }

    /// Returns whether threads other than the calling thread may read.
    pub(crate) fn reads_in_threads(&self) -> bool {
        !self.reads_in_caller
    }

    pub(crate) fn distance(&self) -> Latency {
        self.distance
    }

    /// Returns whether this process opened the container. A forked child may not change it.
    pub(crate) fn is_ours(&self) -> bool {
        self.pid == h5lake_ledger::process::id()
    }

    pub(crate) fn check_writable(&self, what: &str) -> Result<()> {
        if self.writable {
            self.changes.fetch_add(1, Ordering::Relaxed);
            // Changes of a forked child would exist only in its memory, and would be lost when it ends.
            return Ok(self.ledger.check_opener()?);
        }
        let text = format!("{}: {what}: no write intent on file, it was opened read-only", self.name);
        Err(Error::new(ErrorKind::ReadOnly, text))
    }

    /// Passes all entries under a prefix to `use_entry`, in order of their keys.
    pub(crate) fn each(
        &self,
        prefix: &[u8],
        use_entry: impl FnMut(Bytes, Bytes) -> Result<()>,
    ) -> Result<()> {
        each_entry(&self.ledger, prefix, None, use_entry)
    }
}

impl Drop for Container {
    /// Commits the changes made since the file's own handle was closed. A forked child writes nothing.
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        if let Some(place) = self.place.get_mut().take() {
            registry::remove(&place);
        }
        // The close has already reported the loss.
        if self.is_lost() {
            return;
        }
        // A loss that no flush has reported must not prevent the commit of the other changes.
        if let Some(error) = self.unreported.get_mut().take() {
            loss::report(&error.to_string());
        }
        let is_reported =
            self.changes.load(Ordering::Relaxed) == self.reported_changes.load(Ordering::Relaxed);
        if let Err(e) = self.flush_at_drop() {
            tracing::error!("{}: the last changes could not be committed: {e}", self.name);
            if !is_reported {
                let name = &self.name;
                loss::report(&format!(
                    "what was changed in {name} since its last commit is lost: its last user ended, and the commit failed: {e}"
                ));
            }
        } else if self.writable
            && let Err(e) = self.compact_at_close()
        {
            tracing::warn!("{}: free space was not reclaimed: {e}", self.name);
        }
        tracing::info!(container = self.name, "closed");
    }
}
