//! Creation and opening of containers.

use super::{Container, OpenObjects, State};
use crate::attribute::{LongValues, OpenAttributes};
use crate::chunk::admission::Latency;
use crate::chunk::cache::BlockCache;
use crate::chunk::memory_budget::Claim;
use crate::chunk::read_set::Reads;
use crate::heap::HeapState;
use crate::id_map::{IdHashes, IdMap};
use crate::ids::Ids;
use crate::listing_cache::ListingCache;
use crate::multi_writer::RemoteChanges;
use crate::statistics::{ReportAtClose, Statistics};
use crate::{Access, Error, ErrorKind, FileCreation, Options, Replace, Result, Target, registry};
use bytes::Bytes;
use h5lake_ledger::locks::{Mutex, RwLock};
use h5lake_ledger::{ByteSource, Ledger, OpenedFile, Replace as LedgerReplace, Writers};
use h5lake_records::ObjectId;
use h5lake_records::distinct;
use h5lake_records::extents_of;
use h5lake_records::keys;
use h5lake_records::now;
use h5lake_records::record;
use h5lake_records::record::ContainerRecord;
use h5lake_records::record::RECORDS_VERSION;
use lru::LruCache;
use prost::Message;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

impl Container {
    /// Creates a container and opens it for writing. When this returns, the container exists with its root group.
    /// Handles of this process that read the replaced container keep its version.
    ///
    /// # Errors
    /// `AlreadyExists` (errno 17) with `Replace::Never`; `Busy` if the container is open for writing in this process;
    /// any error of the system.
    pub fn create(
        target: &Target,
        replace: Replace,
        creation: FileCreation,
        options: Options,
    ) -> Result<Arc<Container>> {
        let mut open = registry::lock();
        let replaced = (replace == Replace::Truncate).then(|| open.find(target, None, None)).flatten();
        if replaced.as_ref().is_some_and(|replaced| replaced.writable) {
            let text = format!(
                "{}: unable to create file: this process has it open for writing already, and its changes would be lost; close it \
                 first",
                target.name()
            );
            return Err(Error::new(ErrorKind::Busy, text));
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
        let root = creation.root.header(1, now());
        let first = vec![
            (keys::CONTAINER.to_vec().into(), record.encode_to_vec().into()),
            (keys::of(keys::HEADER, ObjectId::ROOT.0).to_vec().into(), root.encode_to_vec().into()),
        ];
        let ledger = create_ledger(target, replace, creation.user_block, &options, first)?;
        let container = Arc::new(Self::new(ledger, record, target, Access::ReadWrite, &options)?);
        open.add(target, None, &container);
        drop(open);
        tracing::info!(container = container.name, "created");
        Ok(container)
    }

    /// Opens a container, or shares it if this process has it open. A container that is open for writing is shared with
    /// handles that only read, which then see uncommitted changes. A writer does not share handles that were opened for
    /// reading before: they keep their version, as in another process.
    ///
    /// # Errors
    /// `NotFound` (errno 2), `NotAContainer`, `Locked` (errno 11) if another process writes the container, `Busy` if
    /// this process has it open with another lock policy, or for writing with other processes.
    pub fn open(target: &Target, access: Access, mut options: Options) -> Result<Arc<Container>> {
        let mut open = registry::lock();
        let at = options.ledger.at;
        let found = open.find(target, options.opened.as_ref(), at);
        if let Some(found) = found.filter(|found| access == Access::ReadOnly || found.writable) {
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
        // Another writer may have the orphans open in multi-writer mode.
        if access == Access::ReadWrite && !container.ledger.is_shared() {
            container.remove_orphans()?;
        }
        Ok(container)
    }

    /// Opens the content of `source` for reading, for this caller alone. Only threads that call for data read from the
    /// source. `name` is its name in messages. The registry is not locked meanwhile, because the source is foreign code
    /// that may open another container.
    ///
    /// # Errors
    /// `NotAContainer`; the error of the source if it cannot read.
    pub fn open_source(name: &str, source: Arc<dyn ByteSource>, options: Options) -> Result<Arc<Container>> {
        let ledger = Ledger::open_source(name, source, options.ledger.clone())?;
        let target = Target::File(name.into());
        let record = read_record(&ledger, &target)?;
        let mut opened = Self::new(ledger, record, &target, Access::ReadOnly, &options)?;
        // All blocks of a read are fetched together, before threads decode them.
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

    /// Opens a container for reading, for this caller alone, as another process would: with a snapshot, a pin and caches
    /// of its own. It shows no uncommitted changes of a writer in this process, and [`Self::refresh`] moves no other
    /// handle.
    ///
    /// # Errors
    /// As for [`Self::open`], except `Busy`.
    pub fn open_snapshot(target: &Target, mut options: Options) -> Result<Arc<Container>> {
        let opened = options.opened.take();
        Self::opened(target, Access::ReadOnly, opened, &options).map(Self::unregistered)
    }

    /// Opens a container a second time, beside the containers that this process has open, as another process would.
    pub(crate) fn open_apart(target: &Target, access: Access, options: &Options) -> Result<Arc<Container>> {
        Self::opened(target, access, None, options).map(Self::unregistered)
    }

    /// Returns a container that the registry does not know.
    fn unregistered(self) -> Arc<Self> {
        let container = Arc::new(self);
        let _only_once = container.me.set(Arc::downgrade(&container));
        container
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
            remote: RemoteChanges::default(),
        };
        let writers = if ledger.is_shared() { Writers::Many } else { Writers::One };
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
        // An object of an old version is not the same object as in the newest version.
        o.ledger.at.hash(&mut hash);
        Ok(Self {
            ledger,
            state: Mutex::new(state),
            blocks,
            handles: OpenObjects::default(),
            long_values: LongValues::default(),
            joined: RwLock::default(),
            lenders: Mutex::default(),
            unreported: Mutex::default(),
            changes: AtomicU64::new(0),
            reported_changes: AtomicU64::new(u64::MAX),
            record,
            place: Mutex::new(None),
            me: OnceLock::new(),
            name: target.name(),
            file_number: hash.finish().max(1),
            writable: access == Access::ReadWrite,
            distance,
            reads_in_caller: false,
            takes_lent,
            lock: o.ledger.lock,
            lock_files: o.ledger.lock_files.clone(),
            together: o.together,
            has_parted: AtomicBool::new(false),
            on_conflict: o.on_conflict,
            reads: Reads::new(writers, o.on_conflict),
            is_vacuumed: AtomicBool::new(false),
            pid: h5lake_ledger::process::id(),
            _report_at_close: ReportAtClose(statistics.clone()),
            statistics,
        })
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

/// Returns whether raw data is stored in remote sources, so that reads should request blocks together.
fn has_remote_sources(ledger: &Ledger) -> Result<bool> {
    if !ledger.is_for_sources() {
        return Ok(false);
    }
    match ledger.sources() {
        Ok(all) => Ok(all.iter().any(|(_, source)| source.is_remote())),
        // Data that does not need the sources stays readable.
        Err(e) if matches!(e.kind(), h5lake_ledger::ErrorKind::Corrupt { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Creates a ledger with `first` in its map.
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
        Target::File(path) => Ok(Ledger::create_file_over(path, replace, options, &first, &forget)?),
        Target::Objects { store, key, .. } => {
            Ok(Ledger::create_objects_holding(store.clone(), key, replace, options, first)?)
        }
    }
}

/// Deletes an entry of a container that is replaced, and frees the payloads of the entry. The counter of object ids continues, so that no
/// id is reused: readers may have the old objects open.
fn forget(ledger: &Ledger, key: &[u8], value: Bytes) -> h5lake_ledger::Result<()> {
    if key == keys::NEXT_OBJECT {
        return Ok(());
    }
    ledger.delete(key)?;
    // Payloads of a damaged entry remain until the container is compacted.
    let payloads = extents_of(key, value).unwrap_or_default();
    distinct(&payloads).iter().try_for_each(|payload| ledger.free_payload(payload))
}

fn open_ledger(target: &Target, access: Access, opened: Option<OpenedFile>, o: &Options) -> Result<Ledger> {
    match (target, opened) {
        (Target::File(path), Some(opened)) => {
            Ok(Ledger::open_looked_at(path, opened, access, o.ledger.clone())?)
        }
        _ => target.open_ledger(access, o.ledger.clone()),
    }
}

/// Reads the record of the container in a ledger.
///
/// # Errors
/// `Corrupt` if the record is missing; `Unsupported` for records of another version; those of the ledger.
pub fn read_record(ledger: &Ledger, target: &Target) -> Result<ContainerRecord> {
    let name = target.name();
    // Every open needs these three entries, so one request reads them: this record, the counter of ids and the root
    // group.
    let root = keys::of(keys::HEADER, ObjectId::ROOT.0);
    let [value, ..] = &ledger.get_many(&[keys::CONTAINER, keys::NEXT_OBJECT, &root])?[..] else {
        return Err(Error::corrupt(format!("{name}: the container's record is missing")));
    };
    let value =
        value.clone().ok_or_else(|| Error::corrupt(format!("{name}: the container's record is missing")))?;
    let r: ContainerRecord = record::decode(value, || format!("{name}: the container's record"))?;
    r.check_version().map_err(|e| e.context(&name))?;
    Ok(r)
}

/// Creates the block cache with the bounds of the options.
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
