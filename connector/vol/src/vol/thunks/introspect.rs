//! What HDF5 asks about the connector.

use std::ffi::{c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use super::{FAIL, OK};
use crate::config::Config;
use crate::error::{Error, Major};
use crate::hdf5::classes;
use crate::hdf5::guard::guard;
use crate::hdf5::library::Library;
use crate::hdf5::strings;
use crate::vol::capabilities::CAPABILITIES;
use crate::vol::info::Info;
use crate::vol::passthrough;

/// Our class at the current level; the native class at the terminal level, so that the deprecated functions that
/// stock clients call take our objects.
pub unsafe extern "C" fn get_conn_cls<const SLOT: usize>(
    _object: *mut c_void,
    level: sys::H5VL_get_conn_lvl_t,
    answer: *mut *const sys::H5VL_class_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { conn_cls_in(super::in_slot(SLOT), level, answer) }
}

#[inline(never)]
unsafe fn conn_cls_in(
    library: Option<Library>,
    level: sys::H5VL_get_conn_lvl_t,
    answer: *mut *const sys::H5VL_class_t,
) -> c_int {
    guard(library, "h5lake_get_conn_cls", Major::Connector, FAIL, || {
        let library = library.ok_or_else(|| Error::call("H5PLget_plugin_info"))?;
        let ours = classes::own_class(library);
        let found = if level == sys::H5VL_GET_CONN_LVL_TERM {
            classes::native_class(library).unwrap_or(ours)
        } else {
            ours
        };
        // SAFETY: the answer's place is writable.
        unsafe { strings::answer(answer, found) };
        Ok(OK)
    })
}

/// What works. Programs that ask for the asynchronous interface find it with `async=on`.
pub unsafe extern "C" fn get_cap_flags(info: *const c_void, flags: *mut u64) -> c_int {
    guard(None, "h5lake_get_cap_flags", Major::Connector, FAIL, || {
        // SAFETY: null or an info of ours.
        let config = match unsafe { info.cast::<Info>().as_ref() } {
            Some(info) => info.config.clone(),
            None => Config::parse(""),
        };
        let goes_on =
            if config.is_ok_and(|config| config.asynchronous) { sys::H5VL_CAP_FLAG_ASYNC } else { 0 };
        // SAFETY: the answer's place is writable.
        unsafe { strings::answer(flags, CAPABILITIES | goes_on) };
        Ok(OK)
    })
}

/// No optional operation is promised: the library then calls those that exist and takes errors for the rest. Objects of
/// native files promise what the native connector does.
pub unsafe extern "C" fn opt_query(
    object: *mut c_void,
    class: sys::H5VL_subclass_t,
    operation: c_int,
    flags: *mut u64,
) -> c_int {
    // SAFETY: null or one of our objects, open.
    if let Some(native) = unsafe { passthrough::of(object) } {
        // SAFETY: as this callback's.
        return native.call(|hdf5, object, connector| unsafe {
            (hdf5.H5VLintrospect_opt_query)(object, connector, class, operation, flags)
        });
    }
    // SAFETY: the answer's place is writable.
    unsafe { strings::answer(flags, 0) };
    OK
}
