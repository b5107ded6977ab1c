//! The end of a program that could not commit its last changes.

use std::ffi::c_int;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

/// The exit code of a program that lost changes and would have ended with 0 (`EX_IOERR` of sysexits.h).
const EXIT_CODE: c_int = 74;

/// The process that lost changes; 0 for none. A child forked from that process has lost nothing.
static LOSER: AtomicU32 = AtomicU32::new(0);

/// Reports on stderr that changes are lost, and makes the process end with a failure.
///
/// libhdf5 closes files in an exit handler, which has no way to say that one of them could not be closed.
pub fn report_loss(text: &str) {
    warn(text);
    let process = std::process::id();
    if LOSER.swap(process, Ordering::Relaxed) != process {
        register();
    }
}

/// Reports on stderr a problem that no call can report.
pub fn warn(text: &str) {
    // A closed stderr is no reason to fail.
    writeln!(std::io::stderr(), "h5lake: {}", object_stores::printable(text)).ok();
}

/// Returns whether this process is to end with a failure, although it requested `status`.
fn fails(status: c_int) -> bool {
    status == 0 && LOSER.load(Ordering::Relaxed) == std::process::id()
}

#[cfg(target_env = "gnu")]
fn register() {
    unsafe extern "C" {
        fn on_exit(function: extern "C" fn(c_int, *mut libc::c_void), argument: *mut libc::c_void) -> c_int;
    }

    extern "C" fn ending(status: c_int, _: *mut libc::c_void) {
        if fails(status) {
            // SAFETY: glibc lets an exit handler call `exit` again: the remaining handlers run, with the new status.
            unsafe { libc::exit(EXIT_CODE) }
        }
    }

    // SAFETY: the function belongs to this plugin, which is never unloaded. Handlers that are registered in a handler
    // run next.
    unsafe { on_exit(ending, std::ptr::null_mut()) };
}

#[cfg(not(target_env = "gnu"))]
fn register() {
    extern "C" fn ending() {
        if fails(0) {
            // SAFETY: null means all streams. The process ends here: `exit` must not be called again.
            unsafe {
                libc::fflush(std::ptr::null_mut());
                libc::_exit(EXIT_CODE)
            }
        }
    }

    // SAFETY: the function belongs to this plugin, which is never unloaded.
    unsafe { libc::atexit(ending) };
}
