//! Reads of native datasets that are decoded here.

use std::ffi::{c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use crate::error::{Major, Minor, Result};
use crate::handles::native_handle::NativeHandle;
use crate::hdf5::guard::guard;
use crate::hdf5::library::Hid;
use crate::hdf5::native::chunked_dataset::BorrowedDataset;
use crate::transfer::memory::region::MemoryRegion;
use crate::transfer::native_chunks::NativeReads;
use crate::vol::thunks::FAIL;

/// What `H5Dread` is given beside the selection in the file and the buffer.
pub(super) struct NativeCall {
    pub(super) memory_type: Hid,
    pub(super) memory_space: Hid,
    pub(super) transfer: Hid,
}

/// Reads if it is worth it; answers whether it did. Otherwise the native connector is to be asked, whatever the buffer has now.
/// Errors are not reported: the native connector will have its own, or none.
///
/// # Safety
/// The dataset is open, the arguments are those of its `H5Dread`, which no other thread uses, and the library reports no errors
/// meanwhile.
pub(super) unsafe fn read(
    native: &NativeHandle,
    connector: Hid,
    call: &NativeCall,
    file_space: Hid,
    buffer: *mut c_void,
) -> bool {
    let (Some(reads), library) = (native.reads(), native.library()) else { return false };
    if !reads.is_candidate(library, file_space) {
        return false;
    }
    guard(Some(library), "h5lake_dataset_read", Major::Dataset, false, || {
        // SAFETY: as the caller says.
        let done = unsafe {
            let dataset = BorrowedDataset::new(library, connector, native.object());
            attempt(reads, dataset, call, file_space, buffer)
        };
        Ok(done.unwrap_or(false))
    })
}

/// # Safety
/// As [`read`].
unsafe fn attempt(
    reads: &NativeReads,
    dataset: BorrowedDataset<'_>,
    call: &NativeCall,
    file_space: Hid,
    buffer: *mut c_void,
) -> Result<bool> {
    const ALL: Hid = sys::H5S_ALL as Hid;
    const BLOCK: Hid = sys::H5S_BLOCK as Hid;
    let Some(read) = reads.prepare(dataset, call.memory_type, file_space, call.transfer)? else {
        return Ok(false);
    };
    let library = dataset.library();
    let size = library.type_size(call.memory_type)?;
    // SAFETY: H5Dread demands a buffer that holds all that is selected in memory.
    let mut region = unsafe {
        match call.memory_space {
            ALL if file_space == ALL => MemoryRegion::packed(buffer, size, read.points, None)?,
            ALL => MemoryRegion::selected(library, buffer, size, file_space, None)?,
            BLOCK => MemoryRegion::packed(buffer, size, read.points, None)?,
            space => MemoryRegion::selected(library, buffer, size, space, None)?,
        }
    };
    read.read(&mut region)
}

/// Makes a read of a dataset. If its file is an object of a store, the chunks that it touches are fetched meanwhile, side by side.
///
/// # Safety
/// The dataset is open, the arguments are those of its `H5Dread`, and the library reports no errors meanwhile.
pub(super) unsafe fn with_chunks(
    native: &NativeHandle,
    connector: Hid,
    file_space: Hid,
    read: impl FnOnce() -> c_int,
) -> c_int {
    let (Some((object, chunks)), library) = (native.object_file(), native.library()) else { return read() };
    guard(Some(library), "h5lake_dataset_read", Major::Dataset, FAIL, || {
        // SAFETY: as the caller says.
        let dataset = unsafe { BorrowedDataset::new(library, connector, native.object()) };
        match chunks.places(dataset, object, file_space) {
            Ok(places) => Ok(object.reading_ahead(&places, read)),
            Err(error) if error.minor() == Minor::NotFollowed => Err(error),
            // The library says in its own words what is wrong.
            Err(_) => Ok(read()),
        }
    })
}

/// Makes a read of several datasets, if none of them has its elements in files that its own file, in a store, names.
///
/// # Safety
/// As [`with_chunks`], for all of them.
pub(super) unsafe fn checked(
    natives: &[&NativeHandle],
    connector: Hid,
    read: impl FnOnce() -> c_int,
) -> c_int {
    let Some(library) = natives.iter().find(|native| native.object_file().is_some()).map(|n| n.library())
    else {
        return read();
    };
    guard(Some(library), "h5lake_dataset_read", Major::Dataset, FAIL, || {
        for native in natives {
            let Some((_, chunks)) = native.object_file() else { continue };
            // SAFETY: as the caller says.
            let dataset = unsafe { BorrowedDataset::new(library, connector, native.object()) };
            chunks.check(dataset)?;
        }
        Ok(read())
    })
}
