//! Notification of forks, so that the process id need not be queried from the system each time.

use std::sync::Once;

use h5lake_ledger::process;

use crate::background;

/// Runs in the parent before a fork. It counts, and waits until no worker holds a lock that the child would need.
extern "C" fn before() {
    process::forks_now();
    background::before_fork();
}

/// Runs in the parent after a fork.
extern "C" fn in_parent() {
    background::after_fork();
}

/// Runs in the child after a fork. It only does what is allowed there: it stores a number.
extern "C" fn in_child() {
    process::forked();
}

/// Starts the notification of forks. Without it, the process id is queried from the system each time.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the functions belong to this plugin, which is never unloaded.
        if unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) } == 0 {
            process::keep();
        }
    });
}
