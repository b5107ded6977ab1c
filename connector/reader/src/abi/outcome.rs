//! The results of calls: return values, errors, and panics, which must not reach C.

use std::panic::{AssertUnwindSafe, catch_unwind};

use h5lake_container::{Error, ErrorKind, Result};

use super::raw::{ErrorOut, TEXT};

/// Runs the body of a call and returns its result to C.
///
/// # Safety
/// `error` is null or writable.
pub unsafe fn guard(error: *mut ErrorOut, body: impl FnOnce() -> Result<()>) -> i32 {
    let failed = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return 0,
        Ok(Err(failed)) => failed,
        Err(_) => Error::new(ErrorKind::Io, "an internal error of h5lake: a panic; please report it"),
    };
    let kind = number(failed.kind(), failed.errno());
    if !error.is_null() {
        let text = failed.to_string();
        let mut made = ErrorOut { kind, errno_value: failed.errno().unwrap_or(0), text: [0; TEXT] };
        let end = (0..=text.len().min(TEXT - 1)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        made.text[..end].copy_from_slice(&text.as_bytes()[..end]);
        // SAFETY: the caller's promise.
        unsafe { error.write(made) };
    }
    kind
}

/// Returns the return value for an error.
fn number(kind: ErrorKind, errno: Option<i32>) -> i32 {
    const ENOMEM: Option<i32> = Some(12);
    match kind {
        ErrorKind::NotFound => 1,
        ErrorKind::WrongKind => 2,
        ErrorKind::InvalidArgument | ErrorKind::Busy => 3,
        ErrorKind::Unsupported => 4,
        ErrorKind::OutOfRange => 5,
        ErrorKind::TooManyLinks => 6,
        ErrorKind::Corrupt => 7,
        ErrorKind::Locked => 8,
        ErrorKind::PermissionDenied => 9,
        ErrorKind::NoSpace => 10,
        _ if errno == ENOMEM => 10,
        ErrorKind::Gone => 11,
        ErrorKind::NotAContainer => 12,
        ErrorKind::NativeHdf5 => 14,
        _ => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(body: impl FnOnce() -> Result<()>) -> (i32, String) {
        let mut error = ErrorOut { kind: 0, errno_value: 0, text: [b'?'; TEXT] };
        // SAFETY: the error is a variable.
        let kind = unsafe { guard(&raw mut error, body) };
        let end = error.text.iter().position(|byte| *byte == 0);
        let text = end.map(|end| String::from_utf8(error.text[..end].to_vec()).unwrap());
        (kind, text.unwrap_or_default())
    }

    #[test]
    fn panics_and_errors_become_return_values() {
        assert_eq!(outcome(|| Ok(())), (0, String::new()));
        let (kind, text) = outcome(|| panic!("on purpose"));
        assert!(kind == 13 && text.contains("panic"), "{text}");
        let (kind, text) = outcome(|| Err(Error::new(ErrorKind::NotFound, "ä".repeat(2000))));
        assert_eq!((kind, text.len()), (1, 1014));
    }
}
