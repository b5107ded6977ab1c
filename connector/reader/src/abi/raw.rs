//! The structs of `include/h5lake_reader.h`.

use std::ffi::{c_char, c_void};

/// `H5LAKE_READER_VERSION`.
pub const VERSION: u32 = 1;

/// The bytes of an error's text.
pub const TEXT: usize = 1016;

/// `h5lake_reader_error`.
#[repr(C)]
pub struct ErrorOut {
    pub kind: i32,
    pub errno_value: i32,
    pub text: [u8; TEXT],
}

/// `h5lake_reader_bytes`: the parts of a vector.
#[repr(C)]
pub struct Bytes {
    data: *mut u8,
    size: u64,
    /// The capacity.
    reserved: u64,
}

/// `h5lake_reader_read`.
#[repr(C)]
pub struct ReadRequest {
    pub dataset: u64,
    pub selection: *const u64,
    pub buffer: *mut c_void,
    pub size: u64,
    pub pool: Bytes,
    pub rank: u32,
    pub reserved: u32,
}

/// `h5lake_reader_table`.
#[repr(C)]
pub struct Table {
    pub size: u32,
    pub version: u32,
    pub open: unsafe extern "C" fn(*const c_char, *const c_char, *mut u64, *mut ErrorOut) -> i32,
    pub close: unsafe extern "C" fn(u64, *mut ErrorOut) -> i32,
    pub refresh: unsafe extern "C" fn(u64, *mut i32, *mut ErrorOut) -> i32,
    pub describe: Ask,
    pub list: Ask,
    pub attributes: Ask,
    pub attribute: unsafe extern "C" fn(
        u64,
        *const c_char,
        *const c_char,
        *mut Bytes,
        *mut Bytes,
        *mut Bytes,
        *mut ErrorOut,
    ) -> i32,
    pub open_dataset: unsafe extern "C" fn(u64, *const c_char, *mut u64, *mut ErrorOut) -> i32,
    pub describe_dataset: unsafe extern "C" fn(u64, *mut Bytes, *mut ErrorOut) -> i32,
    pub read: unsafe extern "C" fn(u64, u32, *const u64, *mut c_void, u64, *mut Bytes, *mut ErrorOut) -> i32,
    pub read_many: unsafe extern "C" fn(*mut ReadRequest, u64, u32, *mut ErrorOut) -> i32,
    pub read_chunk: unsafe extern "C" fn(u64, u32, *const u64, *mut Bytes, *mut u32, *mut ErrorOut) -> i32,
    pub release: unsafe extern "C" fn(*mut Bytes),
    pub open_adopted:
        unsafe extern "C" fn(*const c_char, *const c_char, *const c_char, *mut u64, *mut ErrorOut) -> i32,
}

/// A call that answers with JSON for a path.
pub type Ask = unsafe extern "C" fn(u64, *const c_char, *mut Bytes, *mut ErrorOut) -> i32;

/// Passes bytes to the caller, unless the place is null.
///
/// # Safety
/// `place` is null or writable.
pub unsafe fn set_bytes(place: *mut Bytes, bytes: Vec<u8>) {
    if place.is_null() {
        return;
    }
    let mut bytes = std::mem::ManuallyDrop::new(bytes);
    let data = if bytes.is_empty() { std::ptr::null_mut() } else { bytes.as_mut_ptr() };
    let made = Bytes { data, size: bytes.len() as u64, reserved: bytes.capacity() as u64 };
    if bytes.is_empty() {
        drop(std::mem::ManuallyDrop::into_inner(bytes));
    }
    // SAFETY: the caller's promise.
    unsafe { place.write(made) };
}

/// Frees bytes that [`set_bytes`] passed to the caller, and empties the place.
///
/// # Safety
/// `place` is null, empty, or as `set_bytes` left it.
pub unsafe fn release(place: *mut Bytes) {
    if place.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { place.replace(Bytes { data: std::ptr::null_mut(), size: 0, reserved: 0 }) };
    if !bytes.data.is_null() {
        // SAFETY: these are the parts of a vector, which nothing else frees.
        drop(unsafe { Vec::from_raw_parts(bytes.data, bytes.size as usize, bytes.reserved as usize) });
    }
}
