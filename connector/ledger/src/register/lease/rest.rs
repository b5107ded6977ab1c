//! What writers that died had staged and did not bring to the store: whether there may be such a rest, and where.
//!
//! A lease object names each queue until it is known to be drained: the queue is there, and empty. One that cannot be found keeps
//! writers away. They would go on without what it holds, and it could never follow.

use std::path::Path;

use object_stores::{ObjectStore, staged};

use super::note::{Note, Rest};
use crate::error::{Error, ErrorKind, Result};
use crate::liveness::myself;

/// What a new lease object tells of its writer's stage.
pub(super) fn own(store: &dyn ObjectStore) -> Vec<Rest> {
    let rest = store.stage().map(|stage| Rest {
        host: myself().host,
        folder: stage.dir().display().to_string(),
        queue: stage.queue().to_owned(),
    });
    rest.into_iter().collect()
}

/// All that a lease object tells of stages.
pub(super) fn told(lease: &[u8]) -> Vec<Rest> {
    Note::decode(lease).map(|note| note.rests).unwrap_or_default()
}

/// What whoever opens a container for writing has to bring to the store first: of a dead writer, whose lease object this is, and of
/// those before it.
///
/// # Errors
/// `Staged` for what is not in the stage of this store.
pub(super) fn check(store: &dyn ObjectStore, lease: &[u8], target: &str) -> Result<Vec<Rest>> {
    let mut here = Vec::new();
    for rest in told(lease) {
        let folder = Path::new(&rest.folder);
        let is_of_host = rest.host == myself().host;
        if is_of_host && staged::is_drained(folder, &rest.queue) {
            continue;
        }
        let is_here =
            store.stage().is_some_and(|stage| stage.dir() == folder && stage.has_queue(&rest.queue));
        if is_of_host && is_here {
            here.push(rest);
            continue;
        }
        let Rest { host, folder, .. } = rest;
        return Err(Error::new(target, ErrorKind::Staged { host, folder, arrived: None }));
    }
    Ok(here)
}
