//! Deleting a container of an object store.

use std::sync::Arc;

use bytes::Bytes;
use object_stores::{Condition, Etag, ObjectStore};

use crate::clock::Nonces;
use crate::error::{Error, ErrorKind, Result};
use crate::objects::initial_manifest;
use crate::objects::lease::{self, Lease};
use crate::objects::manifest::{Head, Names, put_over, read_head, single_writer_token, store_error};
use crate::objects::open::{head_key, name};
use crate::objects::replaced::{End, Outgoing};

/// Deletes a container. No store deletes a version of an object that it is told. So the lease keeps those away who look at the head
/// from now on, and a head of the deleter's own those who have looked: what they put on a condition is refused.
pub(crate) fn remove(store: &Arc<dyn ObjectStore>, key: &str) -> Result<()> {
    let target = name(store.as_ref(), key);
    let key = head_key(key, &target)?;
    initial_manifest::wait_for(&target);
    let none = || Error::new(&target, ErrorKind::NotFound);
    let read = || read_head(store.as_ref(), &key, &target)?.ok_or_else(none);
    let names = Names::new(key.clone(), &Head::decode(&read()?.0, &target)?.fixed.id, &target)?;
    lease::check_free(store.as_ref(), &names, &target)?;
    let lease = Lease::take(store, &names, &target)?;
    let removed = read().and_then(|found| remove_leased(store.as_ref(), names, found, &target));
    // With the container's other objects it may be gone.
    let _it_ends_by_itself = lease.release();
    removed
}

fn remove_leased(
    store: &dyn ObjectStore,
    names: Names,
    (bytes, etag): (Bytes, Option<Etag>),
    target: &str,
) -> Result<()> {
    let fail = |e: object_stores::Error| match e.kind() {
        object_stores::ErrorKind::PreconditionFailed => Error::new(target, ErrorKind::Conflict),
        _ => store_error(target, &e),
    };
    let head = Head::decode(&bytes, target)?;
    if Names::new(names.head.clone(), &head.fixed.id, target)?.lake != names.lake {
        return Err(Error::new(target, ErrorKind::Conflict));
    }
    let outgoing = Outgoing { names, head: bytes, retention: head.retention };
    outgoing.bury(store, End::Deleted, target).map_err(fail)?;
    if let Some(etag) = etag.filter(|_| store.honours(Condition::Update)) {
        let token = single_writer_token(Nonces::new(target)?.next(), Some(&head));
        put_over(store, &outgoing.names.head, head.fenced_by(token).encode(), Some(&etag)).map_err(fail)?;
    }
    store.delete(&outgoing.names.head).map_err(fail)?;
    outgoing.let_go(store, target)
}
