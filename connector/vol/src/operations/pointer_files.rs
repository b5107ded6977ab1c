//! Pointer files of containers that the setting `store=` puts into a store: when they are written, and which
//! operations are refused without one.

use std::sync::Arc;

use h5lake_container::{Container, ErrorKind, Options, Replace, Target};
use h5lake_ledger::{Ledger, Probe, Replacing};
use object_stores::shell_quoted;

use crate::config::{Config, Replaceable};
use crate::error::{Error, Minor, Result};
use crate::hdf5::file_flags::OpenFlags;
use crate::names::{Place, Route};
use crate::pointer::{self, Pointer, Prepared};
use crate::session::Session;

/// Returns the pointer that belongs at a place's path.
fn of(place: &Place) -> Option<Pointer> {
    match &place.target {
        Target::Objects { key, url, .. } => Some(Pointer { store: url.clone(), key: key.clone() }),
        Target::File(_) => None,
    }
}

/// Prepares the pointer file for a new container in a store.
///
/// # Errors
/// Any error of writing the file; an existing file at the path, for an exclusive creation, unless it is a pointer file
/// to a missing container: its writer died before it made the container.
pub fn prepare(place: &Place, config: &Config, flags: OpenFlags) -> Result<Option<Prepared>> {
    let (Some(path), Some(pointer)) = (&place.pointer, of(place)) else { return Ok(None) };
    if flags.exclusive && path.symlink_metadata().is_ok() && !is_dangling(place) {
        let text = format!("unable to create file: name = '{}'", path.display());
        let error = Error::file(Minor::CannotCreateFile, text, Some(libc::EEXIST));
        return Err(error.with_system_message("File exists", ""));
    }
    if place.found() == Some(Probe::WrongStorage) {
        let text = format!(
            "unable to create file: '{}' is the head of a container that is kept as objects in this directory, and a pointer \
             file would take its place; use another name, or open that container by its URL",
            path.display()
        );
        return Err(Error::file(Minor::CannotCreateFile, text, Some(libc::EEXIST)));
    }
    pointer::prepare(path, &pointer, config.sync).map(Some)
}

/// Retains the local container that a pointer file is about to replace, like any replaced container.
///
/// # Errors
/// A writer that has the container open; any error of writing.
pub fn replaced(place: &Place, options: &Options) -> Result<Option<Replacing>, h5lake_container::Error> {
    match &place.pointer {
        Some(path) if place.found() == Some(Probe::Container) => {
            Ok(Ledger::replacing_file(path, &options.ledger)?)
        }
        _ => Ok(None),
    }
}

/// Removes a new container that could not get its pointer file.
pub fn take_back(container: Arc<Container>, place: &Place) {
    // The container releases its lease first.
    drop(container);
    if let Target::Objects { store, key, .. } = &place.target {
        let _is_reported_to_the_next_creator = Ledger::remove_objects(store, key);
    }
}

/// Returns whether the pointer file at a place's path leads to a missing container.
fn is_dangling(place: &Place) -> bool {
    match &place.target {
        Target::Objects { store, key, .. } if place.route == Route::Pointer => {
            matches!(Ledger::probe_objects(&**store, key), Ok(Probe::NotFound))
        }
        _ => false,
    }
}

/// Returns what a truncating creation may do to an existing container. Clients that check the path before they call
/// HDF5 truncate containers that they cannot see there: so without a pointer file no container is replaced.
pub fn replacement(place: &Place, config: &Config) -> Replace {
    match (place.route, config.replace) {
        (Route::Setting, Replaceable::Linked) => Replace::IfAbsent,
        _ => Replace::Truncate,
    }
}

/// Returns whether a creation failed because [`replacement`] forbids it.
pub fn is_unlinked(replace: Replace, error: &h5lake_container::Error) -> bool {
    replace == Replace::IfAbsent && error.kind() == ErrorKind::AlreadyExists
}

/// Returns the error for that failure: it names the existing container, and three ways to continue.
pub fn unlinked(place: &Place, name: &[u8]) -> Error {
    let name = String::from_utf8_lossy(name);
    let url = of(place).map(|pointer| pointer.url()).unwrap_or_default();
    let text = format!("unable to create file: name = '{name}'");
    let said = format!("the store already has {url}, and no pointer file at this path names it");
    let advice = format!(
        "; to use that container, open it by that URL or run: h5lake link {} {}; to replace it, set replace=any",
        shell_quoted(&url),
        shell_quoted(&name)
    );
    Error::file(Minor::CannotCreateFile, text, Some(libc::EEXIST)).with_system_message(said, &advice)
}

/// Writes a pointer file if the application has opened a container by `store=` and nothing is at the path, so that
/// clients that check the path find the container from now on. Best effort: no folder is made, nothing is replaced,
/// and the open never fails because of it.
pub fn leave(session: &Session, place: &Place) {
    let is_first = session.together.as_ref().is_none_or(|together| together.is_first());
    let is_missing = place.route == Route::Setting && place.found() == Some(Probe::NotFound);
    if let (true, true, None, Some(path), Some(pointer)) =
        (is_first, is_missing, place.at, &place.pointer, of(place))
        && let Err(error) = pointer::prepare(path, &pointer, session.config.sync).and_then(Prepared::put_new)
    {
        let _it_is_a_help_and_no_more = error;
    }
}
