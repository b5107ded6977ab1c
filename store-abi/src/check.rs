//! Validates the pointers and values that a library passes.

use std::ffi::{c_char, c_void};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Failure;
use crate::raw;

/// The maximum length of a key, in bytes.
pub(crate) const MAX_KEY: u64 = 1024;
/// The maximum length of an etag, in bytes.
pub(crate) const MAX_ETAG: u64 = 255;
/// The maximum length of a store's name, and of a prefix, in bytes.
pub(crate) const MAX_NAME: u64 = 1024;
/// The maximum size of a struct in any version.
const MAX_STRUCT: u32 = 4096;

/// The first members of every struct of the interface.
#[repr(C)]
#[derive(Clone, Copy)]
struct Head {
    size: u32,
    version: u32,
}

/// A struct of the interface: a size, a version, and the members of version 1.
pub(crate) trait Struct: Copy {
    /// The struct's name in errors.
    const NAME: &'static str;
}

impl Struct for raw::Object {
    const NAME: &'static str = "h5lake_store_object";
}

impl Struct for raw::Opened {
    const NAME: &'static str = "h5lake_store_opened";
}

impl Struct for raw::Library {
    const NAME: &'static str = "h5lake_store_library";
}

/// Copies the struct that a library points to.
///
/// # Errors
/// An invalid pointer; a size or a version that such a struct cannot have.
pub(crate) fn read<T: Struct>(pointer: *const T) -> Result<T, Failure> {
    let bad = |why: String| Failure::misuse(format!("it gave a struct {} {why}", T::NAME));
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(bad("at an address where none can be".to_owned()));
    }
    // SAFETY: every struct of the interface begins with these eight bytes. More is read only if the library says that
    // it exists.
    let head = unsafe { pointer.cast::<Head>().read() };
    let least = size_of::<T>();
    if head.version == 0 {
        return Err(bad("of version 0, which is none".to_owned()));
    }
    if (head.size as usize) < least || head.size > MAX_STRUCT {
        return Err(bad(format!("of {} bytes, where version 1 has {least}", head.size)));
    }
    // SAFETY: the library says that the bytes exist. Any bytes are a valid value of such a struct: its members are
    // numbers, raw pointers, and optional functions.
    Ok(unsafe { pointer.read() })
}

/// Returns the bytes that a library points to. They are valid while its call lasts.
///
/// # Errors
/// A null pointer with a length.
pub(crate) fn bytes<'a>(pointer: *const c_void, length: u64, what: &str) -> Result<&'a [u8], Failure> {
    if length == 0 {
        return Ok(&[]);
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= isize::MAX as usize);
    let Some(length) = length.filter(|_| !pointer.is_null()) else {
        return Err(Failure::misuse(format!("it gave {what} at no address, or of an impossible length")));
    };
    // SAFETY: the library says that the bytes exist. The caller copies them before the library's call continues.
    Ok(unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) })
}

/// Returns the text that a library points to. It has at most `most` bytes and no control characters.
///
/// # Errors
/// A longer text, or invalid UTF-8 or control characters.
pub(crate) fn text<'a>(
    pointer: *const c_char,
    length: u64,
    most: u64,
    what: &str,
) -> Result<&'a str, Failure> {
    if length > most {
        return Err(Failure::misuse(format!("it gave {what} of {length} bytes, where {most} are the most")));
    }
    let bytes = bytes(pointer.cast(), length, what)?;
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control));
    text.ok_or_else(|| {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        Failure::misuse(format!("it gave {what} that is no UTF-8 without control characters: {shown:?}"))
    })
}

/// Returns a text that ends with a NUL within `most` bytes.
///
/// # Errors
/// A text without such a NUL, an empty text, or invalid UTF-8.
pub(crate) fn c_text(pointer: *const c_char, most: usize, what: &str) -> Result<&'static str, Failure> {
    let bad = |why| Failure::misuse(format!("{what} {why}"));
    if pointer.is_null() {
        return Err(bad("is missing"));
    }
    // SAFETY: according to the interface, the bytes up to the first NUL exist and are constant. No byte after it is
    // read.
    let length = (0..=most).find(|n| unsafe { *pointer.add(*n) } == 0);
    let length = length.filter(|length| *length > 0).ok_or_else(|| bad("is empty or too long"))?;
    // SAFETY: as above; these bytes were just read.
    let bytes = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) };
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control));
    text.ok_or_else(|| bad("is no UTF-8 without control characters"))
}

/// Converts a library's time.
///
/// # Errors
/// A time that is out of range.
pub(crate) fn time(seconds: i64, nanoseconds: u32) -> Result<SystemTime, Failure> {
    let bad = || {
        Failure::misuse(format!(
            "it gave the time {seconds} s and {nanoseconds} ns since 1970, which is none"
        ))
    };
    if nanoseconds >= 1_000_000_000 {
        return Err(bad());
    }
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    time.and_then(|time| time.checked_add(Duration::new(0, nanoseconds))).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_bounds_and_no_control_characters() {
        let of =
            |bytes: &[u8]| text(bytes.as_ptr().cast(), bytes.len() as u64, 4, "a key").map(str::to_owned);
        assert_eq!(of("aé".as_bytes()).unwrap(), "aé");
        assert_eq!(of(b"").unwrap(), "");
        for bad in [&b"a\0b"[..], b"\xff", b"a\n", b"12345"] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        assert!(text(std::ptr::null(), 1, 4, "a key").is_err());
        assert_eq!(text(std::ptr::null(), 0, 4, "a key").unwrap(), "");
        assert!(bytes(std::ptr::null(), u64::MAX, "bytes").is_err());
        assert!(bytes(c"".as_ptr().cast(), u64::MAX, "bytes").is_err());
    }

    #[test]
    fn texts_that_end_with_a_nul_have_bounds() {
        assert_eq!(c_text(c"abc".as_ptr(), 3, "a name").unwrap(), "abc");
        for bad in [c"abcd".as_ptr(), c"".as_ptr(), c"\xff".as_ptr(), std::ptr::null()] {
            assert!(c_text(bad, 3, "a name").is_err());
        }
    }

    #[test]
    fn structs_have_a_size_and_a_version() {
        let whole = raw::Object {
            size: size_of::<raw::Object>() as u32,
            version: 1,
            key: std::ptr::null(),
            key_length: 0,
            length: 0,
            seconds: 0,
            nanoseconds: 0,
            reserved: 0,
            etag: std::ptr::null(),
            etag_length: 0,
        };
        assert!(read(&whole).is_ok());
        assert!(read(&raw::Object { size: whole.size + 8, version: 2, ..whole }).is_ok(), "a later version");
        for bad in [
            raw::Object { size: whole.size - 1, ..whole },
            raw::Object { size: 0, ..whole },
            raw::Object { size: u32::MAX, ..whole },
            raw::Object { version: 0, ..whole },
        ] {
            assert_eq!(read(&bad).unwrap_err().kind, crate::Kind::Misuse);
        }
        assert!(read::<raw::Object>(std::ptr::null()).is_err());
        assert!(read::<raw::Object>((&raw const whole).cast::<u8>().wrapping_add(1).cast()).is_err());
    }

    #[test]
    fn times_are_times() {
        assert_eq!(time(-1, 500_000_000).unwrap(), UNIX_EPOCH - Duration::from_millis(500));
        for (seconds, nanoseconds) in [(i64::MAX, 999_999_999), (i64::MIN, 0), (0, 1_000_000_000)] {
            // No value causes a panic.
            let result = time(seconds, nanoseconds);
            assert!(result.is_ok() || result.unwrap_err().kind == crate::Kind::Misuse);
        }
    }
}
