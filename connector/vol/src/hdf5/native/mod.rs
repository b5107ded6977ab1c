//! Objects of the native connector, such as those beneath h5lake's objects.

use std::ffi::{CStr, c_void};

use h5lake_ledger::locks::assert_none_held;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::{Id, KeptId};
use crate::hdf5::library::Library;
use crate::hdf5::native::open::NativeOpen;

pub mod chunked_dataset;
mod driver_class;
pub mod filter_dataset;
mod given_types;
pub mod object_driver;
pub mod open;
pub mod shadow_driver;
pub mod single_filter;
pub mod transform;

/// The kind of a native object, which determines how it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NativeKind {
    /// `H5F_t`
    File,
    /// `H5G_t`
    Group,
    /// `H5D_t`
    Dataset,
    /// `H5A_t`
    Attribute,
    /// `H5T_t`
    Datatype,
}

/// An object of the native connector, closed when dropped. It has no identifier that a program could find.
pub struct NativeObject {
    pub(in crate::hdf5) library: Library,
    pub(in crate::hdf5) connector: std::sync::Arc<KeptId>,
    pub(in crate::hdf5) pointer: *mut c_void,
    kind: NativeKind,
}

// SAFETY: the pointer is only handed to libhdf5, under its own lock.
unsafe impl Send for NativeObject {}
// SAFETY: as above.
unsafe impl Sync for NativeObject {}

impl Drop for NativeObject {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_none_held("native code");
        }
        let table = self.library.table();
        let transfer = table.H5P_LST_DATASET_XFER_ID_g();
        let close = match self.kind {
            NativeKind::File => table.H5VLfile_close,
            NativeKind::Group => table.H5VLgroup_close,
            NativeKind::Dataset => table.H5VLdataset_close,
            NativeKind::Attribute => table.H5VLattr_close,
            NativeKind::Datatype => table.H5VLdatatype_close,
        };
        // SAFETY: the object is open and of this kind; no other code closes it.
        unsafe { close(self.pointer, self.connector.get(), transfer, std::ptr::null_mut()) };
    }
}

impl Library {
    /// Returns the native connector of this library.
    pub fn native_connector(self) -> Result<Id> {
        // SAFETY: the name is terminated.
        let id = unsafe { (self.table().H5VLget_connector_id_by_name)(c"native".as_ptr()) };
        Id::from_call(self, id, "H5VLget_connector_id_by_name")
    }

    /// Makes a native file in memory that has no identifier. The returned driver must be kept until the file is
    /// closed.
    pub fn native_memory_file(
        self,
        connector: &std::sync::Arc<KeptId>,
        name: &CStr,
    ) -> Result<(NativeObject, Id)> {
        let table = self.table();
        // SAFETY: the class is the library's own.
        let access = unsafe { (table.H5Pcreate)(table.H5P_CLS_FILE_ACCESS_ID_g()) };
        let access = Id::from_call(self, access, "H5Pcreate")?;
        let driver = self.set_face_driver(&access)?;
        self.allow_unusual_types(access.get())?;
        // SAFETY: both identifiers are valid.
        let result = unsafe { (table.H5Pset_vol)(access.get(), connector.get(), std::ptr::null()) };
        check(result, "H5Pset_vol")?;
        let request = NativeOpen {
            object: None,
            name,
            flags: sys::H5F_ACC_TRUNC | sys::H5F_ACC_CREAT | sys::H5F_ACC_RDWR,
            creation: Some(table.H5P_LST_FILE_CREATE_ID_g()),
            access: access.get(),
        };
        let pointer = self.open_native_object(connector.get(), request)?;
        let connector = connector.clone();
        let file = NativeObject { library: self, connector, pointer, kind: NativeKind::File };
        file.tell_it_is_open()?;
        Ok((file, driver))
    }

    /// Makes a native object in a context of its own. Native code requests native objects at any time, and an object
    /// made in the context of its current call would inherit that call's state: above all, it would wrap itself in the
    /// call's connector.
    ///
    /// # Errors
    /// The errors of `make`; if no context can be opened.
    pub fn in_own_context<T>(self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        assert_none_held("native code");
        // SAFETY: within a callback, in the thread that the library called it in.
        let context = unsafe { self.table().open_context() };
        let context = context.ok_or_else(|| Error::call("H5VLopen_lib_context"))?;
        let made = make();
        drop(context);
        made
    }

    /// Returns the class of the native connector in this library.
    ///
    /// # Errors
    /// If the library cannot report it.
    pub fn native_class(self) -> Result<*const sys::H5VL_class_t> {
        let connector = self.native_connector()?;
        let mut class = std::ptr::null();
        // SAFETY: libhdf5 requires an object, and the native connector does not read it
        // (`H5VL__native_introspect_get_conn_cls`); the answer's place outlives the call.
        let result = unsafe {
            (self.table().H5VLintrospect_get_conn_cls)(
                std::ptr::from_ref(&connector).cast_mut().cast(),
                connector.get(),
                sys::H5VL_GET_CONN_LVL_TERM,
                &mut class,
            )
        };
        check(result, "H5VLintrospect_get_conn_cls")?;
        if class.is_null() { Err(Error::call("H5VLintrospect_get_conn_cls")) } else { Ok(class) }
    }
}

impl NativeObject {
    /// Notifies a native file that it is open. Without this, native code that encounters variable-length types in the
    /// file crashes.
    fn tell_it_is_open(&self) -> Result<()> {
        let mut optional = sys::H5VL_optional_args_t {
            op_type: sys::H5VL_NATIVE_FILE_POST_OPEN,
            args: std::ptr::null_mut(),
        };
        // SAFETY: the operation takes no arguments.
        unsafe { self.file_optional(&mut optional) }
    }

    /// Returns the native object itself, for use by libhdf5.
    pub fn pointer(&self) -> *mut c_void {
        self.pointer
    }

    pub(in crate::hdf5) fn own(
        &self,
        pointer: *mut c_void,
        kind: NativeKind,
        function: &str,
    ) -> Result<Self> {
        if pointer.is_null() {
            return Err(Error::call(function));
        }
        Ok(Self { library: self.library, connector: self.connector.clone(), pointer, kind })
    }

    /// Opens the root group.
    pub fn open_root(&self) -> Result<Self> {
        let table = self.library.table();
        let location = file_location();
        // SAFETY: the file is native and open, the name terminated.
        let group = unsafe {
            (table.H5VLgroup_open)(
                self.pointer,
                &location,
                self.connector.get(),
                c"/".as_ptr(),
                table.H5P_LST_GROUP_ACCESS_ID_g(),
                table.H5P_LST_DATASET_XFER_ID_g(),
                std::ptr::null_mut(),
            )
        };
        self.own(group, NativeKind::Group, "H5VLgroup_open")
    }

    /// Makes the scalar dataset beneath every dataset.
    pub fn create_dataset(&self, name: &CStr) -> Result<Self> {
        let table = self.library.table();
        let location = file_location();
        let space = self.library.scalar_space()?;
        // SAFETY: the file is native and open, the name terminated.
        let dataset = unsafe {
            (table.H5VLdataset_create)(
                self.pointer,
                &location,
                self.connector.get(),
                name.as_ptr(),
                table.H5P_LST_LINK_CREATE_ID_g(),
                table.H5T_NATIVE_INT_g(),
                space.get(),
                table.H5P_LST_DATASET_CREATE_ID_g(),
                table.H5P_LST_DATASET_ACCESS_ID_g(),
                table.H5P_LST_DATASET_XFER_ID_g(),
                std::ptr::null_mut(),
            )
        };
        self.own(dataset, NativeKind::Dataset, "H5VLdataset_create")
    }

    /// Opens a dataset that was made before.
    pub fn open_dataset(&self, name: &CStr) -> Result<Self> {
        let table = self.library.table();
        let location = file_location();
        // SAFETY: the file is native and open, the name terminated.
        let dataset = unsafe {
            (table.H5VLdataset_open)(
                self.pointer,
                &location,
                self.connector.get(),
                name.as_ptr(),
                table.H5P_LST_DATASET_ACCESS_ID_g(),
                table.H5P_LST_DATASET_XFER_ID_g(),
                std::ptr::null_mut(),
            )
        };
        self.own(dataset, NativeKind::Dataset, "H5VLdataset_open")
    }

    /// Makes the scalar attribute beneath every attribute.
    pub fn create_attribute(&self, name: &CStr) -> Result<Self> {
        let table = self.library.table();
        let location = file_location();
        let space = self.library.scalar_space()?;
        // SAFETY: the file is native and open, the name terminated.
        let attribute = unsafe {
            (table.H5VLattr_create)(
                self.pointer,
                &location,
                self.connector.get(),
                name.as_ptr(),
                table.H5T_NATIVE_INT_g(),
                space.get(),
                table.H5P_LST_ATTRIBUTE_CREATE_ID_g(),
                table.H5P_LST_ATTRIBUTE_ACCESS_ID_g(),
                table.H5P_LST_DATASET_XFER_ID_g(),
                std::ptr::null_mut(),
            )
        };
        self.own(attribute, NativeKind::Attribute, "H5VLattr_create")
    }

    /// Commits exactly this datatype. Native code reads it to answer queries about a committed type of a container.
    pub fn commit_type(&self, name: &CStr, encoded: &[u8]) -> Result<Self> {
        let table = self.library.table();
        let location = file_location();
        let transient = self.library.decode_type(encoded)?;
        // SAFETY: the file is native and open, the name terminated.
        let committed = unsafe {
            (table.H5VLdatatype_commit)(
                self.pointer,
                &location,
                self.connector.get(),
                name.as_ptr(),
                transient.get(),
                table.H5P_LST_LINK_CREATE_ID_g(),
                table.H5P_LST_DATATYPE_CREATE_ID_g(),
                table.H5P_LST_DATATYPE_ACCESS_ID_g(),
                table.H5P_LST_DATASET_XFER_ID_g(),
                std::ptr::null_mut(),
            )
        };
        self.own(committed, NativeKind::Datatype, "H5VLdatatype_commit")
    }

    /// Opens a datatype that was committed before.
    pub fn open_type(&self, name: &CStr) -> Result<Self> {
        let table = self.library.table();
        let location = file_location();
        // SAFETY: the file is native and open, the name terminated.
        let committed = unsafe {
            (table.H5VLdatatype_open)(
                self.pointer,
                &location,
                self.connector.get(),
                name.as_ptr(),
                table.H5P_LST_DATATYPE_ACCESS_ID_g(),
                table.H5P_LST_DATASET_XFER_ID_g(),
                std::ptr::null_mut(),
            )
        };
        self.own(committed, NativeKind::Datatype, "H5VLdatatype_open")
    }

    /// Passes on an optional file operation.
    ///
    /// # Safety
    /// The arguments are those of a `file optional` callback.
    pub(crate) unsafe fn file_optional(&self, arguments: *mut sys::H5VL_optional_args_t) -> Result<()> {
        let table = self.library.table();
        let transfer = table.H5P_LST_DATASET_XFER_ID_g();
        // SAFETY: as the caller says; the object is a native file.
        let result = unsafe {
            (table.H5VLfile_optional)(
                self.pointer,
                self.connector.get(),
                arguments,
                transfer,
                std::ptr::null_mut(),
            )
        };
        check(result, "H5VLfile_optional")
    }
}

pub(in crate::hdf5) fn file_location() -> sys::H5VL_loc_params_t {
    sys::H5VL_loc_params_t {
        obj_type: sys::H5I_FILE,
        type_: sys::H5VL_OBJECT_BY_SELF,
        // SAFETY: all-zero is a valid value of this union of plain structures.
        loc_data: unsafe { std::mem::zeroed() },
    }
}
