//! A libhdf5 that is bound at run time.

use std::ffi::{CStr, c_char};
use std::path::PathBuf;

use crate::BindError;
use crate::generated::symbols::{Functions, Ids};
use crate::resolve::{Object, Symbols, VERSION_TEXT};
use crate::variants::Variants;
use crate::version::{OLDEST, parse_version, shown};

/// The symbol table of one libhdf5 in this process.
///
/// Functions are fields under their C names, which [`Functions`] contains: `(lib.H5Tcopy)(id)`. Functions that some versions or builds lack
/// are `Option`s. Ids in data symbols are methods of the same name, and are read anew at each call: `lib.H5E_FILE_g()`.
///
/// A table lives as long as the process and keeps its library loaded.
pub struct Hdf5 {
    /// The number of this library in the process, below [`MAX_LIBRARIES`](crate::MAX_LIBRARIES).
    pub slot: usize,
    /// The version of the library at run time: major, minor, release.
    pub version: (u32, u32, u32),
    /// The path of the shared library. Empty if libhdf5 is linked into the main program.
    pub path: PathBuf,
    pub(crate) base: usize,
    pub(crate) ids: Ids,
    pub(crate) variants: Variants,
    functions: Functions,
    object: Object,
}

impl std::ops::Deref for Hdf5 {
    type Target = Functions;

    fn deref(&self) -> &Functions {
        &self.functions
    }
}

impl std::fmt::Debug for Hdf5 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hdf5")
            .field("slot", &self.slot)
            .field("version", &self.version)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Hdf5 {
    /// Looks up every symbol. Calls no HDF5 function, because each public function would clear the error stack of the program, which is
    /// just opening a file.
    pub(crate) fn bind(object: Object, slot: usize) -> Result<Hdf5, BindError> {
        let version = version_of(&object)?;
        if version < OLDEST {
            return Err(BindError::TooOld { library: object.display(), version: shown(version) });
        }
        let symbols = Symbols { object: &object, version: shown(version) };
        let functions = Functions::bind(&symbols)?;
        let ids = Ids::bind(&symbols)?;
        let variants = Variants::bind(&symbols, version)?;
        let (path, base) = (object.path.clone(), object.base);
        Ok(Hdf5 { slot, version, path, base, ids, variants, functions, object })
    }

    /// Returns the address of a symbol of the library or of a library that it is linked to, such as MPI.
    pub fn beneath(&self, name: &CStr) -> Option<std::ptr::NonNull<std::ffi::c_void>> {
        self.object.foreign_address(name)
    }

    /// Returns whether the version of the library is 2.x or newer.
    pub fn is_v2(&self) -> bool {
        self.version.0 >= 2
    }
}

/// Reads the version from the text in the library.
fn version_of(object: &Object) -> Result<(u32, u32, u32), BindError> {
    let address =
        object.address(VERSION_TEXT).ok_or_else(|| BindError::NotExported { library: object.display() })?;
    // SAFETY: `H5_lib_vers_info_g` is a `const char[]` with a NUL in every HDF5 since 1.8.
    let text = unsafe { CStr::from_ptr(address.as_ptr().cast::<c_char>()) }.to_string_lossy();
    parse_version(&text)
        .ok_or_else(|| BindError::UnreadableVersion { library: object.display(), text: text.to_string() })
}
