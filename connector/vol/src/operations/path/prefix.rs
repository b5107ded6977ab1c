//! The folders in which the files of external data and of virtual sources are looked for.

use crate::error::Result;
use crate::handles::open_objects::DatasetHandle;
use crate::operations::path::external_link::{from_origin, variable};

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
    Ok(from_origin(&prefix, &dataset.base.session.folder))
}
