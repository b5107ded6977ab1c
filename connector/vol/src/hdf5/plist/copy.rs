//! Object copy property lists.

use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::library::{Hid, Library};

impl Library {
    /// Refuses what a copy list says about merging committed datatypes beside that they are to be: containers search all of them.
    ///
    /// # Errors
    /// For paths to look at first (`H5Padd_merge_committed_dtype_path`), and a function that is asked whether to go on
    /// (`H5Pset_mcdt_search_cb`).
    pub fn check_merging(self, copy: Hid) -> Result<()> {
        if copy == sys::H5P_DEFAULT {
            return Ok(());
        }
        let table = self.table();
        // There is no call to look at the paths: a list without them is another one. (`H5Pget` gives a copy that nobody can free.)
        let without = self.copy_list(copy)?;
        let (mut function, mut data) = (None, std::ptr::null_mut());
        // SAFETY: the lists are open, and the answers' places outlive the calls.
        let is_equal = unsafe {
            let result = (table.H5Pget_mcdt_search_cb)(copy, &mut function, &mut data);
            check(result, "H5Pget_mcdt_search_cb")?;
            let result = (table.H5Pfree_merge_committed_dtype_paths)(without.get());
            check(result, "H5Pfree_merge_committed_dtype_paths")?;
            (table.H5Pequal)(copy, without.get())
        };
        match (is_equal, function) {
            (1.., None) => Ok(()),
            (1.., Some(_)) => Err(Error::unsupported("H5Pset_mcdt_search_cb")),
            _ => Err(Error::unsupported("H5Padd_merge_committed_dtype_path")),
        }
    }
}
