//! Reads of native datasets that h5lake decodes itself.

use std::ffi::{c_int, c_void};

use h5lake_container::ObjectFile;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Major, Result};
use crate::handles::native_handle::NativeHandle;
use crate::hdf5::guard::guard;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::native::chunked_dataset::BorrowedDataset;
use crate::hdf5::native::object_driver::take_unread;
use crate::operations::native_virtual::NativeVirtual;
use crate::operations::transfer_report;
use crate::transfer::memory::region::MemoryRegion;
use crate::transfer::native_chunks::NativeReads;
use crate::transfer::object_chunks::{ObjectChunks, passed_over};
use crate::vol::thunks::{FAIL, OK};

const ALL: Hid = sys::H5S_ALL as Hid;
const BLOCK: Hid = sys::H5S_BLOCK as Hid;

/// The arguments of `H5Dread` beside the selection in the file and the buffer.
pub(super) struct NativeCall {
    pub(super) memory_type: Hid,
    pub(super) memory_space: Hid,
    pub(super) transfer: Hid,
}

/// Reads the dataset if that pays off; returns whether it did. Otherwise the native connector has to read, whatever
/// the buffer contains now. Errors are not reported: the native connector will have its own errors, or none.
///
/// # Safety
/// The dataset is open, the arguments are those of its `H5Dread`, which no other thread uses, and the library reports
/// no errors meanwhile.
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
        let done = done.unwrap_or(false);
        if done {
            transfer_report::tell_of_filtered_read(library, call.transfer);
        }
        Ok(done)
    })
}

/// # Safety
/// As for [`read`].
unsafe fn attempt(
    reads: &NativeReads,
    dataset: BorrowedDataset<'_>,
    call: &NativeCall,
    file_space: Hid,
    buffer: *mut c_void,
) -> Result<bool> {
    let Some(read) = reads.prepare(dataset, call.memory_type, file_space, call.transfer)? else {
        return Ok(false);
    };
    // SAFETY: H5Dread requires a buffer that contains the selection in memory.
    let mut region = unsafe { region_of(dataset.library(), call, file_space, read.points, buffer)? };
    let done = read.read(&mut region);
    // The dataset's elements are in its own file. The native connector reads again any elements that could not be
    // read.
    drop(take_unread());
    done
}

/// Completes a failed read of a virtual dataset that has containers among its sources, with the elements of these. Any
/// other failure is left unchanged.
///
/// # Safety
/// As for [`read`].
pub(super) unsafe fn of_containers(
    native: &NativeHandle,
    connector: Hid,
    call: &NativeCall,
    file_space: Hid,
    buffer: *mut c_void,
) -> c_int {
    let library = native.library();
    let frames = library.take_errors();
    guard(Some(library), "h5lake_dataset_read", Major::Dataset, FAIL, || {
        // SAFETY: as the caller says.
        let dataset = unsafe { BorrowedDataset::new(library, connector, native.object()) };
        let Ok(Some(found)) = NativeVirtual::of(dataset) else { return Err(Error::reported(frames)) };
        let selected = (file_space != ALL).then_some(file_space);
        let points = match selected {
            Some(space) => library.selected_points(space)?,
            None => library.extent_points(dataset.space()?.get())?,
        };
        // SAFETY: as the caller says.
        let mut region = unsafe { region_of(library, call, file_space, points, buffer)? };
        found.read(call.memory_type, &mut region, selected, call.transfer).map(|()| OK)
    })
}

/// Names the cause of a failed write to a virtual dataset that has containers among its sources.
///
/// # Safety
/// As for [`read`].
pub(super) unsafe fn explained(native: &NativeHandle, connector: Hid, operation: &str) -> c_int {
    let library = native.library();
    let frames = library.take_errors();
    guard(Some(library), "h5lake_dataset_write", Major::Dataset, FAIL, || {
        // SAFETY: as the caller says.
        let dataset = unsafe { BorrowedDataset::new(library, connector, native.object()) };
        Err(match NativeVirtual::of(dataset) {
            Ok(Some(found)) => found.refuse(operation),
            _ => Error::reported(frames),
        })
    })
}

/// Returns the elements that `H5Dread` selects in memory.
///
/// # Safety
/// The buffer holds all elements that are selected in memory.
unsafe fn region_of(
    library: Library,
    call: &NativeCall,
    file_space: Hid,
    points: u64,
    buffer: *mut c_void,
) -> Result<MemoryRegion> {
    let size = library.type_size(call.memory_type)?;
    // SAFETY: as the caller says.
    unsafe {
        match call.memory_space {
            ALL if file_space == ALL => MemoryRegion::packed(buffer, size, points, None),
            ALL => MemoryRegion::selected(library, buffer, size, file_space, None),
            BLOCK => MemoryRegion::packed(buffer, size, points, None),
            space => MemoryRegion::selected(library, buffer, size, space, None),
        }
    }
}

/// Returns whether a dataset may be in a store: in the file through which it was opened, or in a file that is mounted
/// there.
fn may_be_in_store(native: &NativeHandle) -> bool {
    native.object_file().is_some() || native.library().has_object_driver()
}

/// Returns the known positions of the chunks of a dataset in a store, and the object from which they are fetched. The
/// object is unknown if the file is mounted on another one.
fn in_store<'a>(
    native: &'a NativeHandle,
    dataset: BorrowedDataset<'_>,
) -> Result<Option<(Option<&'a ObjectFile>, &'a ObjectChunks)>> {
    if let Some((object, chunks)) = native.object_file() {
        return Ok(Some((Some(object), chunks)));
    }
    let chunks = native.chunks();
    Ok(chunks.is_in_store(dataset)?.then_some((None, chunks)))
}

/// Makes a read of a dataset. If its file is an object of a store, the chunks that the read touches are prefetched in
/// parallel.
///
/// # Safety
/// The dataset is open, the arguments are those of its `H5Dread`, and the library reports no errors meanwhile.
pub(super) unsafe fn with_chunks(
    native: &NativeHandle,
    connector: Hid,
    file_space: Hid,
    read: impl FnOnce() -> c_int,
) -> c_int {
    if !may_be_in_store(native) {
        return read();
    }
    let library = native.library();
    guard(Some(library), "h5lake_dataset_read", Major::Dataset, FAIL, || {
        // SAFETY: as the caller says.
        let dataset = unsafe { BorrowedDataset::new(library, connector, native.object()) };
        let Some((object, chunks)) = in_store(native, dataset)? else { return Ok(read()) };
        chunks.check(dataset)?;
        let answer = match object {
            Some(object) => {
                // If chunks cannot be listed, no chunk is prefetched. The library reports the error itself.
                let places = chunks.places(dataset, object, file_space).unwrap_or_default();
                drop(take_unread());
                object.reading_ahead(&places, read)
            }
            None => {
                drop(take_unread());
                read()
            }
        };
        checked_answer(answer, &[chunks])
    })
}

/// Returns the result of a read of datasets in stores.
///
/// # Errors
/// If libhdf5 skipped data that the store could not read.
fn checked_answer(answer: c_int, chunks: &[&ObjectChunks]) -> Result<c_int> {
    let Some(error) = passed_over(answer) else { return Ok(answer) };
    chunks.iter().for_each(|chunks| chunks.spoil(&error));
    Err(error)
}

/// Makes a read of several datasets in stores, unless one of them has elements in other files that its own file names.
///
/// # Safety
/// As for [`with_chunks`], for all datasets.
pub(super) unsafe fn checked(
    natives: &[&NativeHandle],
    connector: Hid,
    read: impl FnOnce() -> c_int,
) -> c_int {
    let Some(library) = natives.iter().find(|native| may_be_in_store(native)).map(|n| n.library()) else {
        return read();
    };
    guard(Some(library), "h5lake_dataset_read", Major::Dataset, FAIL, || {
        let mut in_stores = Vec::new();
        for native in natives {
            // SAFETY: as the caller says.
            let dataset = unsafe { BorrowedDataset::new(library, connector, native.object()) };
            let Some((_, chunks)) = in_store(native, dataset)? else { continue };
            chunks.check(dataset)?;
            in_stores.push(chunks);
        }
        drop(take_unread());
        checked_answer(read(), &in_stores)
    })
}

/// Calls `H5Dget_space` for a dataset. In a store the extent of a virtual dataset follows from its sources, if all of
/// them could be read.
///
/// # Safety
/// The dataset is open, `arguments` are those of the call, and the library reports no errors meanwhile.
pub(super) unsafe fn with_extent(
    native: &NativeHandle,
    connector: Hid,
    arguments: *mut sys::H5VL_dataset_get_args_t,
    get: impl FnOnce() -> c_int,
) -> c_int {
    if !may_be_in_store(native) {
        return get();
    }
    let library = native.library();
    guard(Some(library), "h5lake_dataset_get", Major::Dataset, FAIL, || {
        // SAFETY: as the caller says.
        let dataset = unsafe { BorrowedDataset::new(library, connector, native.object()) };
        let Some((_, chunks)) = in_store(native, dataset)? else { return Ok(get()) };
        drop(take_unread());
        let answer = get();
        chunks.checked_extent(answer).inspect_err(|_| {
            // SAFETY: as the caller says, and the call has filled this member.
            let space = unsafe { &mut (*arguments).args.get_space.space_id };
            let wrong = std::mem::replace(space, sys::H5I_INVALID_HID as Hid);
            drop(Id::from_call(library, wrong, "H5Dget_space"));
        })
    })
}
