//! The one guard that every callback goes through.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::library::Library;
use super::{identifiers, ids};
use crate::error::{Error, Major, Minor, Result};

thread_local! {
    /// The slot of the library whose callback this thread is in.
    static CALLER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Whether this thread is in a callback of this library.
pub(super) fn is_in(library: Library) -> bool {
    CALLER.get() == Some(library.slot())
}

/// Whether this thread is in a callback of another library than this one.
pub fn is_in_another(library: Library) -> bool {
    CALLER.get().is_some_and(|slot| slot != library.slot())
}

/// Runs a callback's body. An error or a panic becomes a frame on the library's error stack, pushed after
/// everything the body held has been dropped (or the frames of the native call that failed), and `failure` is returned.
pub fn guard<T>(
    library: Option<Library>,
    callback: &'static str,
    class: Major,
    failure: T,
    body: impl FnOnce() -> Result<T>,
) -> T {
    identifiers::forget();
    let _operation = object_stores::deadline::begin();
    let outer = CALLER.replace(library.map(Library::slot));
    if let Some(library) = library {
        ids::release_left(library);
    }
    let result = catch_unwind(AssertUnwindSafe(body));
    CALLER.set(outer);
    let error = match result {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error.settled(),
        Err(panic) => Error::new(Minor::Internal, format!("{callback} panicked: {}", panic_text(&*panic))),
    };
    match (error.frames(), library) {
        (Some(frames), _) => frames.restore(),
        (None, Some(library)) => library.push_error(callback, class, &error),
        (None, None) => {}
    }
    failure
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
