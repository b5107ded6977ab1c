//! Creation and opening of containers.

use super::{Container, OpenObjects, RECORDS_VERSION, State};
use crate::attribute::{LongValues, OpenAttributes};
use crate::chunk::admission::Latency;
use crate::chunk::block_store::extents_of;
use crate::chunk::cache::BlockCache;
use crate::chunk::fragments::distinct;
use crate::chunk::memory_budget::Claim;
use crate::chunk::read_set::Reads;
use crate::heap::HeapState;
use crate::id_map::{IdHashes, IdMap};
use crate::ids::{Ids, ROOT};
use crate::listing_cache::ListingCache;
use crate::multi_writer::RemoteChanges;
use crate::object::now;
use crate::record::ContainerRecord;
use crate::statistics::{Statistics, TellAtClose};
use crate::{
    Access, Error, ErrorKind, FileCreation, Options, Replace, Result, Target, keys, record, registry,
};
use bytes::Bytes;
use h5lake_ledger::locks::{Mutex, RwLock};
use h5lake_ledger::{ByteSource, Ledger, OpenedFile, Replace as LedgerReplace, Writers};
use lru::LruCache;
use prost::Message;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

impl Container {
    /// Makes a new container and opens it for writing. When this returns, it exists with its root group. Handles of this process that
    /// read the container that it replaces keep their version.
    ///
    /// # Errors
    /// `AlreadyExists` (errno 17) with `Replace::Never`; `Busy` when it is open for writing in this process; whatever
    /// the system says.
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
                registry::name(target)
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

    /// Opens a container, or shares it if this process has it open. A container that is open for writing is
    /// shared with those who only read, who then see what is not yet flushed. A writer shares nothing with handles that were opened
    /// to read before: these keep their version, as in another process.
    ///
    /// # Errors
    /// `NotFound` (errno 2), `NotAContainer`, `Locked` (errno 11) when another process writes it, `Busy` when
    /// this process has it open with another use of locks, or to write with other processes.
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
            long_values: LongValues::default(),
            joined: RwLock::default(),
            lenders: Mutex::default(),
            untold: Mutex::default(),
            changes: AtomicU64::new(0),
            told_changes: AtomicU64::new(u64::MAX),
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
        Target::File(path) => Ok(Ledger::create_file_over(path, replace, options, &first, &forget)?),
        Target::Objects { store, key, .. } => {
            Ok(Ledger::create_objects_holding(store.clone(), key, replace, options, first)?)
        }
    }
}

/// Deletes an entry of a container whose content is replaced, and frees the payloads of the entry. The counter of object ids
/// continues, so that no id is reused: readers may have the old objects open.
fn forget(ledger: &Ledger, key: &[u8], value: Bytes) -> h5lake_ledger::Result<()> {
    if key == keys::NEXT_OBJECT {
        return Ok(());
    }
    ledger.delete(key)?;
    // Payloads of a damaged entry remain until the container is compacted.
    let payloads = extents_of(key, value).unwrap_or_default();
    distinct(&payloads).iter().try_for_each(|payload| ledger.free_payload(payload))
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
