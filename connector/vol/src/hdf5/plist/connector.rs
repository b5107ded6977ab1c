//! The connector that a file access list names.

use std::ffi::c_void;

use h5lake_plugin_abi::bindings as sys;

use crate::error::{Major, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::identity::VALUE;
use crate::hdf5::library::{Hid, Library};

impl Library {
    /// Returns the connector string set on a file access list, if it names our connector.
    pub fn connector_info(self, access: Hid) -> Result<*const c_void> {
        let mut info: *mut c_void = std::ptr::null_mut();
        // SAFETY: the answer's place outlives the call; the answer is a copy that the caller frees.
        check(unsafe { (self.table().H5Pget_vol_info)(access, &mut info) }, "H5Pget_vol_info")
            .map_err(|e| e.in_class(Major::PropertyList))?;
        Ok(info)
    }

    /// Returns the connector that a file access list names.
    ///
    /// A lookup by name (`H5VLget_connector_id_by_name`) would not suffice: HDF5 1.14 finds only connectors for which
    /// the program holds an identifier, and a program may close its own after `H5Pset_vol`.
    ///
    /// # Errors
    /// If `access` is no file access list.
    pub fn connector_of(self, access: Hid) -> Result<Id> {
        let mut connector = sys::H5I_INVALID_HID as Hid;
        // SAFETY: the answer's place outlives the call; the answer is a reference of ours.
        let result = unsafe { (self.table().H5Pget_vol_id)(access, &mut connector) };
        check(result, "H5Pget_vol_id")?;
        Id::from_call(self, connector, "H5Pget_vol_id")
    }

    /// Returns whether a file access list names our connector, with whatever settings.
    ///
    /// # Errors
    /// If `access` is no file access list.
    pub(crate) fn names_our_connector(self, access: Hid) -> Result<bool> {
        let connector = self.connector_of(access)?;
        let mut value = 0;
        // SAFETY: the identifier is a connector's; the answer's place outlives the call.
        check(unsafe { (self.table().H5VLget_value)(connector.get(), &mut value) }, "H5VLget_value")?;
        Ok(value == VALUE)
    }

    /// Frees a copy of a connector info that [`Library::connector_info`] returned for the list `access`.
    ///
    /// # Safety
    /// `info` is such a copy, and is not used again.
    pub unsafe fn free_connector_info(self, access: Hid, info: *const c_void) {
        if let Ok(connector) = self.connector_of(access) {
            // SAFETY: as the caller says.
            unsafe { (self.table().H5VLfree_connector_info)(connector.get(), info.cast_mut()) };
        }
    }
}
