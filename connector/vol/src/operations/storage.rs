//! Decides which files are native, and stay native.

use std::sync::Arc;

use h5lake_ledger::{Access, ByteSource, Ledger, Probe};

use crate::config::{Config, NativeFiles};
use crate::error::{Error, Minor, Result};
use crate::hdf5::driver_file::DriverFile;
use crate::hdf5::file_flags::OpenFlags;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::plist::Driver;
use crate::names::{self, Place};

/// The connector that a name leads to.
pub enum NamedFile {
    /// The native connector.
    Native,
    /// A container, which may exist or not.
    Container(Box<Place>),
}

/// Returns where the file of a name is, or would be. An existing file takes precedence over the access list: a
/// container is opened as one even with an explicit driver, which could not read it. `list` is the access list, and
/// `access` the access with which the file is to be opened.
///
/// # Errors
/// A driver that h5lake neither supports nor passes on; a name that leads nowhere.
pub fn storage(
    library: Library,
    config: &Config,
    name: &[u8],
    list: Hid,
    access: Access,
) -> Result<NamedFile> {
    if by_driver(library, list)? {
        return behind_driver(library, config, name, list, access);
    }
    let place = names::place_to_open(name, config, access)?;
    let is_left = names::is_left_to_native(name, config) && !is_ours(&place);
    Ok(if is_native(&place) || is_left { NamedFile::Native } else { NamedFile::Container(Box::new(place)) })
}

/// Returns where a name leads to for an access list with a file driver of its own. If the path is sufficient, the
/// driver is not called: some drivers read whole files to open them.
fn behind_driver(
    library: Library,
    config: &Config,
    name: &[u8],
    list: Hid,
    access: Access,
) -> Result<NamedFile> {
    let has_image = library.has_file_image(list)?;
    let place = names::place_to_open(name, config, access);
    match place {
        Ok(place) if is_container(&place) && !has_image => return Ok(NamedFile::Container(Box::new(place))),
        Ok(place) if !has_image && place.found().is_some_and(|found| found != Probe::NotFound) => {
            return Ok(NamedFile::Native);
        }
        _ => (),
    }
    let source: Option<Arc<dyn ByteSource>> = match has_image {
        // Opening the core driver with an image may create a file.
        true if library.has_image_callbacks(list)? => None,
        true => Some(Arc::new(library.file_image(list)?)),
        false => DriverFile::open(library, name, list)?.map(|file| Arc::new(file) as Arc<dyn ByteSource>),
    };
    let Some(source) = source else { return Ok(NamedFile::Native) };
    let shown = String::from_utf8_lossy(name);
    match Ledger::probe_source(source.as_ref(), &shown) {
        Ok(Probe::Container) => Ok(NamedFile::Container(Box::new(Place::behind_driver(&shown, source)))),
        Ok(Probe::WrongStorage) => Err(without_data(
            &shown,
            "these bytes are the manifest of a container in an object store, and the data is in other objects of the store. Open \
             the container by its URL (s3://BUCKET/KEY), or by its plain name with the setting store=, and not through a file \
             object or fsspec; 'h5lake docs clients#containers-in-a-store' has examples",
        )),
        Ok(Probe::Pointer) => Err(without_data(
            &shown,
            "these bytes are a pointer file, which names a container in another place. Open the path of the pointer file, and \
             not a file object",
        )),
        // A driver that cannot read reports this to the native connector, too.
        _ => Ok(NamedFile::Native),
    }
}

/// Returns the error for bytes behind a driver that only name a container.
fn without_data(name: &str, why: &str) -> Error {
    Error::file(Minor::CannotOpenFile, format!("unable to open file: name = '{name}': {why}"), None)
}

/// Returns whether a native file is at the local path.
pub fn is_native(place: &Place) -> bool {
    place.found() == Some(Probe::NativeHdf5)
}

/// Returns whether a container, or a file that names one, is at the local path. A driver has names of its own, which
/// may look like a store's: such stores are not accessed.
fn is_container(place: &Place) -> bool {
    matches!(place.found(), Some(Probe::Container | Probe::Pointer))
}

/// Returns whether a file of h5lake's is at the local path, including an object of a store.
fn is_ours(place: &Place) -> bool {
    is_container(place) || place.found() == Some(Probe::WrongStorage)
}

/// Returns whether a file access list chooses native storage: an explicit file driver is an explicit choice.
///
/// # Errors
/// A driver that h5lake neither supports nor passes on.
pub fn by_driver(library: Library, access: Hid) -> Result<bool> {
    match library.driver(access)? {
        // MPI's driver determines the writers, not the location.
        Driver::Default | Driver::Mpi => Ok(false),
        Driver::Explicit => match library.processor_driver(access)? {
            None => Ok(true),
            Some(name) => Err(Error::file(
                Minor::Unsupported,
                format!(
                    "the file driver '{name}' moves elements to the memory of graphics processors, which h5lake does not; choose \
                     no driver for a container, or run without h5lake for a native file"
                ),
                Some(libc::ENOTSUP),
            )),
        },
    }
}

/// Returns whether a new file of that name is to be a native one, because of its access list or of the settings.
///
/// # Errors
/// As for [`by_driver`]; for a container that native HDF5 would overwrite because of the settings.
pub fn is_new_native(
    library: Library,
    config: &Config,
    name: &[u8],
    flags: OpenFlags,
    access: Hid,
) -> Result<bool> {
    if by_driver(library, access)? {
        return Ok(true);
    }
    if !names::is_left_to_native(name, config) {
        return Ok(false);
    }
    // Native HDF5 itself finds that it may not replace an existing file.
    if !flags.exclusive && is_ours(&names::place_to_open(name, config, Access::ReadOnly)?) {
        return Err(container_is_there(config, name));
    }
    Ok(true)
}

/// Returns the error for a native file that would overwrite a container in place, under its readers and its writer.
fn container_is_there(config: &Config, name: &[u8]) -> Error {
    let name = String::from_utf8_lossy(name);
    let text = format!(
        "unable to create file: name = '{name}' is a container, and only={} leaves the name to native HDF5, which would \
         overwrite it in place; delete it first, or add a pattern for its name",
        config.only.setting_value()
    );
    Error::file(Minor::CannotCreateFile, text, None)
}

/// Refuses native files under `native=refuse`.
pub fn check_allowed(config: &Config, minor: Minor, verb: &str, name: &[u8]) -> Result<()> {
    if config.native == NativeFiles::Pass {
        return Ok(());
    }
    let name = String::from_utf8_lossy(name);
    let text = format!(
        "unable to {verb} file: name = '{name}' is or would be a native HDF5 file, which native=refuse does not allow"
    );
    Err(Error::file(minor, text, None))
}
