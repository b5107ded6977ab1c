//! The class that each libhdf5 is given: one per slot, so that callbacks without an object know who calls.

use std::ffi::{CStr, c_void};

use h5lake_ledger::locks::Mutex;
use h5lake_plugin_abi::{Hdf5, MAX_LIBRARIES, bindings as sys};

use super::library::Library;
use super::thunks;
use crate::config::Config;

/// The name that `HDF5_VOL_CONNECTOR` chooses us by.
pub const NAME: &CStr = c"h5lake";

/// Our connector value: 256 to 511 are for connectors that are not registered with The HDF Group.
pub const VALUE: i32 = 496;

/// Version of the connector, as the class carries it.
const VERSION: u32 = 1;

/// What works (`H5VL_CAP_FLAG_*`): a flag that is not here names what answers with an error.
pub const CAPABILITIES: u64 = sys::H5VL_CAP_FLAG_ATTR_BASIC
    | sys::H5VL_CAP_FLAG_ATTR_MORE
    | sys::H5VL_CAP_FLAG_DATASET_BASIC
    | sys::H5VL_CAP_FLAG_DATASET_MORE
    | sys::H5VL_CAP_FLAG_FILE_BASIC
    | sys::H5VL_CAP_FLAG_FILE_MORE
    | sys::H5VL_CAP_FLAG_GROUP_BASIC
    | sys::H5VL_CAP_FLAG_GROUP_MORE
    | sys::H5VL_CAP_FLAG_LINK_BASIC
    | sys::H5VL_CAP_FLAG_LINK_MORE
    | sys::H5VL_CAP_FLAG_OBJECT_BASIC
    | sys::H5VL_CAP_FLAG_OBJECT_MORE
    | sys::H5VL_CAP_FLAG_REF_BASIC
    | sys::H5VL_CAP_FLAG_REF_MORE
    | sys::H5VL_CAP_FLAG_OBJ_REF
    | sys::H5VL_CAP_FLAG_REG_REF
    | sys::H5VL_CAP_FLAG_ATTR_REF
    | sys::H5VL_CAP_FLAG_STORED_DATATYPES
    | sys::H5VL_CAP_FLAG_CREATION_ORDER
    | sys::H5VL_CAP_FLAG_ITERATE
    | sys::H5VL_CAP_FLAG_STORAGE_SIZE
    | sys::H5VL_CAP_FLAG_BY_IDX
    | sys::H5VL_CAP_FLAG_GET_PLIST
    | sys::H5VL_CAP_FLAG_FLUSH_REFRESH
    | sys::H5VL_CAP_FLAG_EXTERNAL_LINKS
    | sys::H5VL_CAP_FLAG_HARD_LINKS
    | sys::H5VL_CAP_FLAG_UD_LINKS
    | sys::H5VL_CAP_FLAG_MOUNT
    | sys::H5VL_CAP_FLAG_SOFT_LINKS
    | sys::H5VL_CAP_FLAG_TRACK_TIMES
    | sys::H5VL_CAP_FLAG_FILTERS
    | sys::H5VL_CAP_FLAG_FILL_VALUES;

/// The connector string that a file access list carries, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The string as given.
    pub text: Vec<u8>,
    /// The settings, or why there are none: told when a file is opened.
    pub config: Result<Config, String>,
}

impl Info {
    /// Reads a connector string. Never fails: an error is kept for the first file.
    pub fn read(text: &[u8]) -> Self {
        let config = match std::str::from_utf8(text) {
            Ok(string) => Config::parse(string),
            Err(_) => Err("the connector string is not UTF-8".to_owned()),
        };
        Self { text: text.to_vec(), config }
    }
}

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

/// The class for one library. Calls nothing in it: a program's error stack may be waiting to be read.
pub fn class_for(library: &'static Hdf5) -> *const sys::H5VL_class_t {
    &raw const CLASSES[library.slot].0
}

/// The class of a slot.
pub(super) fn class_of(library: Library) -> *const sys::H5VL_class_t {
    &raw const CLASSES[library.slot()].0
}

/// The native class of each library, learned when the first file is opened; the introspection callback must know it
/// without making a file.
static NATIVE_CLASSES: Mutex<[usize; MAX_LIBRARIES]> = Mutex::new([0; MAX_LIBRARIES]);

/// Remembers the native class of a library.
pub(super) fn remember_native_class(library: Library, class: *const sys::H5VL_class_t) {
    NATIVE_CLASSES.lock()[library.slot()] = class as usize;
}

/// The native class of a library, once a file has been opened in it.
pub(super) fn native_class(library: Library) -> Option<*const sys::H5VL_class_t> {
    let class = NATIVE_CLASSES.lock()[library.slot()];
    (class != 0).then_some(class as *const sys::H5VL_class_t)
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
