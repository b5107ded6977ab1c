//! Copies into a store that go on where an earlier try was killed.
//!
//! Who takes over first creates the next log object, as an empty version. The one before may live and sleep: it cannot create its
//! own any more. Only then is anything of it deleted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use object_stores::{Condition, Key, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use crate::address::Location;
use crate::clock::{Moment, Nonces};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{
    EarlierTry, JournalHeader, JournalPart, MAX_HEADER_BYTES, MAX_JOURNAL_BYTES, MAX_PART_BYTES,
};
use crate::locks::Mutex;
use crate::objects::initial_manifest::{FirstHeadPut, InitialManifest};
use crate::objects::journal::{Journal, header_key, headers, parts};
use crate::objects::lease::{self, Lease};
use crate::objects::manifest::{Head, MAX_LOG_OBJECT_BYTES, Names, read_head, store_error};
use crate::objects::object_usage::UsageDelta;
use crate::objects::open::{create, delete_lake, fencing_token, head_key, lake, name, new_head, storage};
use crate::objects::orphans::{MIN_IDLE_TIME, id_bytes};
use crate::objects::replaced;
use crate::objects::{FetchedRecord, ObjectStorage, log_object, parse_log, store_clock};
use crate::options::{Access, Options, Replace};
use crate::origin::Origin;
use crate::storage::Checkpoint;
use crate::wal::record::{Header, NO_ENTRIES};

/// A try is left alone so long before a sweep may delete it.
const SWEEP_MARGIN: Duration = Duration::from_secs(3600);
/// For so long a lease is waited for whose holder nobody can see: longer than one lasts.
const MAX_WAIT: Duration = Duration::from_secs(65);
const WAIT_INTERVAL: Duration = Duration::from_secs(1);
/// Journals under one name that are looked at.
const MAX_HEADERS: usize = 64;
/// Tries of one copy. After as many it begins anew.
const MAX_TRIES: u64 = 1000;
/// Parts that are asked for at the same time.
const PARTS_PER_FETCH: usize = 12;

/// A copy that is begun, or goes on.
pub(crate) struct BegunCopy {
    pub(crate) storage: ObjectStorage,
    pub(crate) earlier: EarlierTry,
    /// Its commit is there, and the head alone is missing.
    pub(crate) is_whole: bool,
}

/// Makes a container that is to be a copy of `origin`, or goes on with one.
pub(crate) fn create_copy(
    store: Arc<dyn ObjectStore>,
    key: &str,
    opts: &Options,
    origin: &Origin,
) -> Result<BegunCopy> {
    let target = name(store.as_ref(), key);
    let found = match store.capabilities().persistent {
        true => {
            Tries { store: &store, head: head_key(key, &target)?, opts, origin, target: &target }.find()?
        }
        false => None,
    };
    if let Some(begun) = found {
        return Ok(begun);
    }
    let last = FirstHeadPut::AfterTheFirstCommit;
    let mut storage = create(store, key, Replace::Fail, opts, None, last)?;
    if storage.store.capabilities().persistent {
        let header = JournalHeader { copy: storage.id, origin: origin.clone() };
        storage.journal = Mutex::new(Some(Journal::new(header)));
    }
    Ok(BegunCopy { storage, earlier: EarlierTry::None, is_whole: false })
}

/// What earlier tries left under a name.
struct Tries<'a> {
    store: &'a Arc<dyn ObjectStore>,
    head: Key,
    opts: &'a Options,
    origin: &'a Origin,
    target: &'a str,
}

/// One of them.
struct Try {
    id: [u8; 16],
    names: Names,
    /// `None` for a damaged one.
    header: Option<JournalHeader>,
}

/// What the journal of a try has.
#[derive(Default)]
struct Found {
    values: BTreeMap<Bytes, Bytes>,
    packs: HashMap<[u8; 16], u64>,
    parts: HashSet<Key>,
    /// The number of the next part.
    next: u64,
}

impl Tries<'_> {
    fn fail(&self, e: &object_stores::Error) -> Error {
        store_error(self.target, e)
    }

    /// An object; `None` if it is not there, or longer than `most`.
    fn bytes(&self, key: &Key, most: u64) -> Result<Option<Bytes>> {
        match self.store.get_whole_opt(key, most) {
            Err(e) if e.kind() == object_stores::ErrorKind::Corrupt => Ok(None),
            got => Ok(got.map_err(|e| self.fail(&e))?.map(|got| got.bytes)),
        }
    }

    /// Goes on with the first one that can be gone on with: with one of this origin, if there is any.
    fn find(&self) -> Result<Option<BegunCopy>> {
        let all = headers(&self.head);
        let listed = self.store.list(&all, None).take(MAX_HEADERS).collect::<object_stores::Result<Vec<_>>>();
        let listed = listed.map_err(|e| self.fail(&e))?;
        if listed.is_empty() {
            return Ok(None);
        }
        if read_head(self.store.as_ref(), &self.head, self.target)?.is_some() {
            return Err(Error::new(self.target, ErrorKind::AlreadyExists));
        }
        let now = store_clock::now(self.store.as_ref(), &self.head, self.target)?;
        let mut tries = Vec::new();
        for meta in listed {
            tries.extend(self.look(&meta, now)?);
        }
        tries.sort_by_key(|one| !self.is_same(one));
        for one in tries {
            if let Some(begun) = self.take_over(&one)? {
                return Ok(Some(begun));
            }
        }
        Ok(None)
    }

    fn is_same(&self, one: &Try) -> bool {
        one.header.as_ref().is_some_and(|header| header.origin == *self.origin && header.copy == one.id)
    }

    /// A try that is younger than what sweeps delete. An older one is deleted.
    fn look(&self, meta: &ObjectMeta, now: SystemTime) -> Result<Option<Try>> {
        let Some(id) = meta.key.as_str().rsplit('/').next().and_then(id_bytes) else { return Ok(None) };
        let names = Names::new(self.head.clone(), &id, self.target)?;
        let named = names.lake.as_str().rsplit('/').next().unwrap_or_default();
        if replaced::is_kept(self.store.as_ref(), &self.head, named, self.target)? {
            // It became a container, which somebody may bring back. Its journal alone was not deleted.
            self.store.delete(&meta.key).map_err(|e| self.fail(&e))?;
            return Ok(None);
        }
        let objects = lake(self.store.as_ref(), &names, self.target)?;
        let newest = objects.iter().map(|object| object.modified).max();
        let age = newest.map(|newest| now.duration_since(newest).unwrap_or_default());
        if age.is_none_or(|age| age >= MIN_IDLE_TIME) {
            delete_lake(self.store.as_ref(), &names, self.target)?;
            self.store.delete(&meta.key).map_err(|e| self.fail(&e))?;
            return Ok(None);
        }
        if age.is_some_and(|age| age >= MIN_IDLE_TIME - SWEEP_MARGIN) {
            return Ok(None);
        }
        let found = self.bytes(&meta.key, MAX_HEADER_BYTES)?;
        let header = found.and_then(|bytes| JournalHeader::decode(&bytes).ok());
        Ok(Some(Try { id, names, header }))
    }

    /// Takes a try over, if that can be done. Nobody else can commit it then.
    fn take_over(&self, one: &Try) -> Result<Option<BegunCopy>> {
        let lease = self.lease_of(one)?;
        let version = self.newest_version(one)?;
        if let Some(version) = version {
            match self.record(one, version)? {
                Some(record) if record.record.is_empty_version() => (),
                Some(record) if self.is_same(one) && !record.record.header.is_intent => {
                    return self.whole(one, record, lease).map(Some);
                }
                // It is a container that lost its head in the last moment. Its writer may be about to put it.
                _ => return lease.release().map(|()| None),
            }
        }
        let version = version.unwrap_or(0) + 1;
        if version > MAX_TRIES {
            return lease.release().map(|()| None);
        }
        self.put_empty_version(one, version, &lease)?;
        let objects = lake(self.store.as_ref(), &one.names, self.target)?;
        let found = if self.is_same(one) { self.read(one, &objects)? } else { None };
        let earlier = match (&found, &one.header) {
            (Some(_), _) => None,
            (None, Some(header)) if header.origin != *self.origin => {
                Some("an earlier try was of another version or container")
            }
            (None, _) => Some("the journal of an earlier try is damaged"),
        };
        self.delete_rest(one, &objects, found.as_ref().unwrap_or(&Found::default()), found.is_none())?;
        let header = JournalHeader { copy: one.id, origin: self.origin.clone() };
        let journal = match &found {
            Some(found) => Journal::behind(header, found.next, &found.packs),
            None => Journal::new(header),
        }
        .after_empty(version);
        let earlier = match earlier {
            Some(why) => EarlierTry::Discarded(why),
            None => EarlierTry::Continues(found.map(|found| found.values).unwrap_or_default()),
        };
        let storage = self.storage(one, (version, version), Vec::new(), lease, journal)?;
        Ok(Some(BegunCopy { storage, earlier, is_whole: false }))
    }

    /// A copy whose commit is there.
    fn whole(&self, one: &Try, record: FetchedRecord, lease: Lease) -> Result<BegunCopy> {
        let version = record.record.header.version;
        let header = JournalHeader { copy: one.id, origin: self.origin.clone() };
        let journal = Journal::behind(header, 0, &HashMap::new()).after_empty(version - 1);
        let storage = self.storage(one, (version, version - 1), vec![record], lease, journal)?;
        Ok(BegunCopy { storage, earlier: EarlierTry::Continues(BTreeMap::new()), is_whole: true })
    }

    /// The lease of a try. Whoever holds it and is seen to live is making the copy; for one that nobody can see this waits.
    fn lease_of(&self, one: &Try) -> Result<Lease> {
        let begun = Instant::now();
        loop {
            let taken = Lease::take(self.store, &one.names, self.target);
            let is_locked = matches!(&taken, Err(e) if matches!(e.kind(), ErrorKind::Locked { .. }));
            if !is_locked || begun.elapsed() > MAX_WAIT {
                return taken;
            }
            let holder = lease::holder(self.store.as_ref(), &one.names, self.target)?;
            if holder.is_some_and(|holder| holder.lives == Some(true)) {
                return taken;
            }
            std::thread::sleep(WAIT_INTERVAL);
        }
    }

    fn newest_version(&self, one: &Try) -> Result<Option<u64>> {
        let prefix = format!("{}/log/", one.names.lake);
        let mut newest = None;
        for meta in self.store.list(&prefix, None) {
            let key = meta.map_err(|e| self.fail(&e))?.key;
            let version = key.as_str().strip_prefix(&prefix).and_then(|n| u64::from_str_radix(n, 16).ok());
            newest = newest.max(version);
        }
        Ok(newest)
    }

    /// A log object; `None` for a damaged one.
    fn record(&self, one: &Try, version: u64) -> Result<Option<FetchedRecord>> {
        let key = one.names.object_key(&Location::Log(version), self.target)?;
        let found = self.store.get_whole_opt(&key, MAX_LOG_OBJECT_BYTES).map_err(|e| self.fail(&e))?;
        let logged = found.and_then(|found| parse_log(&found.bytes).ok());
        Ok(logged.filter(|logged| logged.record.header.version == version))
    }

    /// Keeps whoever made the copy before from committing it.
    ///
    /// # Errors
    /// `Conflict` if somebody has created that version; those of the store.
    fn put_empty_version(&self, one: &Try, version: u64, lease: &Lease) -> Result<()> {
        let nonce = Nonces::new(self.target)?.next();
        let time = store_clock::version_time(self.store.as_ref());
        let header = Header::of_now(version, nonce, time);
        let bytes: Bytes = log_object(&header, &UsageDelta::default().encode(), &[], &NO_ENTRIES).into();
        let key = one.names.object_key(&Location::Log(version), self.target)?;
        let (mode, _in_time) = match self.store.honours(Condition::Create) {
            true => (PutMode::Create, None),
            // The put would replace what is there.
            false if self.store.head_opt(&key).map_err(|e| self.fail(&e))?.is_some() => {
                return Err(Error::new(self.target, ErrorKind::Conflict));
            }
            false => (PutMode::Overwrite, Some(lease.begin_unguarded()?)),
        };
        let Err(e) = self.store.put(&key, PutPayload::from(bytes), mode) else { return Ok(()) };
        // An answer may have been lost.
        match self.record(one, version)? {
            Some(record) if record.record.header.nonce == nonce => Ok(()),
            Some(_) => Err(Error::new(self.target, ErrorKind::Conflict)),
            None => Err(self.fail(&e)),
        }
    }

    /// Reads a journal. `None` if it is longer than one can be.
    fn read(&self, one: &Try, objects: &[ObjectMeta]) -> Result<Option<Found>> {
        let (parts, packs) = (parts(&one.names), format!("{}/pack/", one.names.lake));
        let sizes: HashMap<[u8; 16], u64> = objects
            .iter()
            .filter_map(|meta| Some((id_bytes(meta.key.as_str().strip_prefix(&packs)?)?, meta.size)))
            .collect();
        let parts: Vec<&ObjectMeta> =
            objects.iter().filter(|meta| meta.key.as_str().starts_with(&parts)).collect();
        if parts.iter().fold(0, |sum: u64, meta| sum.saturating_add(meta.size)) > MAX_JOURNAL_BYTES {
            return Ok(None);
        }
        let mut found = Found::default();
        for some in parts.chunks(PARTS_PER_FETCH) {
            for (meta, part) in some.iter().zip(self.fetch(some)?) {
                let Some(part) = part.filter(|part| part.copy == one.id) else { continue };
                let there = |(id, length): &([u8; 16], u64)| sizes.get(id) == Some(length);
                let Some(named) = part.packs().filter(|named| named.iter().all(there)) else { continue };
                found.packs.extend(named);
                found.parts.insert(meta.key.clone());
                found.next = found.next.max(part.number.saturating_add(1));
                found.values.extend(part.entries);
            }
        }
        Ok(Some(found))
    }

    /// Some parts; `None` for damaged ones.
    fn fetch(&self, some: &[&ObjectMeta]) -> Result<Vec<Option<JournalPart>>> {
        let get = |key: &Key| -> Result<Option<JournalPart>> {
            Ok(self.bytes(key, MAX_PART_BYTES)?.and_then(|bytes| JournalPart::decode(&bytes).ok()))
        };
        std::thread::scope(|s| {
            let get = &get;
            let ask = |meta: &&ObjectMeta| {
                let key = meta.key.clone();
                (meta.key.clone(), std::thread::Builder::new().spawn_scoped(s, move || get(&key)))
            };
            let asked: Vec<_> = some.iter().map(ask).collect();
            asked
                .into_iter()
                .map(|(key, thread)| match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|_| get(&key)),
                    Err(_) => get(&key),
                })
                .collect()
        })
    }

    /// Deletes what the journal does not name; with `all`, the journal too.
    fn delete_rest(&self, one: &Try, objects: &[ObjectMeta], found: &Found, all: bool) -> Result<()> {
        let of = |kind: &str| format!("{}/{kind}/", one.names.lake);
        let (log, lock) = (of("log"), format!("{}/lock", one.names.lake));
        let named: HashSet<Key> = found
            .packs
            .keys()
            .filter_map(|id| one.names.object_key(&Location::Pack(*id), self.target).ok())
            .collect();
        let stays = |key: &Key| {
            key.as_str().starts_with(&log)
                || key.as_str() == lock
                || named.contains(key)
                || found.parts.contains(key)
        };
        let rest: Vec<Key> =
            objects.iter().map(|meta| &meta.key).filter(|key| !stays(key)).cloned().collect();
        if !rest.is_empty() {
            self.store.delete_many(&rest).map_err(|e| self.fail(&e))?;
        }
        // Last, so that the next try finds what is left.
        if all {
            let header = header_key(&self.head, &one.id, self.target)?;
            self.store.delete(&header).map_err(|e| self.fail(&e))?;
        }
        Ok(())
    }

    /// The storage of a copy at a version, behind an empty base.
    fn storage(
        &self,
        one: &Try,
        (version, base): (u64, u64),
        records: Vec<FetchedRecord>,
        lease: Lease,
        journal: Journal,
    ) -> Result<ObjectStorage> {
        let now = Moment::now();
        let (token, target) = (fencing_token(self.opts.writers, None, self.target)?, self.target.to_owned());
        let head = Head {
            version,
            base: Checkpoint { version: base, root: None },
            // Nobody opens the empty version.
            lost: u64::from(base > 0),
            ..new_head(self.store.as_ref(), one.id, self.opts, token)
        };
        let first_head = InitialManifest {
            store: self.store.clone(),
            key: self.head.clone(),
            bytes: head.encode().into(),
            replace: Replace::Fail,
            over: None,
            replaced: None,
            target: target.clone(),
        };
        let (names, lease, born) = (one.names.clone(), Some(lease), Some(records));
        let store = self.store.clone();
        let writers = self.opts.writers;
        let mut made =
            storage(target, store, names, head, None, now, Access::ReadWrite, lease, writers, token, born);
        made.first_head = Mutex::new(Some(first_head.hold()));
        made.head_last = true;
        made.journal = Mutex::new(Some(journal));
        Ok(made)
    }
}
