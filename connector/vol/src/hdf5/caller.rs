//! Which library has called this thread.

use std::cell::Cell;

use crate::hdf5::call_context::CALLER;
use crate::hdf5::library::Library;

/// Whether this thread is in a callback of this library.
pub(in crate::hdf5) fn is_in(library: Library) -> bool {
    CALLER.get() == Some(library.slot())
}

/// Whether this thread is in a callback of another library than this one.
pub fn is_in_another(library: Library) -> bool {
    CALLER.get().is_some_and(|slot| slot != library.slot())
}

thread_local! {
    /// How many callbacks this thread has entered from outside.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// A number of the outermost callback that this thread is in, or was in last: other than those of its others.
pub(in crate::hdf5) fn call_number() -> u64 {
    CALLS.get()
}

/// This thread is in a callback of this library from now on. Answers whose it was in before.
pub(in crate::hdf5) fn enter(library: Option<Library>) -> Option<usize> {
    if CALLER.get().is_none() {
        CALLS.set(CALLS.get() + 1);
    }
    CALLER.replace(library.map(Library::slot))
}

/// The callback has ended, and `outer` goes on.
pub(in crate::hdf5) fn leave(outer: Option<usize>) {
    CALLER.set(outer);
}
