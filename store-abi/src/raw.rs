//! Declares the parts of `h5lake_store.h` under their C names. The header documents each part.
#![allow(missing_docs, reason = "the header has the documentation")]

use std::ffi::{c_char, c_void};

pub const VERSION: u32 = 1;

pub const OK: i32 = 0;
pub const NOT_FOUND: i32 = 1;
pub const NO_STORE: i32 = 2;
pub const EXISTS: i32 = 3;
pub const CHANGED: i32 = 4;
pub const DENIED: i32 = 5;
pub const NO_CREDENTIALS: i32 = 6;
pub const UNSUPPORTED: i32 = 7;
pub const TIMED_OUT: i32 = 8;
pub const UNAVAILABLE: i32 = 9;
pub const NO_SPACE: i32 = 10;
pub const DAMAGED: i32 = 11;
pub const BAD_REQUEST: i32 = 12;
pub const FAILED: i32 = 13;
pub const RETRY: i32 = 0x100;
pub const MORE: i32 = 0x200;
pub const UNCHANGED: i32 = 0x400;

pub const GO_ON: i32 = 0;
pub const ENOUGH: i32 = 1;
pub const REFUSED: i32 = -1;

pub const ATOMIC_CREATE: u64 = 1;
pub const ATOMIC_UPDATE: u64 = 2;
pub const RANGES: u64 = 4;
pub const ORDERED_LIST: u64 = 8;
pub const NESTED_KEYS: u64 = 16;
pub const PERSISTENT: u64 = 32;
pub const REMOTE: u64 = 64;
/// All bits that this version knows.
pub const ALL_CAPABILITIES: u64 = 127;

pub const OVERWRITE: u32 = 0;
pub const CREATE: u32 = 1;
pub const UPDATE: u32 = 2;

pub const SYNC: u64 = 1;

/// The symbol that a library exports.
pub const SYMBOL: &str = "h5lake_store_library_of";

/// The type of that symbol.
pub type LibraryOf = unsafe extern "C" fn(version: u32) -> *const Library;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Object {
    pub size: u32,
    pub version: u32,
    pub key: *const c_char,
    pub key_length: u64,
    pub length: u64,
    pub seconds: i64,
    pub nanoseconds: u32,
    pub reserved: u32,
    pub etag: *const c_char,
    pub etag_length: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    pub size: u32,
    pub version: u32,
    pub store: *mut c_void,
    pub capabilities: u64,
    pub name: *const c_char,
    pub name_length: u64,
    pub prefix: *const c_char,
    pub prefix_length: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    pub size: u32,
    pub version: u32,
    pub opened: unsafe extern "C" fn(call: u64, opened: *const Opened) -> i32,
    pub object: unsafe extern "C" fn(call: u64, object: *const Object) -> i32,
    pub bytes: unsafe extern "C" fn(call: u64, bytes: *const c_void, length: u64) -> i32,
    pub payload:
        unsafe extern "C" fn(call: u64, offset: u64, bytes: *mut *const c_void, length: *mut u64) -> i32,
    pub detail: unsafe extern "C" fn(call: u64, text: *const c_char, length: u64) -> i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub size: u32,
    pub version: u32,
    pub host: *const Host,
    pub number: u64,
    pub milliseconds: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Open {
    pub size: u32,
    pub version: u32,
    pub url: *const c_char,
    pub url_length: u64,
    pub flags: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Read {
    pub size: u32,
    pub version: u32,
    pub key: *const c_char,
    pub key_length: u64,
    pub offset: u64,
    pub length: u64,
    pub etag: *const c_char,
    pub etag_length: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Write {
    pub size: u32,
    pub version: u32,
    pub key: *const c_char,
    pub key_length: u64,
    pub length: u64,
    pub mode: u32,
    pub reserved: u32,
    pub etag: *const c_char,
    pub etag_length: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Remove {
    pub size: u32,
    pub version: u32,
    pub key: *const c_char,
    pub key_length: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct List {
    pub size: u32,
    pub version: u32,
    pub prefix: *const c_char,
    pub prefix_length: u64,
    pub after: *const c_char,
    pub after_length: u64,
    pub limit: u64,
}

/// The description of a library. Functions are optional here, because a library may omit one against the rules. Only
/// `read_if_changed` may be missing.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Library {
    pub size: u32,
    pub version: u32,
    pub name: *const c_char,
    pub schemes: *const *const c_char,
    pub open: Option<unsafe extern "C" fn(*const Call, *const Open) -> i32>,
    pub close: Option<unsafe extern "C" fn(*mut c_void)>,
    pub read: Option<unsafe extern "C" fn(*mut c_void, *const Call, *const Read) -> i32>,
    pub write: Option<unsafe extern "C" fn(*mut c_void, *const Call, *const Write) -> i32>,
    pub remove: Option<unsafe extern "C" fn(*mut c_void, *const Call, *const Remove) -> i32>,
    pub list: Option<unsafe extern "C" fn(*mut c_void, *const Call, *const List) -> i32>,
    pub read_if_changed: Option<unsafe extern "C" fn(*mut c_void, *const Call, *const Read) -> i32>,
}

// SAFETY: the struct is constant, and so is everything that it points to.
unsafe impl Sync for Library {}
