//! C strings and buffers for HDF5 to fill or read.

use std::ffi::{CStr, CString, c_char};

use crate::error::{Error, Result};

/// Returns the bytes of a C string from libhdf5.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string that outlives `'a`.
pub unsafe fn bytes<'a>(text: *const c_char, what: &str) -> Result<&'a [u8]> {
    if text.is_null() {
        return Err(Error::argument(format!("{what} is a null pointer")));
    }
    // SAFETY: not null, and terminated as the caller says.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// Does the same as [`bytes()`], but returns `None` for a null pointer.
///
/// # Safety
/// As for [`bytes()`].
pub unsafe fn optional_bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: not null, and terminated as the caller says.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// Makes a C string of bytes that must not contain a NUL.
pub fn c_string(text: impl Into<Vec<u8>>, what: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::argument(format!("{what} holds a NUL byte")))
}

/// A buffer for C strings that are needed one after the other.
#[derive(Debug, Default)]
pub struct Terminated(Vec<u8>);

impl Terminated {
    /// Returns a C string of bytes that must not contain a NUL, valid until the next call.
    ///
    /// # Errors
    /// If they contain one; `what` names the bytes.
    pub fn set(&mut self, text: &[u8], what: &str) -> Result<&CStr> {
        self.0.clear();
        self.0.extend_from_slice(text);
        self.0.push(0);
        CStr::from_bytes_with_nul(&self.0).map_err(|_| Error::argument(format!("{what} holds a NUL byte")))
    }
}

/// Copies `text` into a name buffer of `size` bytes as HDF5's name getters do: truncated to fit, always terminated.
///
/// # Safety
/// `buffer` is null or has `size` writable bytes.
pub unsafe fn fill_name(text: &[u8], buffer: *mut c_char, size: usize) {
    if buffer.is_null() || size == 0 {
        return;
    }
    let length = text.len().min(size - 1);
    // SAFETY: `length + 1 <= size` bytes are writable.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast::<c_char>(), buffer, length);
        *buffer.add(length) = 0;
    }
}

/// Copies `text` into a buffer of `size` bytes as `strncpy` does: a text that fills the buffer is not terminated.
/// Native HDF5 returns comments in this way, and its tools pass a buffer of exactly the comment's length.
///
/// # Safety
/// `buffer` is null or has `size` writable bytes.
pub unsafe fn fill_text(text: &[u8], buffer: *mut c_char, size: usize) {
    // SAFETY: at most `size` bytes are written, with one of them for the terminator if the text is shorter.
    unsafe {
        fill_bytes(text, buffer.cast(), size);
        if !buffer.is_null() && text.len() < size {
            *buffer.add(text.len()) = 0;
        }
    }
}

/// Copies raw bytes into a buffer of `size` bytes, truncated to fit.
///
/// # Safety
/// `buffer` is null or has `size` writable bytes.
pub unsafe fn fill_bytes(value: &[u8], buffer: *mut std::ffi::c_void, size: usize) {
    if !buffer.is_null() {
        // SAFETY: at most `size` bytes are written.
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), buffer.cast::<u8>(), value.len().min(size)) };
    }
}

/// Stores an answer in HDF5's place for it; a null pointer means that the answer is not needed.
///
/// # Safety
/// `place` is null or writable and aligned.
pub unsafe fn answer<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: writable as the caller says.
        unsafe { place.write(value) };
    }
}

impl crate::hdf5::library::Library {
    /// Makes a terminated copy of `text` in memory that libhdf5 frees.
    pub fn allocate_string(self, text: &[u8]) -> Result<*mut c_char> {
        // SAFETY: any size may be requested.
        let buffer = unsafe { (self.table().H5allocate_memory)(text.len() + 1, true) }.cast::<c_char>();
        if buffer.is_null() {
            return Err(Error::call("H5allocate_memory"));
        }
        // SAFETY: the buffer has space for the text and its terminator.
        unsafe { fill_name(text, buffer, text.len() + 1) };
        Ok(buffer)
    }
}
