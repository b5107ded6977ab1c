//! Creation of files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use h5lake_container::{Access, Container, FileCreation, Replace};

use super::{
    OpenRequest, Parts, agree_on_locks, agreed, check_newest, check_not_left_open, failed, file_handle,
    for_writers, keep_place, shareable, start, together,
};
use crate::config::Config;
use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::hdf5::file_flags::OpenFlags;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::plist::Driver;
use crate::names::{self, Place};
use crate::operations::file_options::options;
use crate::operations::storage as native;
use crate::operations::{group, pointer_files, staging};
use crate::pointer::Prepared;
use crate::session::{OpenedBy, Swmr};

/// Creates a file (`H5Fcreate`). When this returns, an empty container is at the name; a file that was there is
/// replaced.
pub fn create(
    library: Library,
    config: &Config,
    name: &[u8],
    flags: OpenFlags,
    creation: Hid,
    access: Hid,
) -> Result<Handle> {
    if native::is_new_native(library, config, name, flags, access)? {
        native::check_allowed(config, Minor::CannotCreateFile, "create", name)?;
        return library.create_native_file(name, flags, creation, access, config.native_filters);
    }
    let together = together(library, access)?;
    // A process that resolves the name later could already see a file that another process has made.
    let place = agreed(&together, || {
        let config = for_writers(config, &together);
        let place = names::place_of_new(name, &config).map_err(|error| in_the_way(name, flags, error))?;
        check_newest(&place, Minor::CannotCreateFile, "create", name)?;
        check_replaceable(library, &place, name, flags, access)?;
        shareable(&together, place)
    })?;
    let request =
        OpenRequest { library, config, place: &place, name, flags, access, together: together.as_deref() };
    let make = || make(request, creation);
    let container = match &together {
        None => make()?,
        Some(all) => {
            agree_on_locks(all, request)?;
            all.open(Some(&make), &|| reopen_made(request), Access::ReadWrite)?
        }
    };
    keep_place(together.as_ref(), &container, request)?;
    let access_list = library.copy_list(access)?;
    library.fit_page_buffer(access_list.get(), || library.page_size(creation), true)?;
    let swmr = if flags.swmr_write { Swmr::Write } else { Swmr::Off };
    let parts = Parts { container, together, writable: true, opened_by: OpenedBy::Program, swmr };
    start(library, config, name, access_list, parts).map(file_handle)
}

/// Returns the error that a file exists to a caller that requests a new file only, even if the file may not be read
/// (`open(2)`, `O_EXCL`).
fn in_the_way(name: &[u8], flags: OpenFlags, error: Error) -> Error {
    let is_unreadable = error.errno() == Some(libc::EACCES);
    if !(flags.exclusive && is_unreadable && Path::new(OsStr::from_bytes(name)).is_file()) {
        return error;
    }
    let name = String::from_utf8_lossy(name);
    let text = format!("unable to create file: name = '{name}', error message = 'File exists'");
    Error::file(Minor::CannotCreateFile, text, Some(libc::EEXIST))
}

/// Refuses to replace a native file that is open in this library, like native HDF5 does.
fn check_replaceable(
    library: Library,
    place: &Place,
    name: &[u8],
    flags: OpenFlags,
    access: Hid,
) -> Result<()> {
    // With MPI's driver all processes would have to open it.
    let alone = library.driver(access)? != Driver::Mpi;
    if flags.exclusive || !alone || !native::is_native(place) || !library.is_native_open(name, access)? {
        return Ok(());
    }
    let name = String::from_utf8_lossy(name);
    let text =
        format!("unable to create file: name = '{name}': unable to truncate a file which is already open");
    Err(Error::file(Minor::CannotCreateFile, text, None))
}

/// Makes an empty container.
fn make(request: OpenRequest<'_>, creation: Hid) -> Result<Arc<Container>> {
    let OpenRequest { library, place, flags, access, .. } = request;
    if !flags.exclusive {
        check_not_left_open(request, Minor::CannotCreateFile, "create")?;
    }
    let options = options(request)?;
    let pointer = pointer_files::prepare(place, request.config, flags)?;
    let replace = match flags.exclusive {
        true => Replace::Never,
        false => pointer_files::replacement(place, request.config),
    };
    library.check_user_block(creation, access)?;
    library.check_shared_messages(creation)?;
    let user_block = library.user_block(creation)?;
    let root = h5lake_container::GroupSpec {
        creation_properties: Vec::new().into(),
        ..group::spec_of(library, creation)?
    };
    let new = FileCreation { properties: library.encode_list(creation)?.into(), root, user_block };
    let refused = |error: h5lake_container::Error| {
        failed(Minor::CannotCreateFile, "unable to create file", request, &error)
    };
    let replaced = pointer_files::replaced(place, &options).map_err(refused)?;
    let target = staging::target(request)?;
    let container =
        Container::create(&target, replace, new, options).map_err(
            |error| match pointer_files::is_unlinked(replace, &error) {
                true => pointer_files::unlinked(place, request.name),
                false => refused(error),
            },
        )?;
    if let Some(Err(error)) = pointer.map(Prepared::put) {
        // Nothing was replaced. Without its pointer file the container would prevent the next creation.
        if replace != Replace::Truncate {
            pointer_files::take_back(container, place);
        }
        return Err(error);
    }
    if let Some(replaced) = replaced {
        replaced.done();
    }
    Ok(container)
}

/// Opens a container that another process has made.
fn reopen_made(request: OpenRequest<'_>) -> Result<Arc<Container>> {
    Container::open(&request.place.target, Access::ReadWrite, options(request)?)
        .map_err(|error| failed(Minor::CannotCreateFile, "unable to create file", request, &error))
}
