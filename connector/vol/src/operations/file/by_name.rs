//! Operations on a file by its name, without opening the file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use h5lake_container::{Access, Target};
use h5lake_ledger::{LockPolicy, Probe};

use super::{agreed, check_newest, together};
use crate::config::{Config, NativeFiles};
use crate::error::{Error, Minor, Result};
use crate::hdf5::library::{Hid, Library};
use crate::names::Place;
use crate::operations::file_options::locking;
use crate::operations::storage::{self as native, NamedFile};

/// Returns whether `H5Fopen` of this library can find a connector by asking those on the plugin path. HDF5 2.0 to 2.2
/// ask, but then treat the file that the connector opened as a native one, and crash (`H5F__open_api_common` registers
/// the file with the connector of the access list).
fn finds_connectors(library: Library) -> bool {
    library.version().0 < 2
}

/// Returns whether a container or a native file is at the name (`H5Fis_accessible`). Any other file gives `false`, and
/// a missing file is an error, like for native files.
pub fn is_accessible(library: Library, config: &Config, name: &[u8], access: Hid) -> Result<bool> {
    let chosen = library.is_chosen(access)?;
    if !finds_connectors(library) && !chosen {
        return Ok(false);
    }
    let missing = || {
        Error::file(
            Minor::CannotOpenFile,
            format!("unable to open file: name = '{}'", String::from_utf8_lossy(name)),
            Some(2),
        )
    };
    let place = match native::storage(library, config, name, access, Access::ReadOnly)? {
        NamedFile::Native if chosen && config.native == NativeFiles::Pass => {
            return library.is_native_file(name, access);
        }
        NamedFile::Native => return Ok(false),
        NamedFile::Container(place) => *place,
    };
    if place.source.is_some() {
        return Ok(true);
    }
    if place.is_taken_locally() {
        return Ok(false);
    }
    let probe = match place.target {
        Target::File(path) => h5lake_ledger::Ledger::probe_file(&path),
        Target::Objects { store, key, .. } => h5lake_ledger::Ledger::probe_objects(&*store, &key),
    };
    match probe.map_err(|error| Error::file(Minor::CannotOpenFile, error.to_string(), error.errno()))? {
        Probe::Container => Ok(true),
        Probe::NotFound if lies_locally(name) => Ok(false),
        Probe::NotFound => Err(missing()),
        Probe::NativeHdf5 => Ok(chosen && config.native == NativeFiles::Pass),
        _ => Ok(false),
    }
}

/// Returns whether a local file has the name, even if it is where a pointer file belongs: for a user who checks the
/// path the file is not missing.
fn lies_locally(name: &[u8]) -> bool {
    Path::new(OsStr::from_bytes(name)).is_file()
}

/// Deletes a container or a native file and everything it consists of (`H5Fdelete`). Any other file is refused. With
/// MPI's driver all processes call this, like in native HDF5: the first one deletes, and all get the same result.
pub fn delete(library: Library, config: &Config, name: &[u8], access: Hid) -> Result<()> {
    let together = together(library, access)?;
    // A process that resolves the name later could miss a file that another process has deleted already.
    let place = match agreed(&together, || native::storage(library, config, name, access, Access::ReadWrite))?
    {
        NamedFile::Native => {
            native::check_allowed(config, Minor::CannotOperate, "delete", name)?;
            return library.delete_native_file(name, access);
        }
        NamedFile::Container(place) => *place,
    };
    let is_mine = together.as_ref().is_none_or(|all| all.is_first());
    agreed(&together, || match is_mine {
        true => delete_container(config, place, name, locking(library, access)?),
        false => Ok(()),
    })
}

fn delete_container(config: &Config, place: Place, name: &[u8], lock: LockPolicy) -> Result<()> {
    check_newest(&place, Minor::CannotOperate, "delete", name)?;
    if place.source.is_some() {
        let text = "a container behind a file driver is not deleted; delete it without the driver";
        return Err(Error::new(Minor::Unsupported, text));
    }
    place.check_removable()?;
    let removed = match &place.target {
        Target::File(path) => {
            let (retention, sync) = (config.retention, config.sync);
            let options = h5lake_ledger::Options { retention, sync, lock, ..Default::default() };
            h5lake_ledger::Ledger::remove_file(path, &options)
        }
        Target::Objects { store, key, .. } => h5lake_ledger::Ledger::remove_objects(store, key),
    };
    if removed.is_ok() {
        let _it_leads_nowhere_then = place.remove_pointer();
    }
    removed.map_err(|error| {
        Error::file(Minor::CannotOperate, format!("unable to delete file: {error}"), error.errno())
    })
}
