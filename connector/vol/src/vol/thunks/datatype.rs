//! Committed datatype callbacks.

use std::ffi::{c_char, c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use super::{close as close_object, location, new_object, status, unknown_operation};
use crate::error::{Error, Major};
use crate::hdf5::library::Hid;
use crate::hdf5::strings;
use crate::operations::datatype;
use crate::operations::object;
use crate::vol::passthrough::{self, forward};
use crate::vol::thunks::Request;

/// The callbacks of committed datatypes.
pub const CLASS: sys::H5VL_datatype_class_t = sys::H5VL_datatype_class_t {
    commit: Some(commit),
    open: Some(open),
    get: Some(get),
    specific: Some(specific),
    optional: Some(optional),
    close: Some(close),
};

unsafe extern "C" fn commit(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    name: *const c_char,
    datatype: Hid,
    link_creation: Hid,
    creation: Hid,
    access: Hid,
    transfer: Hid,
    request: Request,
) -> *mut c_void {
    // SAFETY: see the module.
    unsafe {
        forward!(open H5VLdatatype_commit(object, parameters; name, datatype, link_creation, creation,
            access, transfer, request));
        new_object(super::beside(object, request), "h5lake_datatype_commit", Major::Datatype, |handle| {
            let (name, lists) = (strings::optional_bytes(name), (link_creation, access));
            datatype::commit(handle, &location(parameters)?, name, datatype, lists, creation)
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
        forward!(open H5VLdatatype_open(object, parameters; name, access, transfer, request));
        new_object(super::beside(object, request), "h5lake_datatype_open", Major::Datatype, |handle| {
            datatype::open(handle, &location(parameters)?, strings::bytes(name, "a datatype name")?, access)
        })
    }
}

unsafe extern "C" fn get(
    object: *mut c_void,
    arguments: *mut sys::H5VL_datatype_get_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled.
    unsafe {
        forward!(call H5VLdatatype_get(object; arguments, transfer, request));
        status(object, "h5lake_datatype_get", Major::Datatype, |handle| {
            let args = &mut (*arguments).args;
            match (*arguments).op_type {
                sys::H5VL_DATATYPE_GET_BINARY_SIZE => {
                    strings::answer(args.get_binary_size.size, datatype::encoded(handle)?.len());
                }
                sys::H5VL_DATATYPE_GET_BINARY => {
                    let (wanted, encoded) = (args.get_binary, datatype::encoded(handle)?);
                    if wanted.buf_size < encoded.len() {
                        return Err(Error::argument("the buffer for the encoded datatype is too small"));
                    }
                    strings::fill_bytes(&encoded, wanted.buf, wanted.buf_size);
                }
                sys::H5VL_DATATYPE_GET_TCPL => {
                    args.get_tcpl.tcpl_id = datatype::creation_list(handle)?.into_raw()
                }
                other => return unknown_operation("datatype get", other.0),
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn specific(
    object: *mut c_void,
    arguments: *mut sys::H5VL_datatype_specific_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module.
    unsafe {
        forward!(call H5VLdatatype_specific(object; arguments, transfer, request));
        status(object, "h5lake_datatype_specific", Major::Datatype, |handle| match (*arguments).op_type {
            sys::H5VL_DATATYPE_FLUSH => {
                let id = (*arguments).args.flush.type_id;
                super::flush_object(handle, id, std::ptr::null_mut(), Ok(()))
            }
            sys::H5VL_DATATYPE_REFRESH => object::refresh(handle),
            other => unknown_operation("datatype specific", other.0),
        })
    }
}

unsafe extern "C" fn optional(
    object: *mut c_void,
    arguments: *mut sys::H5VL_optional_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module.
    unsafe {
        forward!(call H5VLdatatype_optional(object; arguments, transfer, request));
        status(object, "h5lake_datatype_optional", Major::Datatype, |_| {
            unknown_operation("optional datatype", (*arguments).op_type)
        })
    }
}

unsafe extern "C" fn close(datatype: *mut c_void, transfer: Hid, request: Request) -> c_int {
    // SAFETY: see the module.
    unsafe {
        if let Some(closed) = passthrough::close(datatype, |hdf5, object, connector| {
            (hdf5.H5VLdatatype_close)(object, connector, transfer, request)
        }) {
            return closed;
        }
        close_object(super::beside(datatype, request), "h5lake_datatype_close", Major::Datatype)
    }
}
