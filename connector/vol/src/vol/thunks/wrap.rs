//! The objects that native code gets when it unwraps h5lake's objects.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use h5lake_plugin_abi::bindings as sys;

use super::OK;
use crate::error::Major;
use crate::handles::Handle;
use crate::handles::identifiers;
use crate::handles::native_handle::NativeConnector;
use crate::vol::passthrough;

/// Returns the native object beneath an object of h5lake's, and makes it if it was never needed. Our own pointer is
/// returned only if it is known that the caller is not native code, which would use the pointer as a native structure.
pub unsafe extern "C" fn get_object(object: *const c_void) -> *mut c_void {
    // SAFETY: one of our objects, open.
    unsafe {
        if let Some(answer) = identifiers::answer(object) {
            return answer;
        }
        super::on_any_object(object, "h5lake_get_object", Major::Connector, std::ptr::null_mut(), |handle| {
            match (handle.made_native_object(), handle.library()) {
                (Some(made), _) => Ok(made),
                // The function that walks over identifiers may have reported an error before.
                (None, Some(library)) => library.keeping_errors(|| handle.native_object()),
                (None, None) => handle.native_object(),
            }
        })
    }
}

/// Returns the context in which native code gives its objects identifiers of h5lake's during a call: the native
/// connector for objects of native files, and null for objects of containers, which h5lake registers itself.
pub unsafe extern "C" fn get_wrap_ctx(object: *const c_void, context: *mut *mut c_void) -> c_int {
    // SAFETY: one of our objects, open; the answer's place is writable.
    unsafe {
        let native = passthrough::of(object).map(|native| Arc::into_raw(native.connector()));
        *context = native.map_or(std::ptr::null_mut(), |connector| connector.cast_mut().cast());
    }
    OK
}

/// Makes an object of h5lake's from a native one. Called with a context of `get_wrap_ctx` only.
pub unsafe extern "C" fn wrap_object(
    object: *mut c_void,
    kind: sys::H5I_type_t,
    context: *mut c_void,
) -> *mut c_void {
    let connector = context.cast_const().cast::<NativeConnector>();
    // SAFETY: the context came from `Arc::into_raw` and still has its count; the object is native.
    unsafe {
        Arc::increment_strong_count(connector);
        passthrough::wrap(Arc::from_raw(connector), object, kind)
    }
}

/// Returns the native object that native code takes back from an object of h5lake's. Objects of containers have none
/// to return.
pub unsafe extern "C" fn unwrap_object(object: *mut c_void) -> *mut c_void {
    // SAFETY: one of our objects, not used again if it is native.
    unsafe {
        let Some(native) = passthrough::of(object) else { return std::ptr::null_mut() };
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
