//! Being told of forks, so that the system need not be asked which process this is.

use std::sync::Once;

use h5lake_ledger::process;

/// The parent's last call before a fork. It counts.
extern "C" fn before() {
    process::forks_now();
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
        if unsafe { libc::pthread_atfork(Some(before), None, Some(in_child)) } == 0 {
            process::keep();
        }
    });
}
