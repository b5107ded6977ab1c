//! Asynchronous requests: there are none, every operation is done when its callback returns.

use std::ffi::{c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use crate::vol::passthrough::forward;

use super::FAIL;

/// The class. No callback of ours ever gives out a request, so none of these can be called on one.
pub const CLASS: sys::H5VL_request_class_t = sys::H5VL_request_class_t {
    wait: Some(wait),
    notify: Some(notify),
    cancel: Some(cancel),
    specific: Some(specific),
    optional: Some(request_optional),
    free: Some(free),
};

unsafe extern "C" fn wait(
    _request: *mut c_void,
    _timeout: u64,
    _status: *mut sys::H5VL_request_status_t,
) -> c_int {
    FAIL
}

unsafe extern "C" fn notify(
    _request: *mut c_void,
    _callback: sys::H5VL_request_notify_t,
    _context: *mut c_void,
) -> c_int {
    FAIL
}

unsafe extern "C" fn cancel(_request: *mut c_void, _status: *mut sys::H5VL_request_status_t) -> c_int {
    FAIL
}

unsafe extern "C" fn specific(
    _request: *mut c_void,
    _arguments: *mut sys::H5VL_request_specific_args_t,
) -> c_int {
    FAIL
}

unsafe extern "C" fn request_optional(
    _request: *mut c_void,
    _arguments: *mut sys::H5VL_optional_args_t,
) -> c_int {
    FAIL
}

unsafe extern "C" fn free(_request: *mut c_void) -> c_int {
    FAIL
}

/// Operations of no class: none is known.
pub unsafe extern "C" fn optional(
    object: *mut c_void,
    arguments: *mut sys::H5VL_optional_args_t,
    transfer: i64,
    request: *mut *mut c_void,
) -> c_int {
    // SAFETY: one of our objects, open; the arguments are complete.
    unsafe {
        forward!(call H5VLoptional(object; arguments, transfer, request));
        super::status(object, "h5lake_optional", crate::error::Major::Connector, |_| {
            super::unknown_operation("general", (*arguments).op_type)
        })
    }
}
