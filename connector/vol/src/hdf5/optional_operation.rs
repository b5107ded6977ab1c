//! Optional operations that programs register by name.

use std::ffi::c_int;

use h5lake_plugin_abi::bindings as sys;

use crate::hdf5::library::Library;
use crate::statistics::OPERATION;

impl Library {
    /// Returns whether a number is that of the optional operation on files which queries the cost of containers. A
    /// program that queries it has registered it (`H5VLregister_opt_operation`); no other program needs a number.
    pub(crate) fn is_statistics_operation(self, operation: c_int) -> bool {
        if operation < sys::H5VL_RESERVED_NATIVE_OPTIONAL {
            return false;
        }
        let (table, mut found) = (self.table(), -1);
        let asked = self.quietly(
            // SAFETY: the name is terminated, and the answer's place outlives the call.
            || unsafe {
                (table.H5VLfind_opt_operation)(sys::H5VL_SUBCLS_FILE, OPERATION.as_ptr(), &mut found)
            },
            |result| *result < 0,
        );
        asked.is_ok() && found == operation
    }
}
