//! The error stack of a failed call, preserved during the clean-up after the call.

use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;

use h5lake_plugin_abi::bindings as sys;

use crate::error::Frames;
use crate::hdf5::library::{Hid, Library};

const DEFAULT_STACK: Hid = 0;

/// The frames of a failed call, taken off the default stack. Every public call clears that stack, so code that cleans
/// up after a failure takes the frames first and puts them back last.
#[derive(Debug)]
pub struct ErrorStack {
    library: Library,
    /// The stack's identifier, negative once it has been given away.
    id: Cell<Hid>,
    /// The stack belongs to its thread: libhdf5 keeps a default stack for each thread, and only the calling thread
    /// enters libhdf5.
    of_this_thread: PhantomData<*const ()>,
}

impl Frames for ErrorStack {
    fn restore(&self) {
        let id = self.id.replace(-1);
        if id >= 0 {
            // SAFETY: the identifier is a stack's; the call takes it over.
            unsafe { (self.library.table().H5Eset_current_stack)(id) };
        }
    }
}

impl Drop for ErrorStack {
    fn drop(&mut self) {
        let id = self.id.replace(-1);
        if id >= 0 {
            // SAFETY: the identifier is a stack's that no other code has.
            unsafe { (self.library.table().H5Eclose_stack)(id) };
        }
    }
}

/// Switches the application's automatic error report off while it lives. A failed public call of h5lake's own is not
/// to be reported, because the application sees the error of the call that it made itself.
struct Quiet {
    library: Library,
    report: Report,
}

enum Report {
    First(sys::H5E_auto1_t, *mut c_void),
    Second(sys::H5E_auto2_t, *mut c_void),
    Unknown,
}

impl Quiet {
    fn start(library: Library) -> Self {
        let table = library.table();
        let (mut second, mut data) = (0, std::ptr::null_mut());
        // SAFETY: the answers' places outlive the calls; no function is a valid report.
        let report = unsafe {
            (table.H5Eauto_is_v2)(DEFAULT_STACK, &mut second);
            if second > 0 {
                let mut function = None;
                (table.H5Eget_auto2)(DEFAULT_STACK, &mut function, &mut data);
                (table.H5Eset_auto2)(DEFAULT_STACK, None, std::ptr::null_mut());
                Report::Second(function, data)
            } else if let (Some(get), Some(set)) = (table.H5Eget_auto1, table.H5Eset_auto1) {
                let mut function = None;
                get(&mut function, &mut data);
                set(None, std::ptr::null_mut());
                Report::First(function, data)
            } else {
                Report::Unknown
            }
        };
        Self { library, report }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let table = self.library.table();
        // SAFETY: the function and its data are those that the application had set.
        unsafe {
            match self.report {
                Report::First(function, data) => {
                    if let Some(set) = table.H5Eset_auto1 {
                        set(function, data);
                    }
                }
                Report::Second(function, data) => {
                    (table.H5Eset_auto2)(DEFAULT_STACK, function, data);
                }
                Report::Unknown => {}
            }
        }
    }
}

/// The result of a call of libhdf5.
pub(crate) trait CallResult {
    /// Returns whether the call failed.
    fn failed(&self) -> bool;
}

impl CallResult for i32 {
    fn failed(&self) -> bool {
        *self < 0
    }
}

impl CallResult for *mut c_void {
    fn failed(&self) -> bool {
        self.is_null()
    }
}

impl CallResult for () {
    fn failed(&self) -> bool {
        false
    }
}

/// Makes a call on behalf of a call of the application: then the library itself reports a failure, with the frames
/// that are left on the stack. After a failure no public function may be called before the callback returns.
pub(crate) fn reported_once<T: CallResult>(library: Library, call: impl FnOnce() -> T) -> T {
    let quiet = Quiet::start(library);
    let value = call();
    let frames = value.failed().then(|| library.take_errors());
    drop(quiet);
    if let Some(frames) = frames {
        frames.restore();
    }
    value
}

/// Runs code with calls that may fail, without error reports of the library.
pub(crate) fn silently<T>(library: Library, run: impl FnOnce() -> T) -> T {
    let quiet = Quiet::start(library);
    let value = run();
    drop(quiet);
    value
}

impl Library {
    /// Takes the frames off the default error stack.
    pub(crate) fn take_errors(self) -> ErrorStack {
        // SAFETY: takes no arguments.
        let id = unsafe { (self.table().H5Eget_current_stack)() };
        ErrorStack { library: self, id: Cell::new(id), of_this_thread: PhantomData }
    }

    /// Makes a call without an error report of the library, and takes its frames if `failed` says that it failed.
    pub(crate) fn quietly<T>(
        self,
        call: impl FnOnce() -> T,
        failed: impl FnOnce(&T) -> bool,
    ) -> Result<T, ErrorStack> {
        let quiet = Quiet::start(self);
        let value = call();
        let result = if failed(&value) { Err(self.take_errors()) } else { Ok(value) };
        drop(quiet);
        result
    }
}

#[cfg(test)]
pub(in crate::hdf5) mod tests {
    use super::*;

    /// A wrapper that reports a property of a type by method resolution: an inherent method takes precedence over a
    /// method of a trait.
    pub(in crate::hdf5) struct Asked<T>(pub(in crate::hdf5) PhantomData<T>);

    pub(in crate::hdf5) trait AnyType {
        fn may_be_sent(&self) -> bool {
            false
        }
    }

    impl<T> AnyType for Asked<T> {}

    impl<T: Send> Asked<T> {
        pub(in crate::hdf5) fn may_be_sent(&self) -> bool {
            true
        }
    }

    #[test]
    fn frames_stay_in_their_thread() {
        assert!(Asked::<Library>(PhantomData).may_be_sent());
        assert!(!Asked::<ErrorStack>(PhantomData).may_be_sent());
        assert!(!Asked::<crate::error::Error>(PhantomData).may_be_sent());
    }
}
