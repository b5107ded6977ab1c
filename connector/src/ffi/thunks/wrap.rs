//! What native code finds when it unwraps our objects.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use h5lake_plugin_abi::bindings as sys;

use super::OK;
use crate::error::Major;
use crate::ffi::handle::Handle;
use crate::ffi::pass::{self, NativeConnector};

/// The native object beneath ours. It was made when ours was opened, so this cannot fail for an open object;
/// never answer our own pointer: native code would take it for a native structure.
pub unsafe extern "C" fn get_object(object: *const c_void) -> *mut c_void {
    // SAFETY: one of our objects, open.
    unsafe {
        super::on_object(object, "h5lake_get_object", Major::Connector, std::ptr::null_mut(), |handle| {
            handle.native_object()
        })
    }
}

/// What native code needs to give its objects identifiers of ours while a call is on its way: the native connector
/// for objects of native files, and nothing for ours, which give themselves identifiers.
pub unsafe extern "C" fn get_wrap_ctx(object: *const c_void, context: *mut *mut c_void) -> c_int {
    // SAFETY: one of our objects, open; the answer's place is writable.
    unsafe {
        let native = pass::of(object).map(|native| Arc::into_raw(native.connector()));
        *context = native.map_or(std::ptr::null_mut(), |connector| connector.cast_mut().cast());
    }
    OK
}

/// Makes one of our objects of a native one. Called with a context of `get_wrap_ctx` only.
pub unsafe extern "C" fn wrap_object(
    object: *mut c_void,
    kind: sys::H5I_type_t,
    context: *mut c_void,
) -> *mut c_void {
    let connector = context.cast_const().cast::<NativeConnector>();
    // SAFETY: the context came from `Arc::into_raw` and still has its count; the object is native.
    unsafe {
        Arc::increment_strong_count(connector);
        Arc::from_raw(connector).wrap(object, kind)
    }
}

/// The native object of one of ours that native code takes back. Those of containers have none to give away.
pub unsafe extern "C" fn unwrap_object(object: *mut c_void) -> *mut c_void {
    // SAFETY: one of our objects, not used again if it is native.
    unsafe {
        let Some(native) = pass::of(object) else { return std::ptr::null_mut() };
        let unwrapped = native.object();
        drop(Handle::take(object));
        unwrapped
    }
}

/// Frees a context.
pub unsafe extern "C" fn free_wrap_ctx(context: *mut c_void) -> c_int {
    if !context.is_null() {
        // SAFETY: the context came from `Arc::into_raw`, freed once.
        drop(unsafe { Arc::from_raw(context.cast_const().cast::<NativeConnector>()) });
    }
    OK
}
