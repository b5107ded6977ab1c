//! Native files that are opened and created for the application.

use std::ffi::{CStr, c_uint};
use std::sync::Arc;

use h5lake_container::ObjectFile;
use h5lake_plugin_abi::bindings as sys;

use crate::config::NativeFilters;
use crate::error::{Error, Frames, Result};
use crate::handles::Handle;
use crate::handles::native_handle::{NativeConnector, NativeHandle};
use crate::hdf5::classes;
use crate::hdf5::datatype::check;
use crate::hdf5::file_flags::OpenFlags;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::native::open::NativeOpen;
use crate::hdf5::strings;

impl Library {
    /// Makes a copy of a file access list that names the native connector.
    fn native_access(self, connector: &NativeConnector, access: Hid) -> Result<Id> {
        let table = self.table();
        // SAFETY: any value may be given; a bad one is an error.
        let copy = Id::from_call(self, unsafe { (table.H5Pcopy)(access) }, "H5Pcopy")?;
        // SAFETY: both identifiers are valid.
        check(unsafe { (table.H5Pset_vol)(copy.get(), connector.id(), std::ptr::null()) }, "H5Pset_vol")?;
        Ok(copy)
    }

    /// Opens a native file (`H5Fopen`).
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub fn open_native_file(
        self,
        name: &[u8],
        flags: OpenFlags,
        access: Hid,
        filters: NativeFilters,
    ) -> Result<Handle> {
        self.native_file(name, flags.to_bits(), None, (access, filters), None)
    }

    /// Opens a native file that is an object of a store, for reading (`H5Fopen`). The list's driver is replaced by
    /// h5lake's.
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub fn open_native_object_file(
        self,
        name: &[u8],
        object: Arc<ObjectFile>,
        flags: OpenFlags,
        access: Hid,
        filters: NativeFilters,
    ) -> Result<Handle> {
        // A file that was copied while a writer had it open (SWMR) can be read only with this flag.
        let read = OpenFlags { write: false, exclusive: false, swmr_write: false, ..flags };
        self.native_file(name, read.to_bits(), None, (access, filters), Some(object))
    }

    /// Creates a native file (`H5Fcreate`).
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub fn create_native_file(
        self,
        name: &[u8],
        flags: OpenFlags,
        creation: Hid,
        access: Hid,
        filters: NativeFilters,
    ) -> Result<Handle> {
        let replace = if flags.exclusive { sys::H5F_ACC_EXCL } else { sys::H5F_ACC_TRUNC };
        let flags = replace | sys::H5F_ACC_CREAT | sys::H5F_ACC_RDWR | flags.to_bits();
        self.native_file(name, flags, Some(creation), (access, filters), None)
    }

    fn native_file(
        self,
        name: &[u8],
        flags: c_uint,
        creation: Option<Hid>,
        (access, filters): (Hid, NativeFilters),
        object: Option<Arc<ObjectFile>>,
    ) -> Result<Handle> {
        let connector = NativeConnector::with(self, filters, object.clone())?;
        let list = self.native_access(&connector, access)?;
        if object.is_some() {
            self.set_object_driver(&list)?;
        }
        let name = strings::c_string(name, "a file name")?;
        let request = NativeOpen { name: &name, flags, creation, access: list.get(), object };
        let object = self.open_native_object(connector.id(), request)?;
        // SAFETY: the object is native and open.
        match unsafe { connector.class(object) } {
            Ok(class) => {
                // SAFETY: the class is that of a native object; no other code has the object.
                unsafe {
                    classes::remember_native_class(self, class);
                    Ok(Handle::Native(NativeHandle::new(connector, object)))
                }
            }
            Err(error) => {
                let transfer = self.table().H5P_LST_DATASET_XFER_ID_g();
                connector.call(|hdf5, connector| {
                    // SAFETY: no other code has the object.
                    unsafe { (hdf5.H5VLfile_close)(object, connector, transfer, std::ptr::null_mut()) }
                });
                Err(error)
            }
        }
    }

    /// Returns whether a native file is accessible (`H5Fis_accessible`).
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub fn is_native_file(self, name: &[u8], access: Hid) -> Result<bool> {
        let connector = NativeConnector::of(self)?;
        let list = self.native_access(&connector, access)?;
        let name = strings::c_string(name, "a file name")?;
        // SAFETY: the name is terminated, the list valid.
        let answer =
            native(self, || unsafe { (self.table().H5Fis_accessible)(name.as_ptr(), list.get()) }.into())?;
        Ok(answer > 0)
    }

    /// Returns whether a native file is open in this library. For this the file is opened once more, for reading and
    /// with the list's settings, to which those of the open file had to conform. A file that cannot be opened is
    /// considered closed.
    ///
    /// # Errors
    /// If the library cannot make the list.
    pub fn is_native_open(self, name: &[u8], access: Hid) -> Result<bool> {
        const FILES_AND_OBJECTS: u32 = 0x1f;
        let table = self.table();
        let connector = NativeConnector::of(self)?;
        let list = self.native_access(&connector, access)?;
        let name = strings::c_string(name, "a file name")?;
        // SAFETY: the name is terminated, the list valid.
        let open = || unsafe { (table.H5Fopen)(name.as_ptr(), sys::H5F_ACC_RDONLY, list.get()) };
        let Ok(file) = native(self, open) else { return Ok(false) };
        let file = Id::from_call(self, file, "H5Fopen")?;
        let count = native(self, || {
            // SAFETY: the identifier is a file's.
            unsafe { (table.H5Fget_obj_count)(file.get(), FILES_AND_OBJECTS) as Hid }
        })?;
        Ok(count > 1)
    }

    /// Deletes a native file (`H5Fdelete`).
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub fn delete_native_file(self, name: &[u8], access: Hid) -> Result<()> {
        let connector = NativeConnector::of(self)?;
        let list = self.native_access(&connector, access)?;
        let name: &CStr = &strings::c_string(name, "a file name")?;
        // SAFETY: the name is terminated, the list valid.
        native(self, || unsafe { (self.table().H5Fdelete)(name.as_ptr(), list.get()) }.into()).map(|_| ())
    }

    /// Returns whether the application chose our connector for this file, by `HDF5_VOL_CONNECTOR` or with settings of
    /// its own. Neither is true when the library itself searches for a connector for a file that the native connector
    /// could not open.
    pub fn is_chosen(self, access: Hid) -> Result<bool> {
        let info = self.connector_info(access)?;
        if !info.is_null() {
            // SAFETY: it was just given, and is not used again.
            unsafe { self.free_connector_info(access, info) };
            return Ok(true);
        }
        self.names_our_connector(self.table().H5P_LST_FILE_ACCESS_ID_g())
    }

    /// Returns whether an access list carries the content of the file (`H5Pset_file_image`).
    pub fn has_file_image(self, access: Hid) -> Result<bool> {
        let mut size = 0_usize;
        // SAFETY: a null pointer requests the size alone.
        let result = unsafe { (self.table().H5Pget_file_image)(access, std::ptr::null_mut(), &mut size) };
        check(result, "H5Pget_file_image")?;
        Ok(size > 0)
    }

    /// Returns a copy of the image that an access list carries, without the program's callbacks.
    pub fn file_image(self, access: Hid) -> Result<Vec<u8>> {
        let (mut image, mut size) = (std::ptr::null_mut(), 0_usize);
        // SAFETY: the answers' places outlive the call.
        let result = unsafe { (self.table().H5Pget_file_image)(access, &mut image, &mut size) };
        check(result, "H5Pget_file_image")?;
        if image.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: the library has just made a copy of that size, which is the caller's to free.
        unsafe {
            let bytes = std::slice::from_raw_parts(image.cast::<u8>(), size).to_vec();
            (self.table().H5free_memory)(image);
            Ok(bytes)
        }
    }

    /// Returns whether a program passes the image of an access list to the driver through functions of its own
    /// (`H5LTopen_file_image` does). They may rely on a single open.
    pub fn has_image_callbacks(self, access: Hid) -> Result<bool> {
        // SAFETY: all-zero is a valid value of this structure of optional functions and a pointer.
        let mut callbacks: sys::H5FD_file_image_callbacks_t = unsafe { std::mem::zeroed() };
        // SAFETY: the answer's place outlives the call. Its data is a copy that such functions make, and null without
        // them.
        let result = unsafe { (self.table().H5Pget_file_image_callbacks)(access, &mut callbacks) };
        check(result, "H5Pget_file_image_callbacks")?;
        let has = callbacks.image_malloc.is_some() || callbacks.image_memcpy.is_some();
        if let Some(free) = callbacks.udata_free.filter(|_| !callbacks.udata.is_null()) {
            // SAFETY: the function is the copy's own.
            unsafe { free(callbacks.udata) };
        }
        Ok(has)
    }

    /// Returns whether an access list chooses the core driver without a backing store.
    pub fn discards_writes(self, access: Hid) -> Result<bool> {
        let (mut increment, mut backed) = (0_usize, true);
        // SAFETY: the answers' places outlive the call. Any other driver is an error, and counts as no.
        let asked = self.quietly(
            || unsafe { (self.table().H5Pget_fapl_core)(access, &mut increment, &mut backed) },
            |answer| *answer < 0,
        );
        Ok(asked.is_ok() && !backed)
    }

    /// Preserves the error stack while `look` probes a file: when the library searches for a connector after a
    /// failure, that failure's frames are on the stack.
    pub fn keeping_errors<T>(self, look: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.take_errors();
        let result = look();
        before.restore();
        result
    }
}

/// Makes a call of the native connector through a public function; a negative result is an error with the frames that
/// the library reported.
fn native(library: Library, call: impl FnOnce() -> Hid) -> Result<Hid> {
    library.quietly(call, |answer| *answer < 0).map_err(Error::reported)
}
