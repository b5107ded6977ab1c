//! The folders in which the files of external data and of virtual sources are searched.

use crate::error::Result;
use crate::handles::open_objects::DatasetHandle;
use crate::operations::path::external_link::{from_origin, variable};

/// Returns the folder of external files (`HDF5_EXTFILE_PREFIX`, `H5Pset_efile_prefix`); empty for the working folder.
///
/// # Errors
/// If the library cannot read the access list.
pub fn of_external_files(dataset: &DatasetHandle) -> Result<Vec<u8>> {
    expanded(dataset, "HDF5_EXTFILE_PREFIX", |list| dataset.base.session.library.external_file_prefix(list))
}

/// Returns the folder of virtual sources (`HDF5_VDS_PREFIX`, `H5Pset_virtual_prefix`); empty for none.
///
/// # Errors
/// If the library cannot read the access list.
pub fn of_virtual_sources(dataset: &DatasetHandle) -> Result<Vec<u8>> {
    expanded(dataset, "HDF5_VDS_PREFIX", |list| dataset.base.session.library.virtual_prefix(list))
}

/// Returns a prefix: the environment takes precedence over the list, "." means none, and `${ORIGIN}` at the beginning
/// is the folder of the dataset's file (H5Dint.c, `H5D__build_file_prefix`).
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
    Ok(from_origin(&prefix, &dataset.base.session.folder))
}
