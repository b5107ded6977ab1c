//! The state of this thread while libhdf5 wraps and unwraps h5lake's objects.

use std::ffi::c_void;

use crate::hdf5::anchor::Anchor;
use crate::hdf5::call_context::{ASKER, UNWRAPPED, UnwrapReason};
use crate::thread_state::ThreadValue;

/// Returns the cause for which objects are unwrapped in this thread.
pub(crate) fn asker() -> UnwrapReason {
    ASKER.get()
}

/// Sets the cause for which objects are unwrapped from now on, and returns the previous one.
///
/// # Safety
/// The object of a walk is null or one for which `get_object` was just called, open until its identifier is visited.
pub(crate) unsafe fn set_asker(asker: UnwrapReason) -> UnwrapReason {
    ASKER.replace(asker)
}

/// Returns the answer to a query for the file of an object: the library searches for the file's identifier next
/// (`H5F_get_file_id`), and finds it by this answer.
pub fn find(anchor: &Anchor) -> *mut c_void {
    ASKER.set(UnwrapReason::Finding(anchor.pointer()));
    anchor.pointer()
}

/// Ends the search for a file, because a callback other than `get_object` was called.
pub(crate) fn forget() {
    ASKER.set(UnwrapReason::Native);
}

/// Runs a call that registers an object of h5lake's in the context of a native one, where the object would otherwise
/// be boxed again.
pub(crate) fn unwrapped<T>(register: impl FnOnce() -> T) -> T {
    let _registering = UNWRAPPED.scoped(true);
    register()
}

/// Returns whether the object that is being registered is already h5lake's.
pub(crate) fn is_unwrapped() -> bool {
    UNWRAPPED.get()
}
