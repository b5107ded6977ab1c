//! The opened container: what it holds, and what is asked of it.

mod flush;
mod open;

pub(crate) use open::{open_ledger, read_record};

use crate::attribute::{LongValues, OpenAttributes, Unstored};
use crate::chunk::admission::Latency;
use crate::chunk::cache::BlockCache;
use crate::chunk::read_set::Reads;
use crate::dataset::Dataset;
use crate::entries::each_entry;
use crate::filters::CodecProvider;
use crate::heap::HeapState;
use crate::id_map::{IdHashes, IdMap};
use crate::ids::{Ids, ROOT};
use crate::listing_cache::ListingCache;
use crate::loss;
use crate::multi_writer::RemoteChanges;
use crate::record::{ContainerRecord, HeaderRecord};
use crate::registry::RegistryKey;
use crate::statistics::{Statistics, TellAtClose};
use crate::{Error, ErrorKind, ObjectId, OnConflict, Result, Together, registry};
use bytes::Bytes;
use h5lake_ledger::locks::{Mutex, MutexGuard, RwLock};
use h5lake_ledger::{Ledger, LockPolicy};
use lru::LruCache;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// The version of the records of new containers. Later ones are refused; older ones stay as they are.
pub(crate) const RECORDS_VERSION: u32 = LOCAL_HEAPS_VERSION;
/// From this version on attributes have inline heaps.
const LOCAL_HEAPS_VERSION: u32 = 2;
/// Decoded headers that are kept.
pub(crate) const MAX_CACHED_HEADERS: usize = 8192;

/// What changes while a container is open; one lock for all of it. No lock is held while a caller's function
/// runs, and no [`OpenObject`](crate::OpenObject) is dropped under it that could be the last.
pub(crate) struct State {
    pub headers: LruCache<u64, Arc<HeaderRecord>, IdHashes>,
    /// Changed headers that the ledger does not have yet: a group's changes with each of its links, and is staged once.
    pub unstored: IdMap<Arc<HeaderRecord>>,
    /// New objects without links, whose marks the ledger does not have yet: most get a link before the next flush.
    pub unmarked: BTreeSet<u64>,
    pub lists: ListingCache,
    pub attributes: OpenAttributes,
    /// The attribute that changed last, if the ledger does not have it yet.
    pub unstored_attribute: Option<Unstored>,
    /// Counts up when attributes change otherwise than through whoever has them open.
    pub edition: u64,
    pub datasets: IdMap<Weak<Dataset>>,
    pub heap: HeapState,
    pub ids: Ids,
    /// What is known of other writers' commits and not merged yet.
    pub others: RemoteChanges,
}

impl State {
    /// Keeps a decoded header. The cache grows with its use: room for all of it at each opening costs more than the rest.
    pub(crate) fn keep_header(&mut self, id: u64, header: Arc<HeaderRecord>) {
        self.headers.put(id, header);
        if self.headers.len() > MAX_CACHED_HEADERS {
            self.headers.pop_lru();
        }
    }
}

/// What the handles of this process hold open.
#[derive(Default)]
pub(crate) struct OpenObjects {
    /// How often each object is open.
    pub(crate) counts: Mutex<IdMap<u32>>,
    /// Objects whose last handle was dropped, to be looked at when the state is next locked.
    pub(crate) closed: Mutex<Vec<u64>>,
    /// Open objects whose metadata flushes are disabled, see `corked.rs`.
    pub(crate) corked: Mutex<HashSet<u64, IdHashes>>,
}

/// A mark of what a container shows: another one once anything was changed here, or another version is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition {
    changes: u64,
    version: u64,
}

/// An opened container: what HDF5 calls a file. Opened once per process and shared.
pub struct Container {
    pub(crate) ledger: Ledger,
    state: Mutex<State>,
    pub(crate) blocks: Arc<Mutex<BlockCache>>,
    pub(crate) handles: OpenObjects,
    pub(crate) long_values: LongValues,
    /// Groups made here that became one with another writer's, and that one.
    pub(crate) joined: RwLock<HashMap<u64, u64>>,
    /// Who lends codecs for datasets that nobody has open.
    pub(crate) lenders: Mutex<Vec<Weak<dyn CodecProvider>>>,
    /// What was lost when nobody could be told.
    untold: Mutex<Option<Error>>,
    /// Counts up with each change.
    changes: AtomicU64,
    /// How far that was when a flush failed, which told its caller.
    told_changes: AtomicU64,
    record: ContainerRecord,
    place: Mutex<Option<RegistryKey>>,
    /// This container, for those who have to hold it.
    me: OnceLock<Weak<Container>>,
    name: String,
    file_number: u64,
    writable: bool,
    distance: Latency,
    /// Only a thread that called for it may read.
    reads_in_caller: bool,
    /// It is in a store that keeps nothing of what it is given: that may be lent to a put.
    pub(crate) takes_lent: bool,
    lock: LockPolicy,
    /// The processes that opened it together with this one.
    pub(crate) together: Option<Together>,
    /// They have closed it since, all of them.
    pub(crate) has_parted: AtomicBool,
    /// What a flush does that meets a conflict.
    pub(crate) on_conflict: OnConflict,
    /// What this writer has read since its last flush, where others write too.
    pub(crate) reads: Reads,
    /// A vacuum has given back what it could, and told how much that was.
    pub(crate) is_vacuumed: AtomicBool,
    pid: u32,
    statistics: Arc<Statistics>,
    /// Dropped last.
    _tell_at_close: TellAtClose,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("name", &self.name).field("writable", &self.writable).finish()
    }
}

impl Container {
    /// Whether the blobs of its attributes lie in their records.
    pub(crate) fn has_local_heaps(&self) -> bool {
        self.record.version >= LOCAL_HEAPS_VERSION
    }

    pub(crate) fn records_version(&self) -> u32 {
        self.record.version
    }

    /// Itself, to be held; nothing while it is being dropped.
    pub(crate) fn shared(&self) -> Option<Arc<Self>> {
        self.me.get().and_then(Weak::upgrade)
    }

    pub(crate) fn set_place(self: &Arc<Self>, place: RegistryKey) {
        let _only_once = self.me.set(Arc::downgrade(self));
        *self.place.lock() = Some(place);
    }

    /// Locks the state, and removes objects that were closed for the last time without a link.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        self.reap(&mut state);
        state
    }

    /// Like [`Self::state`], or nothing when another holds the lock; that one, or the next, will reap.
    pub(crate) fn reap_if_free(&self) {
        if let Some(mut state) = self.state_if_free() {
            self.reap(&mut state);
        }
    }

    /// The state, if nobody has it locked; nothing is reaped.
    pub(crate) fn state_if_free(&self) -> Option<MutexGuard<'_, State>> {
        self.state.try_lock()
    }

    /// Whether other processes may have it open for writing, too.
    pub fn has_many_writers(&self) -> bool {
        self.ledger.is_one_of_many()
    }

    /// What is shown now.
    pub fn edition(&self) -> Edition {
        Edition { changes: self.changes.load(Ordering::Relaxed), version: self.ledger.version() }
    }

    /// Whether changes are allowed.
    pub fn writable(&self) -> bool {
        self.writable
    }

    /// A number that is the same for every open of this container in this process; never 0.
    pub fn file_number(&self) -> u64 {
        self.file_number
    }

    /// Bytes that the container takes.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn size(&self) -> Result<u64> {
        Ok(self.ledger.size()?)
    }

    /// Its file, opened anew to read, also if it was renamed or replaced since. `None` for one that is no file of the file system.
    pub fn reopened_file(&self) -> Option<std::io::Result<std::fs::File>> {
        self.ledger.reopened_file()
    }

    /// The root group.
    pub fn root(&self) -> ObjectId {
        ROOT
    }

    /// The file creation properties, as given at creation.
    pub fn creation_properties(&self) -> Bytes {
        self.record.creation_properties.clone()
    }

    /// Bytes of the user block: those in front of it in its file as it is, or as they were asked for at creation.
    pub fn user_block(&self) -> u64 {
        self.ledger.offset_in_file().unwrap_or(self.record.user_block)
    }

    /// The container's name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether reads are answered as quickly as memory copies.
    pub(crate) fn near(&self) -> bool {
        self.distance != Latency::Far
    }

    /// Whether other threads than those that called for it may read.
    pub(crate) fn reads_in_threads(&self) -> bool {
        !self.reads_in_caller
    }

    pub(crate) fn distance(&self) -> Latency {
        self.distance
    }

    /// Whether this is the process that opened the container: a forked child changes nothing.
    pub(crate) fn is_ours(&self) -> bool {
        self.pid == h5lake_ledger::process::id()
    }

    pub(crate) fn check_writable(&self, what: &str) -> Result<()> {
        if self.writable {
            self.changes.fetch_add(1, Ordering::Relaxed);
            // What a forked child changed would stay in its memory, and be lost with it.
            return Ok(self.ledger.check_opener()?);
        }
        let text = format!("{}: {what}: no write intent on file, it was opened read-only", self.name);
        Err(Error::new(ErrorKind::ReadOnly, text))
    }

    /// All entries under a prefix, in order of their keys, one by one.
    pub(crate) fn each(
        &self,
        prefix: &[u8],
        use_entry: impl FnMut(Bytes, Bytes) -> Result<()>,
    ) -> Result<()> {
        each_entry(&self.ledger, prefix, None, use_entry)
    }
}

impl Drop for Container {
    /// What outlived the file's own handle is committed with the last of it. A forked child writes nothing.
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        if let Some(place) = self.place.get_mut().take() {
            registry::remove(&place);
        }
        // Whoever closed it was told what is lost.
        if self.is_lost() {
            return;
        }
        // What no flush has told is no reason to lose the rest.
        if let Some(lost) = self.untold.get_mut().take() {
            loss::tell(&lost.to_string());
        }
        let is_told = self.changes.load(Ordering::Relaxed) == self.told_changes.load(Ordering::Relaxed);
        if let Err(e) = self.flush_at_drop() {
            tracing::error!("{}: the last changes could not be committed: {e}", self.name);
            if !is_told {
                let name = &self.name;
                loss::tell(&format!(
                    "what was changed in {name} since its last commit is lost: its last user ended, and the commit failed: {e}"
                ));
            }
        } else if self.writable
            && let Err(e) = self.compact_at_close()
        {
            tracing::warn!("{}: dead room was not given back: {e}", self.name);
        }
        tracing::info!(container = self.name, "closed");
    }
}
