//! Being told of forks, so that the system need not be asked which process this is.

use std::sync::Once;

use h5lake_ledger::process;

use crate::background;

/// The parent's last call before a fork. It counts, and waits until no worker holds a lock that the child would miss.
extern "C" fn before() {
    process::forks_now();
    background::before_fork();
}

/// The parent's first call after a fork.
extern "C" fn in_parent() {
    background::after_fork();
}

/// The child's first call after a fork. It does what may be done there: it stores a number.
extern "C" fn in_child() {
    process::forked();
}

/// Has forks told from now on. Without, the system is asked each time.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the functions are of this plugin, which is never unloaded.
        if unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) } == 0 {
            process::keep();
        }
    });
}
