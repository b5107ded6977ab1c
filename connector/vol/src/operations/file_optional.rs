//! The native connector's own functions on a file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use h5lake_container::Target;

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::hdf5::plist::ListClass;
use crate::names;
use crate::operations::object;
use crate::operations::path::root_path;
use crate::session::{Session, Swmr};

/// Switches the file to SWMR writing (`H5Fstart_swmr_write`): readers are always allowed, so this only checks that the
/// file may be written, and makes its current content visible to them.
pub fn start_swmr_write(handle: &Handle) -> Result<()> {
    let session = handle.session()?;
    if !session.writable {
        return Err(Error::new(Minor::BadValue, "the file was not opened for writing"));
    }
    if *session.swmr.lock() == Swmr::Write {
        return Err(Error::new(Minor::BadValue, "file already in SWMR writing mode"));
    }
    session.commit(Ok(()))?;
    *session.swmr.lock() = Swmr::Write;
    Ok(())
}

/// Returns the size of the container in bytes.
pub fn size(handle: &Handle) -> Result<u64> {
    Ok(handle.session()?.container.size()?)
}

/// Returns the address of the descriptor of the container's file (`H5Fget_vfd_handle` returns a pointer to it, like
/// the POSIX drivers). It is a separate descriptor, for `fsync` or `fstat`, open as long as the file is. For a
/// container in a store it is the pointer file's.
pub fn descriptor(session: &Session) -> Result<usize> {
    if session.together.is_some() {
        // With this driver callers use the answer as a pointer to an MPI_File.
        return Err(Error::new(
            Minor::Unsupported,
            "H5Fget_vfd_handle: the file was opened with the MPI file driver, and a container has no MPI_File; to get a file \
             descriptor, open it in one process without that driver",
        ));
    }
    if let Some((_, number)) = session.descriptor.get() {
        return Ok(std::ptr::from_ref(&**number) as usize);
    }
    let failed = |error: std::io::Error| {
        let name = String::from_utf8_lossy(&session.name);
        Error::file(Minor::CannotOpenFile, format!("'{name}': {error}"), error.raw_os_error())
    };
    let file = match session.container.reopened_file() {
        Some(file) => file.map_err(failed)?,
        None => pointer_file(session)?.map_err(failed)?,
    };
    let number = Box::new([std::os::fd::AsRawFd::as_raw_fd(&file), 0]);
    let (_, number) = session.descriptor.get_or_init(|| (file, number));
    Ok(std::ptr::from_ref(&**number) as usize)
}

/// Opens the pointer file of a container in a store, in the folder in which the container was opened.
fn pointer_file(session: &Session) -> Result<std::io::Result<std::fs::File>> {
    let place = names::place(&session.name, &session.config)?;
    let Target::File(path) = place.local_target() else {
        return Err(Error::new(
            Minor::Unsupported,
            "a container in an object store, without a local file that names it, has no file descriptor",
        ));
    };
    let folder = Path::new(OsStr::from_bytes(&session.folder));
    Ok(std::fs::File::open(path.file_name().map_or_else(|| path.clone(), |name| folder.join(name))))
}

/// Makes a native file with the same content (`H5Fget_file_image`). The image is made when its size is requested and
/// returned by the next call, so that both refer to one image; if the container has changed in between, it is made
/// again. Returns the size; `fill` gets the bytes if the caller has space for `buffer_size` of them.
pub fn image(handle: &Handle, buffer_size: Option<usize>, fill: impl FnOnce(&[u8])) -> Result<usize> {
    let session = handle.session()?;
    let kept = session.image.lock().take();
    let edition = session.container.edition();
    let image = match (kept, buffer_size) {
        (Some((of, image)), Some(_)) if of == edition => image,
        _ => native_image(&session)?,
    };
    let size = image.len();
    match buffer_size {
        None => *session.image.lock() = Some((edition, image)),
        Some(buffer_size) if buffer_size < size => {
            return Err(Error::argument(format!(
                "supplied buffer too small: {buffer_size} bytes, the image has {size}"
            )));
        }
        Some(_) => fill(&image),
    }
    Ok(size)
}

/// Returns the content of a container as a native file.
fn native_image(session: &Arc<Session>) -> Result<Vec<u8>> {
    let (library, container) = (session.library, &session.container);
    let root = object::identifier_of(session, container.root(), Some(root_path()))?;
    let creation = library.decode_list(&container.creation_properties(), ListClass::FileCreate)?;
    library.native_image(root.get(), creation.get())
}

/// Returns the error of an operation that has no meaning for a container, by its number in `H5VLnative.h`. Native HDF5
/// refuses these, too, unless the file was opened with a log or a page buffer.
pub fn refused(operation: i32) -> Error {
    let name = match operation {
        14 => "H5Fstart_mdc_logging",
        15 => "H5Fstop_mdc_logging",
        18 => "H5Freset_page_buffering_stats",
        19 => "H5Fget_page_buffering_stats",
        _ => return Error::unsupported(format!("optional file operation {operation}")),
    };
    Error::new(Minor::Unsupported, format!("{name} has no meaning for a h5lake container"))
}
