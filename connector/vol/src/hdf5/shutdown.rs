//! When a library shuts down (`H5close`, or the end of the process).

use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use h5lake_plugin_abi::MAX_LIBRARIES;

use crate::error::{Major, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::guard::guard;
use crate::hdf5::library::Library;

/// Whether the library in a slot will tell, since it last started.
static TOLD: [AtomicBool; MAX_LIBRARIES] = [const { AtomicBool::new(false) }; MAX_LIBRARIES];

/// What is to be done then.
static THEN: OnceLock<fn(Library)> = OnceLock::new();

impl Library {
    /// Has `then` called when this library shuts down, before it closes anything itself. Of different functions the first is
    /// called.
    ///
    /// # Errors
    /// If the library does not take the callback.
    pub fn tell_when_closing(self, then: fn(Self)) -> Result<()> {
        let Some(told) = TOLD.get(self.slot()) else { return Ok(()) };
        THEN.get_or_init(|| then);
        object_stores::before_libraries_end(Self::close_all);
        if told.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        // SAFETY: the callback lives as long as the process, and takes the slot's number for a pointer.
        let result = unsafe { (self.table().H5atclose)(Some(closing), self.slot() as *mut c_void) };
        check(result, "H5atclose").inspect_err(|_| told.store(false, Ordering::Relaxed))
    }

    /// Shuts down the libraries that would tell, as their own exit handlers do a moment later: their files are committed and closed.
    pub fn close_all() {
        let known = (0..MAX_LIBRARIES).filter_map(Self::in_slot).filter(|library| library.is_to_tell());
        for library in known {
            // SAFETY: it takes nothing, and is for any moment. No lock of this plugin is held.
            let _nobody_is_left_to_be_told = unsafe { (library.table().H5close)() };
        }
    }

    /// Whether it will be called: the library was not shut down since [`Self::tell_when_closing`].
    pub fn is_to_tell(self) -> bool {
        TOLD.get(self.slot()).is_some_and(|told| told.load(Ordering::Relaxed))
    }
}

/// Called once: what was registered is forgotten when the library starts again.
unsafe extern "C" fn closing(slot: *mut c_void) {
    let library = Library::in_slot(slot as usize);
    guard(library, "h5lake_closing", Major::Connector, (), || {
        if let Some(told) = TOLD.get(slot as usize) {
            told.store(false, Ordering::Relaxed);
        }
        if let Some(library) = library {
            library.release_located_types();
            library.forget_object_driver();
            if let Some(then) = THEN.get() {
                then(library);
            }
        }
        Ok(())
    });
}
