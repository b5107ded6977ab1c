//! What has to be done before the static objects of a foreign library end.
//!
//! At the end of a program the static objects of libraries are destroyed, those of the library that was loaded last first. libhdf5
//! closes files in an exit handler that it registered when it started, so after them. Whoever uses such a library then, or leaves
//! threads of it running, may crash after the program's last statement.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// What is called.
static ENDS: Mutex<Vec<fn()>> = Mutex::new(Vec::new());
/// A library's static objects may be gone.
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Has `end` called when the program exits, before static objects are destroyed that are there now. It may be called several times. A
/// forked child calls it at its exit, too.
pub fn at_exit(end: fn()) {
    extern "C" fn ending() {
        // A forked child may not have the thread that holds the lock.
        let ends = ENDS.try_lock().map(|ends| ends.clone()).unwrap_or_default();
        for end in ends {
            // Nobody is left to be told of a panic.
            let _ = catch_unwind(end);
        }
        IS_OVER.store(true, Ordering::Relaxed);
    }
    ENDS.lock().push(end);
    // SAFETY: the function is one of this library, which is never unloaded. Handlers run in the reverse of the order in which they
    // were registered, and those of static objects are among them.
    unsafe { libc::atexit(ending) };
}

/// Whether the time has come after which foreign libraries must not be called any more.
pub fn is_over() -> bool {
    IS_OVER.load(Ordering::Relaxed)
}
