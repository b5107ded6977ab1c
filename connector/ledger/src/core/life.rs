//! The life of a name: a container is created, replaced, deleted, or appears as a copy.
//!
//! The head object is never deleted, so no delayed put can bring an old container back: a deleted container leaves the absent
//! manifest. A copy is listed by its id before it puts objects, as a session is.

use std::sync::Arc;

use super::change::{Applied, NewContainer, Reject};
use super::ids::{ContainerId, SessionId};
use super::manifest::{CopyEntry, MAX_COPIES, Manifest};

/// Replaces the container, if there is one, with a manifest that retains only the copies in progress.
fn replace(x: &mut Manifest, id: ContainerId, created: u64) {
    let copies = std::mem::take(&mut x.copies);
    let (sequence, nonce) = (x.sequence, x.nonce);
    *x = Manifest { id, created, sequence, nonce, copies, ..Manifest::absent() };
}

pub(super) fn create(x: &mut Manifest, new: &NewContainer) {
    debug_assert_ne!(new.id, ContainerId::ABSENT);
    // Rule: the first manifest of a container names no objects. Objects are put once the manifest is known to exist.
    replace(x, new.id, new.created);
    x.maker = x.nonce.session;
    x.has_sources = new.has_sources;
    Arc::make_mut(&mut x.line).retention = new.retention;
}

/// Rule: a container is replaced or deleted as its tombstone describes it. Otherwise a commit after the tombstone was put would be
/// missing when the container is restored.
fn check_buried(x: &Manifest, on: u64) -> Applied {
    if rule!(AsBuried, x.sequence == on + 1) { Ok(()) } else { Err(Reject::Stale) }
}

pub(super) fn delete(x: &mut Manifest, on: u64) -> Applied {
    check_buried(x, on)?;
    // Rule: the head object is never deleted. A deletion leaves the absent manifest.
    replace(x, ContainerId::ABSENT, 0);
    Ok(())
}

pub(super) fn begin_copy(x: &mut Manifest, entry: CopyEntry, over: Option<SessionId>) -> Applied {
    if x.copier(entry.id) != over {
        return Err(Reject::NotListed);
    }
    // Rule: the container of the name is never a copy in progress, because the objects of an abandoned copy are deleted.
    if !rule!(CopyIsOther, x.id != entry.id) {
        return Err(Reject::NameTaken);
    }
    match x.copies.binary_search_by_key(&entry.id, |listed| listed.id) {
        Ok(at) => x.copies[at] = entry,
        Err(_) if x.copies.len() >= MAX_COPIES => return Err(Reject::Full("copies in progress")),
        Err(at) => x.copies.insert(at, entry),
    }
    Ok(())
}

pub(super) fn finish_copy(
    x: &mut Manifest,
    copy: &Manifest,
    replaces: Option<u64>,
    by: SessionId,
) -> Applied {
    let is_listed = match x.copier(copy.id) {
        // Rule: a copy replaces only a manifest that lists it.
        None => rule!(CopyListed, false),
        // Rule: only the session that the manifest lists for a copy may complete the copy. Another session may have taken the copy over,
        // and deleted objects that it does not need.
        Some(copier) => rule!(CopyOfSession, copier == by),
    };
    if !is_listed {
        return Err(Reject::NotListed);
    }
    replaces.map_or(Ok(()), |on| check_buried(x, on))?;
    let mut copies = std::mem::take(&mut x.copies);
    copies.retain(|entry| entry.id != copy.id);
    let sequence = x.sequence.max(copy.sequence + 1);
    *x = Manifest { sequence, nonce: x.nonce, maker: by, copies, sessions: Vec::new(), ..copy.clone() };
    Ok(())
}
