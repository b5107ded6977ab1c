//! Which library has called this thread.

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

/// This thread is in a callback of this library from now on. Answers whose it was in before.
pub(in crate::hdf5) fn enter(library: Option<Library>) -> Option<usize> {
    CALLER.replace(library.map(Library::slot))
}

/// The callback has ended, and `outer` goes on.
pub(in crate::hdf5) fn leave(outer: Option<usize>) {
    CALLER.set(outer);
}
