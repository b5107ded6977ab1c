//! What this thread is about while libhdf5 wraps and unwraps objects of ours.

use std::ffi::c_void;

use crate::hdf5::anchor::Anchor;
use crate::hdf5::call_context::{ASKER, UNWRAPPED, UnwrapReason};
use crate::thread_state::ThreadValue;

/// Who unwraps objects in this thread.
pub(crate) fn asker() -> UnwrapReason {
    ASKER.get()
}

/// Says who unwraps objects from now on, and answers who did.
///
/// # Safety
/// The object of a walk is null or one that `get_object` was just asked about, open until its identifier is met.
pub(crate) unsafe fn set_asker(asker: UnwrapReason) -> UnwrapReason {
    ASKER.replace(asker)
}

/// What to answer as the file of an object: the library looks for its identifier next (`H5F_get_file_id`), and finds it by
/// what is answered here.
pub fn find(anchor: &Anchor) -> *mut c_void {
    ASKER.set(UnwrapReason::Finding(anchor.pointer()));
    anchor.pointer()
}

/// Another callback than `get_object` was called: nobody looks for a file any more.
pub(crate) fn forget() {
    ASKER.set(UnwrapReason::Native);
}

/// Runs a call that registers an object of ours in the context of a native one, in which it would be boxed again.
pub(crate) fn unwrapped<T>(register: impl FnOnce() -> T) -> T {
    let _registering = UNWRAPPED.scoped(true);
    register()
}

/// Whether what is being registered is ours already.
pub(crate) fn is_unwrapped() -> bool {
    UNWRAPPED.get()
}
