//! The guard around every callback.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use object_stores::deadline::{self, TimedOperation};

use crate::error::{Error, Major, Minor, Result};
use crate::hdf5::caller;
use crate::hdf5::id;
use crate::hdf5::library::Library;
use crate::hdf5::unwrapping;

/// Runs a callback's body. After an error or a panic, a frame is pushed onto the library's error stack once everything
/// that the body held has been dropped (or the frames of the failed native call are put back), and `failure` is
/// returned.
pub fn guard<T>(
    library: Option<Library>,
    callback: &'static str,
    class: Major,
    failure: T,
    body: impl FnOnce() -> Result<T>,
) -> T {
    let (outer, _operation) = begin(library);
    let result = catch_unwind(AssertUnwindSafe(|| no_library_calls().and_then(|()| body())));
    caller::leave(outer);
    let failed = match result {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => Ok(error),
        Err(panic) => Err(panic),
    };
    tell(library, callback, class, failed);
    failure
}

// The following functions are not part of `guard` itself, because each callback has a copy of `guard`.

#[inline(never)]
fn begin(library: Option<Library>) -> (Option<usize>, TimedOperation) {
    unwrapping::forget();
    let operation = deadline::begin();
    let outer = caller::enter(library);
    if let Some(library) = library {
        id::release_left(library);
    }
    (outer, operation)
}

#[cold]
#[inline(never)]
fn tell(
    library: Option<Library>,
    callback: &'static str,
    class: Major,
    failed: Result<Error, Box<dyn Any + Send>>,
) {
    let error = failed.unwrap_or_else(|panic| {
        Error::new(Minor::Internal, format!("{callback} panicked: {}", panic_text(&*panic)))
    });
    match (error.frames(), library) {
        (Some(frames), _) => frames.restore(),
        (None, Some(library)) => library.push_error(callback, class, &error),
        (None, None) => {}
    }
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

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
