//! Dataset callbacks.

use std::ffi::{c_char, c_int, c_void};

use h5lake_container::{Layout, SpaceStatus};
use h5lake_plugin_abi::bindings as sys;

use super::{FAIL, OK, location, new_object, status, unknown_operation};
use crate::error::{Error, Major, Result};
use crate::handles::open_objects::DatasetHandle;
use crate::handles::{CallOrder, Handle};
use crate::hdf5::guard::guard;
use crate::hdf5::library::Hid;
use crate::hdf5::strings;
use crate::operations::asynchronous::{self, Begun, Transfer};
use crate::operations::collective::{self, Direction};
use crate::operations::dataset::{self, FileSelection, NewDataset};
use crate::operations::dataset_chunks;
use crate::operations::transfer_report::Report;
use crate::transfer::buffers::buffer_of;
use crate::transfer::memory::region::MemoryRegion;
use crate::vol::passthrough::{self, forward};
use crate::vol::thunks::Request;
use crate::vol::thunks::native_read::{self, NativeCall};
use crate::vol::thunks::transfer_arrays::Arrays;

/// The callbacks of datasets.
pub const CLASS: sys::H5VL_dataset_class_t = sys::H5VL_dataset_class_t {
    create: Some(create),
    open: Some(open),
    read: Some(read),
    write: Some(write),
    get: Some(get),
    specific: Some(specific),
    optional: Some(super::dataset_optional::optional),
    close: Some(close),
};

unsafe extern "C" fn create(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    name: *const c_char,
    link_creation: Hid,
    datatype: Hid,
    space: Hid,
    creation: Hid,
    access: Hid,
    transfer: Hid,
    request: Request,
) -> *mut c_void {
    // SAFETY: see the module.
    unsafe {
        forward!(open H5VLdataset_create(object, parameters; name, link_creation, datatype, space,
            creation, access, transfer, request));
        new_object(super::beside(object, request), "h5lake_dataset_create", Major::Dataset, |handle| {
            let new = NewDataset { datatype, space, creation, access, link_creation };
            dataset::create(handle, &location(parameters)?, strings::optional_bytes(name), &new)
        })
    }
}

unsafe extern "C" fn open(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    name: *const c_char,
    access: Hid,
    transfer: Hid,
    request: Request,
) -> *mut c_void {
    // SAFETY: see the module.
    unsafe {
        forward!(open H5VLdataset_open(object, parameters; name, access, transfer, request));
        new_object(super::beside(object, request), "h5lake_dataset_open", Major::Dataset, |handle| {
            dataset::open(handle, &location(parameters)?, strings::bytes(name, "a dataset name")?, access)
        })
    }
}

unsafe extern "C" fn read(
    count: usize,
    datasets: *mut *mut c_void,
    memory_types: *mut Hid,
    memory_spaces: *mut Hid,
    file_spaces: *mut Hid,
    transfer: Hid,
    buffers: *mut *mut c_void,
    request: Request,
) -> c_int {
    // SAFETY: all arrays have `count` entries.
    unsafe {
        if let Some(mut many) = passthrough::many(count, datasets) {
            let first = many.first;
            // All functions except H5Dread_multi read one dataset, which needs no list.
            let listed = if count == 1 { 0..0 } else { 0..count };
            let natives: Vec<_> = listed.filter_map(|index| passthrough::of(*datasets.add(index))).collect();
            return many.call("H5Dread_multi", Major::Dataset, |hdf5, connector, datasets| {
                let read = || {
                    if count == 1 && request.is_null() {
                        let call =
                            NativeCall { memory_type: *memory_types, memory_space: *memory_spaces, transfer };
                        if native_read::read(first, connector, &call, *file_spaces, *buffers) {
                            return OK;
                        }
                    }
                    (hdf5.H5VLdataset_read)(
                        count,
                        datasets,
                        connector,
                        memory_types,
                        memory_spaces,
                        file_spaces,
                        transfer,
                        buffers,
                        request,
                    )
                };
                if count != 1 {
                    return native_read::checked(&natives, connector, read);
                }
                match native_read::with_chunks(first, connector, *file_spaces, read) {
                    FAIL if request.is_null() => {
                        let call =
                            NativeCall { memory_type: *memory_types, memory_space: *memory_spaces, transfer };
                        native_read::of_containers(first, connector, &call, *file_spaces, *buffers)
                    }
                    answer => answer,
                }
            });
        }
        let arrays = Arrays { count, datasets, memory_types, memory_spaces, file_spaces, buffers };
        each(&arrays, "h5lake_dataset_read", (transfer, Direction::Read), request)
    }
}

unsafe extern "C" fn write(
    count: usize,
    datasets: *mut *mut c_void,
    memory_types: *mut Hid,
    memory_spaces: *mut Hid,
    file_spaces: *mut Hid,
    transfer: Hid,
    buffers: *mut *const c_void,
    request: Request,
) -> c_int {
    // SAFETY: all arrays have `count` entries; the buffers are only read from.
    unsafe {
        if let Some(mut many) = passthrough::many(count, datasets) {
            let first = many.first;
            return many.call("H5Dwrite_multi", Major::Dataset, |hdf5, connector, datasets| {
                let answer = (hdf5.H5VLdataset_write)(
                    count,
                    datasets,
                    connector,
                    memory_types,
                    memory_spaces,
                    file_spaces,
                    transfer,
                    buffers,
                    request,
                );
                match answer {
                    FAIL if count == 1 => native_read::explained(first, connector, "write"),
                    answer => answer,
                }
            });
        }
        let buffers = buffers.cast::<*mut c_void>();
        let arrays = Arrays { count, datasets, memory_types, memory_spaces, file_spaces, buffers };
        each(&arrays, "h5lake_dataset_write", (transfer, Direction::Write), request)
    }
}

/// Runs a transfer on each dataset of a call that may name several: in the background, if an event set waits for it
/// and libhdf5 is not needed for any of them.
///
/// # Safety
/// As for [`Arrays::plan`]; `request` is null or writable.
unsafe fn each(
    arrays: &Arrays,
    callback: &'static str,
    (list, direction): (Hid, Direction),
    request: Request,
) -> c_int {
    let count = arrays.count;
    let library = if count == 0 { None } else { arrays.handle(0).ok().and_then(Handle::library) };
    guard(library, callback, Major::Dataset, FAIL, || {
        let plan = |index| {
            let handle = arrays.handle(index)?;
            handle.check_not_filtering()?;
            // SAFETY: as the caller says.
            Ok((dataset::of(handle)?, unsafe { arrays.plan(index, handle, direction) }?))
        };
        let planned_all = || -> Result<Vec<(&DatasetHandle, Transfer)>> {
            arrays.check_file()?;
            let planned = (0..count).map(plan).collect::<Result<Vec<_>>>()?;
            if count > 1 {
                planned.iter().try_for_each(|(dataset, transfer)| transfer.check(dataset, direction))?;
            }
            Ok(planned)
        };
        if count == 0 {
            return Ok(OK);
        }
        let first = arrays.handle(0)?;
        // SAFETY: as the caller says.
        let report = unsafe { arrays.report(list, direction) };
        let is_transforming = first.library().is_some_and(|library| library.transforms_data(list));
        let run = |(dataset, transfer): (&DatasetHandle, Transfer)| {
            let points = transfer.region.points();
            match is_transforming {
                true => run_transforming(dataset, transfer, list, direction)?,
                false => transfer.run(dataset, list, direction)?,
            }
            if let Some(report) = &report {
                report.note(points);
            }
            Ok(())
        };
        // SAFETY: as the caller says.
        let done = match unsafe { request.as_mut() } {
            Some(place) if asynchronous::may_go_on(first) && !is_transforming => {
                let planned = planned_all()?;
                let points = planned.iter().map(|(_, transfer)| transfer.region.points()).sum();
                match asynchronous::transfer(planned, list, direction)? {
                    Begun::GoesOn(request) => {
                        // The list may be closed before the transfer ends.
                        report.iter().for_each(|report| report.note(points));
                        *place = Handle::Request(request).into_pointer();
                        Ok(0)
                    }
                    Begun::Refused(planned) => {
                        first.complete(CallOrder::Behind);
                        planned.into_iter().try_for_each(run).map(|()| 0)
                    }
                }
            }
            _ => {
                first.complete(CallOrder::Behind);
                // Like in the native connector, all transfers are checked before the first one is done.
                let all = || {
                    if count == 1 {
                        return run(plan(0)?);
                    }
                    planned_all()?.into_iter().try_for_each(run)
                };
                let cause = report.as_ref().map_or(0, Report::local_cause);
                // SAFETY: as the caller says.
                let writing = || unsafe { arrays.writing(list) };
                collective::transfer(first, list, direction, cause, writing, || arrays.source_files(), all)
            }
        };
        match (&report, &done) {
            (Some(report), Ok(causes)) => report.end(*causes),
            (Some(report), Err(_)) => report.fail(),
            (None, _) => {}
        }
        done.map(|_| OK)
    })
}

/// The bytes of elements to which a transform is applied at once.
const TRANSFORMED_BYTES: usize = 8 << 20;

/// Runs a transfer with a list that has an expression: on a copy of the elements to be written, or on the read
/// elements (`H5Pset_data_transform`).
fn run_transforming(
    dataset: &DatasetHandle,
    transfer: Transfer,
    list: Hid,
    direction: Direction,
) -> Result<()> {
    let Transfer { memory_type, mut region, selected } = transfer;
    let element = region.element();
    let library = dataset.base.session.library;
    let plain = library.without_transform(list)?;
    // A virtual dataset uses the dataspace, which describes the whole selection.
    let limit = match dataset.dataset.layout() {
        Layout::Virtual { .. } => u64::MAX,
        _ => (TRANSFORMED_BYTES / element.max(1)).max(1) as u64,
    };
    region.in_parts(
        &selected.selection,
        || dataset.dataset.space(),
        limit,
        |region, selection| {
            let points = region.points();
            let mut data = buffer_of(points as usize, element)?;
            let place = data.as_mut_ptr().cast();
            let selected = FileSelection { selection: selection.clone(), space: selected.space };
            match direction {
                Direction::Write => {
                    region.gather(0, &mut data);
                    library.transform(memory_type, &mut data, list)?;
                    // SAFETY: the buffer has that many elements of the type, as libhdf5 left them, and outlives the
                    // region.
                    let region = unsafe { MemoryRegion::packed(place, element, points, Some(memory_type)) }?;
                    Transfer { memory_type, region, selected }.run(dataset, plain.get(), direction)
                }
                Direction::Read => {
                    // SAFETY: the buffer has space for that many elements, and outlives the region.
                    let packed = unsafe { MemoryRegion::packed(place, element, points, None) }?;
                    Transfer { memory_type, region: packed, selected }.run(
                        dataset,
                        plain.get(),
                        direction,
                    )?;
                    library.transform(memory_type, &mut data, list)?;
                    region.scatter(0, &data);
                    Ok(())
                }
            }
        },
    )
}

unsafe extern "C" fn get(
    object: *mut c_void,
    arguments: *mut sys::H5VL_dataset_get_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled.
    unsafe {
        if let Some(native) = passthrough::of(object) {
            return native.call(|hdf5, object, connector| {
                let get = || (hdf5.H5VLdataset_get)(object, connector, arguments, transfer, request);
                match (*arguments).op_type {
                    sys::H5VL_DATASET_GET_SPACE => {
                        native_read::with_extent(native, connector, arguments, get)
                    }
                    _ => get(),
                }
            });
        }
        let target = match (*arguments).op_type {
            sys::H5VL_DATASET_GET_STORAGE_SIZE | sys::H5VL_DATASET_GET_SPACE_STATUS => object.into(),
            _ => super::beside(object, request),
        };
        status(target, "h5lake_dataset_get", Major::Dataset, |handle| {
            let args = &mut (*arguments).args;
            match (*arguments).op_type {
                sys::H5VL_DATASET_GET_DAPL => {
                    args.get_dapl.dapl_id = dataset::access_list(handle)?.into_raw()
                }
                sys::H5VL_DATASET_GET_DCPL => {
                    args.get_dcpl.dcpl_id = dataset::creation_list(handle)?.into_raw()
                }
                sys::H5VL_DATASET_GET_SPACE => args.get_space.space_id = dataset::space(handle)?.into_raw(),
                sys::H5VL_DATASET_GET_TYPE => args.get_type.type_id = dataset::datatype(handle)?.into_raw(),
                sys::H5VL_DATASET_GET_STORAGE_SIZE => {
                    let size = dataset_chunks::storage_size(handle)?;
                    strings::answer(args.get_storage_size.storage_size, size);
                }
                sys::H5VL_DATASET_GET_SPACE_STATUS => {
                    let status = match dataset_chunks::space_status(handle)? {
                        SpaceStatus::NotAllocated => sys::H5D_SPACE_STATUS_NOT_ALLOCATED,
                        SpaceStatus::Part => sys::H5D_SPACE_STATUS_PART_ALLOCATED,
                        SpaceStatus::Allocated => sys::H5D_SPACE_STATUS_ALLOCATED,
                    };
                    strings::answer(args.get_space_status.status, status);
                }
                other => return unknown_operation("dataset get", other.0),
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn specific(
    object: *mut c_void,
    arguments: *mut sys::H5VL_dataset_specific_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled.
    unsafe {
        forward!(call H5VLdataset_specific(object; arguments, transfer, request));
        let target = super::flushing(object, (*arguments).op_type == sys::H5VL_DATASET_FLUSH, request);
        status(target, "h5lake_dataset_specific", Major::Dataset, |handle| match (*arguments).op_type {
            sys::H5VL_DATASET_SET_EXTENT => dataset::set_extent(handle, |rank| {
                let sizes = (*arguments).args.set_extent.size;
                if sizes.is_null() {
                    return Err(Error::argument("no sizes were given"));
                }
                Ok(std::slice::from_raw_parts(sizes, rank).to_vec())
            }),
            sys::H5VL_DATASET_FLUSH => {
                let sources = dataset::of(handle)?.commit_sources();
                super::flush_object(handle, (*arguments).args.flush.dset_id, request, sources)
            }
            sys::H5VL_DATASET_REFRESH => {
                let dataset = dataset::of(handle)?;
                dataset.close_sources()?;
                Ok(dataset.dataset.refresh()?)
            }
            other => unknown_operation("dataset specific", other.0),
        })
    }
}

unsafe extern "C" fn close(object: *mut c_void, transfer: Hid, request: Request) -> c_int {
    // SAFETY: a dataset of h5lake's, or one that is passed through, not used again once it is closed.
    unsafe {
        if let Some(closed) = passthrough::close(object, |hdf5, object, connector| {
            (hdf5.H5VLdataset_close)(object, connector, transfer, request)
        }) {
            return closed;
        }
        super::close_after(
            super::beside(object, request),
            "h5lake_dataset_close",
            Major::Dataset,
            dataset::close,
        )
    }
}
