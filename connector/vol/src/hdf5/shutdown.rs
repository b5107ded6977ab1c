//! The shutdown of a library (`H5close`, or the end of the process).

use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use h5lake_plugin_abi::MAX_LIBRARIES;

use crate::error::{Major, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::guard::guard;
use crate::hdf5::library::Library;

/// True if the library in a slot will report its shutdown, since it last started.
static REGISTERED: [AtomicBool; MAX_LIBRARIES] = [const { AtomicBool::new(false) }; MAX_LIBRARIES];

/// The function to call at a shutdown.
static THEN: OnceLock<fn(Library)> = OnceLock::new();

impl Library {
    /// Makes this library call `then` when it shuts down, before it closes anything itself. If different functions are
    /// given, the first one is called.
    ///
    /// # Errors
    /// If the library refuses the callback.
    pub fn tell_when_closing(self, then: fn(Self)) -> Result<()> {
        let Some(registered) = REGISTERED.get(self.slot()) else { return Ok(()) };
        THEN.get_or_init(|| then);
        object_stores::before_libraries_end(Self::close_all);
        if registered.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        // SAFETY: the callback lives as long as the process, and uses the pointer only as the slot's number.
        let result = unsafe { (self.table().H5atclose)(Some(closing), self.slot() as *mut c_void) };
        check(result, "H5atclose").inspect_err(|_| registered.store(false, Ordering::Relaxed))
    }

    /// Shuts down the libraries that would report it, as their own exit handlers do a moment later: their files are
    /// committed and closed.
    pub fn close_all() {
        let known = (0..MAX_LIBRARIES).filter_map(Self::in_slot).filter(|library| library.is_to_tell());
        for library in known {
            // SAFETY: it takes no arguments, and may be called at any time. No lock of this plugin is held.
            let _cannot_be_reported = unsafe { (library.table().H5close)() };
        }
    }

    /// Returns whether the callback will be called: the library was not shut down since [`Self::tell_when_closing`].
    pub fn is_to_tell(self) -> bool {
        REGISTERED.get(self.slot()).is_some_and(|registered| registered.load(Ordering::Relaxed))
    }
}

/// Runs when a library shuts down. Called once, because the library forgets registered callbacks when it starts again.
unsafe extern "C" fn closing(slot: *mut c_void) {
    let library = Library::in_slot(slot as usize);
    guard(library, "h5lake_closing", Major::Connector, (), || {
        if let Some(registered) = REGISTERED.get(slot as usize) {
            registered.store(false, Ordering::Relaxed);
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
