//! Native files that are objects of a store: found in place of a container, and opened read-only.

use std::sync::Arc;

use h5lake_container::{Access, Container, ObjectFile};

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::handles::native_path::identifier_of;
use crate::hdf5::id::Id;
use crate::operations::file::OpenRequest;
use crate::operations::file_options::options;
use crate::operations::storage;
use crate::session::registry;

/// Opens the native file at a place where no container could be opened because of `error`.
///
/// # Errors
/// `error`, if no native file exists there either; the cause that forbids opening it, or prevents the native connector
/// from opening it.
pub(super) fn open_instead(request: OpenRequest<'_>, error: Error) -> Result<Handle> {
    let OpenRequest { library, config, name, flags, access, .. } = request;
    match find(request)? {
        Some(object) => library.open_native_object_file(name, object, flags, access, config.native_filters),
        None => Err(error),
    }
}

/// Opens the native file at a place where no container could be opened because of `error`, as the file of a source of
/// a virtual dataset. Its identifier belongs to our connector, so that names in the file are not followed through the
/// identifier either.
///
/// # Errors
/// As for [`open_instead`].
pub(super) fn open_source(request: OpenRequest<'_>, error: Error) -> Result<Id> {
    let library = request.library;
    let (object, list) = (find(request)?.ok_or(error)?, library.source_access()?);
    let OpenRequest { config, name, flags, .. } = request;
    let file = library.open_native_object_file(name, object, flags, list.get(), config.native_filters)?;
    identifier_of(library, file)
}

/// Returns the native file at a place where no container could be opened.
///
/// # Errors
/// The cause that forbids opening it.
fn find(request: OpenRequest<'_>) -> Result<Option<Arc<ObjectFile>>> {
    let OpenRequest { library, config, place, name, flags, together, .. } = request;
    if together.is_some() && place.foreign.native_hdf5().is_none() {
        // If processes open a file together, only the first one has probed it.
        let _looked = Container::open(&place.target, Access::ReadOnly, options(request)?);
    }
    let Some(front) = place.foreign.native_hdf5() else { return Ok(None) };
    storage::check_allowed(config, Minor::CannotOpenFile, "open", name)?;
    if flags.write {
        return Err(read_only(name));
    }
    if let Some(at) = &place.at {
        let text = format!("unable to open file: name = '{}'", String::from_utf8_lossy(name));
        let said = format!("a native HDF5 file has no versions, and so not {at}");
        return Err(Error::file(Minor::CannotOpenFile, text, None).followed_by(format!(": {said}")));
    }
    library.tell_when_closing(registry::library_closes)?;
    Ok(Some(ObjectFile::open(&place.target, front, &options(request)?)?))
}

/// Returns the error for writing a native file in a store.
fn read_only(name: &[u8]) -> Error {
    let text = format!("unable to open file: name = '{}'", String::from_utf8_lossy(name));
    let said = "a native HDF5 file in a store can only be read; copy it to a local file to change it, or make a container of \
                it (h5lake import)";
    Error::file(Minor::CannotOpenFile, text, Some(libc::EROFS)).with_system_message(said, "")
}
