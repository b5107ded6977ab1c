//! Requests that event sets wait for. Only transfers and flushes with `async=on` return them, and no close ever does.

use std::ffi::{c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use super::{FAIL, OK, unknown_operation};
use crate::error::{Error, Major, Result};
use crate::handles::Handle;
use crate::handles::request::{RequestHandle, Status};
use crate::hdf5::guard::guard;
use crate::hdf5::strings;
use crate::vol::passthrough::forward;

/// The callbacks of requests. libhdf5 itself calls neither `notify` nor `optional`.
pub const CLASS: sys::H5VL_request_class_t = sys::H5VL_request_class_t {
    wait: Some(wait),
    notify: Some(notify),
    cancel: Some(cancel),
    specific: Some(specific),
    optional: Some(request_optional),
    free: Some(free),
};

/// Runs a callback on a request of h5lake's.
///
/// # Safety
/// `request` is one of our handles, not freed.
unsafe fn on_request(
    request: *mut c_void,
    callback: &'static str,
    body: impl FnOnce(&RequestHandle) -> Result<()>,
) -> c_int {
    // SAFETY: as the caller says.
    let handle = unsafe { Handle::from_pointer(request) };
    let library = handle.as_ref().ok().and_then(|handle| handle.library());
    guard(library, callback, Major::Connector, FAIL, || match handle? {
        Handle::Request(request) => body(request).map(|()| OK),
        _ => Err(Error::argument("this is no request of an event set")),
    })
}

fn status_of(status: Status) -> sys::H5VL_request_status_t {
    match status {
        Status::InProgress => sys::H5VL_REQUEST_STATUS_IN_PROGRESS,
        Status::Succeeded => sys::H5VL_REQUEST_STATUS_SUCCEED,
        Status::Failed => sys::H5VL_REQUEST_STATUS_FAIL,
        Status::CannotCancel => sys::H5VL_REQUEST_STATUS_CANT_CANCEL,
        Status::Canceled => sys::H5VL_REQUEST_STATUS_CANCELED,
    }
}

unsafe extern "C" fn wait(
    request: *mut c_void,
    timeout: u64,
    status: *mut sys::H5VL_request_status_t,
) -> c_int {
    // SAFETY: one of our requests; the answer's place is writable.
    unsafe {
        on_request(request, "h5lake_request_wait", |request| {
            strings::answer(status, status_of(request.wait(timeout)));
            Ok(())
        })
    }
}

unsafe extern "C" fn cancel(request: *mut c_void, status: *mut sys::H5VL_request_status_t) -> c_int {
    // SAFETY: one of our requests; the answer's place is writable.
    unsafe {
        on_request(request, "h5lake_request_cancel", |request| {
            strings::answer(status, status_of(request.cancel()));
            Ok(())
        })
    }
}

unsafe extern "C" fn specific(
    request: *mut c_void,
    arguments: *mut sys::H5VL_request_specific_args_t,
) -> c_int {
    // SAFETY: one of our requests; the operation says which member of the union is filled.
    unsafe {
        on_request(request, "h5lake_request_specific", |request| {
            let args = &mut (*arguments).args;
            match (*arguments).op_type {
                sys::H5VL_REQUEST_GET_ERR_STACK => {
                    args.get_err_stack.err_stack_id = request.error_stack()?.into_raw();
                }
                sys::H5VL_REQUEST_GET_EXEC_TIME => {
                    let (begun, took) = request.times();
                    strings::answer(args.get_exec_time.exec_ts, begun);
                    strings::answer(args.get_exec_time.exec_time, took);
                }
                other => return unknown_operation("request", other.0),
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn notify(
    request: *mut c_void,
    _callback: sys::H5VL_request_notify_t,
    _context: *mut c_void,
) -> c_int {
    // SAFETY: one of our requests.
    unsafe {
        on_request(request, "h5lake_request_notify", |_| {
            Err(Error::unsupported("a notification when a request ends (H5VLrequest_notify)"))
        })
    }
}

unsafe extern "C" fn request_optional(
    request: *mut c_void,
    arguments: *mut sys::H5VL_optional_args_t,
) -> c_int {
    // SAFETY: one of our requests; the arguments are complete.
    unsafe {
        on_request(request, "h5lake_request_optional", |_| {
            unknown_operation("optional request", (*arguments).op_type)
        })
    }
}

/// Frees a request. For an unfinished request this waits until the program's buffer is no longer used.
unsafe extern "C" fn free(request: *mut c_void) -> c_int {
    // SAFETY: one of our requests.
    let library = unsafe { Handle::from_pointer(request) }.ok().and_then(Handle::library);
    guard(library, "h5lake_request_free", Major::Connector, FAIL, || {
        // SAFETY: one of our requests, not used again.
        drop(unsafe { Handle::take(request) }?);
        Ok(OK)
    })
}

/// Runs an operation of no class: none is known.
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
