//! A connector that does nothing but tell which library it was bound to: opening a file fails with a message
//! that holds slot and version. The tests load it under several libhdf5 at once.

use std::ffi::{CString, c_char, c_uint, c_void};

use h5lake_plugin_abi::bindings::*;
use h5lake_plugin_abi::{Hdf5, MAX_LIBRARIES, library};

h5lake_plugin_abi::export_plugin!(class_for, c"probe", 510);

/// A class struct is plain data; HDF5 only reads it.
struct Classes([H5VL_class_t; MAX_LIBRARIES]);

// SAFETY: nothing writes to the structs, and their pointers point to constants.
unsafe impl Sync for Classes {}

static CLASSES: Classes = Classes([
    class::<0>(),
    class::<1>(),
    class::<2>(),
    class::<3>(),
    class::<4>(),
    class::<5>(),
    class::<6>(),
    class::<7>(),
    class::<8>(),
    class::<9>(),
    class::<10>(),
    class::<11>(),
    class::<12>(),
    class::<13>(),
    class::<14>(),
    class::<15>(),
]);

fn class_for(lib: &'static Hdf5) -> *const H5VL_class_t {
    CLASSES.0.get(lib.slot).map_or(std::ptr::null(), |class| class as *const _)
}

const fn class<const SLOT: usize>() -> H5VL_class_t {
    // SAFETY: every field is a number, a pointer or an optional function, for which zero is a value.
    let mut class: H5VL_class_t = unsafe { std::mem::zeroed() };
    class.version = H5VL_VERSION;
    class.value = 510;
    class.name = c"probe".as_ptr();
    class.cap_flags = H5VL_CAP_FLAG_FILE_BASIC;
    class.file_cls.create = Some(file_create::<SLOT>);
    class.file_cls.open = Some(file_open::<SLOT>);
    class.introspect_cls.get_conn_cls = Some(get_conn_cls::<SLOT>);
    class.introspect_cls.get_cap_flags = Some(get_cap_flags);
    class.introspect_cls.opt_query = Some(opt_query);
    class
}

unsafe extern "C" fn file_create<const SLOT: usize>(
    _: *const c_char,
    _: c_uint,
    _: hid_t,
    _: hid_t,
    _: hid_t,
    _: *mut *mut c_void,
) -> *mut c_void {
    tell(SLOT)
}

unsafe extern "C" fn file_open<const SLOT: usize>(
    _: *const c_char,
    _: c_uint,
    _: hid_t,
    _: hid_t,
    _: *mut *mut c_void,
) -> *mut c_void {
    tell(SLOT)
}

/// Fails with a message on the error stack of the library in `slot`.
fn tell(slot: usize) -> *mut c_void {
    let Some(lib) = library(slot) else { return std::ptr::null_mut() };
    let (major, minor, release) = lib.version;
    let text = format!("probe: slot {slot}, HDF5 {major}.{minor}.{release}, errno = 2");
    let Ok(text) = CString::new(text) else { return std::ptr::null_mut() };
    // SAFETY: the format takes one text; the ids are the library's own.
    unsafe {
        (lib.H5Epush2)(
            H5E_DEFAULT,
            c"probe_plugin.rs".as_ptr(),
            c"tell".as_ptr(),
            line!(),
            lib.H5E_ERR_CLS_g(),
            lib.H5E_FILE_g(),
            lib.H5E_CANTOPENFILE_g(),
            c"%s".as_ptr(),
            text.as_ptr(),
        );
    }
    std::ptr::null_mut()
}

unsafe extern "C" fn get_conn_cls<const SLOT: usize>(
    _: *mut c_void,
    _: H5VL_get_conn_lvl_t,
    class: *mut *const H5VL_class_t,
) -> herr_t {
    // SAFETY: HDF5 passes a place for the answer.
    unsafe { *class = &raw const CLASSES.0[SLOT] };
    0
}

unsafe extern "C" fn get_cap_flags(_: *const c_void, flags: *mut u64) -> herr_t {
    // SAFETY: HDF5 passes a place for the answer.
    unsafe { *flags = H5VL_CAP_FLAG_FILE_BASIC };
    0
}

unsafe extern "C" fn opt_query(
    _: *mut c_void,
    _: H5VL_subclass_t,
    _: std::ffi::c_int,
    flags: *mut u64,
) -> herr_t {
    // SAFETY: HDF5 passes a place for the answer.
    unsafe { *flags = 0 };
    0
}
