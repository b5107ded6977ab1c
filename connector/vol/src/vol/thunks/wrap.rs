//! What native code finds when it unwraps our objects.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use h5lake_plugin_abi::bindings as sys;

use super::OK;
use crate::error::Major;
use crate::handles::Handle;
use crate::handles::identifiers;
use crate::handles::native_handle::NativeConnector;
use crate::vol::passthrough;

/// The native object beneath ours, made now if nobody has wanted it yet. Our own pointer is answered only when it is known
/// that native code does not ask: it would take it for a native structure.
pub unsafe extern "C" fn get_object(object: *const c_void) -> *mut c_void {
    // SAFETY: one of our objects, open.
    unsafe {
        if let Some(answer) = identifiers::answer(object) {
            return answer;
        }
        super::on_any_object(object, "h5lake_get_object", Major::Connector, std::ptr::null_mut(), |handle| {
            match (handle.made_native_object(), handle.library()) {
                (Some(made), _) => Ok(made),
                // Whoever walks over identifiers may have told of an error before.
                (None, Some(library)) => library.keeping_errors(|| handle.native_object()),
                (None, None) => handle.native_object(),
            }
        })
    }
}

/// What native code needs to give its objects identifiers of ours while a call is on its way: the native connector
/// for objects of native files, and nothing for ours, which give themselves identifiers.
pub unsafe extern "C" fn get_wrap_ctx(object: *const c_void, context: *mut *mut c_void) -> c_int {
    // SAFETY: one of our objects, open; the answer's place is writable.
    unsafe {
        let native = passthrough::of(object).map(|native| Arc::into_raw(native.connector()));
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
        passthrough::wrap(Arc::from_raw(connector), object, kind)
    }
}

/// The native object of one of ours that native code takes back. Those of containers have none to give away.
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
