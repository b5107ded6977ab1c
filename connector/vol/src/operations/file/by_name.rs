//! What is asked of a name, and done with it, without opening a file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use h5lake_container::{Access, Target};
use h5lake_ledger::Probe;

use super::{agreed, check_newest, together};
use crate::config::{Config, NativeFiles};
use crate::error::{Error, Minor, Result};
use crate::hdf5::library::{Hid, Library};
use crate::names::Place;
use crate::operations::storage::{self as native, NamedFile};

/// Whether `H5Fopen` of this library may find a connector by asking those on the plugin path. HDF5 2.0 to 2.2
/// ask, but then take what the connector opened for a native file, and crash (`H5F__open_api_common` registers it
/// with the connector of the access list).
fn finds_connectors(library: Library) -> bool {
    library.version().0 < 2
}

/// Whether a container or a native file lies at the name (`H5Fis_accessible`). Something else is `false`, a missing
/// file an error, as native files answer.
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

/// Whether a local file has the name, be it in a store's way or not: to who looks at the path it is not missing.
fn lies_locally(name: &[u8]) -> bool {
    Path::new(OsStr::from_bytes(name)).is_file()
}

/// `H5Fdelete`: a container or a native file and all it is made of. Anything else is refused. With MPI's driver all processes
/// call it, as natively: the first one deletes, and all have the same answer.
pub fn delete(library: Library, config: &Config, name: &[u8], access: Hid) -> Result<()> {
    let together = together(library, access)?;
    // A process that looked later could already miss what another has deleted.
    let place = match agreed(&together, || native::storage(library, config, name, access, Access::ReadWrite))?
    {
        NamedFile::Native => {
            native::check_allowed(config, Minor::CannotOperate, "delete", name)?;
            return library.delete_native_file(name, access);
        }
        NamedFile::Container(place) => *place,
    };
    let is_mine = together.as_ref().is_none_or(|all| all.is_first());
    agreed(&together, || if is_mine { delete_container(config, place, name) } else { Ok(()) })
}

fn delete_container(config: &Config, place: Place, name: &[u8]) -> Result<()> {
    check_newest(&place, Minor::CannotOperate, "delete", name)?;
    if place.source.is_some() {
        let text = "a container behind a file driver is not deleted; delete it without the driver";
        return Err(Error::new(Minor::Unsupported, text));
    }
    place.check_removable()?;
    let removed = match &place.target {
        Target::File(path) => {
            let (retention, sync) = (config.retention, config.sync);
            let options = h5lake_ledger::Options { retention, sync, ..Default::default() };
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
