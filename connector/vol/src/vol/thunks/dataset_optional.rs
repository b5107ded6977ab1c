//! Optional dataset operations: chunk queries, direct chunk access, sizes.

use std::ffi::{c_int, c_void};

use h5lake_container::ChunkInfo;
use h5lake_plugin_abi::bindings as sys;

use super::{OK, calling_back, on_object, unknown_operation};
use crate::error::{Error, Major, Minor, Result};
use crate::handles::Handle;
use crate::hdf5::library::Hid;
use crate::hdf5::strings;
use crate::operations::dataset;
use crate::operations::dataset_chunks as chunks;
use crate::vol::passthrough::{self, forward};
use crate::vol::thunks::native_read;

/// The address of a chunk without storage, "no address" (`HADDR_UNDEF`).
const NO_ADDRESS: u64 = u64::MAX;

/// The address reported for everything that has storage. No file can have this address (an `off_t` ends below it),
/// because a container's bytes may be in a store, in several pieces, or elsewhere after the next commit. A program
/// that reads a file there fails. "No address" would be wrong: h5py then returns no coordinates of the chunk, and
/// tools that keep references to byte ranges consider the data as never written.
const ADDRESS_OF_NO_FILE: u64 = 1 << 63;

/// Runs an optional dataset operation.
pub unsafe extern "C" fn optional(
    object: *mut c_void,
    arguments: *mut sys::H5VL_optional_args_t,
    transfer: Hid,
    request: *mut *mut c_void,
) -> c_int {
    // SAFETY: see the module; the operation says which structure the arguments are.
    unsafe {
        if let Some(native) = passthrough::of(object)
            && (*arguments).op_type == sys::H5VL_NATIVE_DATASET_GET_VLEN_BUF_SIZE
        {
            // The operation reads all elements.
            return native.call_back(|hdf5, object, connector| {
                native_read::checked(&[native], connector, || {
                    (hdf5.H5VLdataset_optional)(object, connector, arguments, transfer, request)
                })
            });
        }
        forward!(call_back H5VLdataset_optional(object; arguments, transfer, request));
        on_object(object, "h5lake_dataset_optional", Major::Dataset, super::FAIL, |handle| {
            if (*arguments).op_type == sys::H5VL_NATIVE_DATASET_FORMAT_CONVERT {
                // Chunks have one kind of index, and layouts one version. The call has no arguments.
                return dataset::of(handle).map(|_| OK);
            }
            if (*arguments).args.is_null() {
                return Err(Error::argument("no arguments were given"));
            }
            match (*arguments).op_type {
                sys::H5VL_NATIVE_DATASET_CHUNK_READ => read_chunk(handle, (*arguments).args),
                sys::H5VL_NATIVE_DATASET_CHUNK_WRITE => write_chunk(handle, (*arguments).args),
                sys::H5VL_NATIVE_DATASET_CHUNK_ITER => iterate(handle, &*(*arguments).args.cast()),
                operation => query(handle, operation, &*(*arguments).args.cast()),
            }
        })
    }
}

unsafe fn query(
    handle: &Handle,
    operation: c_int,
    args: &sys::H5VL_native_dataset_optional_args_t,
) -> Result<c_int> {
    // SAFETY: the operation says which member of the union is filled; answers' places are null or writable.
    unsafe {
        match operation {
            sys::H5VL_NATIVE_DATASET_GET_CHUNK_INDEX_TYPE => {
                chunks::check_chunked(handle)?;
                strings::answer(args.get_chunk_idx_type.idx_type, sys::H5D_CHUNK_IDX_BTREE);
            }
            sys::H5VL_NATIVE_DATASET_GET_NUM_CHUNKS => {
                let wanted = args.get_num_chunks;
                check_space(handle, wanted.space_id)?;
                strings::answer(wanted.nchunks, chunks::count(handle)?);
            }
            sys::H5VL_NATIVE_DATASET_GET_CHUNK_INFO_BY_IDX => {
                let wanted = args.get_chunk_info_by_idx;
                check_space(handle, wanted.space_id)?;
                let chunk = chunks::at_position(handle, wanted.chk_index)?;
                if !wanted.offset.is_null() {
                    std::ptr::copy_nonoverlapping(chunk.offset.as_ptr(), wanted.offset, chunk.offset.len());
                }
                answer_chunk(Some(&chunk), wanted.filter_mask, wanted.addr, wanted.size);
            }
            sys::H5VL_NATIVE_DATASET_GET_CHUNK_INFO_BY_COORD => {
                let wanted = args.get_chunk_info_by_coord;
                let chunk = chunks::at(handle, &coordinates(handle, wanted.offset)?)?;
                answer_chunk(chunk.as_ref(), wanted.filter_mask, wanted.addr, wanted.size);
            }
            sys::H5VL_NATIVE_DATASET_GET_CHUNK_STORAGE_SIZE => {
                // Like in the native connector: no result at all before the first chunk is stored, an error for
                // missing chunks later.
                let wanted = args.get_chunk_storage_size;
                if chunks::any(handle)? {
                    let chunk = chunks::at(handle, &coordinates(handle, wanted.offset)?)?
                        .ok_or_else(|| Error::new(Minor::NotFound, "chunk storage is not allocated"))?;
                    strings::answer(wanted.size, chunk.size);
                }
            }
            sys::H5VL_NATIVE_DATASET_GET_OFFSET => {
                let address = if chunks::is_one_piece(handle)? { ADDRESS_OF_NO_FILE } else { NO_ADDRESS };
                strings::answer(args.get_offset.offset, address);
            }
            sys::H5VL_NATIVE_DATASET_GET_VLEN_BUF_SIZE => {
                let wanted = args.get_vlen_buf_size;
                let size = chunks::variable_length_bytes(handle, wanted.type_id, wanted.space_id)?;
                strings::answer(wanted.size, size);
            }
            other => return unknown_operation("optional dataset", other),
        }
    }
    Ok(OK)
}

/// Checks the dataspace of a query about chunks. Like in the native connector, its selection does not matter: the
/// answers are about all chunks (`H5D__get_num_chunks`, `H5D__get_chunk_info`).
fn check_space(handle: &Handle, id: Hid) -> Result<()> {
    if id == sys::H5S_ALL as Hid {
        return Ok(());
    }
    handle.session()?.library.selected_points(id).map(drop)
}

unsafe fn answer_chunk(chunk: Option<&ChunkInfo>, mask: *mut u32, address: *mut u64, size: *mut u64) {
    // SAFETY: null or writable.
    unsafe {
        strings::answer(mask, chunk.map_or(0, |chunk| chunk.filter_mask));
        strings::answer(address, chunk.map_or(NO_ADDRESS, |_| ADDRESS_OF_NO_FILE));
        strings::answer(size, chunk.map_or(0, |chunk| chunk.size));
    }
}

/// Returns one coordinate for each dimension of the dataset.
unsafe fn coordinates(handle: &Handle, given: *const u64) -> Result<Vec<u64>> {
    if given.is_null() {
        return Err(Error::argument("no chunk coordinates were given"));
    }
    let rank = dataset::of(handle)?.dataset.space().dims().len();
    // SAFETY: the functions that take coordinates require as many as the dataset has dimensions.
    Ok(unsafe { std::slice::from_raw_parts(given, rank) }.to_vec())
}

/// Reads a chunk directly into the caller's buffer. Without a buffer, or with one that is too small, it returns the
/// size and the mask, and reads nothing.
unsafe fn read_chunk(handle: &Handle, arguments: *mut c_void) -> Result<c_int> {
    let library = handle.session()?.library;
    // SAFETY: the arguments are of this library's version. The buffer has as many bytes as they say; if they do not
    // say, `H5Dread_chunk` requires that the whole chunk fits into the buffer.
    unsafe {
        let wanted = library.table().chunk_read_args(arguments);
        let chunk = chunks::stored(handle, &coordinates(handle, wanted.offset)?)?;
        let size = chunk.len();
        let buffer_size = wanted.buf_size.map(|place| place.replace(size));
        strings::answer(wanted.filters, chunk.filter_mask());
        if wanted.buf.is_null() {
            return if buffer_size.is_some() { Ok(OK) } else { Err(Error::argument("no buffer was given")) };
        }
        if buffer_size.is_some_and(|buffer_size| buffer_size < size) {
            return Ok(OK);
        }
        chunk.read_into(std::slice::from_raw_parts_mut(wanted.buf.cast::<u8>(), size))?;
    }
    Ok(OK)
}

unsafe fn write_chunk(handle: &Handle, arguments: *mut c_void) -> Result<c_int> {
    let library = handle.session()?.library;
    // SAFETY: the arguments are of this library's version; the buffer has the size that they say.
    unsafe {
        let given = library.table().chunk_write_args(arguments);
        if given.buf.is_null() && given.size > 0 {
            return Err(Error::argument("no buffer was given"));
        }
        let data = if given.size == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(given.buf.cast::<u8>(), given.size)
        };
        chunks::write(handle, &coordinates(handle, given.offset)?, given.filters, data)?;
    }
    Ok(OK)
}

unsafe fn iterate(handle: &Handle, args: &sys::H5VL_native_dataset_optional_args_t) -> Result<c_int> {
    // SAFETY: the operation is the one that fills this member; the operator is the application's.
    unsafe {
        let wanted = args.chunk_iter;
        let operator = wanted.op.ok_or_else(|| Error::argument("no operator was given"))?;
        chunks::each(handle, |chunk| {
            let (at, mask) = (chunk.offset.as_ptr(), chunk.filter_mask);
            calling_back(|| operator(at, mask, ADDRESS_OF_NO_FILE, chunk.size, wanted.op_data))
        })
    }
}
