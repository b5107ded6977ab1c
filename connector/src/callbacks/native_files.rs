//! Which files are native, and stay so.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use h5lake_container::Target;
use h5lake_ledger::{Ledger, Probe};

use crate::config::{Config, NativeFiles};
use crate::error::{Error, Minor, Result};
use crate::ffi::library::{Hid, Library};
use crate::ffi::plists::Driver;

/// Whether a file access list chooses native storage: an explicit file driver is an explicit choice.
///
/// # Errors
/// A driver that is neither ours nor to be handed through.
pub fn by_driver(library: Library, config: &Config, access: Hid) -> Result<bool> {
    match (library.driver(access)?, config.native) {
        (Driver::Default, _) => Ok(false),
        (Driver::Mpi, _) => Err(Error::unsupported("a file with the MPI file driver (H5Pset_fapl_mpio)")),
        (Driver::Explicit, NativeFiles::Pass) => Ok(true),
        (Driver::Explicit, NativeFiles::Refuse) => Err(Error::new(
            Minor::Unsupported,
            "an explicit file driver makes a native HDF5 file, which native=refuse does not allow",
        )),
    }
}

/// Whether a native HDF5 file lies at the name. Under `store=URL` a container in the store comes first: the name is its
/// key there.
pub fn by_content(config: &Config, target: &Target, name: &[u8]) -> Result<bool> {
    let path = Path::new(OsStr::from_bytes(name));
    // What cannot be looked at is told by whoever opens it.
    let native = |path| matches!(Ledger::probe_file(path), Ok(Probe::NativeHdf5));
    match target {
        Target::File(path) => Ok(native(path)),
        Target::Objects { store, key, .. } if config.store.is_some() && native(path) => {
            Ok(matches!(Ledger::probe_objects(&**store, key), Ok(Probe::NotFound)))
        }
        Target::Objects { .. } => Ok(false),
    }
}

/// Refuses native files under `native=refuse`.
pub fn check_allowed(config: &Config, minor: Minor, verb: &str, name: &[u8]) -> Result<()> {
    if config.native == NativeFiles::Pass {
        return Ok(());
    }
    let name = String::from_utf8_lossy(name);
    let text =
        format!("unable to {verb} file: name = '{name}' is a native HDF5 file, and native=refuse is set");
    Err(Error::file(minor, text, None))
}
