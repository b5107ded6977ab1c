//! Resolution of names to containers.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use h5lake_connector::config::Config;
use h5lake_connector::names::sources::FollowedSources;
use h5lake_connector::names::{self, Place, Route};
use h5lake_connector::pointer::Pointer;
use h5lake_container::{Container, Target};
use h5lake_ledger::{Access, Ledger, LockPolicy, Options, Probe};

use crate::Failure;

/// Returns the location of the container with this name, and the options to open it.
pub fn find(name: &Path, access: Access) -> Result<(Target, Options), Failure> {
    find_place(name, access).map(|(place, options)| (place.target, options))
}

/// Returns the location like [`find`], and also the local path of the container. The name must denote a whole container. Settings that
/// select a version are ignored.
pub fn find_place(name: &Path, access: Access) -> Result<(Place, Options), Failure> {
    match find_version(name, access)? {
        (place @ Place { at: None, .. }, options) => Ok((place, Options { at: None, ..options })),
        _ => Err(format!("{}: names one version; name the container", name.display()).into()),
    }
}

/// Returns the location like [`find_place`], for a name that may include a version (`NAME@v=12`). Without a version in the name, the
/// options for reading contain the version of the settings, as in other programs.
pub fn find_version(name: &Path, access: Access) -> Result<(Place, Options), Failure> {
    let config = Config::from_environment()?;
    check_lasts(name, &config)?;
    let place = names::place_to_open(name.as_os_str().as_bytes(), &config, access);
    let place = place.map_err(|error| error.to_string())?;
    let lock = LockPolicy::from_environment().unwrap_or_default();
    let folder = names::folder_of(name.as_os_str().as_bytes(), &config);
    let at_setting = config.at.filter(|_| access == Access::ReadOnly);
    let options = Options {
        retention: config.retention,
        sync: config.sync,
        lock,
        at: place.at.or(at_setting),
        salvage: config.salvage && access == Access::ReadOnly,
        source_opener: Some(FollowedSources::opener(&config, folder)),
        ..Options::default()
    };
    Ok((place, options))
}

/// Fails if a container is in memory, because no other process can open it.
pub fn check_lasts(name: &Path, config: &Config) -> Result<(), Failure> {
    let bytes = name.as_os_str().as_bytes();
    let in_memory = |text: &[u8]| text.starts_with(b"memory:");
    let is_local = !bytes.windows(3).any(|part| part == b"://");
    let by_setting = is_local && config.store.as_deref().is_some_and(|store| in_memory(store.as_bytes()));
    if in_memory(bytes) || by_setting {
        let why = "a container in memory is seen by the process that made it alone; name a file or a store that lasts";
        return Err(format!("{}: {why}", name.display()).into());
    }
    Ok(())
}

/// Fails if a local name is that of a native file.
///
/// # Errors
///
/// Returns an error that names the remedy.
pub fn check_container(name: &Path, place: &Place) -> Result<(), Failure> {
    if place.found() == Some(Probe::NativeHdf5) && matches!(place.target, Target::File(_)) {
        let text = "is a native HDF5 file; this tool takes containers: use HDF5's own tools, or convert it with 'h5lake import'";
        return Err(format!("{}: {text}", name.display()).into());
    }
    Ok(())
}

/// Opens a container, or one version of it, for reading.
pub fn open(name: &Path) -> Result<Arc<Container>, Failure> {
    let (place, ledger) = find_version(name, Access::ReadOnly)?;
    open_at(name, place, ledger)
}

/// Opens a container for reading at a location that was already found.
pub fn open_at(name: &Path, place: Place, ledger: Options) -> Result<Arc<Container>, Failure> {
    check_container(name, &place)?;
    let options = h5lake_container::Options { ledger, opened: place.opened, ..Default::default() };
    Ok(Container::open(&place.target, Access::ReadOnly, options)?)
}

/// Returns whether opening a container failed because nothing exists at the name.
pub fn is_not_found(failure: &Failure) -> bool {
    let of_container = failure.downcast_ref::<h5lake_container::Error>();
    let of_ledger = failure.downcast_ref::<h5lake_ledger::Error>();
    of_container.is_some_and(|error| error.kind() == h5lake_container::ErrorKind::NotFound)
        || of_ledger.is_some_and(|error| *error.kind() == h5lake_ledger::ErrorKind::NotFound)
}

/// Returns the location of a new container. Fails if anything exists there.
pub fn vacant(name: &Path) -> Result<Target, Failure> {
    match target_of(name)? {
        (target, false) => Ok(target),
        (_, true) => Err(taken(name)),
    }
}

/// Returns the location of a new container, and whether anything exists there.
pub fn target_of(name: &Path) -> Result<(Target, bool), Failure> {
    let config = Config::from_environment()?;
    check_lasts(name, &config)?;
    let place = names::place_of_new(name.as_os_str().as_bytes(), &config);
    let Place { target, route, .. } = place.map_err(|error| error.to_string())?;
    match route {
        Route::Name => {}
        Route::Pointer => return Ok((target, true)),
        Route::Setting => {
            let (name, setting) = (name.display(), config.store_origin.name_of("store"));
            let url = url_of(&target).unwrap_or_default();
            let advice = format!("name it by its URL, {url}, or leave that setting out");
            return Err(format!("{name}: the {setting} sends it to a store; {advice}").into());
        }
    }
    let is_taken = match &target {
        Target::File(path) => path.symlink_metadata().is_ok(),
        Target::Objects { store, key, .. } => Ledger::probe_objects(&**store, key)? != Probe::NotFound,
    };
    Ok((target, is_taken))
}

/// Returns the URL of a container in a store, or `None` for a file.
pub fn url_of(target: &Target) -> Option<String> {
    match target {
        Target::File(_) => None,
        Target::Objects { key, url, .. } => Some(Pointer { store: url.clone(), key: key.clone() }.url()),
    }
}

/// Returns the error that the name of a target is already in use.
pub fn taken(name: &Path) -> Failure {
    format!("{}: something is there; name a target that is not there yet", name.display()).into()
}
