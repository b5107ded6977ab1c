//! The connector of a library that cannot be served: it opens nothing.
//!
//! If a plugin that the user asked for gives no class, HDF5 1.14 goes on without it and writes native files,
//! and 2.x crashes at the next file (both seen). So a library that speaks our version of the interface gets
//! a class here whose files all fail. An older library goes on without a connector, whatever it is given.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::io::Write as _;
use std::sync::Once;

use crate::BindError;
use crate::bindings::*;

/// The answers to libraries that cannot be served, under the connector's own name.
#[doc(hidden)]
pub struct RefusedClass {
    /// Its files cannot be opened.
    closed: H5VL_class_t,
    /// It has a version that no library before 1.14.0 knows, and no functions, wherever these would lie in the
    /// struct of such a library. The library passes over it without an error (`H5VL_check_plugin_load`), while
    /// NULL adds four frames to the report that it prints.
    newer: H5VL_class_t,
}

// SAFETY: the struct is constant, HDF5 only reads it.
unsafe impl Sync for RefusedClass {}

impl RefusedClass {
    /// The classes for a connector of that name and value.
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

    /// The connector's name.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: `new` took the pointer from a `&'static CStr`.
        unsafe { CStr::from_ptr(self.closed.name) }
    }

    /// The class for a library that was refused for `reason`: NULL if the plugin may be unloaded.
    pub(crate) fn for_reason(&self, reason: &BindError) -> *const H5VL_class_t {
        match reason {
            BindError::NotPinned { .. } => std::ptr::null(),
            BindError::TooOld { .. } => &raw const self.newer,
            _ => &raw const self.closed,
        }
    }
}

/// A class of our version of the interface without any function.
const fn named(name: &'static CStr, value: c_int) -> H5VL_class_t {
    // SAFETY: every field is a number, a pointer or an optional function, for which zero is a value.
    let mut class: H5VL_class_t = unsafe { std::mem::zeroed() };
    class.version = H5VL_VERSION;
    class.value = value;
    class.name = name.as_ptr();
    class
}

/// Says once why files fail: without a table there is no way to the error stack.
fn tell() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for reason in crate::refusals() {
            // A closed stderr is no reason to fail.
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

/// "Not ours" to HDF5's question who can open a file, so that native files stay native; else failure.
unsafe extern "C" fn specific(
    _: *mut c_void,
    args: *mut H5VL_file_specific_args_t,
    _: hid_t,
    _: *mut *mut c_void,
) -> herr_t {
    // SAFETY: HDF5 passes filled arguments; for this operation they hold a place for the answer.
    unsafe {
        if (*args).op_type != H5VL_FILE_IS_ACCESSIBLE || (*args).args.is_accessible.accessible.is_null() {
            return -1;
        }
        *(*args).args.is_accessible.accessible = false;
    }
    0
}

/// There are no objects to be asked about.
unsafe extern "C" fn get_conn_cls(
    _: *mut c_void,
    _: H5VL_get_conn_lvl_t,
    _: *mut *const H5VL_class_t,
) -> herr_t {
    -1
}

unsafe extern "C" fn get_cap_flags(_: *const c_void, flags: *mut u64) -> herr_t {
    // SAFETY: HDF5 passes a place for the answer.
    unsafe { *flags = H5VL_CAP_FLAG_FILE_BASIC };
    0
}

unsafe extern "C" fn opt_query(_: *mut c_void, _: H5VL_subclass_t, _: c_int, flags: *mut u64) -> herr_t {
    // SAFETY: HDF5 passes a place for the answer.
    unsafe { *flags = 0 };
    0
}
