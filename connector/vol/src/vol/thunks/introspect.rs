//! HDF5's queries about the connector.

use std::ffi::{c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use super::{FAIL, OK, optional_support};
use crate::config::Config;
use crate::error::{Error, Major};
use crate::handles::Handle;
use crate::hdf5::classes;
use crate::hdf5::guard::guard;
use crate::hdf5::library::Library;
use crate::hdf5::strings;
use crate::vol::capabilities::CAPABILITIES;
use crate::vol::info::Info;
use crate::vol::passthrough;

/// Returns our class at the current level, and the native class at the terminal level, so that the deprecated
/// functions which stock clients call accept our objects.
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

/// Returns the supported features. Programs that query the asynchronous interface find it with `async=on`.
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

/// Returns whether an optional operation is supported. For objects of native files the native connector answers.
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
    // SAFETY: null or one of our objects, open.
    let handle = unsafe { object.cast::<Handle>().as_ref() };
    guard(handle.and_then(Handle::library), "h5lake_opt_query", Major::Connector, FAIL, || {
        let session = handle.and_then(|handle| handle.session().ok());
        let found = match session.filter(|_| class == sys::H5VL_SUBCLS_FILE) {
            Some(session) => optional_support::of_file(&session, operation),
            None => optional_support::of(class, operation),
        };
        // SAFETY: the answer's place is writable.
        unsafe { strings::answer(flags, found) };
        Ok(OK)
    })
}
