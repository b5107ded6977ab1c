//! Properties that an application has added to a creation list (`H5Pinsert`). No encoding of a list contains them:
//! they stay with the dataset while it is open, like in native HDF5.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use crate::error::Result;
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};

impl Library {
    /// Makes a copy of a dataset creation list that has properties which its class lacks; returns `None` for other
    /// lists.
    pub fn list_with_user_properties(self, list: Hid) -> Result<Option<Id>> {
        let table = self.table();
        let default = table.H5P_LST_DATASET_CREATE_ID_g();
        if list == default || list == sys::H5P_DEFAULT {
            return Ok(None);
        }
        let (mut all, mut usual) = (0, 0);
        // SAFETY: the answers' places outlive the calls.
        unsafe {
            check((table.H5Pget_nprops)(list, &mut all), "H5Pget_nprops")?;
            check((table.H5Pget_nprops)(default, &mut usual), "H5Pget_nprops")?;
        }
        if all > usual { self.copy_list(list).map(Some) } else { Ok(None) }
    }

    /// Copies to a list those properties of another list that the class lacks.
    pub fn add_user_properties(self, from: &Id, to: Hid) -> Result<()> {
        let table = self.table();
        let mut names: Vec<CString> = Vec::new();
        let place: *mut Vec<CString> = &mut names;
        // SAFETY: the callback gets the place, which outlives the call.
        let result =
            unsafe { (table.H5Piterate)(from.get(), std::ptr::null_mut(), Some(note), place.cast()) };
        check(result, "H5Piterate")?;
        for name in names {
            // SAFETY: names are terminated.
            unsafe {
                if (table.H5Pexist)(to, name.as_ptr()) == 0 {
                    check((table.H5Pcopy_prop)(to, from.get(), name.as_ptr()), "H5Pcopy_prop")?;
                }
            }
        }
        Ok(())
    }
}

unsafe extern "C" fn note(_list: Hid, name: *const c_char, names: *mut c_void) -> c_int {
    // SAFETY: the place is the one that was passed along; the name is terminated.
    unsafe { (*names.cast::<Vec<CString>>()).push(CStr::from_ptr(name).to_owned()) };
    0
}
