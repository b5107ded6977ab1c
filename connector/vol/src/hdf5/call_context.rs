//! The state of a thread while libhdf5 and this plugin call each other. A value that holds for a while is set by
//! [`scoped`](crate::thread_state::ThreadValue::scoped).

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use h5lake_container::ObjectFile;

use crate::error::Error;
use crate::hdf5::library::Library;
use crate::thread_state::ThreadState;

/// The cause of the current unwrapping of objects.
#[derive(Clone, Copy)]
pub(crate) enum UnwrapReason {
    /// Native code, as far as is known: it gets native objects.
    Native,
    /// A walk by h5lake, with the object that it visited last.
    Walk(*const c_void),
    /// `H5I_find_id`, in `H5F_get_file_id`: it compares with this anchor.
    Finding(*const c_void),
}

thread_local! {
    /// The slot of the library that has called the callback in which this thread is.
    pub(in crate::hdf5) static CALLER: Cell<Option<usize>> = const { Cell::new(None) };
    /// The cause for which objects are unwrapped in this thread.
    pub(in crate::hdf5) static ASKER: Cell<UnwrapReason> = const { Cell::new(UnwrapReason::Native) };
    /// True if the object that is being registered is already h5lake's.
    pub(in crate::hdf5) static UNWRAPPED: Cell<bool> = const { Cell::new(false) };
    /// The request that the driver of `native/open.rs` is to open when it is called next, or null.
    pub(in crate::hdf5) static WAITING: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
    /// The object that our driver for native files in stores opens, while a file is opened.
    pub(in crate::hdf5) static OFFERED: ThreadState<Option<Arc<ObjectFile>>> = const { ThreadState::new(None) };
    /// True if a call of this thread is to report why that driver did not open a file: the outermost call does.
    pub(in crate::hdf5) static TELLING: Cell<bool> = const { Cell::new(false) };
    /// The reason why that driver did not open a file that a native file in a store names.
    pub(in crate::hdf5) static REFUSED: ThreadState<Option<Error>> = const { ThreadState::new(None) };
    /// The reason why that driver could not read. libhdf5 ignores this error if a source of a virtual dataset does not
    /// open.
    pub(in crate::hdf5) static UNREAD: ThreadState<Option<Error>> = const { ThreadState::new(None) };
    /// The library in which this thread searches conversion paths.
    pub(in crate::hdf5) static FORGETTING: Cell<Option<Library>> = const { Cell::new(None) };
}
