//! Objects of native files, passed through to the native connector call by call.
//!
//! A native file that is opened while this connector is chosen stays native in all its parts: only its identifiers are
//! h5lake's. Behind each identifier is a [`NativeHandle`], and each callback that finds one makes the same call to the
//! native connector and returns that call's result, with its error frames untouched.

use std::ffi::c_void;
use std::sync::Arc;

use h5lake_plugin_abi::{Hdf5, bindings as sys};

use crate::error::Major;
use crate::handles::Handle;
use crate::handles::native_handle::{NativeConnector, NativeHandle, mixed};
use crate::hdf5::guard::guard;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::unwrapping::is_unwrapped;

/// Boxes a native object that native code is about to give an identifier of our connector. A file that native code has
/// just opened for itself (the target of an external link, a source of a virtual dataset) is passed here, too, to be
/// stored inside the referring file with the connector of its access list. It has no open objects yet. If that
/// connector is the *native* one, the file stays unboxed.
///
/// # Safety
/// `object` is a native object of this library, of kind `kind`.
pub(in crate::vol) unsafe fn wrap(
    connector: Arc<NativeConnector>,
    object: *mut c_void,
    kind: sys::H5I_type_t,
) -> *mut c_void {
    if is_unwrapped() {
        return object;
    }
    // SAFETY: as the caller says.
    let stays = kind == sys::H5I_FILE
        && unsafe { !connector.has_open_objects(object) && !connector.is_called_through_us(object) };
    if stays {
        return object;
    }
    // SAFETY: as the caller says.
    unsafe { boxed(connector, object) }
}

/// Boxes a native object that no other code closes, for libhdf5.
///
/// # Safety
/// `object` is an open object of the native connector.
pub(in crate::vol) unsafe fn boxed(connector: Arc<NativeConnector>, object: *mut c_void) -> *mut c_void {
    // SAFETY: as the caller says.
    let native = unsafe { NativeHandle::new(connector, object) };
    Handle::Native(native).into_pointer()
}

/// Makes a call of the native connector that opens an object, and boxes it.
pub(in crate::vol) fn open(
    native: &NativeHandle,
    call: impl FnOnce(&'static Hdf5, *mut c_void, Hid) -> *mut c_void,
) -> *mut c_void {
    let connector = native.connector();
    let opened = native.call(call);
    // SAFETY: the native connector has just opened the object.
    if opened.is_null() { opened } else { unsafe { boxed(connector, opened) } }
}

/// Returns the native object behind a pointer of ours, if it is a native one.
///
/// # Safety
/// `object` is null or one of our handles, open.
pub(in crate::vol) unsafe fn of<'a>(object: *const c_void) -> Option<&'a NativeHandle> {
    // SAFETY: as the caller says.
    match unsafe { object.cast::<Handle>().as_ref() } {
        Some(Handle::Native(native)) => Some(native),
        _ => None,
    }
}

/// Forwards a callback to the same call of the native connector, if its object is a native one; otherwise the callback
/// continues. `call` passes a call through, `call_back` a call that may call functions of the application, and `open`
/// a call that opens an object. The semicolon marks the position of the connector among the arguments.
macro_rules! forward {
    (open $function:ident($object:ident $(, $before:expr)*; $($after:expr),*)) => {
        if let Some(native) = $crate::vol::passthrough::of($object) {
            return $crate::vol::passthrough::open(native, |hdf5, object, connector| {
                (hdf5.$function)(object $(, $before)*, connector $(, $after)*)
            });
        }
    };
    ($call:ident $function:ident($object:ident $(, $before:expr)*; $($after:expr),*)) => {
        if let Some(native) = $crate::vol::passthrough::of($object) {
            return native.$call(|hdf5, object, connector| {
                (hdf5.$function)(object $(, $before)*, connector $(, $after)*)
            });
        }
    };
}
pub(in crate::vol) use forward;

/// Closes a native object by a call of the native connector. If the call fails, the object stays open, and so does the
/// handle; during the call native code may still unwrap the handle.
///
/// # Safety
/// `object` is one of our handles, and not used again if the call succeeds.
pub(in crate::vol) unsafe fn close(
    object: *mut c_void,
    call: impl FnOnce(&'static Hdf5, *mut c_void, Hid) -> i32,
) -> Option<i32> {
    // SAFETY: as the caller says.
    let result = unsafe { of(object) }?.call(call);
    if result >= 0 {
        // SAFETY: the native object is closed; the handle is not used any more.
        drop(unsafe { Handle::take(object) });
    }
    Some(result)
}

/// Two objects that one call names.
pub(in crate::vol) enum Pair {
    /// Neither object is native.
    Ours,
    /// Both objects are native, or one is native and the other is not given.
    Native(Arc<NativeConnector>, *mut c_void, *mut c_void),
    /// One object is native and the other is in a container.
    Mixed(Library),
}

/// Classifies two objects, either of which may be null.
///
/// # Safety
/// Each is null or one of our handles, open.
pub(in crate::vol) unsafe fn pair(first: *mut c_void, second: *mut c_void) -> Pair {
    // SAFETY: as the caller says.
    let (one, other) = unsafe { (of(first), of(second)) };
    let object = |native: Option<&NativeHandle>| native.map_or(std::ptr::null_mut(), NativeHandle::object);
    match one.or(other) {
        None => Pair::Ours,
        Some(native) if (one.is_none() && !first.is_null()) || (other.is_none() && !second.is_null()) => {
            Pair::Mixed(native.library())
        }
        Some(native) => Pair::Native(native.connector(), object(one), object(other)),
    }
}

/// The native datasets of a transfer of several datasets.
pub(in crate::vol) struct Many<'a> {
    library: Library,
    connector: Option<Arc<NativeConnector>>,
    objects: Vec<*mut c_void>,
    /// The first native dataset.
    pub(in crate::vol) first: &'a NativeHandle,
}

/// Returns the native objects in an array of handles, or `None` if it contains none.
///
/// # Safety
/// The array has `count` entries, each one of our handles, open.
pub(in crate::vol) unsafe fn many<'a>(count: usize, handles: *mut *mut c_void) -> Option<Many<'a>> {
    // SAFETY: as the caller says.
    let natives = (0..count).map(|index| unsafe { of(*handles.add(index)) });
    let first = natives.clone().flatten().next()?;
    let objects: Vec<_> = natives.flatten().map(NativeHandle::object).collect();
    let connector = (objects.len() == count).then(|| first.connector());
    Some(Many { library: first.library(), connector, objects, first })
}

impl Many<'_> {
    /// Makes one call of the native connector on all datasets. A call that names datasets of containers, too, is
    /// refused.
    pub(in crate::vol) fn call(
        &mut self,
        operation: &str,
        class: Major,
        call: impl FnOnce(&'static Hdf5, Hid, *mut *mut c_void) -> i32,
    ) -> i32 {
        match &self.connector {
            Some(connector) => {
                connector.call(|hdf5, connector| call(hdf5, connector, self.objects.as_mut_ptr()))
            }
            None => guard(Some(self.library), "h5lake_dataset_transfer", class, -1, || Err(mixed(operation))),
        }
    }
}
