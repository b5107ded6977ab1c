//! Creates, opens, recognises and removes containers in an object store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_stores::{Condition, GetResult, Key, ObjectStore, ObjectStoreExt};

use super::ObjectStorage;
use super::committer::{Committer, failure, load};
use super::fetch::Fetcher;
use super::head;
use super::leftovers;
use super::names::{Names, beside};
use super::note::Note;
use super::replaced::{self, End, Opened};
use super::salvage;
use super::view::View;
use super::writer::Writer;
use crate::clock;
use crate::core::change::{Change, NewContainer};
use crate::core::events::Outcome;
use crate::core::ids::ContainerId;
use crate::core::manifest::Manifest;
use crate::core::records::Segments;
use crate::core::session::Mode;
use crate::error::{Error, ErrorKind, Result, store_error};
use crate::file::old_is_read_only;
use crate::file::superblock::{MIN_TELLING_BYTES, has_slots};
use crate::foreign::is_native_hdf5;
use crate::locks::Mutex;
use crate::options::{Access, At, LockHolder, LockPolicy, Options, Probe, Replace, Writers};
use crate::register::{self, FRONT_BYTES, Lease, Load, Register, SwapRegister, Token, is_conditional};
use crate::side_by_side::both;
use crate::signatures::{HDF5, POINTER, SIGNATURE};
use crate::store::store_clock;

/// The default retention time of replaced versions. It is longer than readers usually go without a refresh.
const RETENTION: Duration = Duration::from_secs(600);
/// The default retention time in a store in this process's memory, where objects that are not reclaimed take memory.
const RETENTION_IN_MEMORY: Duration = Duration::from_secs(10);
/// The maximum number of attempts to create a container while other processes create one under the same name.
const MAX_CREATIONS: u32 = 16;

pub(super) fn head_key(key: &str, target: &str) -> Result<Key> {
    Key::new(key).map_err(|e| Error::invalid(target, e.to_string()))
}

/// Returns the retention time of a container that was created without one.
pub(super) fn usual_retention(store: &dyn ObjectStore) -> Duration {
    if store.capabilities().persistent { RETENTION } else { RETENTION_IN_MEMORY }
}

fn retention_of(store: &dyn ObjectStore, opts: &Options) -> u64 {
    clock::micros(opts.retention.unwrap_or_else(|| usual_retention(store))) / 1000
}

pub(crate) fn probe(store: &dyn ObjectStore, key: &str) -> Result<Probe> {
    let target = head::target_of(store, key);
    let key = head_key(key, &target)?;
    let front = match store.get_opt(&key, Some(0..MIN_TELLING_BYTES as u64)) {
        Ok(None) => return Ok(Probe::NotFound),
        Ok(Some(g)) => g.bytes,
        // This range of an empty object does not exist. The manifest of a deleted container may be shorter than the range, too.
        Err(e) if e.kind() == object_stores::ErrorKind::ShortRead => {
            let whole = store.get_whole_opt(&key, FRONT_BYTES).map_err(|e| store_error(&target, &e))?;
            match whole {
                None => return Ok(Probe::NotFound),
                Some(found) if found.bytes.is_empty() => return Ok(Probe::Other),
                Some(found) => found.bytes,
            }
        }
        Err(e) => return Err(store_error(&target, &e)),
    };
    Ok(if front.starts_with(SIGNATURE) {
        match has_slots(&front) {
            true => Probe::WrongStorage,
            false if is_absent(&front) => Probe::NotFound,
            false => Probe::Container,
        }
    } else if front.starts_with(POINTER) {
        Probe::Pointer
    } else if front.starts_with(HDF5) {
        Probe::NativeHdf5
    } else {
        let looked = store.get_front(&key, FRONT_BYTES).map_err(|e| store_error(&target, &e))?;
        if is_native_hdf5(&looked.bytes) { Probe::NativeHdf5 } else { Probe::Other }
    })
}

/// Returns whether the fixed part of a manifest is that of a deleted container.
fn is_absent(front: &[u8]) -> bool {
    // See docs/format.md, "File layout": signature, format, features, id.
    let at = SIGNATURE.len() + 4 + 8;
    front.get(at..at + 16).is_some_and(|id| id == ContainerId::ABSENT.0)
}

/// Reads the manifest of a register. If the head object is not a manifest, the error says what the object is. `is_head` says that the
/// register consists of the head object alone.
fn found(
    (register, is_head): (&dyn Register, bool),
    store: &dyn ObjectStore,
    key: &Key,
    opts: &Options,
    target: &str,
) -> Result<(Arc<Manifest>, Token)> {
    let Some(head) = none_if_missing(register::read_head(store, key), target)? else {
        return if is_head {
            Ok((Arc::new(Manifest::absent()), Token::none()))
        } else {
            load(register, target)
        };
    };
    match head::decode(&head.bytes, target) {
        Err(e) if is_foreign(&e) => {
            opts.foreign.keep(&head);
            Err(e)
        }
        // A damaged answer is loaded once more, because it may have been damaged in transit.
        Err(e) if matches!(e.kind(), ErrorKind::Corrupt { .. }) => load(register, target),
        Err(e) => Err(e),
        Ok(manifest) => match head.meta.etag.filter(|_| is_head) {
            Some(etag) => Ok((Arc::new(manifest), Token::of_head(etag))),
            None => load(register, target),
        },
    }
}

fn none_if_missing(read: object_stores::Result<GetResult>, target: &str) -> Result<Option<GetResult>> {
    match read {
        Err(e) if e.kind() == object_stores::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(|e| store_error(target, &e)),
    }
}

pub(super) fn is_foreign(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::NotAContainer { .. } | ErrorKind::WrongStorage { .. })
}

fn is_other_format(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::NewerFormat { .. } | ErrorKind::EarlierFormat { .. })
}

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
             not{said}; one writer at a time works, guarded by a lease"
        ),
    ))
}

/// Takes the lease of a name for an exclusive writer. In a store without conditional puts the register takes the lease. For a concurrent
/// writer, checks that no other writer holds the lease.
pub(super) fn lease_for(
    store: &Arc<dyn ObjectStore>,
    key: &Key,
    opts: &Options,
    target: &str,
) -> Result<Option<Lease>> {
    let lease = beside(key, "lease", target)?;
    if opts.writers == Writers::Many {
        return register::check_free(store.as_ref(), &lease, target).map(|()| None);
    }
    if opts.lock == LockPolicy::Off || !is_conditional(store.as_ref()) {
        return Ok(None);
    }
    Lease::take(store, lease, target).map(Some)
}

/// Takes the lease that excludes writers while a container is replaced.
pub(super) fn lease_to_replace(
    store: &Arc<dyn ObjectStore>,
    key: &Key,
    target: &str,
) -> Result<Option<Lease>> {
    lease_for(store, key, &Options::default(), target)
}

pub(crate) fn open(
    store: Arc<dyn ObjectStore>,
    key: &str,
    access: Access,
    opts: &Options,
) -> Result<ObjectStorage> {
    let target: Arc<str> = head::target_of(store.as_ref(), key).into();
    let key = head_key(key, &target)?;
    if access == Access::ReadOnly {
        let register: Arc<dyn Register> = Arc::new(SwapRegister::new(store.clone(), key.clone(), &target));
        let (manifest, token) = match opts.at {
            Some(At::Replaced(kept)) => {
                let manifest = replaced::manifest_of(store.as_ref(), &key, &kept, &target)?;
                (Arc::new(manifest), Token::none())
            }
            _ => match found((register.as_ref(), true), store.as_ref(), &key, opts, &target) {
                Err(e) if opts.salvage && matches!(e.kind(), ErrorKind::Corrupt { .. }) => {
                    return salvage::open_damaged(store, key, target, opts, e);
                }
                found => found?,
            },
        };
        check_there(&manifest, &target)?;
        return storage(store, key, target, register, (manifest, token), None, opts);
    }
    if let Some(at) = opts.at {
        return Err(old_is_read_only(&target, at));
    }
    if opts.writers == Writers::Many {
        check_conditions(store.as_ref(), &target)?;
    }
    let look = || {
        let register = SwapRegister::new(store.clone(), key.clone(), &target);
        check_there(&found((&register, true), store.as_ref(), &key, opts, &target)?.0, &target)
    };
    // A lease in a directory would create folders for a name that leads to no container.
    if !store.capabilities().remote && store.stage().is_none() {
        look()?;
    }
    let take = || {
        let lease = lease_for(&store, &key, opts, &target);
        let lease = lease.map_err(|e| leftovers::with_arrived(e, &store, &key))?;
        let (lease, _) = leftovers::recover(&store, &key, lease, &target)?;
        Ok((lease, register::open_to_write(&store, &key, &target, head::sequence_of)?))
    };
    // A store may refuse a lease because the object is not a container: for example, a native HDF5 file on a read-only server. The lease of
    // a container of another format may be held by a writer of another build, or be unreadable.
    let explains = |e: &Error| is_foreign(e) || is_other_format(e);
    // A shared writer only checks the lease, so it may read the manifest meanwhile.
    let is_early = opts.writers == Writers::Many && store.capabilities().remote && store.stage().is_none();
    let read_early = || {
        let register = SwapRegister::new(store.clone(), key.clone(), &target);
        is_early.then(|| found((&register, true), store.as_ref(), &key, opts, &target))
    };
    let (taken, early) = both(is_early, take, read_early);
    let (lease, register) = taken.map_err(|e| look().err().filter(explains).unwrap_or(e))?;
    let (manifest, token) = match early {
        Some(found) => found?,
        None => {
            let is_head = is_conditional(store.as_ref());
            found((register.as_ref(), is_head), store.as_ref(), &key, opts, &target)?
        }
    };
    check_there(&manifest, &target)?;
    let mode = mode_of(opts.writers);
    let at = (manifest.clone(), token.clone());
    let committer = Committer::new(register.clone(), target.clone(), manifest.id, mode, at)?;
    let opened = storage(store, key, target, register, (manifest, token), Some((committer, lease)), opts)?;
    if mode == Mode::Shared
        && let Err(e) = opened.cancel_dead_commits()
    {
        tracing::debug!(error = %e, "queued commits of processes that have ended were not cancelled");
    }
    Ok(opened)
}

fn mode_of(writers: Writers) -> Mode {
    match writers {
        Writers::One => Mode::Exclusive,
        Writers::Many => Mode::Shared,
    }
}

fn check_there(manifest: &Manifest, target: &str) -> Result<()> {
    if manifest.is_absent() { Err(Error::new(target, ErrorKind::NotFound)) } else { Ok(()) }
}

/// Returns a reader's storage for a register.
pub(super) fn reader(
    store: Arc<dyn ObjectStore>,
    key: Key,
    target: Arc<str>,
    register: Arc<dyn Register>,
    found: (Arc<Manifest>, Token),
    opts: &Options,
) -> Result<ObjectStorage> {
    storage(store, key, target, register, found, None, opts)
}

/// Returns a writer's storage for a register.
pub(super) fn open_writer(
    store: Arc<dyn ObjectStore>,
    key: Key,
    target: Arc<str>,
    register: Arc<dyn Register>,
    found: (Arc<Manifest>, Token),
    writer: (Committer, Option<Lease>),
    opts: &Options,
) -> Result<ObjectStorage> {
    storage(store, key, target, register, found, Some(writer), opts)
}

fn storage(
    store: Arc<dyn ObjectStore>,
    key: Key,
    target: Arc<str>,
    register: Arc<dyn Register>,
    (manifest, token): (Arc<Manifest>, Token),
    writer: Option<(Committer, Option<Lease>)>,
    opts: &Options,
) -> Result<ObjectStorage> {
    let names = Names::new(key, manifest.id, &target)?;
    let proven: Option<Arc<Mutex<_>>> = store.capabilities().near.then(Arc::default);
    let fetcher = Fetcher::new(store.clone(), names.clone(), target.clone());
    let mode = mode_of(opts.writers);
    let writer = writer.map(|(committer, lease)| {
        let mut writer = Writer::new(committer, fetcher.clone(), mode, lease, proven.clone());
        writer.retention = opts.retention;
        Mutex::new(writer)
    });
    Ok(ObjectStorage {
        _opened: Opened::new(&store, &names, &target),
        id: manifest.id,
        is_for_sources: manifest.has_sources,
        view: Mutex::new(View { manifest, token, segments: Segments::default(), reported: None }),
        target,
        store,
        names,
        fetcher,
        register,
        writer,
        writers: opts.writers,
        at: opts.at,
        proven,
        draft: Mutex::default(),
        gone: Default::default(),
    })
}

/// Creates a container. If `first` is given, its encoded changes are the first version.
pub(crate) fn create(
    store: Arc<dyn ObjectStore>,
    key: &str,
    replace: Replace,
    opts: &Options,
    first: Option<&[u8]>,
) -> Result<ObjectStorage> {
    let target: Arc<str> = head::target_of(store.as_ref(), key).into();
    let key = head_key(key, &target)?;
    if opts.writers == Writers::Many {
        check_conditions(store.as_ref(), &target)?;
    }
    let look = SwapRegister::new(store.clone(), key.clone(), &target);
    let look = || replaceable(&look, store.as_ref(), &key, replace, opts, &target);
    let take = || lease_for(&store, &key, opts, &target);
    let (looked, lease) = both(store.capabilities().remote, look, take);
    // An error of this check takes precedence over that of the lease: a caller that requires an unused name learns that the name is in use,
    // even if another writer holds the lease.
    let mut found = Some(looked?);
    let mut lease = lease?;
    // Pending uploads may make the name lead to a container, which must not be replaced unless the caller requested that.
    if replace != Replace::Atomically {
        let has_arrived;
        (lease, has_arrived) = leftovers::recover(&store, &key, lease, &target)?;
        found = found.filter(|_| !has_arrived);
    }
    let register = register::open_to_write(&store, &key, &target, head::sequence_of)?;
    for _ in 0..MAX_CREATIONS {
        let (old, token) = match found.take().filter(|_| is_conditional(store.as_ref())) {
            Some(found) => found,
            None => replaceable(register.as_ref(), store.as_ref(), &key, replace, opts, &target)?,
        };
        let mode = mode_of(opts.writers);
        let at = (old.clone(), token);
        let mut committer = Committer::new(register.clone(), target.clone(), old.id, mode, at)?;
        let new = new_container(store.as_ref(), opts, first, &target)?;
        let names = Names::new(key.clone(), new.id, &target)?;
        let fetcher = Fetcher::new(store.clone(), names, target.clone());
        if !old.is_absent() {
            replaced::bury(store.as_ref(), &key, &old, End::Replaced, opts.retention, &target)?;
        }
        match committer.submit(Change::Create(Box::new(new)), &fetcher, &mut |_, _| Ok(None))? {
            Outcome::Done { .. } => {
                if !old.is_absent() {
                    replaced::let_go(store.as_ref(), &key, old.id, &target)?;
                }
                let (manifest, token) = committer.newest()?;
                let made = Some((committer, lease));
                let made = storage(store, key, target, register, (manifest, token), made, opts)?;
                // A new container has no copies of manifests to list.
                made.with_writer(|w| {
                    w.copies = Some(Default::default());
                    Ok(())
                })?;
                return Ok(made);
            }
            // Another process created a container first.
            Outcome::Rejected(_) | Outcome::NotCommitted => (),
            other => return Err(failure(&other, &target)),
        }
    }
    Err(Error::new(&target, ErrorKind::Conflict))
}

pub(super) fn new_container(
    store: &dyn ObjectStore,
    opts: &Options,
    first: Option<&[u8]>,
    target: &str,
) -> Result<NewContainer> {
    let time = store_clock::version_time(store);
    let first = first
        .map(|entries| (time, Note::of_now(entries.len() as u64).encode(), Bytes::copy_from_slice(entries)));
    Ok(NewContainer {
        id: ContainerId(clock::random(target)?),
        created: time,
        has_sources: opts.sources,
        retention: retention_of(store, opts),
        // The session joins at once, because its next objects are put under its names.
        joins: Some(time / store_clock::DAY),
        first,
    })
}

/// Returns the manifest that may be replaced. A damaged manifest and an empty object count as an absent manifest. A container of another
/// format and an object that is not a container are errors.
fn replaceable(
    register: &dyn Register,
    store: &dyn ObjectStore,
    key: &Key,
    replace: Replace,
    opts: &Options,
    target: &str,
) -> Result<(Arc<Manifest>, Token)> {
    let (bytes, token) = match register.load(None)? {
        Load::Loaded(bytes, token) => (bytes, token),
        Load::NotModified => (None, Token::none()),
    };
    let Some(bytes) = bytes else { return Ok((Arc::new(Manifest::absent()), token)) };
    let exists = || Error::new(target, ErrorKind::AlreadyExists);
    match head::decode(&bytes, target) {
        Ok(old) if old.is_absent() => Ok((Arc::new(old), token)),
        Ok(old) if replace == Replace::Atomically || is_left_behind(store, key, replace, &old, target)? => {
            Ok((Arc::new(old), token))
        }
        _ if replace != Replace::Atomically => Err(exists()),
        Ok(_) => Err(exists()),
        Err(e) if is_other_format(&e) => Err(e),
        Err(e) if is_foreign(&e) && !bytes.is_empty() => {
            if let Some(head) = none_if_missing(register::read_head(store, key), target)? {
                opts.foreign.keep(&head);
            }
            Err(e)
        }
        Err(_) => Ok((Arc::new(Manifest::absent()), token)),
    }
}

/// Returns whether a killed process left a container before it committed anything: the container has no version besides the first one, its
/// only session has not ended, and its lease is that of a dead writer without pending uploads. Such a container has no data of any user.
fn is_left_behind(
    store: &dyn ObjectStore,
    key: &Key,
    replace: Replace,
    old: &Manifest,
    target: &str,
) -> Result<bool> {
    let line = &old.line;
    let is_fresh = line.number <= 1 && old.sessions.len() == 1 && line.root.base == 0;
    if replace != Replace::IfAbsent || !is_fresh {
        return Ok(false);
    }
    let lease = beside(key, "lease", target)?;
    register::is_of_dead_writer(store, &lease, target)
}

/// Deletes all objects below the container's id.
pub(super) fn delete_lake(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<()> {
    let prefix = format!("{}/", names.lake);
    let all: object_stores::Result<Vec<_>> = store.list(&prefix, None).collect();
    let keys: Vec<Key> = all.map_err(|e| store_error(target, &e))?.into_iter().map(|m| m.key).collect();
    if keys.is_empty() { Ok(()) } else { store.delete_many(&keys).map_err(|e| store_error(target, &e)) }
}

pub(super) fn size(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<u64> {
    let head = store.head(&names.head).map_err(|e| store_error(target, &e))?;
    let prefix = format!("{}/", names.lake);
    let all: object_stores::Result<Vec<_>> = store.list(&prefix, None).collect();
    Ok(head.size + all.map_err(|e| store_error(target, &e))?.iter().map(|m| m.size).sum::<u64>())
}

/// Loads the manifest of a container of an earlier format that is to be deleted, see [`head::decode_to_delete`].
fn load_to_delete(register: &dyn Register, target: &str) -> Result<(Arc<Manifest>, Token)> {
    match register.load(None)? {
        Load::Loaded(Some(bytes), token) => Ok((Arc::new(head::decode_to_delete(&bytes, target)?), token)),
        Load::Loaded(None, _) | Load::NotModified => Err(Error::new(target, ErrorKind::NotFound)),
    }
}

/// Deletes a container. From then on its head object has an absent manifest. Of a container of an earlier format nothing is retained,
/// because this build cannot read its retention time, nor restore it.
pub(crate) fn remove(store: &Arc<dyn ObjectStore>, key: &str) -> Result<()> {
    let target: Arc<str> = head::target_of(store.as_ref(), key).into();
    let key = head_key(key, &target)?;
    let opts = Options::default();
    let lease = lease_for(store, &key, &opts, &target)?;
    let register = register::open_to_write(store, &key, &target, head::sequence_to_delete)?;
    let is_head = is_conditional(store.as_ref());
    let mut is_earlier = false;
    let (old, token) = match found((register.as_ref(), is_head), store.as_ref(), &key, &opts, &target) {
        Err(e) if head::is_earlier(&e) => {
            is_earlier = true;
            load_to_delete(register.as_ref(), &target)?
        }
        found => found?,
    };
    check_there(&old, &target)?;
    let names = Names::new(key.clone(), old.id, &target)?;
    let fetcher = Fetcher::new(store.clone(), names.clone(), target.clone());
    let at = (old.clone(), token);
    let mut committer = Committer::new(register, target.clone(), old.id, Mode::Exclusive, at)?;
    let deletion = |on: &Manifest| -> Result<Change> {
        if !is_earlier {
            replaced::bury(store.as_ref(), &key, on, End::Deleted, None, &target)?;
        }
        Ok(Change::Delete { on: on.sequence })
    };
    let done = replaced::replace(&mut committer, &fetcher, &deletion)?;
    drop(lease);
    match done {
        Outcome::Done { .. } if is_earlier => delete_lake(store.as_ref(), &names, &target),
        Outcome::Done { .. } => replaced::let_go(store.as_ref(), &key, old.id, &target),
        Outcome::Rejected(_) => Err(Error::new(&target, ErrorKind::Conflict)),
        other => Err(failure(&other, &target)),
    }
}

/// Returns the writer that has a container open, according to the lease. If the name leads to no container, that writer is about to create
/// one, or died before it published one.
pub(crate) fn lock_holder(store: &dyn ObjectStore, key: &str) -> Result<Option<LockHolder>> {
    let target = head::target_of(store, key);
    let key = head_key(key, &target)?;
    let manifest = manifest_at(store, &key, &target)?;
    let holder = register::lock_holder(store, &beside(&key, "lease", &target)?, &target)?;
    if holder.is_none() {
        check_there(&manifest, &target)?;
    }
    Ok(holder)
}

/// Removes a container's lease, if it is still held by the writer that an earlier call found.
pub(crate) fn break_lock(store: &dyn ObjectStore, key: &str, found: &LockHolder) -> Result<()> {
    let target = head::target_of(store, key);
    let key = head_key(key, &target)?;
    manifest_at(store, &key, &target)?;
    register::take_away(store, &beside(&key, "lease", &target)?, found, &target)
}

/// Returns the manifest at a key; an absent manifest if no object exists.
fn manifest_at(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Manifest> {
    let found = store.get_whole_opt(key, crate::register::MAX_MANIFEST_BYTES);
    let found = found.map_err(|e| store_error(target, &e))?;
    found.map_or_else(|| Ok(Manifest::absent()), |found| head::decode(&found.bytes, target))
}
