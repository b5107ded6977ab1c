//! Bringing back a container that was replaced or deleted, beside sweeps that may be about to delete it.

use bytes::Bytes;
use object_stores::{Condition, Etag, Key, ObjectStore, ObjectStoreExt, PutMode};

use super::{End, Outgoing, Tombstone, key_of, list, look, read};
use crate::codec::hex;
use crate::error::{Error, ErrorKind, Result};
use crate::objects::manifest::{Head, Names, put_or_find, put_over, read_head, store_error};
use crate::objects::open::{head_key, name};
use crate::objects::{initial_manifest, lease};
use crate::options::ReplacedObject;

/// The container that a restored one replaces stays for a day at least, in milliseconds.
const AFTER_RESTORE: u64 = 86_400_000;

/// The one kept container whose id begins with `id`; the newest, if that is empty.
///
/// # Errors
/// `NotFound`; `Invalid` if there are several; those of the store.
fn find(store: &dyn ObjectStore, key: &str, id: &str, target: &str) -> Result<ReplacedObject> {
    let mut found: Vec<_> = list(store, key)?.into_iter().filter(|r| r.id.starts_with(id)).collect();
    if id.is_empty() {
        found.truncate(1);
    }
    if found.len() > 1 {
        return Err(Error::invalid(
            target,
            format!("{} replaced containers have ids that begin with {id}", found.len()),
        ));
    }
    found.pop().ok_or_else(|| Error::new(target, ErrorKind::NotFound))
}

/// Brings a container back under its name: the one whose id begins with `id`. What the name leads to now is replaced by it, and
/// kept in turn.
///
/// # Errors
/// `NotFound` if it is not kept any more, or is being swept; `Locked` while what it replaces is open for writing; `Conflict` if that
/// changed meanwhile; those of the store.
pub(crate) fn restore(store: &dyn ObjectStore, key: &str, id: &str) -> Result<ReplacedObject> {
    let target = name(store, key);
    let head = head_key(key, &target)?;
    initial_manifest::wait_for(&target);
    let none = || Error::new(&target, ErrorKind::NotFound);
    let found = find(store, key, id, &target)?;
    let tombstone = key_of(&head, &found.id, &target)?;
    let (stone, there) = look(store, &tombstone, &target)?.ok_or_else(none)?;
    if stone.retention == 0 {
        // It is being swept.
        return Err(none());
    }
    // Anew, so that nobody sweeps meanwhile what comes back; unless somebody has begun to.
    put_over(store, &tombstone, stone.encode(&target)?, there.etag.as_ref()).map_err(|e| match e.kind() {
        object_stores::ErrorKind::PreconditionFailed => none(),
        _ => store_error(&target, &e),
    })?;
    let before = read_head(store, &head, &target)?;
    let etag = put_back(store, &head, &stone, before.as_ref(), &target)?;
    if is_swept(store, &head, &stone, &target)? {
        return Err(give_up(store, &head, before.as_ref(), etag.as_ref(), &target));
    }
    store.delete(&tombstone).map_err(|e| store_error(&target, &e))?;
    Ok(found)
}

/// A head object, and its etag.
type FoundHead = (Bytes, Option<Etag>);

/// Puts the head of a container that is brought back; a tombstone of what it replaces comes first.
fn put_back(
    store: &dyn ObjectStore,
    head: &Key,
    stone: &Tombstone,
    before: Option<&FoundHead>,
    target: &str,
) -> Result<Option<Etag>> {
    let put = match before {
        Some((bytes, etag)) => {
            let now = Head::decode(bytes, target)?;
            let names = Names::new(head.clone(), &now.fixed.id, target)?;
            lease::check_free(store, &names, target)?;
            let outgoing =
                Outgoing { names, head: bytes.clone(), retention: now.retention.max(AFTER_RESTORE) };
            outgoing.bury(store, End::Replaced, target).map_err(|e| store_error(target, &e))?;
            put_over(store, head, stone.head.clone(), etag.as_ref())
        }
        None => match store.honours(Condition::Create) {
            true => put_or_find(store, head, stone.head.clone(), PutMode::Create),
            false => put_over(store, head, stone.head.clone(), None),
        },
    };
    put.map_err(|e| store_error(target, &e))
}

/// Once the head of a container that is brought back is there: whether a sweep had begun before, and may not have seen it.
fn is_swept(store: &dyn ObjectStore, head: &Key, stone: &Tombstone, target: &str) -> Result<bool> {
    let id = Head::decode(&stone.head, target)?.fixed.id;
    if let Some(there) = read(store, &key_of(head, &hex(&id), target)?, target)? {
        return Ok(there.retention == 0);
    }
    // A sweep that is over leaves nothing. Else somebody has brought the same container back.
    let prefix = format!("{}/", Names::new(head.clone(), &id, target)?.lake);
    let first = store.list(&prefix, None).next().transpose().map_err(|e| store_error(target, &e))?;
    Ok(first.is_none())
}

/// The error of a restoration that a sweep was faster than. The name leads again to what it led to before. If that was nothing, the
/// head stays: to delete it could meet another's.
fn give_up(
    store: &dyn ObjectStore,
    head: &Key,
    before: Option<&FoundHead>,
    etag: Option<&Etag>,
    target: &str,
) -> Error {
    let Some((bytes, _)) = before else {
        let why = "it was deleted while it was brought back, because its time was over; delete what is left";
        return Error::corrupt(target, "the container", why);
    };
    match put_over(store, head, bytes.clone(), etag) {
        Ok(_) => Error::new(target, ErrorKind::NotFound),
        Err(e) => store_error(target, &e),
    }
}
