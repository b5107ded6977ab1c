//! The library that has called this thread.

use std::cell::Cell;

use crate::hdf5::call_context::CALLER;
use crate::hdf5::library::Library;

/// Returns whether this thread is in a callback of this library.
pub(in crate::hdf5) fn is_in(library: Library) -> bool {
    CALLER.get() == Some(library.slot())
}

/// Returns whether this thread is in a callback of another library.
pub fn is_in_another(library: Library) -> bool {
    CALLER.get().is_some_and(|slot| slot != library.slot())
}

thread_local! {
    /// The number of callbacks that this thread has entered from outside.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// Returns a number of the outermost callback that this thread is in, or was in last. Each callback of the thread has
/// a different number.
pub(in crate::hdf5) fn call_number() -> u64 {
    CALLS.get()
}

/// Enters a callback of this library. Returns the slot of the library that the thread was in before.
pub(in crate::hdf5) fn enter(library: Option<Library>) -> Option<usize> {
    if CALLER.get().is_none() {
        CALLS.set(CALLS.get() + 1);
    }
    CALLER.replace(library.map(Library::slot))
}

/// Leaves the callback, and returns to `outer`.
pub(in crate::hdf5) fn leave(outer: Option<usize>) {
    CALLER.set(outer);
}
