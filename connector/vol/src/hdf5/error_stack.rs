//! HDF5's error stack.

use std::ffi::{CStr, CString, c_char, c_uint, c_void};

use h5lake_plugin_abi::bindings as sys;
use object_stores::printable;

use crate::error::{Error, Major, Minor, Result};
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};

/// The most frames of native code that are included in an error's text.
const FRAMES: usize = 6;

/// The most frames that a stack can hold (`H5E_MAX_ENTRIES`, H5Epkg.h).
const MAX_FRAMES: usize = 32;

/// Collects the texts of frames, the innermost first; frames that only pass a call on between connectors are skipped.
unsafe extern "C" fn collect(_: c_uint, frame: *const sys::H5E_error2_t, into: *mut c_void) -> i32 {
    // SAFETY: libhdf5 passes a frame with terminated strings or null; `into` is the list of `Library::explained`.
    let (frame, into) = unsafe { (&*frame, &mut *into.cast::<Vec<String>>()) };
    let text = |place: *const c_char| {
        // SAFETY: as above.
        if place.is_null() { None } else { Some(unsafe { CStr::from_ptr(place) }.to_string_lossy()) }
    };
    let passes_on = text(frame.func_name).is_some_and(|name| name.starts_with("H5VL"));
    if let (Some(said), false) = (text(frame.desc), passes_on || into.len() == FRAMES) {
        into.push(said.into_owned());
    }
    0
}

impl Library {
    /// Runs calls of native code without printing failures; the texts on the error stack become the text of the error.
    /// Frames that were taken off the stack are included.
    pub(crate) fn explained<T>(self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let table = self.table();
        let (mut printer, mut data) = (None, std::ptr::null_mut());
        // SAFETY: the answers' places outlive the call. It fails if the application uses the older form of printers.
        let silenced = unsafe { (table.H5Eget_auto2)(sys::H5E_DEFAULT, &mut printer, &mut data) } >= 0;
        if silenced {
            // SAFETY: no function, no data.
            unsafe { (table.H5Eset_auto2)(sys::H5E_DEFAULT, None, std::ptr::null_mut()) };
        }
        let result = body().map_err(|error| {
            let mut said: Vec<String> = Vec::new();
            if let Some(frames) = error.frames() {
                frames.restore();
            }
            let into = (&raw mut said).cast();
            // SAFETY: the walk ends before the list is dropped.
            unsafe { (table.H5Ewalk2)(sys::H5E_DEFAULT, sys::H5E_WALK_UPWARD, Some(collect), into) };
            // The failure is reported once: the connector's own frame is to be the innermost.
            // SAFETY: the default stack.
            unsafe { (table.H5Eclear2)(sys::H5E_DEFAULT) };
            said.dedup();
            said.reverse();
            if said.is_empty() { error } else { Error::new(error.minor(), said.join(": ")) }
        });
        if silenced {
            // SAFETY: the values that the application had set.
            unsafe { (table.H5Eset_auto2)(sys::H5E_DEFAULT, printer, data) };
        }
        result
    }

    /// Pushes one frame onto the default error stack. Names in its text may be a stranger's, and clients print it, so
    /// control characters for terminals are escaped. No public function of this library may be called between this and
    /// the return of the callback: every public function clears the stack.
    pub(in crate::hdf5) fn push_error(self, callback: &'static str, class: Major, error: &Error) {
        self.push_error_onto(sys::H5E_DEFAULT, callback, class, error);
    }

    fn push_error_onto(self, stack: Hid, callback: &'static str, class: Major, error: &Error) {
        let text = CString::new(&*printable(&format!("h5lake: {error}"))).unwrap_or_default();
        let function = CString::new(callback).unwrap_or_default();
        let table = self.table();
        let push = |minor: Hid, text: &CStr| {
            // SAFETY: all strings are terminated and outlive the call; "%s" takes exactly one string.
            unsafe {
                (table.H5Epush2)(
                    stack,
                    c"h5lake".as_ptr(),
                    function.as_ptr(),
                    0,
                    table.H5E_ERR_CLS_g(),
                    self.major_id(error.major(class)),
                    minor,
                    c"%s".as_ptr(),
                    text.as_ptr(),
                )
            };
        };
        push(self.minor_id(error.minor()), &text);
        // Native code adds frames for each link that it followed, and the stack has no space for the frames of the call.
        // Clients read the outermost frame that is left: for soft links a frame of `H5G__traverse_real`, for external
        // links a frame of `H5G_loc_find`, from which h5py makes a KeyError like the one for a missing object.
        let outermost = match error.minor() {
            Minor::TooManyLinks => Some((table.H5E_TRAVERSE_g(), c"link traversal failed")),
            Minor::TooManyExternalLinks => Some((table.H5E_NOTFOUND_g(), c"can't find object")),
            _ => None,
        };
        if let Some((minor, text)) = outermost {
            (1..MAX_FRAMES).for_each(|_| push(minor, text));
        }
    }

    /// Makes a separate stack with one frame, which describes a failure in another thread. The caller closes it.
    ///
    /// # Errors
    /// If the library cannot make a stack.
    pub(crate) fn error_stack_of(self, callback: &'static str, class: Major, error: &Error) -> Result<Id> {
        // SAFETY: takes no arguments.
        let id = unsafe { (self.table().H5Ecreate_stack)() };
        let stack = Id::from_call(self, id, "H5Ecreate_stack")?;
        self.push_error_onto(stack.get(), callback, class, error);
        Ok(stack)
    }

    fn major_id(self, major: Major) -> Hid {
        let table = self.table();
        match major {
            Major::Argument => table.H5E_ARGS_g(),
            Major::Attribute => table.H5E_ATTR_g(),
            Major::Dataspace => table.H5E_DATASPACE_g(),
            Major::Dataset => table.H5E_DATASET_g(),
            Major::Datatype => table.H5E_DATATYPE_g(),
            Major::File => table.H5E_FILE_g(),
            Major::Heap => table.H5E_HEAP_g(),
            Major::Link => table.H5E_LINK_g(),
            Major::Object => table.H5E_OHDR_g(),
            Major::PropertyList => table.H5E_PLIST_g(),
            Major::Group => table.H5E_SYM_g(),
            Major::Connector => table.H5E_VOL_g(),
        }
    }

    fn minor_id(self, minor: Minor) -> Hid {
        let table = self.table();
        match minor {
            Minor::NotFound => table.H5E_NOTFOUND_g(),
            Minor::Exists => table.H5E_EXISTS_g(),
            Minor::CannotOpenFile | Minor::NotFollowed => table.H5E_CANTOPENFILE_g(),
            Minor::CannotCreateFile => table.H5E_CANTCREATE_g(),
            Minor::BadValue => table.H5E_BADVALUE_g(),
            Minor::BadRange => table.H5E_BADRANGE_g(),
            Minor::BadType => table.H5E_BADTYPE_g(),
            Minor::ReadError => table.H5E_READERROR_g(),
            Minor::WriteError => table.H5E_WRITEERROR_g(),
            Minor::Unsupported => table.H5E_UNSUPPORTED_g(),
            Minor::TooManyLinks | Minor::TooManyExternalLinks => table.H5E_NLINKS_g(),
            Minor::CannotOperate => table.H5E_CANTOPERATE_g(),
            Minor::CannotConvert => table.H5E_CANTCONVERT_g(),
            Minor::Internal => table.H5E_SYSTEM_g(),
        }
    }
}
