//! The library context of a pass-through connector: `H5VLstart/finish_lib_state` in 1.14,
//! `H5VLopen/close_lib_context` in 2.x.

use std::ffi::c_void;
use std::marker::PhantomData;

use crate::bindings::herr_t;
use crate::resolve::Symbols;
use crate::{BindError, Hdf5};

/// The two functions that the bound library exports.
pub(super) enum Functions {
    State {
        start: unsafe extern "C" fn() -> herr_t,
        finish: unsafe extern "C" fn() -> herr_t,
    },
    Context {
        open: unsafe extern "C" fn(*mut *mut c_void) -> herr_t,
        close: unsafe extern "C" fn(*mut c_void) -> herr_t,
    },
}

impl Functions {
    pub(super) fn bind(symbols: &Symbols<'_>, v2: bool) -> Result<Functions, BindError> {
        // SAFETY: the types are those of H5VLconnector_passthru.h of the version in question.
        unsafe {
            Ok(if v2 {
                Functions::Context {
                    open: symbols.required(c"H5VLopen_lib_context")?,
                    close: symbols.required(c"H5VLclose_lib_context")?,
                }
            } else {
                Functions::State {
                    start: symbols.required(c"H5VLstart_lib_state")?,
                    finish: symbols.required(c"H5VLfinish_lib_state")?,
                }
            })
        }
    }
}

/// A library context that is open on this thread until the value is dropped.
///
/// `H5VLrestore_lib_state` and native operations outside of a callback require one. Contexts of a thread close in the reverse order of
/// opening.
#[must_use = "the context closes when the value is dropped"]
pub struct LibraryContext<'a> {
    lib: &'a Hdf5,
    context: *mut c_void,
    /// A context belongs to its thread.
    _thread: PhantomData<*mut ()>,
}

impl Hdf5 {
    /// Opens a library context on this thread. Returns `None` if the library refuses, with the reason on its error stack.
    ///
    /// # Safety
    ///
    /// The caller must be on a thread that may call the library, until the returned value is dropped.
    pub unsafe fn open_context(&self) -> Option<LibraryContext<'_>> {
        let mut context = std::ptr::null_mut();
        let done = match self.variants.context {
            // SAFETY: no arguments; the caller may call the library.
            Functions::State { start, .. } => unsafe { start() },
            // SAFETY: `context` is ours to write.
            Functions::Context { open, .. } => unsafe { open(&raw mut context) },
        };
        (done >= 0).then_some(LibraryContext { lib: self, context, _thread: PhantomData })
    }
}

impl Drop for LibraryContext<'_> {
    fn drop(&mut self) {
        match self.lib.variants.context {
            // SAFETY: pairs with `start` on this thread: the value is not Send.
            Functions::State { finish, .. } => unsafe { finish() },
            // SAFETY: the context was opened by `open` on this thread, and is closed once.
            Functions::Context { close, .. } => unsafe { close(self.context) },
        };
    }
}
