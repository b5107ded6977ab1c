//! Keeps the plugin loaded.

use std::ffi::c_void;

use crate::BindError;
use crate::resolve::object_of;

/// Makes the shared object with this code stay loaded until the process ends.
///
/// H5close unloads plugins while the connector's threads, thread-local destructors and exit handlers still need their code. Repeated calls
/// are cheap. Does nothing in a program that is linked with this crate.
///
/// # Errors
///
/// Returns [`BindError::NotPinned`] with the message of the dynamic linker.
pub fn pin_self() -> Result<(), BindError> {
    let here = pin_self as *const () as usize;
    let (base, name) = object_of(here).ok_or(BindError::NoObject { address: here })?;
    if crate::resolve::main_program() == Some(base) {
        return Ok(());
    }
    // SAFETY: the name is NUL-terminated; RTLD_NOLOAD loads nothing, RTLD_NODELETE only sets a mark.
    let handle: *mut c_void =
        unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_NODELETE | libc::RTLD_LAZY) };
    if !handle.is_null() {
        // SAFETY: the handle was just opened and is closed once; the RTLD_NODELETE mark stays.
        unsafe { libc::dlclose(handle) };
        return Ok(());
    }
    Err(BindError::NotPinned {
        library: name.to_string_lossy().into_owned(),
        reason: "RTLD_NOLOAD does not find it".to_owned(),
    })
}
