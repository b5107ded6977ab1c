//! Waiting for an operation, for no longer than the caller says.

use std::ffi::c_void;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::Pool;
use crate::library::{Functions, Raw, answered};

/// Says until when an operation is waited for. It is asked again at that moment: others may have prolonged it.
pub trait Bound {
    /// The moment.
    fn ends(&self) -> Instant;

    /// A part of the answer to a long operation came in time.
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

/// What tells that an operation is over.
pub(crate) struct Completion {
    functions: &'static Functions,
    pub(crate) raw: Raw,
    signal: Arc<Signal>,
}

// SAFETY: librados's completions are for all threads.
unsafe impl Send for Completion {}

/// librados calls this in a thread of its own, once for each operation that it took.
extern "C" fn completed(_: Raw, signal: *mut c_void) {
    // SAFETY: `Completion::submit` made the pointer, for this call.
    let signal = unsafe { Arc::from_raw(signal.cast::<Signal>().cast_const()) };
    *signal.is_done.lock() = true;
    signal.changed.notify_all();
}

impl Completion {
    /// Hands an operation over: `submit` gets the completion's handle, and answers what librados does.
    ///
    /// # Errors
    /// What librados answered. Then the operation was not taken.
    pub(crate) fn submit(
        functions: &'static Functions,
        submit: impl FnOnce(Raw) -> std::ffi::c_int,
    ) -> io::Result<Completion> {
        let signal = Arc::new(Signal::default());
        let argument = Arc::into_raw(signal.clone());
        let mut raw = std::ptr::null_mut();
        let give_back = || {
            // SAFETY: nobody calls back for an operation that was not taken.
            drop(unsafe { Arc::from_raw(argument) });
        };
        let argument = argument.cast_mut().cast::<c_void>();
        // SAFETY: `raw` is there to be written; the argument stays valid until the call back.
        let made = unsafe { (functions.aio_create_completion2)(argument, Some(completed), &mut raw) };
        answered(made).inspect_err(|_| give_back())?;
        let completion = Completion { functions, raw, signal };
        answered(submit(raw)).inspect_err(|_| give_back())?;
        Ok(completion)
    }

    /// Waits until the operation is over, cancelling it if that takes too long. Gives the object's version that it saw or made.
    ///
    /// # Errors
    /// What the operation answered; `TimedOut` if it was cancelled: it may have had its effect.
    pub(crate) fn wait(&self, pool: &Pool, bound: &dyn Bound) -> io::Result<u64> {
        let is_late = !self.is_over_in_time(bound);
        if is_late {
            self.cancel(pool);
        }
        // SAFETY: the operation is over; the handle is ours until it is dropped.
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

    /// Cancels the operation, and waits until that is done or it was over before: a matter of librados's own threads.
    pub(crate) fn cancel(&self, pool: &Pool) {
        // SAFETY: both handles are alive. What is over already is not found, and nothing happens.
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
        // SAFETY: the handle is given back once; librados has its own count of an operation under way.
        unsafe { (self.functions.aio_release)(self.raw) }
    }
}
