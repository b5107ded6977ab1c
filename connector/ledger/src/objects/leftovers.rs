//! Brings to the store what dead writers had staged.

use std::sync::Arc;
use std::time::Duration;

use object_stores::ObjectStore;
use object_stores::staged::{About, Arrival, Brought, Leftover};

use super::lease::{self, Lease};
use super::manifest::{Head, Names, is_past, read_head, store_error};
use super::open::{head_key, is_behind, name};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Drained, LockPolicy};

/// The newest version that is in a store, from one on that is.
fn newest(store: &dyn ObjectStore, names: &Names, known: u64, target: &str) -> Result<u64> {
    let mut version = known;
    while is_behind(store, names, version, target)? {
        version += 1;
    }
    Ok(version)
}

/// An error for a rest that lies elsewhere, with the version up to which the store has all.
pub(super) fn with_arrived(e: Error, store: &dyn ObjectStore, names: &Names, known: u64) -> Error {
    let ErrorKind::Staged { host, folder, .. } = e.kind() else { return e };
    let arrived = newest(store, names, known, e.target()).ok();
    let kind = ErrorKind::Staged { host: host.clone(), folder: folder.clone(), arrived };
    Error::new(e.target(), kind)
}

/// Under the lease of who opens a container for writing: brings what earlier writers left in this store's stage.
pub(super) fn recover(
    store: &dyn ObjectStore,
    names: &Names,
    held: Option<Lease>,
    target: &str,
) -> Result<Option<Lease>> {
    let Some(stage) = store.stage() else { return Ok(held) };
    let brought = stage.recover(&|key| names.holds(key)).map_err(|e| store_error(target, &e));
    let forgotten = brought.and_then(|brought| {
        held.as_ref().map_or(Ok(()), Lease::forget_rests)?;
        Ok(brought)
    });
    match forgotten {
        Ok(brought) => brought.into_iter().for_each(Brought::remove),
        Err(e) => {
            give_back(held, target);
            return Err(e);
        }
    }
    Ok(held)
}

/// Has the lock object tell again where the rest lies.
fn give_back(held: Option<Lease>, target: &str) {
    if let Some(Err(e)) = held.map(Lease::put_back) {
        tracing::warn!(target_container = target, error = %e, "a lock object does not tell any more what is staged");
    }
}

/// Has a container's lock object not tell any more of a queue that was thrown away.
pub(crate) fn forget(store: &Arc<dyn ObjectStore>, about: &About, queue: &str) -> Result<()> {
    let target = name(store.as_ref(), &about.key);
    let key = head_key(&about.key, &target)?;
    let Some((bytes, _)) = read_head(store.as_ref(), &key, &target)? else { return Ok(()) };
    let names = Names::new(key, &Head::decode(&bytes, &target)?.fixed.id, &target)?;
    if !lease::tells_of(store.as_ref(), &names, queue, &target)? {
        return Ok(());
    }
    Lease::take_to_drain(store, &names, &target)?.release_drained(queue)
}

/// Takes the lease of a leftover's container, and brings the leftover to its store.
pub(crate) fn drain(
    store: &Arc<dyn ObjectStore>,
    leftover: Leftover,
    lock: LockPolicy,
    patience: Duration,
) -> Result<Drained> {
    let target = name(store.as_ref(), &leftover.about().key);
    let key = head_key(&leftover.about().key, &target)?;
    let read = || -> Result<Head> {
        let found = read_head(store.as_ref(), &key, &target)?;
        let (bytes, _) = found.ok_or_else(|| Error::new(&target, ErrorKind::NotFound))?;
        Head::decode(&bytes, &target)
    };
    let head = read()?;
    let names = Names::new(key.clone(), &head.fixed.id, &target)?;
    let held = match lock {
        LockPolicy::Off => None,
        _ => Some(Lease::take_to_drain(store, &names, &target)?),
    };
    let from = newest(store.as_ref(), &names, head.version, &target)?;
    match leftover.drain(store.clone(), patience, &|key| names.holds(key), is_past) {
        Ok(brought) => {
            let to = newest(store.as_ref(), &names, read()?.version.max(from), &target)?;
            held.map_or(Ok(()), |lease| lease.release_drained(brought.queue()))?;
            let Arrival { operations, bytes } = brought.arrival;
            brought.remove();
            Ok(Drained { from, to, operations, bytes })
        }
        Err(e) => {
            give_back(held, &target);
            Err(store_error(&target, &e))
        }
    }
}
