//! What a writer that died had staged and did not bring to the store: whether there may be such a rest, and where.

use std::path::Path;

use object_stores::{ObjectStore, staged};

use super::note::Note;
use crate::error::{Error, ErrorKind, Result};
use crate::file::superblock::myself;
use crate::liveness::ProcessIdentity;
use crate::objects::manifest::Names;

/// What a new lock object tells of its writer's stage.
pub(super) fn stage_of(store: &dyn ObjectStore) -> Option<String> {
    store.stage().map(|stage| stage.dir().display().to_string())
}

/// Whether a lock object tells of a stage.
pub(super) fn is_told(lock: &[u8]) -> bool {
    Note::decode(lock).is_ok_and(|note| note.stage.is_some())
}

/// Whether whoever opens a container for writing has to bring a rest to the store first, that of the dead writer whose lock object
/// this is.
///
/// # Errors
/// `Staged` if the rest is not in the stage of this store.
pub(super) fn check(store: &dyn ObjectStore, names: &Names, lock: &[u8], target: &str) -> Result<bool> {
    let Ok(note) = Note::decode(lock) else { return Ok(false) };
    let Some(folder) = note.stage else { return Ok(false) };
    let host = note.holder.host;
    if host == myself().host {
        match find(store, names, Path::new(&folder)) {
            Found::Here => return Ok(true),
            // The folder of an earlier start of the machine may have been cleared.
            Found::Nothing if note.identity.as_ref().is_some_and(ProcessIdentity::is_of_this_boot) => {
                return Ok(false);
            }
            Found::Nothing | Found::There => (),
        }
    }
    Err(Error::new(target, ErrorKind::Staged { host, folder, arrived: None }))
}

enum Found {
    /// In the folder of this store's stage.
    Here,
    /// In another folder of this machine.
    There,
    Nothing,
}

fn find(store: &dyn ObjectStore, names: &Names, folder: &Path) -> Found {
    if let Some(stage) = store.stage().filter(|stage| stage.dir() == folder) {
        return if stage.has_leftovers().unwrap_or(true) { Found::Here } else { Found::Nothing };
    }
    let place = store.place_of(names.head.as_str());
    match staged::leftovers(folder, Some(&place)) {
        Ok(all) if !all.iter().any(|(path, _)| staged::has_operations(path)) => Found::Nothing,
        _ => Found::There,
    }
}
