//! The folders in which the files of external data and of virtual sources are looked for.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::callbacks::external::variable;
use crate::error::Result;
use crate::session::DatasetHandle;

/// Where external files lie (`HDF5_EXTFILE_PREFIX`, `H5Pset_efile_prefix`); empty for the working folder.
///
/// # Errors
/// If the library does not read the access list.
pub fn of_external_files(dataset: &DatasetHandle) -> Result<Vec<u8>> {
    expanded(dataset, "HDF5_EXTFILE_PREFIX", |list| dataset.base.session.library.external_file_prefix(list))
}

/// Where virtual sources lie (`HDF5_VDS_PREFIX`, `H5Pset_virtual_prefix`); empty for none.
///
/// # Errors
/// If the library does not read the access list.
pub fn of_virtual_sources(dataset: &DatasetHandle) -> Result<Vec<u8>> {
    expanded(dataset, "HDF5_VDS_PREFIX", |list| dataset.base.session.library.virtual_prefix(list))
}

/// The environment goes before the list, "." is as good as nothing, and `${ORIGIN}` at the beginning is the folder
/// of the dataset's file (H5Dint.c, `H5D__build_file_prefix`).
fn expanded(
    dataset: &DatasetHandle,
    name: &str,
    of_list: impl FnOnce(i64) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let mut prefix = variable(name);
    if prefix.is_empty()
        && let Some(list) = &dataset.access_list
    {
        prefix = of_list(list.get())?;
    }
    if prefix == b"." {
        prefix.clear();
    }
    Ok(match prefix.strip_prefix(b"${ORIGIN}") {
        Some(rest) => {
            let mut folder = folder_of(&dataset.base.session.name).into_os_string().into_vec();
            folder.extend_from_slice(rest);
            folder
        }
        None => prefix,
    })
}

/// The folder of a file, from the root; that of a URL is the store.
fn folder_of(name: &[u8]) -> PathBuf {
    let path = Path::new(OsStr::from_bytes(name));
    let folder = path.parent().unwrap_or(Path::new(""));
    if name.windows(3).any(|part| part == b"://") {
        return folder.to_owned();
    }
    std::path::absolute(folder.join(".")).unwrap_or_else(|_| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_begins_at_the_root() {
        assert_eq!(folder_of(b"/a/b/c.h5"), Path::new("/a/b"));
        assert_eq!(folder_of(b"c.h5"), std::env::current_dir().unwrap());
        assert_eq!(folder_of(b"s3://bucket/c.h5"), Path::new("s3://bucket"));
    }
}
