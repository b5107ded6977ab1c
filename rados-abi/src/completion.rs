//! Waits for operations, within the caller's time limit.

use std::ffi::c_void;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::Pool;
use crate::library::{Functions, Raw, answered};

/// The time limit of an operation. When the limit is reached, `ends` is called again, because other operations may have
/// prolonged it.
pub trait Bound {
    /// Returns the moment at which the wait ends.
    fn ends(&self) -> Instant;

    /// Records that a part of the answer to a long operation arrived in time.
    fn progressed(&self) {}
}

impl<F: Fn() -> Instant> Bound for F {
    fn ends(&self) -> Instant {
        self()
    }
}

#[derive(Default)]
struct Signal {
    is_done: Mutex<bool>,
    changed: Condvar,
}

/// Signals that an operation is over.
pub(crate) struct Completion {
    functions: &'static Functions,
    pub(crate) raw: Raw,
    signal: Arc<Signal>,
}

// SAFETY: any thread may use librados's completions.
unsafe impl Send for Completion {}

/// librados calls this in a thread of its own, once for each operation that it accepted.
extern "C" fn completed(_: Raw, signal: *mut c_void) {
    // SAFETY: `Completion::submit` made the pointer, for this call.
    let signal = unsafe { Arc::from_raw(signal.cast::<Signal>().cast_const()) };
    *signal.is_done.lock() = true;
    signal.changed.notify_all();
}

impl Completion {
    /// Submits an operation: `submit` gets the completion's handle, and returns librados's answer.
    ///
    /// # Errors
    /// Those of librados. The operation was not accepted then.
    pub(crate) fn submit(
        functions: &'static Functions,
        submit: impl FnOnce(Raw) -> std::ffi::c_int,
    ) -> io::Result<Completion> {
        let signal = Arc::new(Signal::default());
        let argument = Arc::into_raw(signal.clone());
        let mut raw = std::ptr::null_mut();
        let give_back = || {
            // SAFETY: librados does not call back for an operation that it did not accept.
            drop(unsafe { Arc::from_raw(argument) });
        };
        let argument = argument.cast_mut().cast::<c_void>();
        // SAFETY: `raw` can be written; the argument stays valid until the callback.
        let made = unsafe { (functions.aio_create_completion2)(argument, Some(completed), &mut raw) };
        answered(made).inspect_err(|_| give_back())?;
        let completion = Completion { functions, raw, signal };
        answered(submit(raw)).inspect_err(|_| give_back())?;
        Ok(completion)
    }

    /// Waits until the operation is over, and cancels it if that takes too long. Returns the object's version that it
    /// read or made.
    ///
    /// # Errors
    /// The operation's error; `TimedOut` if it was cancelled: it may have had its effect.
    pub(crate) fn wait(&self, pool: &Pool, bound: &dyn Bound) -> io::Result<u64> {
        let is_late = !self.is_over_in_time(bound);
        if is_late {
            self.cancel(pool);
        }
        // SAFETY: the operation is over; this value owns the handle until it is dropped.
        let (code, version) = unsafe {
            ((self.functions.aio_get_return_value)(self.raw), (self.functions.aio_get_version)(self.raw))
        };
        match answered(code) {
            Err(e) if is_late && e.raw_os_error() == Some(libc::ECANCELED) => {
                Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))
            }
            answer => answer.map(|_| version),
        }
    }

    fn is_over_in_time(&self, bound: &dyn Bound) -> bool {
        let mut is_done = self.signal.is_done.lock();
        while !*is_done {
            let ends = bound.ends();
            if Instant::now() >= ends {
                return false;
            }
            self.signal.changed.wait_until(&mut is_done, ends);
        }
        true
    }

    /// Cancels the operation, and waits until it is cancelled or completed, which depends only on librados's own
    /// threads.
    pub(crate) fn cancel(&self, pool: &Pool) {
        // SAFETY: both handles are alive. Cancelling a completed operation has no effect.
        unsafe {
            (self.functions.aio_cancel)(pool.raw, self.raw);
            (self.functions.aio_wait_for_complete)(self.raw);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.signal.is_done.lock()
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        // SAFETY: the handle is released once; librados has its own reference to an operation in progress.
        unsafe { (self.functions.aio_release)(self.raw) }
    }
}
