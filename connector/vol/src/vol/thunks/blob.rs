//! Blob callbacks.

use std::ffi::{c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use super::{status, unknown_operation};
use crate::error::Major;
use crate::hdf5::blob_id::{self, ID_BYTES};
use crate::hdf5::strings;
use crate::operations::blob;
use crate::vol::passthrough::forward;

/// The callbacks of blobs.
pub const CLASS: sys::H5VL_blob_class_t = sys::H5VL_blob_class_t {
    put: Some(put),
    get: Some(get),
    specific: Some(specific),
    optional: Some(optional),
};

unsafe extern "C" fn put(
    object: *mut c_void,
    data: *const c_void,
    size: usize,
    id: *mut c_void,
    context: *mut c_void,
) -> c_int {
    // SAFETY: `data` has `size` bytes, `id` space for an id.
    unsafe {
        forward!(call H5VLblob_put(object; data, size, id, context));
        status(object, "h5lake_blob_put", Major::Heap, |handle| {
            let data = if data.is_null() { &[] } else { std::slice::from_raw_parts(data.cast::<u8>(), size) };
            id.cast::<[u8; ID_BYTES]>().write_unaligned(blob::put(handle, data)?);
            Ok(())
        })
    }
}

unsafe extern "C" fn get(
    object: *mut c_void,
    id: *const c_void,
    data: *mut c_void,
    size: usize,
    context: *mut c_void,
) -> c_int {
    // SAFETY: `data` has space for `size` bytes, `id` was returned by `put`.
    unsafe {
        forward!(call H5VLblob_get(object; id, data, size, context));
        status(object, "h5lake_blob_get", Major::Heap, |handle| {
            let id = id.cast::<[u8; ID_BYTES]>().read_unaligned();
            if size == 0 || data.is_null() {
                return Ok(());
            }
            // libhdf5 has allocated as much memory as an element says; the system provides only the pages that are
            // touched.
            let is_sound = blob::stands_for(handle, &id, size)?;
            std::ptr::write_bytes(data.cast::<u8>(), 0, size);
            if !is_sound {
                return Ok(());
            }
            blob::get(handle, &id, std::slice::from_raw_parts_mut(data.cast::<u8>(), size))
        })
    }
}

unsafe extern "C" fn specific(
    object: *mut c_void,
    id: *mut c_void,
    arguments: *mut sys::H5VL_blob_specific_args_t,
) -> c_int {
    // SAFETY: `id` is readable and writable, the arguments are complete.
    unsafe {
        forward!(call H5VLblob_specific(object; id, arguments));
        status(object, "h5lake_blob_specific", Major::Heap, |handle| {
            let place = id.cast::<[u8; ID_BYTES]>();
            match (*arguments).op_type {
                sys::H5VL_BLOB_DELETE => blob::delete(handle, &place.read_unaligned()),
                sys::H5VL_BLOB_ISNULL => {
                    strings::answer(
                        (*arguments).args.is_null.isnull,
                        blob_id::is_null(&place.read_unaligned()),
                    );
                    Ok(())
                }
                sys::H5VL_BLOB_SETNULL => {
                    place.write_unaligned(blob_id::null());
                    Ok(())
                }
                other => unknown_operation("blob", other.0),
            }
        })
    }
}

unsafe extern "C" fn optional(
    object: *mut c_void,
    id: *mut c_void,
    arguments: *mut sys::H5VL_optional_args_t,
) -> c_int {
    // SAFETY: the arguments are complete.
    unsafe {
        forward!(call H5VLblob_optional(object; id, arguments));
        status(object, "h5lake_blob_optional", Major::Heap, |_| {
            unknown_operation("blob", (*arguments).op_type)
        })
    }
}
