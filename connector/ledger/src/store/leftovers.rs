//! Staging directories: the role of each object in its container, and the pending uploads of dead writers.
//!
//! Pending uploads belong to the container for which they were staged. If another container has taken the name since, the uploads remain in
//! the staging directory, and do not prevent a writer from using the name. No check in this module decides whether a commit is lost: a
//! pending manifest has a condition, so it never replaces the manifest of another writer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use object_stores::staged::{About, Arrival, Brought, Leftover, Role};
use object_stores::{Error as StoreError, Key, ObjectStore, Operation};

use super::committer::load;
use super::head;
use super::names::{beside, is_immutable};
use super::open::head_key;
use super::replaced::parse_id;
use crate::core::ids::ContainerId;
use crate::core::manifest::Manifest;
use crate::error::{Error, ErrorKind, Result, store_error};
use crate::options::{Drained, LockPolicy};
use crate::register::{self, Lease, SwapRegister, is_conditional};

/// Returns the role of an object in the container with the head object `head`. A staging directory uploads changes in an order that depends
/// on it.
pub(crate) fn role_of(head: &str, key: &Key) -> Role {
    let Some(suffix) = key.as_str().strip_prefix(head) else { return Role::Other };
    if suffix.is_empty() {
        return Role::Head;
    }
    match suffix.strip_prefix(".lake/") {
        Some("lease") => Role::Lock,
        // A restoration reads the tombstone in the store. If the deletion of the tombstone were queued, a container could be restored
        // although its objects are about to be deleted.
        Some(suffix) if suffix.starts_with("clock/") || suffix.starts_with("replaced/") => Role::Straight,
        // A numbered manifest of a store without conditional puts.
        Some(suffix) if suffix.starts_with("head/") => Role::Head,
        Some(_) if is_immutable(key) => Role::Immutable,
        _ => Role::Other,
    }
}

/// The kind of an object of a name, according to its key.
enum Object {
    Head,
    /// An object below the id of a container.
    Of(ContainerId),
    /// A numbered manifest of a store without conditional puts.
    Numbered,
    /// Any other object. It is never queued.
    Other,
}

impl Object {
    fn at(head: &Key, key: &Key) -> Self {
        let Some(suffix) = key.as_str().strip_prefix(head.as_str()) else { return Object::Other };
        match suffix.strip_prefix(".lake/").and_then(|suffix| suffix.split_once('/')) {
            _ if suffix.is_empty() => Object::Head,
            Some(("head", _)) => Object::Numbered,
            Some((id, _)) => parse_id(id).map_or(Object::Other, Object::Of),
            None => Object::Other,
        }
    }
}

/// Returns the container of a manifest, and the containers that the manifest lists as copies in progress.
fn containers(manifest: &Manifest) -> impl Iterator<Item = ContainerId> + '_ {
    let own = (!manifest.is_absent()).then_some(manifest.id);
    own.into_iter().chain(manifest.copies.iter().map(|copy| copy.id))
}

/// Returns an object among the pending uploads that does not belong to the container to which the head object leads now.
///
/// Pending deletions of another container's objects are accepted. That container was replaced and its retention time is over, or it was an
/// abandoned copy. The deletions follow the manifests that justify them in the queue, and the name of an object is used only once.
fn foreign(head: &Key, now: &Manifest, leftover: &Leftover) -> object_stores::Result<Option<Key>> {
    let mut known: BTreeSet<ContainerId> = containers(now).collect();
    let mut objects = Vec::new();
    let (mut has_heads, mut continues) = (false, false);
    for pending in leftover.pending() {
        for key in pending.keys() {
            match (Object::at(head, key), pending.is_deletion()) {
                (Object::Of(_) | Object::Numbered, true) => (),
                (Object::Of(container), false) => objects.push((container, key)),
                (Object::Head, false) => {
                    let staged = match pending.read() {
                        Ok(bytes) => Manifest::decode(&bytes).ok(),
                        // The intact operations before this one are uploaded first. Then the damage is reported.
                        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => continue,
                        Err(e) => return Err(StoreError::io(Operation::Put, e).at(key)),
                    };
                    let Some(staged) = staged else { return Ok(Some(key.clone())) };
                    // Any of the manifests counts. If the process died before it recorded an arrival, the store already has a later one.
                    continues |= staged.id == now.id || now.lists_copy(staged.id);
                    has_heads = true;
                    known.extend(containers(&staged));
                }
                _ => return Ok(Some(key.clone())),
            }
        }
    }
    if has_heads && !continues {
        return Ok(Some(head.clone()));
    }
    Ok(objects.into_iter().find(|(id, _)| !known.contains(id)).map(|(_, key)| key.clone()))
}

/// Returns the manifest of a head object. A damaged answer is requested once more, because it may have been damaged in transit.
fn manifest(store: &Arc<dyn ObjectStore>, head: &Key, target: &str) -> Result<Arc<Manifest>> {
    let register = SwapRegister::new(store.clone(), head.clone(), target);
    let loaded = load(&register, target).or_else(|e| match e.kind() {
        ErrorKind::Corrupt { .. } => load(&register, target),
        _ => Err(e),
    });
    loaded.map(|(manifest, _)| manifest)
}

/// Returns the number of the newest version in a store.
fn newest(store: &Arc<dyn ObjectStore>, head: &Key, target: &str) -> Result<u64> {
    let manifest = manifest(store, head, target)?;
    match manifest.is_absent() {
        true => Err(Error::new(target, ErrorKind::NotFound)),
        false => Ok(manifest.line.number),
    }
}

/// Adds the newest version in the store to an error about uploads that are pending elsewhere.
pub(super) fn with_arrived(e: Error, store: &Arc<dyn ObjectStore>, head: &Key) -> Error {
    let ErrorKind::Staged { host, folder, .. } = e.kind() else { return e };
    let arrived = newest(store, head, e.target()).ok();
    let kind = ErrorKind::Staged { host: host.clone(), folder: folder.clone(), arrived };
    Error::new(e.target(), kind)
}

/// Uploads the operations that earlier writers of a container left in this store's staging directory. The caller opens the container for
/// writing, and holds its lease. Operations of a container that was replaced since remain. Returns the lease, and whether any operation was
/// uploaded.
pub(super) fn recover(
    store: &Arc<dyn ObjectStore>,
    head: &Key,
    held: Option<Lease>,
    target: &str,
) -> Result<(Option<Lease>, bool)> {
    let Some(stage) = store.stage() else { return Ok((held, false)) };
    if !stage.has_leftovers().map_err(|e| store_error(target, &StoreError::io(Operation::Open, e)))? {
        return Ok((held, false));
    }
    // The register of a store without conditional puts takes the lease later. Its lease object must not name queues that were removed by
    // then.
    let mut for_now = match is_conditional(store.as_ref()) {
        true => None,
        false => Some(Lease::take(store, beside(head, "lease", target)?, target)?),
    };
    let bring = || {
        let now = manifest(store, head, target)?;
        let brought = stage.recover(&|leftover| foreign(head, &now, leftover));
        let brought = brought.map_err(|e| store_error(target, &e))?;
        held.as_ref().or(for_now.as_ref()).map_or(Ok(()), Lease::forget_queues)?;
        Ok(brought)
    };
    let brought = match bring() {
        Ok(brought) => brought,
        Err(e) => {
            give_back(held.or(for_now.take()), target);
            return Err(e);
        }
    };
    let has_arrived = brought.iter().any(|brought| brought.arrival.operations > 0);
    brought.into_iter().for_each(Brought::remove);
    for_now.map_or(Ok(()), Lease::release)?;
    Ok((held, has_arrived))
}

/// Restores the lease object of a dead writer, which names the staging directory of its pending uploads.
fn give_back(held: Option<Lease>, target: &str) {
    if let Some(Err(e)) = held.map(Lease::put_back) {
        tracing::warn!(target_container = target, error = %e, "a lease object does not tell any more what is staged");
    }
}

/// Removes a discarded queue from the lease object of its container.
pub(crate) fn forget(store: &Arc<dyn ObjectStore>, about: &About, queue: &str) -> Result<()> {
    let target = head::target_of(store.as_ref(), &about.key);
    let lease = beside(&head_key(&about.key, &target)?, "lease", &target)?;
    if !register::names_queue(store.as_ref(), &lease, queue, &target)? {
        return Ok(());
    }
    Lease::take_to_drain(store, lease, &target)?.release_drained(queue)
}

/// Takes the lease of the container of pending uploads, and uploads them to its store.
pub(crate) fn drain(
    store: &Arc<dyn ObjectStore>,
    leftover: Leftover,
    lock: LockPolicy,
    patience: Duration,
) -> Result<Drained> {
    let target = head::target_of(store.as_ref(), &leftover.about().key);
    let key = head_key(&leftover.about().key, &target)?;
    let before = manifest(store, &key, &target)?;
    let from = before.line.number;
    let held = match lock {
        LockPolicy::Off => None,
        _ => Some(Lease::take_to_drain(store, beside(&key, "lease", &target)?, &target)?),
    };
    let bring = || {
        // This load follows the lease, because the head object may lead to another container by now.
        let now = manifest(store, &key, &target)?;
        let brought = leftover.drain(store.clone(), patience, &|leftover| foreign(&key, &now, leftover));
        brought.map_err(|e| store_error(&target, &e))
    };
    match bring() {
        Ok(brought) => {
            let to = manifest(store, &key, &target)?.line.number.max(from);
            held.map_or(Ok(()), |lease| lease.release_drained(brought.queue()))?;
            let Arrival { operations, bytes } = brought.arrival;
            brought.remove();
            Ok(Drained { from, to, operations, bytes })
        }
        Err(e) => {
            give_back(held, &target);
            Err(e)
        }
    }
}
