//! Containers for code of this process that reads them without libhdf5. No function of libhdf5 is called here.

use std::sync::Arc;

use h5lake_container::{Access, Container, Error, ErrorKind, Result};
use h5lake_ledger::{LockPolicy, Probe};

use crate::config::{Config, NamePatterns};
use crate::error::Minor;
use crate::hdf5::fork;
use crate::names::{self, Place};
use crate::operations::file_options::reading_options;
use crate::operations::path::external_link::candidates;
use crate::operations::storage::check_allowed;
use crate::session::memory::GiveBack;
use crate::{error, trust};

/// A container that is open for reading, with a snapshot of its own: [`Container::refresh`] moves no other handle of
/// this process, and uncommitted changes of a writer in this process are not visible.
pub struct ReadContainer {
    container: Arc<Container>,
    config: Config,
    /// The folder of the container's name, as [`names::folder_of`] returns it.
    folder: Vec<u8>,
    /// The native file that the container refers to, if it was opened in place of one.
    native: Option<Vec<u8>>,
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

    /// Opens the local container that `h5lake adopt` made of the native file `name`, in place of that file. Names in it
    /// that lead to other files are errors. Settings that say where containers are, or that select a version, do not
    /// apply.
    ///
    /// # Errors
    /// `PermissionDenied` under `native=refuse`; those of [`Self::open`].
    pub fn open_adopted(path: &[u8], name: &[u8], config: &Config) -> Result<Self> {
        check_native(name, config)?;
        fork::watch();
        let local = Config { store: None, only: NamePatterns::default(), at: None, ..config.clone() };
        let place = names::place_to_open(path, &local, Access::ReadOnly).map_err(of_connector)?;
        let opened = Self::open_place(name, place, &local)?;
        opened.container.open_sources()?;
        Ok(Self { native: Some(name.to_vec()), ..opened })
    }

    fn open_place(name: &[u8], place: Place, config: &Config) -> Result<Self> {
        // As in the connector, an existing native file is opened even if the settings would store a new container of
        // that name elsewhere.
        if place.found() == Some(Probe::NativeHdf5) {
            if place.at.is_some() {
                let text = format!("{}: a native HDF5 file has no versions", String::from_utf8_lossy(name));
                return Err(Error::new(ErrorKind::NotAContainer, text));
            }
            return Err(native(name, config));
        }
        let mut options = reading_options(config, &place, name);
        options.ledger.foreign = place.foreign.clone();
        options.ledger.lock = LockPolicy::from_environment().unwrap_or_default();
        options.ledger.at = place.at.or(config.at);
        options.opened = place.opened;
        let container =
            Container::open_snapshot(&place.target, options).map_err(|error| match error.kind() {
                ErrorKind::NotAContainer if place.foreign.native_hdf5().is_some() => native(name, config),
                _ => error,
            })?;
        let folder = names::folder_of(name, config);
        Ok(Self { container, config: config.clone(), folder, native: None, _give_back: GiveBack })
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
    /// As for [`Self::open`], except `NotFound`; `PermissionDenied` if `links=` does not allow the name; `Unsupported` in
    /// a native file.
    pub fn open_named(&self, name: &[u8], listed: &[u8]) -> Result<Option<Self>> {
        if let Some(native) = &self.native {
            let [native, name] = [native, name].map(String::from_utf8_lossy);
            let text = format!(
                "{native}: names another file, '{name}', which is not followed from a native HDF5 file without libhdf5; \
                 open it with h5py"
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
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

/// Refuses native files under `native=refuse`.
fn check_native(name: &[u8], config: &Config) -> Result<()> {
    check_allowed(config, Minor::CannotOpenFile, "open", name).map_err(|error| {
        Error::new(ErrorKind::PermissionDenied, error.to_string()).with_errno(Some(libc::EACCES))
    })
}

/// Returns the error that a native file is not read here.
fn native(name: &[u8], config: &Config) -> Error {
    if let Err(refused) = check_native(name, config) {
        return refused;
    }
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
