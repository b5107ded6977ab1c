//! Loads a libhdf5 into a program that has none.

use std::path::{Path, PathBuf};

use libloading::os::unix::Library;

use crate::resolve::function_of_hdf5;
use crate::{BindError, Hdf5, library_at};

/// Loads the libhdf5 at `path`, or with this name in the search path of the dynamic linker, and binds it. It stays loaded until the process
/// ends. Its initializers run, so the caller must trust the library. Its symbols are visible to all libraries, because filter plugins look
/// up symbols there.
///
/// Libraries that this library needs, and that lie only in its own folder, are loaded from that folder. Python wheels ship
/// libraries in this way, and rely on the search path of the importing module to find them.
///
/// # Errors
///
/// Returns [`BindError::NotLoaded`] with the message of the dynamic linker, [`BindError::NotHdf5`], or the errors of [`library_at`].
pub fn load(path: &Path) -> Result<&'static Hdf5, BindError> {
    let handle = open_with_neighbours(path, libc::RTLD_GLOBAL, &mut Vec::new())
        .map_err(|reason| BindError::NotLoaded { library: path.display().to_string(), reason })?;
    let function = function_of_hdf5(&handle);
    // The table keeps the library loaded with its own handle. A library that is not a libhdf5 is unloaded with this handle.
    let function = function.ok_or_else(|| BindError::NotHdf5 { library: path.display().to_string() })?;
    library_at(function.as_ptr() as usize)
}

/// Opens a library. Each needed library that the dynamic linker does not find is opened first, if it lies in the folder of the
/// library that needs it: the dynamic linker then recognizes the needed library by its name (its `DT_SONAME`). `tried` lists the
/// neighbours that were already opened.
fn open_with_neighbours(path: &Path, scope: i32, tried: &mut Vec<PathBuf>) -> Result<Library, String> {
    loop {
        // SAFETY: the initializers of libhdf5 and of its dependencies run; they are suitable for any program.
        let reason = match unsafe { Library::open(Some(path), libc::RTLD_NOW | scope) } {
            Ok(library) => return Ok(library),
            Err(error) => error.to_string(),
        };
        let Some(neighbour) = missing_neighbour(path, &reason).filter(|path| !tried.contains(path)) else {
            return Err(reason);
        };
        tried.push(neighbour.clone());
        // The neighbour stays loaded for the library that needs it.
        std::mem::forget(open_with_neighbours(&neighbour, libc::RTLD_LOCAL, tried)?);
    }
}

/// Returns the file beside `path` that the dynamic linker did not find. The linker's message names the file:
/// `NAME: cannot open shared object file: …`.
fn missing_neighbour(path: &Path, reason: &str) -> Option<PathBuf> {
    let (name, _) = reason.split_once(": ")?;
    let neighbour = path.parent().filter(|folder| folder.is_absolute())?.join(Path::new(name).file_name()?);
    (neighbour != path && neighbour.is_file()).then_some(neighbour)
}
