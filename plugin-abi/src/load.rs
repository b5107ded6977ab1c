//! Loading a libhdf5 into a program that has none.

use std::path::Path;

use libloading::os::unix::Library;

use crate::resolve::function_of_hdf5;
use crate::{BindError, Hdf5, library_at};

/// Loads the libhdf5 at `path`, or of that name where the dynamic linker looks, and binds it. It stays loaded until the process
/// ends. Its initialisers run, as in every program that uses it: whoever names it trusts it. All libraries see its symbols, for
/// plugins of filters look for them there.
///
/// # Errors
///
/// [`BindError::NotLoaded`] with the dynamic linker's words, [`BindError::NotHdf5`], and those of [`library_at`].
pub fn load(path: &Path) -> Result<&'static Hdf5, BindError> {
    // SAFETY: initialisers of libhdf5 and of what it is linked to run; they are made for any program.
    let handle =
        unsafe { Library::open(Some(path), libc::RTLD_NOW | libc::RTLD_GLOBAL) }.map_err(|error| {
            BindError::NotLoaded { library: path.display().to_string(), reason: error.to_string() }
        })?;
    let function = function_of_hdf5(&handle);
    // The table keeps it loaded by a handle of its own. What is no libhdf5 goes with this one.
    let function = function.ok_or_else(|| BindError::NotHdf5 { library: path.display().to_string() })?;
    library_at(function.as_ptr() as usize)
}
