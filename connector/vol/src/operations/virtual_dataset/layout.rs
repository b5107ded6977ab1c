//! The parts of a virtual dataset, opened when they are first needed.

use std::sync::Arc;

use h5lake_container::Layout;

use crate::error::Result;
use crate::handles::open_objects::DatasetHandle;
use crate::handles::virtual_layout::VirtualLayout;
use crate::hdf5::plist::ListClass;
use crate::operations::path::prefix;

/// Returns the mappings and sources of a dataset, if it is a virtual one.
///
/// # Errors
/// If the library refuses a stored encoding.
pub fn of(dataset: &DatasetHandle) -> Result<Option<Arc<VirtualLayout>>> {
    let Layout::Virtual { mappings } = dataset.dataset.layout() else { return Ok(None) };
    if let Some(open) = dataset.virtual_layout.get() {
        return Ok(Some(open.clone()));
    }
    let library = dataset.base.session.library;
    let access = match &dataset.access_list {
        Some(list) => library.copy_list(list.get())?,
        None => library.default_list(ListClass::DatasetAccess)?,
    };
    let view = library.virtual_view(access.get())?;
    let prefix = prefix::of_virtual_sources(dataset)?;
    let open = Arc::new(VirtualLayout::open(library, mappings, view, prefix)?);
    Ok(Some(dataset.virtual_layout.get_or_init(|| open).clone()))
}
