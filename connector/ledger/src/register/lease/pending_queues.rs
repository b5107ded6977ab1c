//! Pending uploads of dead writers: operations that were staged and not uploaded to the store, and the staging
//! directories that have them.
//!
//! A lease object names each queue until the queue is known to be drained, which means that the queue exists and is
//! empty. A queue that cannot be found keeps writers away: they would commit without its operations, and the operations
//! could never be uploaded after that.

use std::path::Path;

use object_stores::{ObjectStore, staged};

use super::note::{Note, PendingQueue};
use crate::error::{Error, ErrorKind, Result};
use crate::liveness::myself;

/// Returns the queue in the staging directory of this writer, for a new lease object.
pub(super) fn own(store: &dyn ObjectStore) -> Vec<PendingQueue> {
    let queue = store.stage().map(|stage| PendingQueue {
        host: myself().host,
        folder: stage.dir().display().to_string(),
        queue: stage.queue().to_owned(),
    });
    queue.into_iter().collect()
}

/// Returns all queues that a lease object names.
pub(super) fn named(lease: &[u8]) -> Vec<PendingQueue> {
    Note::decode(lease).map(|note| note.queues).unwrap_or_default()
}

/// Checks the queues that must be drained before the container is opened for writing: the queues of the dead writer that owned this lease
/// object, and of earlier dead writers. Returns the queues in the staging directory of this store.
///
/// # Errors
/// `Staged` for a queue outside of the staging directory of this store.
pub(super) fn check(store: &dyn ObjectStore, lease: &[u8], target: &str) -> Result<Vec<PendingQueue>> {
    let mut here = Vec::new();
    for pending in named(lease) {
        let folder = Path::new(&pending.folder);
        let is_of_host = pending.host == myself().host;
        if is_of_host && staged::is_drained(folder, &pending.queue) {
            continue;
        }
        let is_here =
            store.stage().is_some_and(|stage| stage.dir() == folder && stage.has_queue(&pending.queue));
        if is_of_host && is_here {
            here.push(pending);
            continue;
        }
        let PendingQueue { host, folder, .. } = pending;
        return Err(Error::new(target, ErrorKind::Staged { host, folder, arrived: None }));
    }
    Ok(here)
}
