//! What a thread is about while libhdf5 and this plugin call each other. A value that holds for a while is set by
//! [`scoped`](crate::thread_state::ThreadValue::scoped).

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use h5lake_container::ObjectFile;

use crate::error::Error;
use crate::hdf5::library::Library;
use crate::thread_state::ThreadState;

/// What unwraps objects now.
#[derive(Clone, Copy)]
pub(crate) enum UnwrapReason {
    /// Native code, as far as we know: it gets native objects.
    Native,
    /// A walk of ours, and the object that it met last.
    Walk(*const c_void),
    /// `H5I_find_id`, in `H5F_get_file_id`: it compares with this anchor.
    Finding(*const c_void),
}

thread_local! {
    /// The slot of the library whose callback this thread is in.
    pub(in crate::hdf5) static CALLER: Cell<Option<usize>> = const { Cell::new(None) };
    /// Who unwraps objects in this thread.
    pub(in crate::hdf5) static ASKER: Cell<UnwrapReason> = const { Cell::new(UnwrapReason::Native) };
    /// Whether what is being registered is ours already.
    pub(in crate::hdf5) static UNWRAPPED: Cell<bool> = const { Cell::new(false) };
    /// What the driver of `native/open.rs` is to open when it is called next, or null.
    pub(in crate::hdf5) static WAITING: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
    /// The object that our driver for native files in stores opens, while a file is opened.
    pub(in crate::hdf5) static OFFERED: ThreadState<Option<Arc<ObjectFile>>> = const { ThreadState::new(None) };
    /// Whether a call of this thread is to tell why that driver did not open a file: the outermost one does.
    pub(in crate::hdf5) static TELLING: Cell<bool> = const { Cell::new(false) };
    /// Why that driver did not open a file that a native file in a store names.
    pub(in crate::hdf5) static REFUSED: ThreadState<Option<Error>> = const { ThreadState::new(None) };
    /// Why that driver could not read. libhdf5 passes over it where a source of a virtual dataset does not open.
    pub(in crate::hdf5) static UNREAD: ThreadState<Option<Error>> = const { ThreadState::new(None) };
    /// The library whose conversion paths this thread looks through.
    pub(in crate::hdf5) static FORGETTING: Cell<Option<Library>> = const { Cell::new(None) };
}
