//! The callbacks as libhdf5 calls them: raw arguments are decoded, `operations` called, answers written.
//!
//! Every function here is called by libhdf5 with the arguments that `H5VLconnector.h` describes. This is the safety
//! argument of each function: objects are h5lake's and open, strings are terminated, answers' places are writable.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use h5lake_container::{Index, Order};
use h5lake_ledger::locks::assert_none_held;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Major, Result};
use crate::handles::{CallOrder, Handle};
use crate::hdf5::guard::guard;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::strings;
use crate::hdf5::token as tokens;
use crate::operations::asynchronous;
use crate::operations::object as object_operations;
use crate::operations::path::Location;

pub mod attribute;
pub mod blob;
pub mod dataset;
pub mod dataset_optional;
pub mod datatype;
pub mod file;
pub mod group;
pub mod info;
pub mod introspect;
pub mod link;
mod native_read;
pub mod object;
pub mod object_optional;
mod optional_support;
pub mod request;
pub mod token;
mod transfer_arrays;
pub mod wrap;

/// The place at which a callback that continues in the background puts its request; null without an event set. A
/// callback that is done when it returns leaves the place unchanged. A close always does so: otherwise libhdf5 reads
/// memory that it has freed (H5D.c, `H5D_close_async`).
pub type Request = *mut *mut c_void;

/// The object on which a callback is called, and the order of the call relative to background work.
#[derive(Clone, Copy)]
pub struct Target {
    object: *const c_void,
    order: CallOrder,
}

impl From<*mut c_void> for Target {
    fn from(object: *mut c_void) -> Self {
        Self { object, order: CallOrder::Behind }
    }
}

impl From<*const c_void> for Target {
    fn from(object: *const c_void) -> Self {
        Self { object, order: CallOrder::Behind }
    }
}

/// Returns the target of a callback that does not touch elements: with an event set it does not wait for transfers.
pub fn beside(object: *mut c_void, request: Request) -> Target {
    let order = if request.is_null() { CallOrder::Behind } else { CallOrder::Beside };
    Target { object, order }
}

/// The return value of success in C.
pub const OK: i32 = 0;
/// The return value of failure in C.
pub const FAIL: i32 = -1;

/// Calls a function of the application, while this thread holds no lock of h5lake's.
pub fn calling_back<T>(call: impl FnOnce() -> T) -> T {
    assert_none_held("a function of the application");
    call()
}

/// Returns the target of a callback that flushes or does something else, as [`beside`] does for a flush.
pub fn flushing(object: *mut c_void, flushes: bool, request: Request) -> Target {
    if flushes { beside(object, request) } else { object.into() }
}

/// Flushes the file of an object, then calls the function that the program has registered for this event
/// (`H5Pset_object_flush_cb`) with the object's identifier. Such a flush does not run in the background.
///
/// # Safety
/// `request` is null or writable.
pub unsafe fn flush_object(handle: &Handle, id: Hid, request: Request, before: Result<()>) -> Result<()> {
    let session = handle.session()?;
    let Some(call) = session.library.object_flush_callback(session.access_list.get())? else {
        // SAFETY: as the caller says.
        return unsafe { flush(handle, request, before) };
    };
    object_operations::flush(handle, before)?;
    // The function may close the object and its file.
    drop(session);
    calling_back(|| call(id))
}

/// Flushes the file of an object, if `before` is a success. The flush runs in the background if an event set waits for
/// it and libhdf5 is not needed.
///
/// # Safety
/// `request` is null or writable.
pub unsafe fn flush(handle: &Handle, request: Request, before: Result<()>) -> Result<()> {
    // SAFETY: as the caller says.
    let place = unsafe { request.as_mut() }.filter(|_| before.is_ok());
    let Some(place) = place else { return object_operations::flush(handle, before) };
    match asynchronous::flush(handle)? {
        Some(going_on) => *place = Handle::Request(going_on).into_pointer(),
        None => object_operations::flush(handle, Ok(()))?,
    }
    Ok(())
}

/// Runs a callback that is called on an object of h5lake's.
///
/// # Safety
/// `object` is null or one of our handles.
pub unsafe fn on_object<T>(
    target: impl Into<Target>,
    callback: &'static str,
    class: Major,
    failure: T,
    body: impl FnOnce(&Handle) -> Result<T>,
) -> T {
    let Target { object, order } = target.into();
    // SAFETY: as the caller says.
    unsafe {
        on_any_object(object, callback, class, failure, |handle| {
            handle.check_not_filtering()?;
            handle.complete(order);
            body(handle)
        })
    }
}

/// Runs a callback like [`on_object`], for callbacks by which native code reads objects, without waiting for anything.
///
/// # Safety
/// As for [`on_object`].
pub unsafe fn on_any_object<T>(
    object: *const c_void,
    callback: &'static str,
    class: Major,
    failure: T,
    body: impl FnOnce(&Handle) -> Result<T>,
) -> T {
    // SAFETY: as the caller says.
    let handle = unsafe { Handle::from_pointer(object) };
    let library = handle.as_ref().ok().and_then(|handle| handle.library());
    guard(library, callback, class, failure, || body(handle?))
}

/// Runs a callback like [`on_object`], for callbacks that return only whether they succeeded.
///
/// # Safety
/// As for [`on_object`].
pub unsafe fn status(
    target: impl Into<Target>,
    callback: &'static str,
    class: Major,
    body: impl FnOnce(&Handle) -> Result<()>,
) -> i32 {
    // SAFETY: as the caller says.
    unsafe { on_object(target, callback, class, FAIL, |handle| body(handle).map(|()| OK)) }
}

/// Runs a callback like [`on_object`], for callbacks that return a new object.
///
/// # Safety
/// As for [`on_object`].
pub unsafe fn new_object(
    target: impl Into<Target>,
    callback: &'static str,
    class: Major,
    body: impl FnOnce(&Handle) -> Result<Handle>,
) -> *mut c_void {
    // SAFETY: as the caller says.
    unsafe {
        on_object(target, callback, class, std::ptr::null_mut(), |handle| {
            body(handle).map(Handle::into_pointer)
        })
    }
}

/// Closes an object. If the object's file was closed before, this commits the file's last changes.
///
/// # Safety
/// `object` is one of our handles, and not used again if the call succeeds.
pub unsafe fn close(target: impl Into<Target>, callback: &'static str, class: Major) -> i32 {
    // SAFETY: as the caller says.
    unsafe { close_after(target, callback, class, |_| Ok(())) }
}

/// Closes an object after `prepare`. If `prepare` fails, or the last changes cannot be committed, the object stays
/// open, because its identifier does. A dataset is closed anyway: libhdf5 frees its part of the dataset however the
/// close ends (`H5D__close_cb`), and uses that part after the next failure. So the dataset's file is kept for another
/// try, and an error is returned only for work that cannot be tried again.
///
/// # Safety
/// As for [`close`].
pub unsafe fn close_after(
    target: impl Into<Target>,
    callback: &'static str,
    class: Major,
    prepare: impl FnOnce(&Handle) -> Result<()>,
) -> i32 {
    let Target { object, order } = target.into();
    // SAFETY: as the caller says.
    let library = unsafe { Handle::from_pointer(object) }.ok().and_then(Handle::library);
    guard(library, callback, class, FAIL, || {
        // SAFETY: as the caller says; libhdf5 may read the object, too, while it is closed.
        let handle = unsafe { Handle::from_pointer(object) }?;
        handle.check_not_filtering()?;
        handle.complete(order);
        let is_final = matches!(handle, Handle::Dataset(_));
        let prepared = prepare(handle);
        if prepared.is_err() && !is_final {
            return prepared.map(|()| OK);
        }
        let session = handle.session()?;
        // Processes that have the file open together need not close its objects in the same order.
        if session.together.is_none() && session.file_handles.load(Ordering::Relaxed) == 0 {
            match session.commit_to_close(Ok(())) {
                Err(error) if is_final => session.keep_unclosed(&error),
                done => done?,
            }
        }
        drop(session);
        // SAFETY: as the caller says.
        unsafe { Handle::release(object.cast_mut(), drop) }?;
        prepared.map(|()| OK)
    })
}

/// Returns the error for an operation that no known version of HDF5 has.
pub fn unknown_operation<T>(class: &str, operation: impl std::fmt::Display) -> Result<T> {
    Err(Error::unsupported(format!("operation {operation} of the {class} callbacks")))
}

/// Decodes the location of a call.
///
/// # Safety
/// `parameters` is null or filled by libhdf5.
pub unsafe fn location<'a>(parameters: *const sys::H5VL_loc_params_t) -> Result<Location<'a>> {
    // SAFETY: as the caller says.
    let parameters =
        unsafe { parameters.as_ref() }.ok_or_else(|| Error::argument("no location was given"))?;
    // SAFETY: the kind says which member of the union is filled; strings and tokens outlive the call.
    unsafe {
        match parameters.type_ {
            sys::H5VL_OBJECT_BY_SELF => Ok(Location::Itself),
            sys::H5VL_OBJECT_BY_NAME => {
                let by_name = parameters.loc_data.loc_by_name;
                Ok(Location::ByName {
                    name: strings::bytes(by_name.name, "a path")?,
                    access: by_name.lapl_id,
                })
            }
            sys::H5VL_OBJECT_BY_IDX => {
                let by_index = parameters.loc_data.loc_by_idx;
                Ok(Location::ByIndex {
                    name: strings::bytes(by_index.name, "a path")?,
                    index: index(by_index.idx_type)?,
                    order: order(by_index.order)?,
                    n: by_index.n,
                    access: by_index.lapl_id,
                })
            }
            sys::H5VL_OBJECT_BY_TOKEN => {
                let by_token = parameters.loc_data.loc_by_token;
                let given = by_token.token.as_ref().ok_or_else(|| Error::argument("no token was given"))?;
                Ok(Location::ByToken(tokens::decode(given.__data)))
            }
            other => Err(Error::unsupported(format!("a location of kind {}", other.0))),
        }
    }
}

/// Decodes the index of an iteration.
pub fn index(kind: sys::H5_index_t) -> Result<Index> {
    match kind {
        sys::H5_INDEX_NAME => Ok(Index::Name),
        sys::H5_INDEX_CRT_ORDER => Ok(Index::CreationOrder),
        other => Err(Error::argument(format!("{} is no index", other.0))),
    }
}

/// Decodes the order of an iteration.
pub fn order(kind: sys::H5_iter_order_t) -> Result<Order> {
    match kind {
        sys::H5_ITER_INC => Ok(Order::Increasing),
        sys::H5_ITER_DEC => Ok(Order::Decreasing),
        sys::H5_ITER_NATIVE => Ok(Order::Native),
        other => Err(Error::argument(format!("{} is no order", other.0))),
    }
}

/// Returns the library of a slot, for callbacks that get no object. Each such callback exists once for each slot. Its
/// body is in a function that all of them call, because the plugin would otherwise contain it 16 times.
pub fn in_slot(slot: usize) -> Option<Library> {
    Library::in_slot(slot)
}

/// Returns the token of an object in HDF5's form.
pub fn token_of(id: h5lake_container::ObjectId) -> sys::H5O_token_t {
    sys::H5O_token_t { __data: tokens::encode(id) }
}
