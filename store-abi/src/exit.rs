//! Functions that have to run before the static objects of a foreign library are destroyed.
//!
//! When a program ends, the static objects of libraries are destroyed, those of the last loaded library first. libhdf5
//! closes files in an exit handler that it registered when it started, so it runs after them. A program that uses such
//! a library then, or leaves threads of it running, may crash after its last statement.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// The functions to be called.
static ENDS: Mutex<Vec<fn()>> = Mutex::new(Vec::new());
/// True once a library's static objects may be destroyed.
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Registers `end`, which is called when the program exits, before the static objects that exist now are destroyed. It
/// may be called several times. A forked child calls it at its exit, too.
pub fn at_exit(end: fn()) {
    extern "C" fn ending() {
        // A forked child may not have the thread that holds the lock.
        let ends = ENDS.try_lock().map(|ends| ends.clone()).unwrap_or_default();
        for end in ends {
            // A panic cannot be reported any more.
            let _ = catch_unwind(end);
        }
        IS_OVER.store(true, Ordering::Relaxed);
    }
    ENDS.lock().push(end);
    // SAFETY: the function belongs to this library, which is never unloaded. Exit handlers, including those of static
    // objects, run in the reverse order of their registration.
    unsafe { libc::atexit(ending) };
}

/// Returns whether foreign libraries must not be called any more, because the program ends.
pub fn is_over() -> bool {
    IS_OVER.load(Ordering::Relaxed)
}
