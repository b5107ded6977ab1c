//! The callbacks as libhdf5 calls them: raw arguments decoded, `operations` called, answers written.
//!
//! Every function here is called by libhdf5 with the arguments that `H5VLconnector.h` describes; that is the
//! safety argument of each: objects are ours and open, strings are terminated, answers' places are writable.

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

/// Where a callback that goes on beside the program puts its request; null without an event set. What is done when the
/// callback returns leaves it as it is. A close always does: libhdf5 then reads what it has freed (H5D.c, `H5D_close_async`).
pub type Request = *mut *mut c_void;

/// The object that a callback is called on, and how it goes with what goes on beside the program.
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

/// The object of a callback that has nothing to do with elements: with an event set it does not wait for transfers.
pub fn beside(object: *mut c_void, request: Request) -> Target {
    let order = if request.is_null() { CallOrder::Behind } else { CallOrder::Beside };
    Target { object, order }
}

/// Success, as C has it.
pub const OK: i32 = 0;
/// Failure, as C has it.
pub const FAIL: i32 = -1;

/// Calls a function of the application's, while this thread holds no lock of ours.
pub fn calling_back<T>(call: impl FnOnce() -> T) -> T {
    assert_none_held("a function of the application");
    call()
}

/// As [`beside`], for a callback that flushes or does something else.
pub fn flushing(object: *mut c_void, flushes: bool, request: Request) -> Target {
    if flushes { beside(object, request) } else { object.into() }
}

/// Flushes the file of an object, then calls the function that the program wants called after that (`H5Pset_object_flush_cb`) with the
/// object's identifier. Such a flush does not go on beside the program.
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

/// Flushes the file of an object, if all has gone well `before`: beside the program, if an event set waits for it and libhdf5 is not
/// needed.
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

/// Runs a callback that is called on one of our objects.
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

/// As [`on_object`], for callbacks by which native code looks at objects, whatever is going on.
///
/// # Safety
/// As [`on_object`].
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

/// As [`on_object`], for callbacks that answer only whether they succeeded.
///
/// # Safety
/// As [`on_object`].
pub unsafe fn status(
    target: impl Into<Target>,
    callback: &'static str,
    class: Major,
    body: impl FnOnce(&Handle) -> Result<()>,
) -> i32 {
    // SAFETY: as the caller says.
    unsafe { on_object(target, callback, class, FAIL, |handle| body(handle).map(|()| OK)) }
}

/// As [`on_object`], for callbacks that answer a new object.
///
/// # Safety
/// As [`on_object`].
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

/// Closes an object. One of a file that was closed before takes the file's last changes along.
///
/// # Safety
/// `object` is one of our handles, and not used again if the call succeeds.
pub unsafe fn close(target: impl Into<Target>, callback: &'static str, class: Major) -> i32 {
    // SAFETY: as the caller says.
    unsafe { close_after(target, callback, class, |_| Ok(())) }
}

/// Closes an object after `prepare`. If that fails, or the last changes cannot be committed, the object stays open,
/// because its identifier does. A dataset does not: libhdf5 frees what it has of it however its close ends (`H5D__close_cb`), and uses
/// that after the next failure. So its file is kept for another try, and an error says only what cannot be tried again.
///
/// # Safety
/// As [`close`].
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
        // SAFETY: as the caller says; libhdf5 may look at the object, too, while it is closed.
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

/// An operation that no version of HDF5 known to us has.
pub fn unknown_operation<T>(class: &str, operation: impl std::fmt::Display) -> Result<T> {
    Err(Error::unsupported(format!("operation {operation} of the {class} callbacks")))
}

/// Decodes where a call is aimed at.
///
/// # Safety
/// `parameters` is null or as libhdf5 fills it.
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

/// Decodes by which index to go.
pub fn index(kind: sys::H5_index_t) -> Result<Index> {
    match kind {
        sys::H5_INDEX_NAME => Ok(Index::Name),
        sys::H5_INDEX_CRT_ORDER => Ok(Index::CreationOrder),
        other => Err(Error::argument(format!("{} is no index", other.0))),
    }
}

/// Decodes in which order to go.
pub fn order(kind: sys::H5_iter_order_t) -> Result<Order> {
    match kind {
        sys::H5_ITER_INC => Ok(Order::Increasing),
        sys::H5_ITER_DEC => Ok(Order::Decreasing),
        sys::H5_ITER_NATIVE => Ok(Order::Native),
        other => Err(Error::argument(format!("{} is no order", other.0))),
    }
}

/// The library of a slot, for callbacks that get no object. There is one of each such callback for each slot: what it does is in
/// a function that all of them call, or the plugin would have it 16 times.
pub fn in_slot(slot: usize) -> Option<Library> {
    Library::in_slot(slot)
}

/// The token of an object as HDF5's structures hold it.
pub fn token_of(id: h5lake_container::ObjectId) -> sys::H5O_token_t {
    sys::H5O_token_t { __data: tokens::encode(id) }
}
