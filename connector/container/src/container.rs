//! The opened container: creation, opening, flushing, refreshing.

use crate::attribute::{OpenAttributes, Unstored};
use crate::chunk::admission::Latency;
use crate::chunk::cache::BlockCache;
use crate::chunk::memory_budget::Claim;
use crate::chunk::read_set::Reads;
use crate::dataset::Dataset;
use crate::entries::each_entry;
use crate::filters::CodecProvider;
use crate::filters::unlocked::without_locks;
use crate::heap::HeapState;
use crate::id_map::{IdHashes, IdMap};
use crate::ids::{Ids, ROOT};
use crate::listing_cache::ListingCache;
use crate::multi_writer::RemoteChanges;
use crate::object::now;
use crate::record::{ContainerRecord, HeaderRecord};
use crate::registry::{self, RegistryKey};
use crate::statistics::{Statistics, TellAtClose};
use crate::{
    Access, Error, ErrorKind, FileCreation, ObjectId, OnConflict, Options, Replace, Result, Target, Together,
    keys, record,
};
use bytes::Bytes;
use h5lake_ledger::locks::{Mutex, MutexGuard, RwLock};
use h5lake_ledger::{ByteSource, Ledger, LockPolicy, OpenedFile, Replace as LedgerReplace, Writers};
use lru::LruCache;
use prost::Message;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

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

/// An opened container: what HDF5 calls a file. Opened once per process and shared.
pub struct Container {
    pub(crate) ledger: Ledger,
    state: Mutex<State>,
    pub(crate) blocks: Arc<Mutex<BlockCache>>,
    pub(crate) handles: OpenObjects,
    /// Groups made here that became one with another writer's, and that one.
    pub(crate) joined: RwLock<HashMap<u64, u64>>,
    /// Who lends codecs for datasets that nobody has open.
    pub(crate) lenders: Mutex<Vec<Weak<dyn CodecProvider>>>,
    /// What was lost when nobody could be told.
    untold: Mutex<Option<Error>>,
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

/// A cache of blocks, as the options bound it.
fn block_cache(
    options: &Options,
    distance: Latency,
    writers: Writers,
    statistics: &Statistics,
) -> Arc<Mutex<BlockCache>> {
    let claim = Claim::new(options.memory.clone(), options.cache_bytes);
    let cache = BlockCache::new(claim, distance, writers).counting(statistics.blocks.clone());
    let cache = Arc::new(Mutex::new(cache));
    options.memory.join(options.cache_bytes, &cache);
    cache
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("name", &self.name).field("writable", &self.writable).finish()
    }
}

impl Container {
    /// Makes a new container and opens it for writing. When this returns, it exists with its root group.
    ///
    /// # Errors
    /// `AlreadyExists` (errno 17) with `Replace::Never`; `Busy` when it is open in this process; whatever
    /// the system says.
    pub fn create(
        target: &Target,
        replace: Replace,
        creation: FileCreation,
        options: Options,
    ) -> Result<Arc<Container>> {
        let mut open = registry::lock();
        if replace == Replace::Truncate && open.find(target, None, None).is_some() {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("{}: unable to create file: it is already open", registry::name(target)),
            ));
        }
        let mut salt = [0u8; 4];
        getrandom::fill(&mut salt)
            .map_err(|e| Error::new(ErrorKind::Io, format!("no random bytes for a new container: {e}")))?;
        let record = ContainerRecord {
            version: RECORDS_VERSION,
            creation_properties: creation.properties,
            salt: u32::from_le_bytes(salt),
            user_block: creation.user_block,
        };
        let root = crate::object::group_header(&creation.root, 1, now());
        let first = vec![
            (keys::CONTAINER.to_vec().into(), record.encode_to_vec().into()),
            (keys::of(keys::HEADER, ROOT.0).to_vec().into(), root.encode_to_vec().into()),
        ];
        let ledger = create_ledger(target, replace, creation.user_block, &options, first)?;
        let container = Arc::new(Self::new(ledger, record, target, Access::ReadWrite, &options)?);
        open.add(target, None, &container);
        drop(open);
        tracing::info!(container = container.name, "created");
        Ok(container)
    }

    /// Whether the blobs of its attributes lie in their records.
    pub(crate) fn has_local_heaps(&self) -> bool {
        self.record.version >= LOCAL_HEAPS_VERSION
    }

    pub(crate) fn records_version(&self) -> u32 {
        self.record.version
    }

    /// Opens a container, or shares it if this process has it open. A container that is open for writing is
    /// shared with those who only read, who then see what is not yet flushed.
    ///
    /// # Errors
    /// `NotFound` (errno 2), `NotAContainer`, `Locked` (errno 11) when another process writes it, `Busy` when
    /// this process has it open to read and it is opened to write, with another use of locks, or to write with other processes.
    pub fn open(target: &Target, access: Access, mut options: Options) -> Result<Arc<Container>> {
        let mut open = registry::lock();
        let at = options.ledger.at;
        if let Some(found) = open.find(target, options.opened.as_ref(), at) {
            if access == Access::ReadWrite && !found.writable {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("{}: unable to open file: file is already open for read-only", found.name),
                ));
            }
            if found.lock != options.ledger.lock {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("{}: unable to open file: file locking flag values don't match", found.name),
                ));
            }
            found.check_sharers(access, options.together)?;
            return Ok(found);
        }
        let opened = options.opened.take();
        let container = Arc::new(Self::opened(target, access, opened, &options)?);
        open.add(target, at, &container);
        drop(open);
        tracing::info!(
            container = container.name,
            writable = container.writable,
            version = container.ledger.version(),
            "opened"
        );
        // Among many writers another one may have them open.
        if access == Access::ReadWrite && !container.ledger.is_one_of_many() {
            container.remove_orphans()?;
        }
        Ok(container)
    }

    /// Opens what `source` holds, to read, for this opener alone. Only threads that call for it ask the source. `name` is what messages
    /// call it. The registry is not locked meanwhile: what reads for us is foreign code, which may open another container.
    ///
    /// # Errors
    /// `NotAContainer`; what keeps the source from reading.
    pub fn open_source(name: &str, source: Arc<dyn ByteSource>, options: Options) -> Result<Arc<Container>> {
        let ledger = Ledger::open_source(name, source, options.ledger.clone())?;
        let target = Target::File(name.into());
        let record = read_record(&ledger, &target)?;
        let mut opened = Self::new(ledger, record, &target, Access::ReadOnly, &options)?;
        // The blocks of a read are fetched together, before threads decode them.
        (opened.distance, opened.reads_in_caller) = (Latency::Far, true);
        opened.blocks = block_cache(&options, Latency::Far, Writers::One, &opened.statistics);
        let container = Arc::new(opened);
        registry::lock().add(&target, options.ledger.at, &container);
        tracing::info!(
            container = container.name,
            version = container.ledger.version(),
            "opened by a file driver"
        );
        Ok(container)
    }

    fn opened(
        target: &Target,
        access: Access,
        opened: Option<OpenedFile>,
        options: &Options,
    ) -> Result<Self> {
        let ledger = open_ledger(target, access, opened, options)?;
        let record = read_record(&ledger, target)?;
        Self::new(ledger, record, target, access, options)
    }

    /// Opens a container beside those that this process has open, as another process would.
    pub(crate) fn open_apart(target: &Target, access: Access, options: &Options) -> Result<Arc<Container>> {
        let c = Arc::new(Self::opened(target, access, None, options)?);
        let _only_once = c.me.set(Arc::downgrade(&c));
        Ok(c)
    }

    fn new(
        ledger: Ledger,
        record: ContainerRecord,
        target: &Target,
        access: Access,
        o: &Options,
    ) -> Result<Self> {
        let state = State {
            headers: LruCache::unbounded_with_hasher(IdHashes::default()),
            unstored: IdMap::default(),
            unmarked: BTreeSet::new(),
            lists: ListingCache::default(),
            attributes: OpenAttributes::new(),
            unstored_attribute: None,
            edition: 0,
            datasets: IdMap::default(),
            heap: HeapState::default(),
            ids: Ids::load(&ledger, record.salt)?,
            others: RemoteChanges::default(),
        };
        let writers = if ledger.is_one_of_many() { Writers::Many } else { Writers::One };
        let distance = match target {
            Target::File(_) => Latency::File,
            Target::Objects { store, .. } if store.capabilities().near => Latency::Memory,
            Target::Objects { .. } => Latency::Far,
        };
        let distance = if has_remote_sources(&ledger)? { Latency::Far } else { distance };
        let takes_lent =
            matches!(target, Target::Objects { store, .. } if !store.capabilities().keeps_pieces);
        let statistics = Statistics::start(target, access == Access::ReadWrite, o);
        let blocks = block_cache(o, distance, writers, &statistics);
        let mut hash = DefaultHasher::new();
        ledger.identity().hash(&mut hash);
        // An object of an old version is not the same as the one that it became.
        o.ledger.at.hash(&mut hash);
        Ok(Self {
            ledger,
            state: Mutex::new(state),
            blocks,
            handles: OpenObjects::default(),
            joined: RwLock::default(),
            lenders: Mutex::default(),
            untold: Mutex::default(),
            record,
            place: Mutex::new(None),
            me: OnceLock::new(),
            name: registry::name(target),
            file_number: hash.finish().max(1),
            writable: access == Access::ReadWrite,
            distance,
            reads_in_caller: false,
            takes_lent,
            lock: o.ledger.lock,
            together: o.together,
            has_parted: AtomicBool::new(false),
            on_conflict: o.on_conflict,
            reads: Reads::new(writers, o.on_conflict),
            is_vacuumed: AtomicBool::new(false),
            pid: h5lake_ledger::process::id(),
            _tell_at_close: TellAtClose(statistics.clone()),
            statistics,
        })
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

    /// Makes everything that was changed one commit. When this returns, the commit is durable as the ledger's
    /// options say: against the death of the process always. Does nothing in a container opened to read. Where processes write
    /// together, only elements are committed, and only [if they can be](Self::try_commit_elements).
    ///
    /// # Errors
    /// Those of the ledger; nothing is lost, and a later flush tries again. With many writers `Conflict`, naming what
    /// another writer changed first: all the rest is committed, and what is named is as that one left it.
    pub fn flush(&self) -> Result<()> {
        self.flush_by(State::keep_header, Ledger::commit)
    }

    /// Flushes as [`flush`](Self::flush) does, where a close is likely to follow: what that would tidy up is not written twice.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    pub fn flush_to_close(&self) -> Result<()> {
        // Headers are hardly looked at again.
        self.flush_by(|_, _, header| drop(header), Ledger::commit_to_close)
    }

    /// Has the next flush fail once with an error of which nobody could be told. The one after commits what there is.
    pub fn tell_later(&self, lost: Error) {
        self.untold.lock().get_or_insert(lost);
    }

    fn flush_by(
        &self,
        then: fn(&mut State, u64, Arc<HeaderRecord>),
        commit: fn(&Ledger) -> h5lake_ledger::Result<u64>,
    ) -> Result<()> {
        self.flush_with(|| {
            if self.has_sharers() {
                self.try_commit_elements().map(drop)
            } else if self.ledger.is_one_of_many() {
                self.flush_with_others()
            } else {
                without_locks(|| self.flush_alone(then, commit))
            }
        })
    }

    /// Flushes by `flush`, where this process may, and tells of it.
    pub(crate) fn flush_with(&self, flush: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.writable {
            return Ok(());
        }
        if !self.is_ours() {
            let text = format!("{}: was opened by the parent process; reopen it in this one", self.name);
            return Err(Error::new(ErrorKind::Forked, text));
        }
        if let Some(lost) = self.untold.lock().take() {
            return Err(lost);
        }
        let (begun, version) = (Instant::now(), self.ledger.version());
        let flushed = flush();
        self.tell_of_flush(begun, version, &flushed);
        flushed
    }

    fn tell_of_flush(&self, begun: Instant, before: u64, flushed: &Result<()>) {
        let (container, version) = (&self.name, self.ledger.version());
        let time = begun.elapsed();
        if flushed.is_err() || version != before {
            self.statistics.note_commit(flushed, time);
        }
        let microseconds = time.as_micros() as u64;
        match flushed {
            Ok(()) if version == before => {
                tracing::trace!(container, version, microseconds, "nothing to commit")
            }
            Ok(()) => tracing::debug!(container, version, microseconds, "committed"),
            Err(error) => tracing::warn!(container, version, microseconds, %error, "a flush failed"),
        }
    }

    fn flush_alone(
        &self,
        then: fn(&mut State, u64, Arc<HeaderRecord>),
        commit: fn(&Ledger) -> h5lake_ledger::Result<u64>,
    ) -> Result<()> {
        let mut state = self.state();
        state.ids.store(&self.ledger)?;
        self.store_headers_and(&mut state, then)?;
        self.store_attribute(&mut state)?;
        self.mark_new(&mut state)?;
        self.heap_store(&mut state)?;
        self.blocks.lock().flush_all(&self.ledger)?;
        commit(&self.ledger)?;
        Ok(())
    }

    /// Moves a container opened to read to the newest version; true if that is another one. A writer is
    /// always at the newest; one of many goes there, and keeps what it has not flushed.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn refresh(&self) -> Result<bool> {
        if self.writable {
            return if self.ledger.is_one_of_many() { self.refresh_with_others() } else { Ok(false) };
        }
        let mut state = self.state();
        if !self.ledger.refresh()? {
            return Ok(false);
        }
        state.headers.clear();
        state.edition += 1;
        state.lists.forget_all();
        state.heap = HeapState::default();
        self.blocks.lock().drop_all();
        let open: Vec<_> = state.datasets.values().filter_map(Weak::upgrade).collect();
        drop(state);
        for dataset in open {
            dataset.reload_if_there()?;
        }
        Ok(true)
    }

    /// Whether other processes may have it open for writing, too.
    pub fn has_many_writers(&self) -> bool {
        self.ledger.is_one_of_many()
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
        self.each_behind(prefix, None, use_entry)
    }

    /// The same for those behind the key `after`.
    pub(crate) fn each_behind(
        &self,
        prefix: &[u8],
        after: Option<Bytes>,
        use_entry: impl FnMut(Bytes, Bytes) -> Result<()>,
    ) -> Result<()> {
        each_entry(&self.ledger, prefix, after, use_entry)
    }

    fn remove_orphans(&self) -> Result<()> {
        let mut ids = Vec::new();
        self.each(&[keys::ORPHAN], |k, _| {
            ids.extend(keys::id(&k));
            Ok(())
        })?;
        let mut state = self.state();
        for id in ids {
            self.delete_if_unused(&mut state, id)?;
        }
        Ok(())
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
        if let Err(e) = self.flush_at_drop() {
            tracing::error!("{}: the last changes could not be committed: {e}", self.name);
        } else if self.writable
            && let Err(e) = self.compact_at_close()
        {
            tracing::warn!("{}: dead room was not given back: {e}", self.name);
        }
        tracing::info!(container = self.name, "closed");
    }
}

/// Whether raw data lies in stores, so that it is asked for together.
fn has_remote_sources(ledger: &Ledger) -> Result<bool> {
    if !ledger.is_for_sources() {
        return Ok(false);
    }
    match ledger.sources() {
        Ok(all) => Ok(all.iter().any(|(_, source)| source.is_remote())),
        // What does not need them can be read all the same.
        Err(e) if matches!(e.kind(), h5lake_ledger::ErrorKind::Corrupt { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Makes a ledger whose map holds `first`.
fn create_ledger(
    target: &Target,
    replace: Replace,
    user_block: u64,
    o: &Options,
    first: Vec<(Bytes, Bytes)>,
) -> Result<Ledger> {
    let replace = match replace {
        Replace::Never => LedgerReplace::Fail,
        Replace::Truncate => LedgerReplace::Atomically,
        Replace::IfAbsent => LedgerReplace::IfAbsent,
    };
    let options = h5lake_ledger::Options { user_block, ..o.ledger.clone() };
    match target {
        Target::File(path) => Ok(Ledger::create_file_holding(path, replace, options, &first)?),
        Target::Objects { store, key, .. } => {
            Ok(Ledger::create_objects_holding(store.clone(), key, replace, options, first)?)
        }
    }
}

pub(crate) fn open_ledger(
    target: &Target,
    access: Access,
    opened: Option<OpenedFile>,
    o: &Options,
) -> Result<Ledger> {
    Ok(match target {
        Target::File(path) => match opened {
            Some(opened) => Ledger::open_looked_at(path, opened, access, o.ledger.clone())?,
            None => Ledger::open_file(path, access, o.ledger.clone())?,
        },
        Target::Objects { store, key, .. } => {
            Ledger::open_objects(store.clone(), key, access, o.ledger.clone())?
        }
    })
}

pub(crate) fn read_record(ledger: &Ledger, target: &Target) -> Result<ContainerRecord> {
    let name = registry::name(target);
    // What every opening needs, in one wait: this record, the counter of ids and the root group.
    let root = keys::of(keys::HEADER, ROOT.0);
    let [value, ..] = &ledger.get_many(&[keys::CONTAINER, keys::NEXT_OBJECT, &root])?[..] else {
        return Err(Error::corrupt(format!("{name}: the container's record is missing")));
    };
    let value =
        value.clone().ok_or_else(|| Error::corrupt(format!("{name}: the container's record is missing")))?;
    let r: ContainerRecord = record::decode(value, || format!("{name}: the container's record"))?;
    if r.version > RECORDS_VERSION {
        return Err(Error::unsupported(format!(
            "{name}: was written by a newer h5lake (records of version {}); update this one",
            r.version
        )));
    }
    Ok(r)
}
