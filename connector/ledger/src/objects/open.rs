//! Creating, opening, recognising and removing a container in an object store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_stores::{Condition, Etag, Key, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use crate::address::Location;
use crate::clock::{self, Moment, Nonces};
use crate::error::{Error, ErrorKind, Result};
use crate::file::old_is_read_only;
use crate::file::superblock::{Fixed, MIN_TELLING_BYTES, has_slots};
use crate::foreign::is_native_hdf5;
use crate::locks::Mutex;
use crate::objects::basis::Basis;
use crate::objects::initial_manifest::{self, FirstHeadPut, InitialManifest};
use crate::objects::lease::{self, Lease};
use crate::objects::leftovers;
use crate::objects::manifest::{
    Head, MULTI_WRITER_TOKEN, Names, look_at_head, put_over, read_head, single_writer_token, store_error,
};
use crate::objects::object_usage::UsageDelta;
use crate::objects::replaced::{self, Opened, Outgoing};
use crate::objects::{FetchedRecord, ObjectStorage, ReaderState, log_object, parse_log, store_clock};
use crate::options::{Access, At, LockHolder, LockPolicy, Options, Probe, Replace, SyncPolicy, Writers};
use crate::signatures::{HDF5, POINTER, SIGNATURE};
use crate::storage::Checkpoint;
use crate::timekeeping;
use crate::wal::record::Header;

/// How long obsolete objects stay when nothing else is asked for: longer than a reader goes without refreshing.
const RETENTION: Duration = Duration::from_secs(600);
/// The same in a store that lives in this process only, where garbage is memory.
const RETENTION_IN_MEMORY: Duration = Duration::from_secs(10);

pub(super) fn name(store: &dyn ObjectStore, key: &str) -> String {
    format!("{}/{key}", store.name())
}

pub(super) fn head_key(key: &str, target: &str) -> Result<Key> {
    Key::new(key).map_err(|e| Error::invalid(target, e.to_string()))
}

pub(crate) fn probe(store: &dyn ObjectStore, key: &str) -> Result<Probe> {
    let target = name(store, key);
    let key = head_key(key, &target)?;
    initial_manifest::wait_for(&target);
    let front = match store.get_opt(&key, Some(0..MIN_TELLING_BYTES as u64)) {
        Ok(None) => return Ok(Probe::NotFound),
        Ok(Some(g)) => g.bytes,
        // An empty object has no range.
        Err(e) if e.kind() == object_stores::ErrorKind::ShortRead => return Ok(Probe::Other),
        Err(e) => return Err(store_error(&target, &e)),
    };
    Ok(if front.starts_with(SIGNATURE) {
        if has_slots(&front) { Probe::WrongStorage } else { Probe::Container }
    } else if front.starts_with(POINTER) {
        Probe::Pointer
    } else if front.starts_with(HDF5) {
        Probe::NativeHdf5
    } else {
        match look_at_head(store, &key, &target)? {
            Some(looked) if is_native_hdf5(&looked.bytes) => Probe::NativeHdf5,
            _ => Probe::Other,
        }
    })
}

pub(crate) fn open(
    store: Arc<dyn ObjectStore>,
    key: &str,
    access: Access,
    opts: &Options,
) -> Result<ObjectStorage> {
    let target = name(store.as_ref(), key);
    let key = head_key(key, &target)?;
    initial_manifest::wait_for(&target);
    if access == Access::ReadWrite
        && let Some(at) = opts.at
    {
        return Err(old_is_read_only(&target, at));
    }
    let read = || -> Result<_> {
        let now = Moment::now();
        if let Some(At::Replaced(kept)) = opts.at {
            return Ok((replaced::head_of(store.as_ref(), &key, &kept, &target)?, None, now));
        }
        let found = look_at_head(store.as_ref(), &key, &target)?;
        let found = found.ok_or_else(|| Error::new(&target, ErrorKind::NotFound))?;
        let head = Head::decode(&found.bytes, &target).inspect_err(|_| opts.foreign.keep(&found))?;
        Ok((head, found.meta.etag, now))
    };
    let mut found = read()?;
    let names = Names::new(key.clone(), &found.0.fixed.id, &target)?;
    let mut held = None;
    if access == Access::ReadWrite {
        if opts.writers == Writers::Many {
            check_conditions(store.as_ref(), &target)?;
            let free = lease::check_free_to_write(store.as_ref(), &names, &target);
            free.map_err(|e| leftovers::with_arrived(e, store.as_ref(), &names, found.0.version))?;
        } else if opts.lock != LockPolicy::Off {
            let taken = Lease::take(&store, &names, &target);
            held =
                Some(taken.map_err(|e| leftovers::with_arrived(e, store.as_ref(), &names, found.0.version))?);
        }
        held = leftovers::recover(store.as_ref(), &names, held, &target)?;
        // The writer before may have put another head between our look at it and the lease.
        let stray = || is_behind(store.as_ref(), &names, found.0.version, &target);
        let (stray, again) = match found.0.closed {
            Some(_) => beside(&target, stray, read),
            None => (Ok(false), read()),
        };
        let mut again = again?;
        if again.0.fixed.id != found.0.fixed.id {
            return Err(Error::new(&target, ErrorKind::Conflict));
        }
        if stray? || again.0.version != found.0.version {
            again.0.closed = None;
        }
        found = again;
        if opts.writers == Writers::Many {
            found = tell_of_many(store.as_ref(), &key, found, &target, &read)?;
        }
        if let Some(asked) = opts.retention {
            found.0.retention = clock::micros(asked) / 1000;
        }
    }
    let (head, etag, read) = found;
    let fencing_token = fencing_token(opts.writers, Some(&head), &target)?;
    let mut storage =
        storage(target, store, names, head, etag, read, access, held, opts.writers, fencing_token, None);
    storage.at = opts.at.filter(|at| !matches!(at, At::Replaced(_)));
    storage.retention = opts.retention;
    Ok(storage)
}

/// A head, its etag, and when it was read.
type FoundHead = (Head, Option<Etag>, Moment);

/// How often one of many tries to have the head tell of many.
const MAX_TELLINGS: u32 = 100;

/// Before one of many relies on what it sees, the head has to tell that there are many. A single writer that comes later keeps their
/// records then, and what they have put. One request, once in a container's life.
fn tell_of_many(
    store: &dyn ObjectStore,
    key: &Key,
    mut found: FoundHead,
    target: &str,
    read: &dyn Fn() -> Result<FoundHead>,
) -> Result<FoundHead> {
    for _ in 0..MAX_TELLINGS {
        if found.0.is_after_many_writers() {
            return Ok(found);
        }
        let told = found.0.clone().fenced_by(MULTI_WRITER_TOKEN);
        match put_over(store, key, told.encode(), found.1.as_ref()) {
            // The log objects in a closed one are what there was.
            Ok(etag) => (found.0.fencing_token, found.1) = (MULTI_WRITER_TOKEN, etag),
            Err(e) if e.kind() == object_stores::ErrorKind::PreconditionFailed => {
                let again = read()?;
                if again.0.fixed.id != found.0.fixed.id {
                    return Err(Error::new(target, ErrorKind::Conflict));
                }
                found = (Head { closed: None, ..again.0 }, again.1, again.2);
            }
            Err(e) => return Err(store_error(target, &e)),
        }
    }
    // Somebody puts heads all the time that forget it: no writer of this build does.
    if found.0.is_after_many_writers() { Ok(found) } else { Err(Error::new(target, ErrorKind::Conflict)) }
}

/// Whether there is a record behind a version. Behind a closed head there is none, but in a copy that was made object by object of a
/// container in use: a reader has the version of the head, and a writer has to go on behind all that is there.
pub(super) fn is_behind(store: &dyn ObjectStore, names: &Names, version: u64, target: &str) -> Result<bool> {
    let key = names.object_key(&Location::Log(version + 1), target)?;
    store.head_opt(&key).map(|there| there.is_some()).map_err(|e| store_error(target, &e))
}

/// What the heads of a writer have to tell them from another's.
/// The fencing token of a writer that finds `before`.
pub(super) fn fencing_token(writers: Writers, before: Option<&Head>, target: &str) -> Result<u64> {
    match writers {
        Writers::Many => Ok(MULTI_WRITER_TOKEN),
        Writers::One => Ok(single_writer_token(Nonces::new(target)?.next(), before)),
    }
}

/// Many writers rely on conditional puts.
fn check_conditions(store: &dyn ObjectStore, target: &str) -> Result<()> {
    let Some(missing) = [Condition::Create, Condition::Update].into_iter().find(|c| !store.honours(*c))
    else {
        return Ok(());
    };
    let said = store.why_not(missing).map_or_else(String::new, |why| format!(" ({why})"));
    Err(Error::invalid(
        target,
        format!(
            "writers=many needs a store with conditional puts (If-None-Match and If-Match), which this one has \
             not{said}; one writer at a time works, guarded by a lock object"
        ),
    ))
}

#[allow(clippy::too_many_arguments, reason = "the fields of a struct, once")]
pub(super) fn storage(
    target: String,
    store: Arc<dyn ObjectStore>,
    names: Names,
    head: Head,
    etag: Option<Etag>,
    read: Moment,
    access: Access,
    held: Option<Lease>,
    writers: Writers,
    fencing_token: u64,
    born: Option<Vec<FetchedRecord>>,
) -> ObjectStorage {
    let proven = store.capabilities().near.then(Arc::default);
    ObjectStorage {
        gone: Default::default(),
        _opened: Opened::new(&store, &names, &target),
        proven,
        target,
        store,
        names,
        id: head.fixed.id,
        is_for_sources: head.fixed.sources,
        basis: Mutex::new(Basis::new(&head, access == Access::ReadWrite && writers == Writers::Many)),
        seen: Mutex::new(ReaderState {
            head,
            etag,
            read,
            version: None,
            nonce: None,
            reclaim_epoch: None,
            looked: 0,
            looks_for_base: false,
        }),
        writer: (access == Access::ReadWrite).then(Mutex::default),
        lease: Mutex::new(held),
        born: Mutex::new(born),
        tail: Mutex::default(),
        first_head: Mutex::default(),
        journal: Mutex::default(),
        head_last: false,
        fencing_token,
        unnamed: Mutex::default(),
        queue: Mutex::default(),
        at: None,
        tagged: None,
        writers,
        retention: None,
    }
}

/// What there is before the head of a new container.
struct Prepared {
    /// The head that lies there now.
    old: Option<(Bytes, Option<Etag>)>,
    /// The container that it is of.
    outgoing: Option<Outgoing>,
    id: [u8; 16],
    names: Names,
    /// The first record, which is there.
    record: Option<(Key, Bytes)>,
    held: Option<Lease>,
}

/// Makes a container, whose map begins with `first` (encoded changes) if that is given: then the first record is there before
/// the head is.
pub(crate) fn create(
    store: Arc<dyn ObjectStore>,
    key: &str,
    replace: Replace,
    opts: &Options,
    first: Option<&[u8]>,
    head: FirstHeadPut,
) -> Result<ObjectStorage> {
    let target = name(store.as_ref(), key);
    let key = head_key(key, &target)?;
    initial_manifest::wait_for(&target);
    let head_last = head == FirstHeadPut::AfterTheFirstCommit;
    let now = Moment::now();
    let prepared = std::thread::scope(|s| {
        // To find out what a store can do may take requests of their own, which only the head has to wait for.
        let _it_remembers = std::thread::Builder::new().spawn_scoped(s, || store.honours(Condition::Create));
        prepare(&store, &key, replace, opts, first, &target)
    });
    let Prepared { old, outgoing, id, names, record, held } = prepared?;
    let fencing_token = fencing_token(opts.writers, None, &target)?;
    let head =
        Head { version: u64::from(first.is_some()), ..new_head(store.as_ref(), id, opts, fencing_token) };
    let first_head = InitialManifest {
        store: store.clone(),
        key,
        bytes: head.encode().into(),
        replace,
        over: old.map(|(_, etag)| etag),
        replaced: outgoing,
        target: target.clone(),
    };
    // Who asked for a name that nobody has must be told that nobody has it. Many writers know each other by the head.
    // A commit that survives a loss of power needs the head before a pointer file that leads to it.
    let goes_on = replace != Replace::Fail
        && opts.writers == Writers::One
        && opts.sync == SyncPolicy::Process
        && store.capabilities().remote;
    let (etag, under_way) = match goes_on {
        _ if head_last => (None, Some(first_head.hold())),
        true => (None, Some(first_head.send())),
        false => match first_head.put() {
            Ok(etag) => (etag, None),
            Err(e) => {
                take_back_headless(store.as_ref(), &e, record.as_ref().map(|(key, _)| key), held);
                return Err(store_error(&target, &e));
            }
        },
    };
    // With the lease in hand before the head was there nobody else can have committed.
    let record = record.map(|(_, bytes)| parse_log(&bytes)).transpose();
    let record = record.map_err(|why| Error::corrupt(&target, "the first record", why))?;
    let born = held.is_some().then(|| record.into_iter().collect());
    let mut storage = storage(
        target,
        store,
        names,
        head,
        etag,
        now,
        Access::ReadWrite,
        held,
        opts.writers,
        fencing_token,
        born,
    );
    storage.retention = opts.retention;
    storage.first_head = Mutex::new(under_way);
    storage.head_last = head_last;
    Ok(storage)
}

/// The retention time where nobody asks for another one. Records of many writers stay for it whatever is asked for.
pub(super) fn usual_retention(store: &dyn ObjectStore) -> Duration {
    if store.capabilities().persistent { RETENTION } else { RETENTION_IN_MEMORY }
}

/// The head of an empty container.
pub(super) fn new_head(store: &dyn ObjectStore, id: [u8; 16], opts: &Options, fencing_token: u64) -> Head {
    let created = store_clock::version_time(store);
    Head {
        fixed: Fixed { id, base: 0, created, edits: false, tags: false, sources: opts.sources },
        version: 0,
        base: Checkpoint::default(),
        table: None,
        retention: clock::micros(opts.retention.unwrap_or_else(|| usual_retention(store))) / 1000,
        reclaim_epoch: 0,
        lost: 0,
        history: None,
        fencing_token,
        closed: None,
        tagged: None,
        intents: false,
    }
}

/// Looks at what is there, and beside that puts what has to be there before the head of a new container.
fn prepare(
    store: &Arc<dyn ObjectStore>,
    key: &Key,
    replace: Replace,
    opts: &Options,
    first: Option<&[u8]>,
    target: &str,
) -> Result<Prepared> {
    let id = clock::random(target)?;
    let names = Names::new(key.clone(), &id, target)?;
    let time = store_clock::version_time(store.as_ref());
    let record = |time| first.map(|entries| first_record(&names, entries, time, target)).transpose();
    let mut first_record = record(time)?;
    if opts.writers == Writers::Many {
        check_conditions(store.as_ref(), target)?;
    }
    // Nobody knows the new names yet, so what goes there need not wait for what is there.
    let put = || put_prepared(store, &names, first_record.as_ref(), opts, target);
    let (held, found) = beside(target, put, || replaceable(store.as_ref(), key, replace, opts, target));
    // The first answers tell a store's time, and nobody has seen the record yet.
    let now = store_clock::version_time(store.as_ref());
    let found = match first.is_some() && found.is_ok() && held.is_ok() && timekeeping::differ(time, now) {
        true => found.and_then(|found| {
            first_record = record(now)?;
            put_record(store.as_ref(), first_record.as_ref(), target)?;
            Ok(found)
        }),
        false => found,
    };
    match (found, held) {
        (Ok((old, outgoing)), Ok(held)) => {
            Ok(Prepared { old, outgoing, id, names, record: first_record, held })
        }
        (Err(e), Ok(held)) => {
            take_back(store.as_ref(), first_record.as_ref().map(|(key, _)| key), held);
            Err(e)
        }
        (Err(e), Err(_)) | (Ok(_), Err(e)) => Err(e),
    }
}

/// What a new container would replace: the head that is there, and the container that it is of.
type Replaceable = (Option<(Bytes, Option<Etag>)>, Option<Outgoing>);

/// What is there, if it may be replaced.
fn replaceable(
    store: &dyn ObjectStore,
    key: &Key,
    replace: Replace,
    opts: &Options,
    target: &str,
) -> Result<Replaceable> {
    let old = read_head(store, key, target)?;
    if let (Some((bytes, _)), true) = (&old, replace != Replace::Atomically)
        && (replace == Replace::Fail || !is_left_behind(store, key, bytes, target)?)
    {
        return Err(Error::new(target, ErrorKind::AlreadyExists));
    }
    let old_head = old.as_ref().map_or(Ok(None), |(bytes, _)| old_head(bytes, target))?;
    let (Some(old_head), Some((bytes, _))) = (old_head, &old) else { return Ok((old, None)) };
    let names = Names::new(key.clone(), &old_head.fixed.id, target)?;
    if opts.lock != LockPolicy::Off {
        lease::check_free(store, &names, target)?;
    }
    let retention = opts.retention.map_or(old_head.retention, |asked| clock::micros(asked) / 1000);
    let outgoing = Outgoing { names, head: bytes.clone(), retention };
    Ok((old, Some(outgoing)))
}

/// Whether a container is all that a killed creator left: its only writer is known to be dead, committed nothing behind the version that
/// it made the container with, has staged nothing that did not arrive, and did not close it. So nobody's data is in it.
fn is_left_behind(store: &dyn ObjectStore, key: &Key, bytes: &[u8], target: &str) -> Result<bool> {
    let Ok(head) = Head::decode(bytes, target) else { return Ok(false) };
    if head.version > 1
        || head.base != Checkpoint::default()
        || head.fencing_token == MULTI_WRITER_TOKEN
        || head.closed.is_some()
    {
        return Ok(false);
    }
    let names = Names::new(key.clone(), &head.fixed.id, target)?;
    Ok(lease::is_of_dead_writer(store, &names, target)? && !is_behind(store, &names, head.version, target)?)
}

/// The head of the container that is to be replaced. A damaged or a newer one is replaced as it is, and so is an empty object.
/// What is no container stays: whoever chose the name may not know what is there.
fn old_head(bytes: &[u8], target: &str) -> Result<Option<Head>> {
    match Head::decode(bytes, target) {
        Ok(head) => Ok(Some(head)),
        Err(e)
            if matches!(e.kind(), ErrorKind::NotAContainer { .. } | ErrorKind::WrongStorage { .. })
                && !bytes.is_empty() =>
        {
            Err(e)
        }
        Err(_) => Ok(None),
    }
}

/// Does `other` in a thread of its own, and `this` meanwhile. Where no thread can be had, they follow upon each other.
fn beside<T: Send, U>(
    target: &str,
    other: impl Fn() -> Result<T> + Send + Copy,
    this: impl FnOnce() -> U,
) -> (Result<T>, U) {
    std::thread::scope(|s| {
        let thread = std::thread::Builder::new().spawn_scoped(s, other);
        let this = this();
        let panicked = |_| Err(Error::corrupt(target, "a new container", "a thread that put it panicked"));
        (thread.map_or_else(|_| other(), |thread| thread.join().unwrap_or_else(panicked)), this)
    })
}

/// The log object of version 1.
fn first_record(names: &Names, entries: &[u8], time: u64, target: &str) -> Result<(Key, Bytes)> {
    let nonce = Nonces::new(target)?.next();
    let header = Header::of_now(1, nonce, time);
    let bytes = log_object(&header, &UsageDelta::default().encode(), &[], &entries);
    Ok((names.object_key(&Location::Log(1), target)?, bytes.into()))
}

/// Puts the lease, if there is to be one, and beside it the first record. Nobody else knows their names yet.
fn put_prepared(
    store: &Arc<dyn ObjectStore>,
    names: &Names,
    record: Option<&(Key, Bytes)>,
    opts: &Options,
    target: &str,
) -> Result<Option<Lease>> {
    let put = || put_record(store.as_ref(), record, target);
    if opts.writers == Writers::Many || opts.lock == LockPolicy::Off {
        return put().map(|()| None);
    }
    let (put, lease) = beside(target, put, || Lease::take_new(store, names, target));
    match (lease, put) {
        (Ok(lease), Ok(())) => Ok(Some(lease)),
        (Ok(lease), Err(e)) => {
            take_back(store.as_ref(), record.map(|(key, _)| key), Some(lease));
            Err(e)
        }
        (Err(e), Ok(())) => {
            take_back(store.as_ref(), record.map(|(key, _)| key), None);
            Err(e)
        }
        // A store that cannot be reached is not asked again for so little.
        (Err(e), Err(_)) => Err(e),
    }
}

fn put_record(store: &dyn ObjectStore, record: Option<&(Key, Bytes)>, target: &str) -> Result<()> {
    let Some((key, bytes)) = record else { return Ok(()) };
    // The name is random and new, so there is nothing to replace and a repetition is harmless.
    let put = store.put(key, PutPayload::from(bytes.clone()), PutMode::Overwrite);
    put.map(drop).map_err(|e| store_error(target, &e))
}

/// Takes back what was prepared for a head whose put failed. A head that may have arrived all the same needs its record.
pub(super) fn take_back_headless(
    store: &dyn ObjectStore,
    e: &object_stores::Error,
    record: Option<&Key>,
    lease: Option<Lease>,
) {
    take_back(store, record.filter(|_| !e.kind().is_ambiguous()), lease);
}

/// Takes back what was prepared for a head that did not come to be.
fn take_back(store: &dyn ObjectStore, record: Option<&Key>, lease: Option<Lease>) {
    if let Some(key) = record {
        let _garbage_at_worst = store.delete(key);
    }
    if let Some(lease) = lease {
        let _another_error_counts = lease.release();
    }
}

/// Everything under the container's id.
pub(crate) fn lake(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<Vec<ObjectMeta>> {
    let prefix = format!("{}/", names.lake);
    store.list(&prefix, None).collect::<object_stores::Result<_>>().map_err(|e| store_error(target, &e))
}

pub(super) fn delete_lake(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<()> {
    let keys: Vec<Key> = lake(store, names, target)?.into_iter().map(|m| m.key).collect();
    if keys.is_empty() { Ok(()) } else { store.delete_many(&keys).map_err(|e| store_error(target, &e)) }
}

pub(crate) fn size(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<u64> {
    let head = store.head(&names.head).map_err(|e| store_error(target, &e))?;
    Ok(head.size + lake(store, names, target)?.iter().map(|m| m.size).sum::<u64>())
}

/// The names of the container that a key leads to.
fn names_of(store: &dyn ObjectStore, key: &str, target: &str) -> Result<Names> {
    let key = head_key(key, target)?;
    let found = read_head(store, &key, target)?;
    let (bytes, _) = found.ok_or_else(|| Error::new(target, ErrorKind::NotFound))?;
    Names::new(key, &Head::decode(&bytes, target)?.fixed.id, target)
}

/// Who has a container open for writing, as its lock says.
pub(crate) fn lock_holder(store: &dyn ObjectStore, key: &str) -> Result<Option<LockHolder>> {
    let target = name(store, key);
    lease::holder(store, &names_of(store, key, &target)?, &target)
}

/// Takes a container's lock away from who was found to have it.
pub(crate) fn break_lock(store: &dyn ObjectStore, key: &str, found: &LockHolder) -> Result<()> {
    let target = name(store, key);
    lease::take_away(store, &names_of(store, key, &target)?, found, &target)
}
