//! The connector string: stored behind the connector's info pointer.

use std::ffi::{c_char, c_int, c_void};

use super::{FAIL, OK};
use crate::error::{Error, Major};
use crate::hdf5::guard::guard;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::strings;
use crate::names::keys;
use crate::vol::info::Info;

/// Records the working directory of the process. All other initialization happens with the first file.
pub unsafe extern "C" fn initialize(_properties: Hid) -> c_int {
    keys::record_working_directory();
    OK
}

/// Does nothing: files are closed by their own callbacks before this runs.
pub unsafe extern "C" fn terminate() -> c_int {
    OK
}

/// Copies an info.
pub unsafe extern "C" fn copy(info: *const c_void) -> *mut c_void {
    guard(None, "h5lake_info_copy", Major::Connector, std::ptr::null_mut(), || {
        // SAFETY: null or made by `from_str` or by this function.
        let info = unsafe { info.cast::<Info>().as_ref() }.cloned().unwrap_or_else(|| Info::read(b""));
        Ok(Box::into_raw(Box::new(info)).cast())
    })
}

/// Compares two infos by their text.
pub unsafe extern "C" fn compare(result: *mut c_int, first: *const c_void, second: *const c_void) -> c_int {
    guard(None, "h5lake_info_cmp", Major::Connector, FAIL, || {
        // SAFETY: null or made by `from_str` or `copy`; the answer's place is writable.
        unsafe {
            let first = first.cast::<Info>().as_ref().map(|info| &info.text);
            let second = second.cast::<Info>().as_ref().map(|info| &info.text);
            strings::answer(result, first.cmp(&second) as c_int);
        }
        Ok(OK)
    })
}

/// Frees an info.
pub unsafe extern "C" fn free(info: *mut c_void) -> c_int {
    if !info.is_null() {
        // SAFETY: made by `from_str` or `copy`, freed once.
        drop(unsafe { Box::from_raw(info.cast::<Info>()) });
    }
    OK
}

/// Reads a connector string. It never fails: a library that cannot start its connector writes native files.
pub unsafe extern "C" fn from_str(text: *const c_char, info: *mut *mut c_void) -> c_int {
    guard(None, "h5lake_info_from_str", Major::Connector, FAIL, || {
        // SAFETY: null or terminated; the answer's place is writable.
        unsafe {
            let read = Info::read(strings::optional_bytes(text).unwrap_or_default());
            strings::answer(info, Box::into_raw(Box::new(read)).cast());
        }
        Ok(OK)
    })
}

/// Writes an info as a string, in memory that libhdf5 frees.
pub unsafe extern "C" fn to_str<const SLOT: usize>(info: *const c_void, text: *mut *mut c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { to_str_in(super::in_slot(SLOT), info, text) }
}

#[inline(never)]
unsafe fn to_str_in(library: Option<Library>, info: *const c_void, text: *mut *mut c_char) -> c_int {
    guard(library, "h5lake_info_to_str", Major::Connector, FAIL, || {
        let library = library.ok_or_else(|| Error::call("H5PLget_plugin_info"))?;
        // SAFETY: null or made by `from_str` or `copy`.
        let info = unsafe { info.cast::<Info>().as_ref() };
        let string = info.map(|info| info.text.clone()).unwrap_or_default();
        let allocated = library.allocate_string(&string)?;
        // SAFETY: the answer's place is writable.
        unsafe { strings::answer(text, allocated) };
        Ok(OK)
    })
}
