//! Object copy property lists.

use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::library::{Hid, Library};

impl Library {
    /// Refuses restrictions in a copy list on merging committed datatypes: containers always search all of them.
    ///
    /// # Errors
    /// For paths to search first (`H5Padd_merge_committed_dtype_path`), and for a function that decides whether to
    /// continue (`H5Pset_mcdt_search_cb`).
    pub fn check_merging(self, copy: Hid) -> Result<()> {
        if copy == sys::H5P_DEFAULT {
            return Ok(());
        }
        let table = self.table();
        // No call reads the paths. But a list without them is unequal. (`H5Pget` returns a copy that cannot be freed.)
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
