//! Stages: what an object is to its container, and what dead writers staged and did not bring to the store.

use std::sync::Arc;
use std::time::Duration;

use object_stores::staged::{About, Arrival, Brought, Leftover, Role};
use object_stores::{Key, ObjectStore};

use super::committer::load;
use super::head;
use super::names::{beside, is_immutable};
use super::open::head_key;
use super::view::main_line;
use crate::error::{Error, ErrorKind, Result, store_error};
use crate::options::{Drained, LockPolicy};
use crate::register::{self, Lease, SwapRegister};

/// What an object is to the container whose head is `head`, for a store that brings changes in an order.
pub(crate) fn role_of(head: &str, key: &Key) -> Role {
    let Some(rest) = key.as_str().strip_prefix(head) else { return Role::Other };
    if rest.is_empty() {
        return Role::Head;
    }
    match rest.strip_prefix(".lake/") {
        Some("lease") => Role::Lock,
        Some(rest) if rest.starts_with("clock/") => Role::Straight,
        Some(_) if is_immutable(key) => Role::Immutable,
        _ => Role::Other,
    }
}

/// Whether a key is an object of a name: its head, or one below `HEAD.lake/`.
fn holds(head: &Key, key: &Key) -> bool {
    key == head || key.as_str().strip_prefix(head.as_str()).is_some_and(|rest| rest.starts_with(".lake/"))
}

/// The number of the newest version that is in a store.
fn newest(store: &Arc<dyn ObjectStore>, head: &Key, target: &str) -> Result<u64> {
    let (manifest, _) = load(&SwapRegister::new(store.clone(), head.clone(), target), target)?;
    match manifest.is_absent() {
        true => Err(Error::new(target, ErrorKind::NotFound)),
        false => Ok(main_line(&manifest).number),
    }
}

/// An error for a rest that lies elsewhere, with the version up to which the store has all.
pub(super) fn with_arrived(e: Error, store: &Arc<dyn ObjectStore>, head: &Key) -> Error {
    let ErrorKind::Staged { host, folder, .. } = e.kind() else { return e };
    let arrived = newest(store, head, e.target()).ok();
    let kind = ErrorKind::Staged { host: host.clone(), folder: folder.clone(), arrived };
    Error::new(e.target(), kind)
}

/// Under the lease of who opens a container for writing: brings what earlier writers left in this store's stage.
pub(super) fn recover(
    store: &dyn ObjectStore,
    head: &Key,
    held: Option<Lease>,
    target: &str,
) -> Result<Option<Lease>> {
    let Some(stage) = store.stage() else { return Ok(held) };
    let brought = stage.recover(&|key| holds(head, key)).map_err(|e| store_error(target, &e));
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

/// Has the lease object tell again where the rest lies.
fn give_back(held: Option<Lease>, target: &str) {
    if let Some(Err(e)) = held.map(Lease::put_back) {
        tracing::warn!(target_container = target, error = %e, "a lease object does not tell any more what is staged");
    }
}

/// Has a container's lease object not tell any more of a queue that was thrown away.
pub(crate) fn forget(store: &Arc<dyn ObjectStore>, about: &About, queue: &str) -> Result<()> {
    let target = head::target_of(store.as_ref(), &about.key);
    let lease = beside(&head_key(&about.key, &target)?, "lease", &target)?;
    if !register::tells_of(store.as_ref(), &lease, queue, &target)? {
        return Ok(());
    }
    Lease::take_to_drain(store, lease, &target)?.release_drained(queue)
}

/// Takes the lease of a leftover's container, and brings the leftover to its store.
pub(crate) fn drain(
    store: &Arc<dyn ObjectStore>,
    leftover: Leftover,
    lock: LockPolicy,
    patience: Duration,
) -> Result<Drained> {
    let target = head::target_of(store.as_ref(), &leftover.about().key);
    let key = head_key(&leftover.about().key, &target)?;
    let from = newest(store, &key, &target)?;
    let held = match lock {
        LockPolicy::Off => None,
        _ => Some(Lease::take_to_drain(store, beside(&key, "lease", &target)?, &target)?),
    };
    match leftover.drain(store.clone(), patience, &|object| holds(&key, object), |_, _| false) {
        Ok(brought) => {
            let to = newest(store, &key, &target)?.max(from);
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
