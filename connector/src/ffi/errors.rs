//! HDF5's error stack.

use std::ffi::CString;

use super::library::{Hid, Library};
use crate::error::{Error, Major, Minor};

impl Library {
    /// Pushes one frame onto the default error stack. Nothing public may be called in this library between this
    /// and the return of the callback: every public function clears the stack.
    pub(super) fn push_error(self, callback: &'static str, class: Major, error: &Error) {
        let text = CString::new(format!("h5lake: {error}").replace('\0', " ")).unwrap_or_default();
        let function = CString::new(callback).unwrap_or_default();
        let table = self.table();
        // SAFETY: all strings are terminated and outlive the call; "%s" takes exactly one string.
        unsafe {
            (table.H5Epush2)(
                0,
                c"h5lake".as_ptr(),
                function.as_ptr(),
                0,
                table.H5E_ERR_CLS_g(),
                self.major_id(error.major(class)),
                self.minor_id(error.minor()),
                c"%s".as_ptr(),
                text.as_ptr(),
            )
        };
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
            Minor::CannotOpenFile => table.H5E_CANTOPENFILE_g(),
            Minor::CannotCreateFile => table.H5E_CANTCREATE_g(),
            Minor::BadValue => table.H5E_BADVALUE_g(),
            Minor::BadRange => table.H5E_BADRANGE_g(),
            Minor::BadType => table.H5E_BADTYPE_g(),
            Minor::ReadError => table.H5E_READERROR_g(),
            Minor::WriteError => table.H5E_WRITEERROR_g(),
            Minor::Unsupported => table.H5E_UNSUPPORTED_g(),
            Minor::TooManyLinks => table.H5E_NLINKS_g(),
            Minor::CannotOperate => table.H5E_CANTOPERATE_g(),
            Minor::CannotConvert => table.H5E_CANTCONVERT_g(),
            Minor::Internal => table.H5E_SYSTEM_g(),
        }
    }
}
