//! The connector class for a library that cannot be bound. It opens no files.
//!
//! If a plugin that the user requested returns no class, HDF5 1.14 continues without the plugin and writes native files, and 2.x crashes at
//! the next file (both were observed). Therefore a library with the same version of the connector interface gets a class with which all
//! files fail. An older library continues without a connector, whatever class it gets.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::io::Write as _;
use std::sync::Once;

use crate::BindError;
use crate::bindings::*;

/// The classes for libraries that cannot be bound, with the name of the connector.
#[doc(hidden)]
pub struct RefusedClass {
    /// The class with which no file can be opened.
    closed: H5VL_class_t,
    /// A class with an interface version that no library before 1.14.0 knows, and without functions, wherever they would be in the struct
    /// of such a library. The library skips this class without an error (`H5VL_check_plugin_load`), while NULL would add four frames to the
    /// error report that it prints.
    newer: H5VL_class_t,
}

// SAFETY: the struct is constant, HDF5 only reads it.
unsafe impl Sync for RefusedClass {}

impl RefusedClass {
    /// Makes the classes for a connector with this name and value.
    pub const fn new(name: &'static CStr, value: c_int) -> RefusedClass {
        let newer = named(name, value);
        let mut class = named(name, value);
        class.cap_flags = H5VL_CAP_FLAG_FILE_BASIC;
        class.file_cls.create = Some(create);
        class.file_cls.open = Some(open);
        class.file_cls.specific = Some(specific);
        class.introspect_cls.get_conn_cls = Some(get_conn_cls);
        class.introspect_cls.get_cap_flags = Some(get_cap_flags);
        class.introspect_cls.opt_query = Some(opt_query);
        RefusedClass { closed: class, newer }
    }

    /// Returns the name of the connector.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: `new` took the pointer from a `&'static CStr`.
        unsafe { CStr::from_ptr(self.closed.name) }
    }

    /// Returns the class for a library that was refused for `reason`. It is NULL if the plugin may be unloaded.
    pub(crate) fn for_reason(&self, reason: &BindError) -> *const H5VL_class_t {
        match reason {
            BindError::NotPinned { .. } => std::ptr::null(),
            BindError::TooOld { .. } => &raw const self.newer,
            _ => &raw const self.closed,
        }
    }
}

/// Returns a class with our version of the interface and without functions.
const fn named(name: &'static CStr, value: c_int) -> H5VL_class_t {
    // SAFETY: every field is a number, a pointer or an optional function, for which zero is a value.
    let mut class: H5VL_class_t = unsafe { std::mem::zeroed() };
    class.version = H5VL_VERSION;
    class.value = value;
    class.name = name.as_ptr();
    class
}

/// Prints once why files fail. Without a symbol table, the reason cannot be put on the error stack.
fn tell() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for reason in crate::refusals() {
            // A closed stderr is not an error.
            writeln!(std::io::stderr(), "h5lake: cannot open any file: {reason}").ok();
        }
    });
}

unsafe extern "C" fn create(
    _: *const c_char,
    _: c_uint,
    _: hid_t,
    _: hid_t,
    _: hid_t,
    _: *mut *mut c_void,
) -> *mut c_void {
    tell();
    std::ptr::null_mut()
}

unsafe extern "C" fn open(
    _: *const c_char,
    _: c_uint,
    _: hid_t,
    _: hid_t,
    _: *mut *mut c_void,
) -> *mut c_void {
    tell();
    std::ptr::null_mut()
}

/// Answers HDF5's query whether this connector can open a file with no, so that native files stay native. All other operations fail.
unsafe extern "C" fn specific(
    _: *mut c_void,
    args: *mut H5VL_file_specific_args_t,
    _: hid_t,
    _: *mut *mut c_void,
) -> herr_t {
    // SAFETY: HDF5 passes initialized arguments; for this operation they contain a pointer to the answer.
    unsafe {
        if (*args).op_type != H5VL_FILE_IS_ACCESSIBLE || (*args).args.is_accessible.accessible.is_null() {
            return -1;
        }
        *(*args).args.is_accessible.accessible = false;
    }
    0
}

/// Fails, because no objects exist that could be queried.
unsafe extern "C" fn get_conn_cls(
    _: *mut c_void,
    _: H5VL_get_conn_lvl_t,
    _: *mut *const H5VL_class_t,
) -> herr_t {
    -1
}

unsafe extern "C" fn get_cap_flags(_: *const c_void, flags: *mut u64) -> herr_t {
    // SAFETY: HDF5 passes a valid pointer to the answer.
    unsafe { *flags = H5VL_CAP_FLAG_FILE_BASIC };
    0
}

unsafe extern "C" fn opt_query(_: *mut c_void, _: H5VL_subclass_t, _: c_int, flags: *mut u64) -> herr_t {
    // SAFETY: HDF5 passes a valid pointer to the answer.
    unsafe { *flags = 0 };
    0
}
