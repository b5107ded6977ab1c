//! A path into a native file, to which an external link of a container leads.

use std::ffi::{CString, c_uint, c_void};
use std::sync::Arc;

use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::handles::Handle;
use crate::handles::native_handle::{NativeConnector, NativeHandle};
use crate::hdf5::datatype::check;
use crate::hdf5::id::{Id, KeptId};
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::strings;

/// Gives a native file that has just been opened an identifier of h5lake's, and notifies it that it is open.
///
/// # Errors
/// If the library fails to do so.
pub fn identifier_of(library: Library, file: Handle) -> Result<Id> {
    if let Handle::Native(native) = &file {
        let mut arguments = sys::H5VL_optional_args_t {
            op_type: sys::H5VL_NATIVE_FILE_POST_OPEN,
            args: std::ptr::null_mut(),
        };
        let result = native.call(|hdf5, object, connector| {
            let transfer = hdf5.H5P_LST_DATASET_XFER_ID_g();
            // SAFETY: the object is a native file; the operation takes no arguments.
            unsafe {
                (hdf5.H5VLfile_optional)(object, connector, &mut arguments, transfer, std::ptr::null_mut())
            }
        });
        check(result, "H5VLfile_optional")?;
    }
    // SAFETY: the handle is a file's, and no other code has it.
    unsafe { library.register_as_is(file.into_pointer(), sys::H5I_FILE) }
}

/// A path in a native file that was opened because an external link names it. The file stays open with this value, and
/// with each object that is opened in it.
pub struct NativePath {
    file: KeptId,
    /// The connector of the file, so that objects of the file are read like those that a program opens in it: above
    /// all, in a store.
    connector: Arc<NativeConnector>,
    path: Vec<u8>,
}

impl NativePath {
    /// Makes a path in a native file that has just been opened.
    ///
    /// # Errors
    /// If the library gives the file no identifier.
    pub fn new(library: Library, file: Handle, path: &[u8]) -> Result<Self> {
        let connector = match &file {
            Handle::Native(native) => native.connector(),
            _ => NativeConnector::of(library)?,
        };
        Ok(Self { file: identifier_of(library, file)?.kept(), connector, path: path.to_vec() })
    }

    /// Appends a further path.
    #[must_use]
    pub fn further(mut self, tail: &[u8]) -> Self {
        if !tail.is_empty() {
            self.path.push(b'/');
            self.path.extend_from_slice(tail);
        }
        self
    }

    fn name(&self) -> Result<CString> {
        let root: &[u8] = b"/";
        strings::c_string(if self.path.is_empty() { root } else { &self.path }, "a path")
    }

    /// Makes a public call that may fail; its error has the library's own frames.
    fn ask<T: Copy + PartialOrd + Default>(&self, call: impl FnOnce() -> T) -> Result<T> {
        self.file.library().quietly(call, |answer| *answer < T::default()).map_err(Error::reported)
    }

    fn open_id(&self) -> Result<Id> {
        let (library, name) = (self.file.library(), self.name()?);
        // SAFETY: the name is terminated.
        let id = self
            .ask(|| unsafe { (library.table().H5Oopen)(self.file.get(), name.as_ptr(), sys::H5P_DEFAULT) })?;
        Id::from_call(library, id, "H5Oopen")
    }

    /// Opens the object.
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub fn open(&self) -> Result<Handle> {
        let library = self.file.library();
        let table = library.table();
        let (opened, connector) = (self.open_id()?, self.connector.clone());
        // SAFETY: all-zero is a valid value of these plain structures; the identifier is an open native object's, and
        // the path names that object itself.
        unsafe {
            let mut kind = (table.H5Iget_type)(opened.get());
            let original = (table.H5VLobject)(opened.get());
            let mut place: sys::H5VL_loc_params_t = std::mem::zeroed();
            place.obj_type = kind;
            place.type_ = sys::H5VL_OBJECT_BY_NAME;
            place.loc_data.loc_by_name =
                sys::H5VL_loc_by_name_t { name: c".".as_ptr(), lapl_id: library.link_access_default() };
            let transfer = library.transfer_default();
            let object: *mut c_void = connector.call(|hdf5, connector| {
                (hdf5.H5VLobject_open)(original, &place, connector, &mut kind, transfer, std::ptr::null_mut())
            });
            if object.is_null() {
                return Err(Error::call("H5VLobject_open"));
            }
            Ok(Handle::Native(NativeHandle::of_kind(connector, object, kind)))
        }
    }

    /// Opens the object as a dataset. The identifier has to be closed before the callback returns, because the
    /// application could count it.
    ///
    /// # Errors
    /// The error that the native connector reported; an object that is no dataset.
    pub fn open_dataset(&self, access: Hid) -> Result<Id> {
        let (library, name) = (self.file.library(), self.name()?);
        // SAFETY: the name is terminated; identifiers are checked by libhdf5.
        let id =
            self.ask(|| unsafe { (library.table().H5Dopen2)(self.file.get(), name.as_ptr(), access) })?;
        Id::from_call(library, id, "H5Dopen2")
    }

    /// Returns whether the object exists.
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub fn exists(&self) -> Result<bool> {
        let (library, name) = (self.file.library(), self.name()?);
        // SAFETY: the name is terminated.
        let answer = self.ask(|| unsafe {
            (library.table().H5Oexists_by_name)(self.file.get(), name.as_ptr(), sys::H5P_DEFAULT)
        })?;
        Ok(answer > 0)
    }

    /// Returns the result of `H5Oget_native_info` for the object.
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub(crate) fn native_info(&self, fields: c_uint) -> Result<sys::H5O_native_info_t> {
        let opened = self.open_id()?;
        // SAFETY: all-zero is a valid value of this plain structure; the answer's place outlives the call.
        unsafe {
            let mut info: sys::H5O_native_info_t = std::mem::zeroed();
            self.ask(|| (self.file.library().table().H5Oget_native_info)(opened.get(), &mut info, fields))?;
            Ok(info)
        }
    }

    /// Returns the comment of the object, from `H5Oget_comment`.
    ///
    /// # Errors
    /// The error that the native connector reported.
    pub fn comment(&self) -> Result<Vec<u8>> {
        let (opened, get) = (self.open_id()?, self.file.library().table().H5Oget_comment);
        // SAFETY: a null buffer requests the length.
        let length = self.ask(|| unsafe { get(opened.get(), std::ptr::null_mut(), 0) })?;
        let mut text = vec![0_u8; usize::try_from(length).map_err(|_| Error::call("H5Oget_comment"))?];
        // SAFETY: the buffer has the size passed along; a comment that fills it is not terminated.
        self.ask(|| unsafe { get(opened.get(), text.as_mut_ptr().cast(), text.len()) })?;
        Ok(text)
    }

    /// Returns the result of `H5Oget_info` for the object.
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub(crate) fn info(&self, fields: c_uint) -> Result<sys::H5O_info2_t> {
        let opened = self.open_id()?;
        // SAFETY: all-zero is a valid value of this plain structure; the answer's place outlives the call.
        unsafe {
            let mut info: sys::H5O_info2_t = std::mem::zeroed();
            self.ask(|| (self.file.library().table().H5Oget_info3)(opened.get(), &mut info, fields))?;
            Ok(info)
        }
    }
}
