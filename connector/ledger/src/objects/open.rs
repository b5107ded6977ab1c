//! Creating, opening, recognising and removing a container in an object store.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use object_stores::{Key, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::file::head::{Fixed, HDF5, POINTER, SIGNATURE};
use crate::file::old_is_read_only;
use crate::objects::head::{Head, Names, put_over, read_head, store_error};
use crate::objects::lease::{self, Lease};
use crate::objects::{ObjectSpace, Seen};
use crate::options::{Access, LockPolicy, Options, Probe, Replace, Writers};
use crate::space::Base;

/// How long obsolete objects stay when nothing else is asked for: longer than a reader goes without refreshing.
const RETENTION: Duration = Duration::from_secs(600);
/// The same in a store that lives in this process only, where garbage is memory.
const RETENTION_IN_MEMORY: Duration = Duration::from_secs(10);

fn name(store: &dyn ObjectStore, key: &str) -> String {
    format!("{}/{key}", store.name())
}

fn head_key(key: &str, target: &str) -> Result<Key> {
    Key::new(key).map_err(|e| Error::invalid(target, e.to_string()))
}

pub(crate) fn probe(store: &dyn ObjectStore, key: &str) -> Result<Probe> {
    let target = name(store, key);
    let key = head_key(key, &target)?;
    let first = match store.get_opt(&key, Some(0..16)) {
        Ok(None) => return Ok(Probe::NotFound),
        Ok(Some(g)) => g.bytes,
        // An empty object has no range.
        Err(e) if e.kind() == object_stores::ErrorKind::ShortRead => return Ok(Probe::Other),
        Err(e) => return Err(store_error(&target, &e)),
    };
    Ok(if first == SIGNATURE[..] {
        Probe::Container
    } else if first == POINTER[..] {
        Probe::Pointer
    } else if first.starts_with(HDF5) {
        Probe::NativeHdf5
    } else {
        Probe::Other
    })
}

pub(crate) fn open(
    store: Arc<dyn ObjectStore>,
    key: &str,
    access: Access,
    opts: &Options,
) -> Result<ObjectSpace> {
    let target = name(store.as_ref(), key);
    let key = head_key(key, &target)?;
    if access == Access::ReadWrite
        && let Some(at) = opts.at
    {
        return Err(old_is_read_only(&target, at));
    }
    let read = || -> Result<_> {
        let now = Instant::now();
        let found = read_head(store.as_ref(), &key, &target)?;
        let (bytes, etag) = found.ok_or_else(|| Error::new(&target, ErrorKind::NotFound))?;
        Ok((Head::decode(&bytes, &target)?, etag, now))
    };
    let mut found = read()?;
    let names = Names::new(key.clone(), &found.0.fixed.id, &target)?;
    let mut held = None;
    if access == Access::ReadWrite {
        if opts.writers == Writers::Many {
            check_conditions(store.as_ref(), &target)?;
            lease::check_free(store.as_ref(), &names.key("lock", &target)?, &target)?;
        } else if opts.lock != LockPolicy::Off {
            held = Some(Lease::take(&store, names.key("lock", &target)?, &target)?);
        }
        // The writer before may have put another head between our look at it and the lease.
        let again = read()?;
        if again.0.fixed.id != found.0.fixed.id {
            return Err(Error::new(&target, ErrorKind::Conflict));
        }
        found = again;
        if let Some(asked) = opts.retention {
            found.0.retention = clock::micros(asked) / 1000;
        }
    }
    let (head, etag, read) = found;
    let mut space = space(target, store, names, head, etag, read, access, held, opts.writers);
    space.at = opts.at;
    Ok(space)
}

/// Many writers rely on conditional puts.
fn check_conditions(store: &dyn ObjectStore, target: &str) -> Result<()> {
    let can = store.capabilities();
    if can.create && can.update {
        return Ok(());
    }
    let why = "writers=many needs a store with conditional puts (If-None-Match and If-Match), which this one has not";
    Err(Error::invalid(target, why))
}

#[allow(clippy::too_many_arguments, reason = "the fields of a struct, once")]
fn space(
    target: String,
    store: Arc<dyn ObjectStore>,
    names: Names,
    head: Head,
    etag: Option<object_stores::Etag>,
    read: Instant,
    access: Access,
    held: Option<Lease>,
    writers: Writers,
) -> ObjectSpace {
    ObjectSpace {
        target,
        store,
        names,
        id: head.fixed.id,
        seen: Mutex::new(Seen { head, etag, read, version: None, moment: None, looked: 0 }),
        writer: (access == Access::ReadWrite).then(Mutex::default),
        lease: Mutex::new(held),
        at: None,
        writers,
    }
}

pub(crate) fn create(
    store: Arc<dyn ObjectStore>,
    key: &str,
    replace: Replace,
    opts: &Options,
) -> Result<ObjectSpace> {
    let target = name(store.as_ref(), key);
    let key = head_key(key, &target)?;
    let now = Instant::now();
    let old = read_head(store.as_ref(), &key, &target)?;
    if old.is_some() && replace == Replace::Fail {
        return Err(Error::new(&target, ErrorKind::AlreadyExists));
    }
    // What is no container is replaced as it is.
    let old_head = old.as_ref().and_then(|(bytes, _)| Head::decode(bytes, &target).ok());
    let old_names = old_head.map(|h| Names::new(key.clone(), &h.fixed.id, &target)).transpose()?;
    if let Some(names) = &old_names
        && opts.lock != LockPolicy::Off
    {
        lease::check_free(store.as_ref(), &names.key("lock", &target)?, &target)?;
    }
    let usual = if store.capabilities().persistent { RETENTION } else { RETENTION_IN_MEMORY };
    let head = Head {
        fixed: Fixed { id: clock::random(&target)?, base: 0, created: clock::now() },
        version: 0,
        base: Base::default(),
        table: None,
        retention: clock::micros(opts.retention.unwrap_or(usual)) / 1000,
        moment: 0,
        lost: 0,
        history: None,
    };
    let names = Names::new(key.clone(), &head.fixed.id, &target)?;
    let mut held = None;
    if opts.writers == Writers::Many {
        check_conditions(store.as_ref(), &target)?;
    } else if opts.lock != LockPolicy::Off {
        held = Some(Lease::take(&store, names.key("lock", &target)?, &target)?);
    }
    let put = match &old {
        Some((_, etag)) => put_over(store.as_ref(), &key, head.encode(), etag.as_ref()),
        None => put_first(store.as_ref(), &key, head.encode(), replace),
    };
    let etag = match put {
        Ok(etag) => etag,
        Err(e) => {
            if let Some(lease) = held.take() {
                let _the_put_error_counts = lease.release();
            }
            return Err(store_error(&target, &e));
        }
    };
    if let Some(names) = &old_names {
        // The new container is in place; what is left of the old one is garbage at worst.
        if let Err(e) = delete_lake(store.as_ref(), names, &target) {
            tracing::warn!(error = %e, "a replaced container was not deleted whole");
        }
    }
    Ok(space(target, store, names, head, etag, now, Access::ReadWrite, held, opts.writers))
}

fn put_first(
    store: &dyn ObjectStore,
    key: &Key,
    bytes: Vec<u8>,
    replace: Replace,
) -> object_stores::Result<Option<object_stores::Etag>> {
    if replace == Replace::Atomically || !store.capabilities().create {
        return put_over(store, key, bytes, None);
    }
    match store.put(key, PutPayload::from(bytes.clone()), PutMode::Create) {
        Ok(r) => Ok(r.etag),
        // A repetition may have met its own effect: the id in the head is random, so equal bytes are ours.
        Err(e) => match store.get_opt(key, None) {
            Ok(Some(g)) if g.bytes == bytes => Ok(g.meta.etag),
            _ => Err(e),
        },
    }
}

/// Everything under the container's id.
pub(crate) fn lake(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<Vec<ObjectMeta>> {
    let prefix = format!("{}/", names.lake);
    store.list(&prefix, None).collect::<object_stores::Result<_>>().map_err(|e| store_error(target, &e))
}

fn delete_lake(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<()> {
    let keys: Vec<Key> = lake(store, names, target)?.into_iter().map(|m| m.key).collect();
    if keys.is_empty() { Ok(()) } else { store.delete_many(&keys).map_err(|e| store_error(target, &e)) }
}

pub(crate) fn size(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<u64> {
    let head = store.head(&names.head).map_err(|e| store_error(target, &e))?;
    Ok(head.size + lake(store, names, target)?.iter().map(|m| m.size).sum::<u64>())
}

pub(crate) fn remove(store: &dyn ObjectStore, key: &str) -> Result<()> {
    let target = name(store, key);
    let key = head_key(key, &target)?;
    let found = read_head(store, &key, &target)?;
    let (bytes, _) = found.ok_or_else(|| Error::new(&target, ErrorKind::NotFound))?;
    let head = Head::decode(&bytes, &target)?;
    let names = Names::new(key, &head.fixed.id, &target)?;
    lease::check_free(store, &names.key("lock", &target)?, &target)?;
    store.delete(&names.head).map_err(|e| store_error(&target, &e))?;
    delete_lake(store, &names, &target)
}
