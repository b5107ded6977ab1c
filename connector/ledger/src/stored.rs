//! The two storages of a container in an object store.
//!
//! [`store`] keeps it as a register, and [`objects`] by log objects. The first one takes the place of the
//! second; until all of its parts are there, builds for tests choose it by the environment variable `H5LAKE_TEST_REGISTER`. This
//! module goes with the second one.

use std::sync::Arc;
use std::time::Duration;

use object_stores::staged::{About, Leftover, Role};
use object_stores::{Key, ObjectStore};

use crate::error::Result;
use crate::journal::EarlierTry;
use crate::objects::{self, BegunCopy, FirstHeadPut, listing};
use crate::options::{
    Access, Drained, LockHolder, LockPolicy, Options, Probe, Replace, ReplacedObject, Version,
};
use crate::origin::Origin;
use crate::storage::Storage;
use crate::store;
use crate::tags::TagEntry;

/// Whether containers are registers.
pub(crate) fn are_registers() -> bool {
    std::env::var_os("H5LAKE_TEST_OBJECTS").is_none()
}

type Store = Arc<dyn ObjectStore>;

pub(crate) fn create(
    store: Store,
    key: &str,
    replace: Replace,
    opts: &Options,
    first: Option<&[u8]>,
) -> Result<Box<dyn Storage>> {
    match are_registers() {
        true => Ok(Box::new(store::create(store, key, replace, opts, first)?)),
        false => Ok(Box::new(objects::create(store, key, replace, opts, first, FirstHeadPut::Soon)?)),
    }
}

pub(crate) fn create_whole(store: Store, key: &str, opts: &Options) -> Result<Box<dyn Storage>> {
    match are_registers() {
        true => Ok(Box::new(store::create_whole(store, key, opts)?)),
        false => {
            let last = FirstHeadPut::AfterTheFirstCommit;
            Ok(Box::new(objects::create(store, key, Replace::Fail, opts, None, last)?))
        }
    }
}

/// A copy that was begun: its storage, what an earlier try left, and whether that one had committed it.
pub(crate) fn create_copy(
    store: Store,
    key: &str,
    opts: &Options,
    origin: &Origin,
) -> Result<(Box<dyn Storage>, EarlierTry, bool)> {
    if are_registers() {
        let store::BegunCopy { storage, earlier } = store::create_copy(store, key, opts, origin)?;
        return Ok((Box::new(storage), earlier, false));
    }
    let BegunCopy { storage, earlier, is_whole } = objects::create_copy(store, key, opts, origin)?;
    Ok((Box::new(storage), earlier, is_whole))
}

pub(crate) fn open(
    store: Store,
    key: &str,
    access: Access,
    opts: &Options,
    tagged: Option<TagEntry>,
) -> Result<Box<dyn Storage>> {
    if are_registers() {
        return Ok(Box::new(store::open(store, key, access, opts)?));
    }
    let mut storage = objects::open(store, key, access, opts)?;
    storage.tagged = tagged.map(Box::new);
    Ok(Box::new(storage))
}

pub(crate) fn is_immutable(key: &Key) -> bool {
    if are_registers() { store::is_immutable(key) } else { objects::is_immutable(key) }
}

pub(crate) fn role_of(container: &str, key: &Key) -> Role {
    if are_registers() { store::role_of(container, key) } else { objects::role_of(container, key) }
}

pub(crate) fn is_past(head: &[u8], record: &Key) -> bool {
    // No object of a register has a place in an order.
    !are_registers() && objects::is_past(head, record)
}

pub(crate) fn drain(
    store: &Store,
    leftover: Leftover,
    lock: LockPolicy,
    patience: Duration,
) -> Result<Drained> {
    match are_registers() {
        true => store::drain(store, leftover, lock, patience),
        false => objects::drain(store, leftover, lock, patience),
    }
}

pub(crate) fn forget(store: &Store, about: &About, queue: &str) -> Result<()> {
    if are_registers() { store::forget(store, about, queue) } else { objects::forget(store, about, queue) }
}

pub(crate) fn probe(store: &dyn ObjectStore, key: &str) -> Result<Probe> {
    if are_registers() { store::probe(store, key) } else { objects::probe(store, key) }
}

pub(crate) fn newest_versions(store: &Store, keys: &[&str]) -> Vec<Result<Option<Version>>> {
    match are_registers() {
        true => store::newest_versions(store, keys),
        false => listing::newest_versions(store, keys),
    }
}

pub(crate) fn remove(store: &Store, key: &str) -> Result<()> {
    if are_registers() { store::remove(store, key) } else { objects::remove(store, key) }
}

pub(crate) fn replaced_of(store: &dyn ObjectStore, key: &str) -> Result<Vec<ReplacedObject>> {
    if are_registers() { store::replaced_of(store, key) } else { objects::replaced_of(store, key) }
}

pub(crate) fn restore(store: &Store, key: &str, id: &str) -> Result<ReplacedObject> {
    if are_registers() { store::restore(store, key, id) } else { objects::restore(store.as_ref(), key, id) }
}

pub(crate) fn sweep_name(store: &Arc<dyn ObjectStore>, key: &str) -> Result<()> {
    if are_registers() { store::sweep_name(store, key) } else { objects::sweep_name(store.as_ref(), key) }
}

pub(crate) fn lock_holder(store: &dyn ObjectStore, key: &str) -> Result<Option<LockHolder>> {
    if are_registers() { store::lock_holder(store, key) } else { objects::lock_holder(store, key) }
}

pub(crate) fn break_lock(store: &dyn ObjectStore, key: &str, found: &LockHolder) -> Result<()> {
    if are_registers() {
        store::break_lock(store, key, found)
    } else {
        objects::break_lock(store, key, found)
    }
}
