//! What the snapshot in use stands on, and whether an object that is missing means damage or a snapshot that was reclaimed.

use std::sync::atomic::Ordering;

use object_stores::Key;

use crate::error::{Error, ErrorKind};
use crate::objects::manifest::{Head, read_head};
use crate::objects::{ObjectStorage, ReaderState, lock};
use crate::payload::is_damage;
use crate::storage::Checkpoint;

/// What a snapshot needs to be whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Basis {
    base: Checkpoint,
    /// Of an old version: when it began.
    reclaim_epoch: Option<u64>,
    /// One of many writers needs what its oldest view needs, until what is staged on that is committed: up to when others had deleted
    /// by then.
    lost: Option<u64>,
}

impl Basis {
    /// Of the newest version that a head names.
    pub(super) fn new(head: &Head, is_shared: bool) -> Basis {
        Basis { base: head.base, reclaim_epoch: None, lost: is_shared.then_some(head.lost) }
    }

    /// Whether nothing of it was deleted, by a newer head.
    fn is_kept_by(&self, newest: &Head) -> bool {
        let is_whole = self.lost.is_none_or(|lost| lost >= newest.lost);
        is_whole
            && self
                .reclaim_epoch
                .map_or(newest.base == self.base, |reclaim_epoch| reclaim_epoch >= newest.lost)
    }
}

impl ObjectStorage {
    /// Notes what the snapshot in use stands on from now on.
    pub(super) fn stand_on(&self, seen: &ReaderState) {
        let mut basis = lock(&self.basis);
        *basis = Basis { base: seen.head.base, reclaim_epoch: seen.reclaim_epoch, lost: basis.lost };
    }

    /// Notes that nothing is staged on older views of one of many writers.
    pub(super) fn leave_older_views(&self, seen: &ReaderState) {
        lock(&self.basis).lost = self.is_shared().then_some(seen.head.lost);
    }

    /// The error for a snapshot that is not there any more.
    pub(super) fn gone(&self) -> Error {
        self.gone.store(true, Ordering::Relaxed);
        Error::new(&self.target, ErrorKind::Gone)
    }

    /// The error for an object that is missing: damage, or that the snapshot was reclaimed, if that is why.
    pub(super) fn missing(&self, key: &Key) -> Error {
        let with = |why| Error::corrupt(&self.target, format!("object {key}"), why);
        let damage = with("it is missing");
        // What the newest version needs is deleted by nobody, and a lone writer is at the newest.
        if self.writer.is_some() && !self.is_shared() {
            return damage;
        }
        let basis = *lock(&self.basis);
        let newest = match read_head(self.store.as_ref(), &self.names.head, &self.target) {
            Ok(Some((bytes, _))) => Head::decode(&bytes, &self.target),
            Ok(None) => return self.gone(),
            // Nobody knows why something is missing, and the store may answer later.
            Err(asking) => return asking,
        };
        match newest {
            Ok(newest) if newest.fixed.id == self.id && basis.is_kept_by(&newest) => match &self.tagged {
                // The head does not say which tags there are.
                Some(tag) if tag.mark.reclaim_epoch < newest.lost => {
                    with("it is missing, by damage or since the tag that kept this version was deleted")
                }
                _ => damage,
            },
            // A head that is damaged says nothing of what was reclaimed.
            Err(of_head) if is_damage(&of_head) => damage,
            _ => self.gone(),
        }
    }
}
