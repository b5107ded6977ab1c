//! The connector classes of each library: ours, and the native one.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use h5lake_ledger::locks::Mutex;
use h5lake_plugin_abi::{MAX_LIBRARIES, bindings as sys};

use crate::hdf5::library::Library;

/// The class that the library in each slot was given.
static OWN_CLASSES: [AtomicPtr<sys::H5VL_class_t>; MAX_LIBRARIES] =
    [const { AtomicPtr::new(null_mut()) }; MAX_LIBRARIES];

/// Records the class that the library in a slot is given.
///
/// # Safety
/// The class exists as long as the process.
pub(crate) unsafe fn remember_own_class(slot: usize, class: *const sys::H5VL_class_t) {
    OWN_CLASSES[slot].store(class.cast_mut(), Ordering::Relaxed);
}

/// Returns the class that a library was given: none of its callbacks is called before that.
pub(crate) fn own_class(library: Library) -> *const sys::H5VL_class_t {
    OWN_CLASSES[library.slot()].load(Ordering::Relaxed)
}

/// The native class of each library, recorded when the first file is opened; the introspection callback must know it
/// without making a file.
static NATIVE_CLASSES: Mutex<[usize; MAX_LIBRARIES]> = Mutex::new([0; MAX_LIBRARIES]);

/// Records the native class of a library.
///
/// # Safety
/// `class` is that class, which the library never frees.
pub(crate) unsafe fn remember_native_class(library: Library, class: *const sys::H5VL_class_t) {
    NATIVE_CLASSES.lock()[library.slot()] = class as usize;
}

/// Returns the native class of a library, once a file has been opened in it.
pub(crate) fn native_class(library: Library) -> Option<*const sys::H5VL_class_t> {
    let class = NATIVE_CLASSES.lock()[library.slot()];
    (class != 0).then_some(class as *const sys::H5VL_class_t)
}
