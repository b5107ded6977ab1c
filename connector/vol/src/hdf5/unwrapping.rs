//! What this thread is about while libhdf5 wraps and unwraps objects of ours.

use std::cell::Cell;
use std::ffi::c_void;

use crate::hdf5::anchor::Anchor;

/// What unwraps objects now.
#[derive(Clone, Copy)]
pub(crate) enum Asker {
    /// Native code, as far as we know: it gets native objects.
    Native,
    /// A walk of ours, and the object that it met last.
    Walk(*const c_void),
    /// `H5I_find_id`, in `H5F_get_file_id`: it compares with this anchor.
    Finding(*const c_void),
}

thread_local! {
    static ASKER: Cell<Asker> = const { Cell::new(Asker::Native) };
}

/// Who unwraps objects in this thread.
pub(crate) fn asker() -> Asker {
    ASKER.get()
}

/// Says who unwraps objects from now on, and answers who did.
///
/// # Safety
/// The object of a walk is null or one that `get_object` was just asked about, open until its identifier is met.
pub(crate) unsafe fn set_asker(asker: Asker) -> Asker {
    ASKER.replace(asker)
}

/// What to answer as the file of an object: the library looks for its identifier next (`H5F_get_file_id`), and finds it by
/// what is answered here.
pub fn find(anchor: &Anchor) -> *mut c_void {
    ASKER.set(Asker::Finding(anchor.pointer()));
    anchor.pointer()
}

/// Another callback than `get_object` was called: nobody looks for a file any more.
pub(crate) fn forget() {
    ASKER.set(Asker::Native);
}

thread_local! {
    /// Whether what is being registered is ours already.
    static UNWRAPPED: Cell<bool> = const { Cell::new(false) };
}

/// Says so for a while, and then what was so before.
struct Registering(bool);

impl Drop for Registering {
    fn drop(&mut self) {
        UNWRAPPED.set(self.0);
    }
}

/// Runs a call that registers an object of ours in the context of a native one, in which it would be boxed again.
pub(crate) fn unwrapped<T>(register: impl FnOnce() -> T) -> T {
    let _registering = Registering(UNWRAPPED.replace(true));
    register()
}

/// Whether what is being registered is ours already.
pub(crate) fn is_unwrapped() -> bool {
    UNWRAPPED.get()
}
