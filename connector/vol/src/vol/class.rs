//! The class that each libhdf5 is given: one per slot, so that callbacks without an object know the calling library.

use std::ffi::c_void;

use h5lake_plugin_abi::{Hdf5, MAX_LIBRARIES, bindings as sys};

use crate::hdf5::classes;
use crate::hdf5::identity::{NAME, VALUE};
use crate::vol::capabilities::CAPABILITIES;
use crate::vol::thunks;

/// The connector's version in the class.
const VERSION: u32 = 1;

/// A class structure that may be shared between threads.
#[repr(transparent)]
pub struct Class(sys::H5VL_class_t);

// SAFETY: the structure is constant; libhdf5 only reads it.
unsafe impl Sync for Class {}

static CLASSES: [Class; MAX_LIBRARIES] = [
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
];

/// Returns the class for one library. Calls no function of the library: a program's error stack may be waiting to be
/// read.
pub fn class_for(library: &'static Hdf5) -> *const sys::H5VL_class_t {
    crate::log::start();
    let class = &raw const CLASSES[library.slot].0;
    // SAFETY: the class is a static.
    unsafe { classes::remember_own_class(library.slot, class) };
    class
}

const fn class<const SLOT: usize>() -> Class {
    Class(sys::H5VL_class_t {
        version: sys::H5VL_VERSION,
        value: VALUE,
        name: NAME.as_ptr(),
        conn_version: VERSION,
        cap_flags: CAPABILITIES,
        initialize: Some(thunks::info::initialize),
        terminate: Some(thunks::info::terminate),
        info_cls: sys::H5VL_info_class_t {
            size: size_of::<*const c_void>(),
            copy: Some(thunks::info::copy),
            cmp: Some(thunks::info::compare),
            free: Some(thunks::info::free),
            to_str: Some(thunks::info::to_str::<SLOT>),
            from_str: Some(thunks::info::from_str),
        },
        wrap_cls: sys::H5VL_wrap_class_t {
            get_object: Some(thunks::wrap::get_object),
            get_wrap_ctx: Some(thunks::wrap::get_wrap_ctx),
            wrap_object: Some(thunks::wrap::wrap_object),
            unwrap_object: Some(thunks::wrap::unwrap_object),
            free_wrap_ctx: Some(thunks::wrap::free_wrap_ctx),
        },
        attr_cls: thunks::attribute::CLASS,
        dataset_cls: thunks::dataset::CLASS,
        datatype_cls: thunks::datatype::CLASS,
        file_cls: sys::H5VL_file_class_t {
            create: Some(thunks::file::create::<SLOT>),
            open: Some(thunks::file::open::<SLOT>),
            get: Some(thunks::file::get),
            specific: Some(thunks::file::specific::<SLOT>),
            optional: Some(thunks::file::optional),
            close: Some(thunks::file::close),
        },
        group_cls: thunks::group::CLASS,
        link_cls: thunks::link::CLASS,
        object_cls: thunks::object::CLASS,
        introspect_cls: sys::H5VL_introspect_class_t {
            get_conn_cls: Some(thunks::introspect::get_conn_cls::<SLOT>),
            get_cap_flags: Some(thunks::introspect::get_cap_flags),
            opt_query: Some(thunks::introspect::opt_query),
        },
        request_cls: thunks::request::CLASS,
        blob_cls: thunks::blob::CLASS,
        token_cls: thunks::token::CLASS,
        optional: Some(thunks::request::optional),
    })
}
