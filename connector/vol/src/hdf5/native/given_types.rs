//! Datatypes in the form in which the native connector returns them: read-only.

use std::ffi::CStr;

use h5lake_plugin_abi::bindings as sys;

use crate::error::Result;
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;
use crate::hdf5::native::{NativeKind, NativeObject, file_location};

/// The name of an attribute while it is made.
const NAME: &CStr = c"given type";

impl NativeObject {
    /// Returns a read-only copy of a datatype, from a native attribute of that type. The attribute does not remain in
    /// this file.
    ///
    /// # Errors
    /// If the file cannot hold the type.
    pub fn read_only_type(&self, datatype: Hid) -> Result<Id> {
        let table = self.library.table();
        let attribute = self.attribute_without_elements(datatype)?;
        // The attribute stays open, and its name is free for the next one.
        self.delete_attribute(NAME)?;
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut arguments: sys::H5VL_attr_get_args_t = unsafe { std::mem::zeroed() };
        arguments.op_type = sys::H5VL_ATTR_GET_TYPE;
        // SAFETY: the attribute is native and open, the arguments are complete.
        unsafe {
            let result = (table.H5VLattr_get)(
                attribute.pointer,
                self.connector.get(),
                &mut arguments,
                table.H5P_LST_DATASET_XFER_ID_g(),
                std::ptr::null_mut(),
            );
            check(result, "H5VLattr_get")?;
            Id::from_call(self.library, arguments.args.get_type.type_id, "H5VLattr_get")
        }
    }

    fn attribute_without_elements(&self, datatype: Hid) -> Result<Self> {
        let table = self.library.table();
        // SAFETY: a constant class.
        let space = Id::from_call(self.library, unsafe { (table.H5Screate)(sys::H5S_NULL) }, "H5Screate")?;
        // SAFETY: the file is native and open, the name terminated.
        let attribute = unsafe {
            (table.H5VLattr_create)(
                self.pointer,
                &file_location(),
                self.connector.get(),
                NAME.as_ptr(),
                datatype,
                space.get(),
                table.H5P_LST_ATTRIBUTE_CREATE_ID_g(),
                table.H5P_LST_ATTRIBUTE_ACCESS_ID_g(),
                table.H5P_LST_DATASET_XFER_ID_g(),
                std::ptr::null_mut(),
            )
        };
        self.own(attribute, NativeKind::Attribute, "H5VLattr_create")
    }

    fn delete_attribute(&self, name: &CStr) -> Result<()> {
        let table = self.library.table();
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut arguments: sys::H5VL_attr_specific_args_t = unsafe { std::mem::zeroed() };
        arguments.op_type = sys::H5VL_ATTR_DELETE;
        arguments.args.del.name = name.as_ptr();
        // SAFETY: the file is native and open, the name terminated.
        let result = unsafe {
            (table.H5VLattr_specific)(
                self.pointer,
                &file_location(),
                self.connector.get(),
                &mut arguments,
                table.H5P_LST_DATASET_XFER_ID_g(),
                std::ptr::null_mut(),
            )
        };
        check(result, "H5VLattr_specific")
    }
}
