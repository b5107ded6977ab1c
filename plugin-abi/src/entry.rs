//! The entry points that HDF5 calls after it has opened the plugin.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use crate::bindings::H5VL_class_t;
use crate::refused::RefusedClass;
use crate::{BindError, Hdf5, library_at, pin_self};

/// The reasons why the plugin gave libraries no connector, oldest first.
static REFUSALS: Mutex<Vec<BindError>> = Mutex::new(Vec::new());

/// The maximum length of [`REFUSALS`], because a program may try again any number of times.
const MAX_REFUSALS: usize = 64;

/// Returns the connector class for the library that contains `return_address`.
///
/// A library that cannot be bound gets a `refused` class, with which every file fails. A library with an older version of the connector
/// interface gets a class that it ignores, and writes native files. If the environment names this connector, one line on stderr says so.
/// Otherwise nothing is printed during loading, because a program may search the plugin folder for another plugin. The reason is stored
/// ([`refusals`]), and is also printed on stderr if the environment contains `H5LAKE_LOG`.
///
/// Used by [`export_plugin!`](crate::export_plugin).
#[doc(hidden)]
pub fn plugin_info(
    return_address: usize,
    class_for: fn(&'static Hdf5) -> *const H5VL_class_t,
    refused: &'static RefusedClass,
) -> *const c_void {
    // An unwinding panic must not reach C.
    let class = catch_unwind(AssertUnwindSafe(|| -> Result<_, BindError> {
        // The plugin is pinned first, because the refused class is in its memory, too.
        pin_self()?;
        let lib = library_at(return_address)?;
        Ok(class_for(lib))
    }));
    let reason = match class {
        Ok(Ok(class)) => return class.cast(),
        Ok(Err(reason)) => reason,
        Err(_) => BindError::Panicked,
    };
    let class = refused.for_reason(&reason);
    let is_native = matches!(reason, BindError::TooOld { .. } | BindError::NotPinned { .. });
    let is_wanted = std::env::var_os("HDF5_VOL_CONNECTOR").is_some_and(|chosen| {
        chosen.as_bytes().split(|byte| *byte == b' ').next() == Some(refused.name().to_bytes())
    });
    keep(reason, is_wanted && is_native);
    class.cast()
}

/// Stores a reason and prints it, each reason once. `is_native` says that the user chose this connector and that the library continues
/// without it.
fn keep(reason: BindError, is_native: bool) {
    let mut kept = REFUSALS.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.contains(&reason) || kept.len() >= MAX_REFUSALS {
        return;
    }
    let is_logged = std::env::var_os("H5LAKE_LOG").is_some_and(|value| !value.is_empty());
    // A closed stderr is not an error.
    if is_native {
        writeln!(std::io::stderr(), "h5lake: {reason}. Its files are native ones").ok();
    } else if is_logged {
        writeln!(std::io::stderr(), "h5lake: not loaded: {reason}").ok();
    }
    if is_native && is_logged {
        writeln!(
            std::io::stderr(),
            "h5lake: the report of HDF5 that may follow is about the connector alone"
        )
        .ok();
    }
    kept.push(reason);
}

/// Returns the reasons why libraries of this process got no connector, oldest first. Empty if all libraries got one. At most 64 reasons are
/// stored.
pub fn refusals() -> Vec<BindError> {
    REFUSALS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Checks a string with `check`. Returns 0 if `check` accepts the string. Otherwise returns 1 and writes the reason into a buffer: UTF-8
/// with a terminating zero, truncated to the size of the buffer. For [`export_check!`](crate::export_check).
///
/// # Safety
///
/// `string` is terminated by a zero, and `why` has `size` writable bytes.
#[doc(hidden)]
pub unsafe fn check_string(
    string: *const c_char,
    why: *mut c_char,
    size: usize,
    check: fn(&str) -> Result<(), String>,
) -> c_int {
    // SAFETY: the caller's promise.
    let string = unsafe { CStr::from_ptr(string) };
    // An unwinding panic must not reach C.
    let checked = catch_unwind(|| check(string.to_str().map_err(|_| "the connector string is not UTF-8")?));
    let reason = match checked {
        Ok(Ok(())) => return 0,
        Ok(Err(reason)) => reason,
        Err(_) => BindError::Panicked.to_string(),
    };
    if let Some(most) = size.checked_sub(1) {
        let end = (0..=most.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
        let bytes = &reason.as_bytes()[..end.unwrap_or(0)];
        // SAFETY: the bytes and their terminating zero fit into the buffer.
        unsafe {
            why.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            why.add(bytes.len()).write(0);
        }
    }
    1
}

/// Exports a function `int NAME(const char *string, char *why, size_t size)` that checks a string, for programs that open the plugin
/// themselves. The function returns 0 if `fn(&str) -> Result<(), String>` accepts the string. Otherwise it returns 1, and `why` contains
/// the reason: UTF-8 with a terminating zero, truncated to `size` bytes.
#[macro_export]
macro_rules! export_check {
    ($name:ident, $check:path) => {
        const _: () = {
            /// Checks a string. Returns 0, or 1 and a reason.
            ///
            /// # Safety
            ///
            /// `string` is terminated by a zero, and `why` has `size` writable bytes.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name(
                string: *const ::core::ffi::c_char,
                why: *mut ::core::ffi::c_char,
                size: usize,
            ) -> ::core::ffi::c_int {
                // SAFETY: the caller's promise.
                unsafe { $crate::check_string(string, why, size, $check) }
            }
        };
    };
}

/// Exports `H5PLget_plugin_type` and `H5PLget_plugin_info` from a shared library.
///
/// The first argument is a function `fn(&'static Hdf5) -> *const H5VL_class_t` that returns the class struct for a library. The struct must
/// live as long as the process. The function must not call HDF5, because the error stack of the program is in use while plugins are
/// searched. The other two arguments are the name and value of the connector. They are used for the class of a library that cannot be
/// bound, with which every file fails instead of becoming a native file.
///
/// The calling library is identified by the return address. Rust code cannot read its own return address, so the exported function is
/// naked: it reads the address from the register or stack slot of the platform and jumps to an ordinary function.
#[macro_export]
macro_rules! export_plugin {
    ($class_for:path, $name:expr, $value:expr) => {
        const _: () = {
            /// Returns the kind of this plugin: a VOL connector.
            #[unsafe(no_mangle)]
            pub extern "C" fn H5PLget_plugin_type() -> $crate::bindings::H5PL_type_t {
                $crate::bindings::H5PL_TYPE_VOL
            }

            static REFUSED: $crate::RefusedClass = $crate::RefusedClass::new($name, $value);

            extern "C" fn info_for(return_address: usize) -> *const ::core::ffi::c_void {
                $crate::plugin_info(return_address, $class_for, &REFUSED)
            }

            /// Returns the connector class for the calling library, or NULL.
            #[cfg(target_arch = "x86_64")]
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            pub extern "C" fn H5PLget_plugin_info() -> *const ::core::ffi::c_void {
                // SAFETY: on entry the return address is on top of the stack; the jump leaves stack and
                // return address as they were, and the target has the same return type.
        ::core::arch::naked_asm!("endbr64", "mov rdi, [rsp]", "jmp {f}", f = sym info_for)
            }

            /// Returns the connector class for the calling library, or NULL.
            #[cfg(target_arch = "aarch64")]
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            pub extern "C" fn H5PLget_plugin_info() -> *const ::core::ffi::c_void {
                // SAFETY: on entry x30 holds the return address, not yet signed; the branch leaves it there.
                // hint #34 is `bti c`: this function is called through a pointer.
        ::core::arch::naked_asm!("hint #34", "mov x0, x30", "b {f}", f = sym info_for)
            }

            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            compile_error!("h5lake finds the calling HDF5 library on x86_64 and aarch64 only");
        };
    };
}
