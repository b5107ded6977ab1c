//! Containers for code of this process that reads them without libhdf5. No function of libhdf5 is called here.

use std::sync::Arc;

use h5lake_container::{Access, Container, Error, ErrorKind, Result};
use h5lake_ledger::{LockPolicy, Probe};

use crate::config::Config;
use crate::hdf5::fork;
use crate::names::{self, Place};
use crate::operations::file_options::reading_options;
use crate::operations::path::external_link::candidates;
use crate::session::memory::GiveBack;
use crate::{error, trust};

/// A container that is open for reading, with a snapshot of its own: [`Container::refresh`] moves no other handle of
/// this process, and uncommitted changes of a writer in this process are not visible.
pub struct ReadContainer {
    container: Arc<Container>,
    config: Config,
    /// The folder of the container's name, as [`names::folder_of`] returns it.
    folder: Vec<u8>,
    _give_back: GiveBack,
}

impl ReadContainer {
    /// Opens the container to which a name leads: a path or a URL, which may select a version (`NAME@v=12`).
    ///
    /// # Errors
    /// `NotFound` (errno 2); `NativeHdf5` for a native HDF5 file; `NotAContainer` for any other file; those of reading the
    /// container.
    pub fn open(name: &[u8], config: &Config) -> Result<Self> {
        // A forked child must notice that it is another process.
        fork::watch();
        let place = names::place_to_open(name, config, Access::ReadOnly).map_err(of_connector)?;
        Self::open_place(name, place, config)
    }

    fn open_place(name: &[u8], place: Place, config: &Config) -> Result<Self> {
        let is_native = place.found() == Some(Probe::NativeHdf5);
        if is_native && !place.is_in_store() {
            return Err(native(name));
        }
        let mut options = reading_options(config, &place, name);
        options.ledger.foreign = place.foreign.clone();
        options.ledger.lock = LockPolicy::from_environment().unwrap_or_default();
        options.ledger.at = place.at.or(config.at);
        options.opened = place.opened;
        let container =
            Container::open_snapshot(&place.target, options).map_err(|error| match error.kind() {
                // The settings would store a new container of that name elsewhere, and the file is opened as it is.
                ErrorKind::NotFound if is_native => native(name),
                ErrorKind::NotAContainer if place.foreign.native_hdf5().is_some() => native(name),
                _ => error,
            })?;
        let folder = names::folder_of(name, config);
        Ok(Self { container, config: config.clone(), folder, _give_back: GiveBack })
    }

    /// Returns the container.
    pub fn container(&self) -> &Arc<Container> {
        &self.container
    }

    /// Opens the container that a name in this container leads to: the file of a source of a virtual dataset. `listed`
    /// has folders, separated by colons, in which the file is searched first. Returns `None` if no file exists at any
    /// of the candidate names.
    ///
    /// # Errors
    /// As for [`Self::open`], except `NotFound`; `PermissionDenied` if `links=` does not allow the name.
    pub fn open_named(&self, name: &[u8], listed: &[u8]) -> Result<Option<Self>> {
        for candidate in candidates(&self.folder, name, listed, None) {
            if candidate.is_empty() {
                continue;
            }
            if candidate == name {
                trust::check_name(name, &self.folder, &self.config).map_err(of_connector)?;
            }
            match Self::open(&candidate, &self.config) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                other => return other.map(Some),
            }
        }
        Ok(None)
    }
}

/// Returns the error that a native file is not read here.
fn native(name: &[u8]) -> Error {
    let text = format!(
        "{}: unable to open file: it is a native HDF5 file, and only containers are read without libhdf5; open it with \
         h5py, or make a container that refers to its data with 'h5lake adopt'",
        String::from_utf8_lossy(name)
    );
    Error::new(ErrorKind::NativeHdf5, text)
}

/// Converts an error of a name.
fn of_connector(error: error::Error) -> Error {
    let kind = match error.minor() {
        _ if error.is_of_nothing_there() => ErrorKind::NotFound,
        error::Minor::NotFollowed => ErrorKind::PermissionDenied,
        error::Minor::BadValue => ErrorKind::InvalidArgument,
        error::Minor::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Io,
    };
    Error::new(kind, error.to_string()).with_errno(error.errno())
}
