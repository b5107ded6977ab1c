//! The one guard that every callback goes through.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Major, Minor, Result};
use crate::hdf5::caller;
use crate::hdf5::id;
use crate::hdf5::library::Library;
use crate::hdf5::unwrapping;

/// Runs a callback's body. An error or a panic becomes a frame on the library's error stack, pushed after
/// everything the body held has been dropped (or the frames of the native call that failed), and `failure` is returned.
pub fn guard<T>(
    library: Option<Library>,
    callback: &'static str,
    class: Major,
    failure: T,
    body: impl FnOnce() -> Result<T>,
) -> T {
    unwrapping::forget();
    let _operation = object_stores::deadline::begin();
    let outer = caller::enter(library);
    if let Some(library) = library {
        id::release_left(library);
    }
    let result = catch_unwind(AssertUnwindSafe(|| no_library_calls().and_then(|()| body())));
    caller::leave(outer);
    let error = match result {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error,
        Err(panic) => Error::new(Minor::Internal, format!("{callback} panicked: {}", panic_text(&*panic))),
    };
    match (error.frames(), library) {
        (Some(frames), _) => frames.restore(),
        (None, Some(library)) => library.push_error(callback, class, &error),
        (None, None) => {}
    }
    failure
}

/// # Errors
/// If a store's library calls HDF5 from within a call of ours: it would wait for locks that its own caller holds.
fn no_library_calls() -> Result<()> {
    match object_stores::running_library() {
        None => Ok(()),
        Some(library) => {
            let (name, path) = (library.name(), library.path().display());
            let text = format!(
                "the store library {path} ({name}) breaks its interface: it calls HDF5 from within a call"
            );
            Err(Error::new(Minor::CannotOperate, text))
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
