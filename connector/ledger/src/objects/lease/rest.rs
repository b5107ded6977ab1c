//! What writers that died had staged and did not bring to the store: whether there may be such a rest, and where.
//!
//! A lock object names each queue until it is known to be drained: the queue is there, and empty. One that cannot be found, or that is
//! of another place than this store's, keeps writers away. They would go on without what it holds, and it could never follow.

use std::path::Path;

use object_stores::{ObjectStore, staged};

use super::note::{Note, Rest};
use crate::error::{Error, ErrorKind, Result};
use crate::file::superblock::myself;
use crate::liveness::ProcessIdentity;
use crate::objects::manifest::Names;

/// What a new lock object tells of its writer's stage.
pub(super) fn own(store: &dyn ObjectStore) -> Vec<Rest> {
    let rest = store.stage().map(|stage| Rest {
        host: myself().host,
        folder: stage.dir().display().to_string(),
        queue: Some(stage.queue().to_owned()),
    });
    rest.into_iter().collect()
}

/// All that a lock object tells of stages.
pub(super) fn told(lock: &[u8]) -> Vec<Rest> {
    Note::decode(lock).map(|note| note.rests).unwrap_or_default()
}

/// What whoever opens a container for writing has to bring to the store first: of a dead writer, whose lock object this is, and of
/// those before it.
///
/// # Errors
/// `Staged` for what is not in the stage of this store.
pub(super) fn check(store: &dyn ObjectStore, names: &Names, lock: &[u8], target: &str) -> Result<Vec<Rest>> {
    let Ok(note) = Note::decode(lock) else { return Ok(Vec::new()) };
    let mut here = Vec::new();
    for rest in note.rests {
        match find(store, names, &rest, note.identity.as_ref()) {
            Found::Here => here.push(rest),
            Found::Drained => (),
            Found::Elsewhere => {
                let Rest { host, folder, .. } = rest;
                return Err(Error::new(target, ErrorKind::Staged { host, folder, arrived: None }));
            }
        }
    }
    Ok(here)
}

enum Found {
    /// In the folder of this store's stage.
    Here,
    /// On another machine, in another folder, of this container by another name of its store; or nowhere to be seen.
    Elsewhere,
    Drained,
}

fn find(store: &dyn ObjectStore, names: &Names, rest: &Rest, writer: Option<&ProcessIdentity>) -> Found {
    if rest.host != myself().host {
        return Found::Elsewhere;
    }
    let folder = Path::new(&rest.folder);
    let Some(queue) = &rest.queue else { return find_unnamed(store, names, folder, writer) };
    if staged::is_drained(folder, queue) {
        return Found::Drained;
    }
    let is_here = store.stage().is_some_and(|stage| stage.dir() == folder && stage.has_queue(queue));
    if is_here { Found::Here } else { Found::Elsewhere }
}

/// An earlier build's lock object does not name the queue.
fn find_unnamed(
    store: &dyn ObjectStore,
    names: &Names,
    folder: &Path,
    writer: Option<&ProcessIdentity>,
) -> Found {
    let stage = store.stage().filter(|stage| stage.dir() == folder);
    if stage.is_some_and(|stage| stage.has_leftovers().unwrap_or(true)) {
        return Found::Here;
    }
    // The folder of an earlier start of the machine may have been cleared, and one that is not there may be hidden.
    let may_be_hidden = !folder.is_dir() || !writer.is_some_and(ProcessIdentity::is_of_this_boot);
    let Ok(all) = staged::leftovers(folder, None) else { return Found::Elsewhere };
    // The server may have another name there.
    let is_of_it = |about: &staged::About| names.head.as_str().ends_with(about.key.as_str());
    let waits = all.iter().any(|(path, about)| is_of_it(about) && staged::has_operations(path));
    if may_be_hidden || waits { Found::Elsewhere } else { Found::Drained }
}
