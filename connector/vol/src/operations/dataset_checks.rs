//! The checks that refuse a transfer, independent of its elements.

use h5lake_container::{FillTime, FillValue, Layout, SpaceStatus};

use crate::error::{Error, Minor, Result};
use crate::handles::open_objects::DatasetHandle;

/// Refuses to write to a file that is open read-only, whatever is written and wherever it would go.
///
/// # Errors
/// For such a file.
pub fn check_writable(dataset: &DatasetHandle) -> Result<()> {
    let container = &dataset.base.session.container;
    if container.writable() {
        return Ok(());
    }
    let text = format!(
        "{}: unable to write data: no write intent on file, it was opened read-only",
        container.name()
    );
    Err(Error::new(Minor::WriteError, text))
}

/// Returns whether elements that were never written have no value, although the fill time requires one (`H5D__read`).
/// A file that processes have open together is exempt: the native connector allocates its datasets when they are made.
pub fn has_no_fill(dataset: &DatasetHandle) -> bool {
    let fill = dataset.dataset.fill();
    matches!(fill.value, FillValue::Undefined)
        && fill.time != FillTime::Never
        && dataset.base.session.together.is_none()
}

/// Refuses to read elements of a dataset with neither storage nor fill value, like the native connector.
///
/// # Errors
/// For such a dataset; errors of the container.
pub fn check_there_is_data(dataset: &DatasetHandle, points: u64) -> Result<()> {
    if points == 0 || !has_no_fill(dataset) {
        return Ok(());
    }
    let is_there = match dataset.dataset.layout() {
        Layout::Contiguous => dataset.dataset.space_status()? != SpaceStatus::NotAllocated,
        Layout::Chunked { .. } => dataset.dataset.has_chunks()?,
        _ => true,
    };
    match is_there {
        true => Ok(()),
        false => Err(Error::new(Minor::ReadError, "read failed: dataset doesn't exist, no data can be read")),
    }
}
