//! Token callbacks.

use std::ffi::{c_char, c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use super::{FAIL, OK, status};
use crate::error::{Error, Major};
use crate::handles::Handle;
use crate::hdf5::strings;
use crate::hdf5::token;
use crate::vol::passthrough::forward;

/// The callbacks of tokens.
pub const CLASS: sys::H5VL_token_class_t =
    sys::H5VL_token_class_t { cmp: Some(compare), to_str: Some(to_str), from_str: Some(from_str) };

unsafe extern "C" fn compare(
    object: *mut c_void,
    first: *const sys::H5O_token_t,
    second: *const sys::H5O_token_t,
    answer: *mut c_int,
) -> c_int {
    // SAFETY: both tokens are null or readable, the answer's place is writable.
    unsafe {
        forward!(call H5VLtoken_cmp(object; first, second, answer));
        let (Some(first), Some(second)) = (first.as_ref(), second.as_ref()) else { return FAIL };
        strings::answer(answer, first.__data.cmp(&second.__data) as c_int);
    }
    OK
}

unsafe extern "C" fn to_str(
    object: *mut c_void,
    kind: sys::H5I_type_t,
    given: *const sys::H5O_token_t,
    text: *mut *mut c_char,
) -> c_int {
    // SAFETY: the token is readable, the answer's place writable.
    unsafe {
        forward!(call H5VLtoken_to_str(object, kind; given, text));
        status(object, "h5lake_token_to_str", Major::Object, |handle: &Handle| {
            let given = given.as_ref().ok_or_else(|| Error::argument("no token was given"))?;
            let library = handle.session()?.library;
            strings::answer(text, library.allocate_string(token::to_text(given.__data).as_bytes())?);
            Ok(())
        })
    }
}

unsafe extern "C" fn from_str(
    object: *mut c_void,
    kind: sys::H5I_type_t,
    text: *const c_char,
    answer: *mut sys::H5O_token_t,
) -> c_int {
    // SAFETY: the text is terminated, the answer's place writable.
    unsafe {
        forward!(call H5VLtoken_from_str(object, kind; text, answer));
        status(object, "h5lake_token_from_str", Major::Object, |_| {
            let data = token::from_text(strings::bytes(text, "a token")?)?;
            strings::answer(answer, sys::H5O_token_t { __data: data });
            Ok(())
        })
    }
}
