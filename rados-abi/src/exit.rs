//! What has to be done before librados's own static objects end.
//!
//! At the end of a program the static objects of librados are destroyed, while the threads of connections that are still there go
//! on using them: now and then such a program crashes after its last statement.

use std::panic::catch_unwind;
use std::sync::OnceLock;

static AT_EXIT: OnceLock<fn()> = OnceLock::new();

/// Has `end` called when the program exits: before librados's static objects are destroyed that are there now. Of several calls
/// the first counts. A forked child calls it at its exit, too.
pub fn at_exit(end: fn()) {
    extern "C" fn ending() {
        if let Some(end) = AT_EXIT.get() {
            // Nobody is left to be told of a panic.
            let _ = catch_unwind(end);
        }
    }
    if AT_EXIT.set(end).is_ok() {
        // SAFETY: the function is one of this library, which is never unloaded. Handlers run in the reverse of the order in which
        // they were registered, and those of static objects are among them.
        unsafe { libc::atexit(ending) };
    }
}
