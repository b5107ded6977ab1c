//! Folders in which a library searches plugins of filters.

use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::hdf5::library::Library;

/// The folder with libraries of netCDF4's wheel, beside the package.
const NETCDF4_LIBRARIES: &str = "netcdf4.libs";
/// The folder of filters in the package.
const NETCDF4_FILTERS: &str = "netCDF4/plugins";

impl Library {
    /// Makes the library search for filters in the folder of its own client, after the folders that it knows.
    /// netCDF4's wheel names its folder only if `HDF5_PLUGIN_PATH` is not set, and that variable is set to load this
    /// plugin.
    ///
    /// Errors are ignored: the error for a missing filter names it when it is needed.
    pub fn add_filters_of_client(self) {
        let Some(folder) = filters_of_client(&self.table().path) else { return };
        let Ok(folder) = CString::new(folder.as_os_str().as_bytes()) else { return };
        // After `H5close` the library knows only its first folders.
        if !self.knows_folder(&folder) {
            // SAFETY: the path is terminated and not empty; libhdf5 copies it.
            unsafe { (self.table().H5PLappend)(folder.as_ptr()) };
        }
    }

    fn knows_folder(self, folder: &CString) -> bool {
        let mut count = 0;
        // SAFETY: the answer's place outlives the call.
        if unsafe { (self.table().H5PLsize)(&mut count) } < 0 {
            return true;
        }
        let bytes = folder.as_bytes_with_nul();
        let mut known = vec![0_u8; bytes.len() + 1];
        (0..count).any(|index| {
            known.fill(0);
            // SAFETY: the buffer has the length that is passed; longer paths are truncated.
            let length =
                unsafe { (self.table().H5PLget)(index, known.as_mut_ptr().cast::<c_char>(), known.len()) };
            usize::try_from(length).is_ok_and(|length| length + 1 == bytes.len()) && known.starts_with(bytes)
        })
    }
}

/// Returns the folder of filters that came with a libhdf5.
fn filters_of_client(library: &Path) -> Option<PathBuf> {
    let libraries = library.parent()?;
    if !libraries.file_name()?.as_bytes().eq_ignore_ascii_case(NETCDF4_LIBRARIES.as_bytes()) {
        return None;
    }
    // The library's path may lead through the package: `netCDF4/../netcdf4.libs`.
    let folder = libraries.parent()?.join(NETCDF4_FILTERS).canonicalize().ok()?;
    folder.is_dir().then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_of_netcdf4s_wheel_has_filters_beside_it() {
        let packages = tempfile::tempdir().unwrap();
        let folder = packages.path().canonicalize().unwrap().join(NETCDF4_FILTERS);
        let library = packages.path().join("netcdf4.libs/libhdf5-1.so");
        assert_eq!(filters_of_client(&library), None);
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(filters_of_client(&library), Some(folder.clone()));
        let through = packages.path().join("netCDF4/../netCDF4.libs/libhdf5-1.so");
        assert_eq!(filters_of_client(&through), Some(folder));
        assert_eq!(filters_of_client(&packages.path().join("h5py.libs/libhdf5-1.so")), None);
        assert_eq!(filters_of_client(Path::new("libhdf5.so")), None);
        assert_eq!(filters_of_client(Path::new("")), None);
    }
}
