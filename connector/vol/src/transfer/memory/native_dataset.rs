//! Datasets of native files, accessed by public calls. Their identifiers are closed before a callback returns: as long
//! as they are open, an application could count them.

use std::ffi::{CStr, c_char, c_uint};

use h5lake_container::Access;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::hdf5::datatype::{TypeClass, check};
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::native::object_driver::noting;
use crate::hdf5::strings::c_string;
use crate::transfer::memory::region::MemoryRegion;

/// Stands for no identifier: the dataset does not exist.
const NOTHING: Hid = 0;

impl Library {
    /// Opens a native file for the duration of one callback.
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub fn open_source_file(self, name: &[u8], access: Access) -> Result<Id> {
        let list = self.source_access()?;
        let flags = match access {
            Access::ReadWrite => sys::H5F_ACC_RDWR,
            Access::ReadOnly => sys::H5F_ACC_RDONLY,
        };
        self.open_source(name, flags, &list)
    }

    /// Makes the access list for such files.
    ///
    /// # Errors
    /// A call of libhdf5 that fails.
    pub fn source_access(self) -> Result<Id> {
        let table = self.table();
        let connector = self.native_connector()?;
        // SAFETY: the class is the library's own.
        let list = unsafe { (table.H5Pcreate)(table.H5P_CLS_FILE_ACCESS_ID_g()) };
        let list = Id::from_call(self, list, "H5Pcreate")?;
        // SAFETY: both identifiers are valid.
        let set = unsafe { (table.H5Pset_vol)(list.get(), connector.get(), std::ptr::null()) };
        check(set, "H5Pset_vol")?;
        // SAFETY: the list is valid.
        let set = unsafe { (table.H5Pset_fclose_degree)(list.get(), sys::H5F_CLOSE_WEAK) };
        check(set, "H5Pset_fclose_degree")?;
        Ok(list)
    }

    fn open_source(self, name: &[u8], flags: c_uint, list: &Id) -> Result<Id> {
        let (table, name) = (self.table(), c_string(name, "a file name")?);
        // SAFETY: the name is terminated, the list valid.
        let open = || unsafe { (table.H5Fopen)(name.as_ptr(), flags, list.get()) };
        let id = self.quietly(open, |id| *id < 0).map_err(Error::reported)?;
        Id::from_call(self, id, "H5Fopen")
    }

    /// Opens a dataset of a native file; returns `None` if no object exists at its path.
    ///
    /// # Errors
    /// The native connector's own error, as it reported it, for a dataset that does not open; the error if a store did
    /// not answer.
    pub fn open_source_dataset(self, file: &Id, path: &[u8], access: Hid) -> Result<Option<Id>> {
        let name = c_string(path, "a dataset name")?;
        // SAFETY: identifiers are checked by libhdf5; the name is terminated.
        let open = || unsafe { (self.table().H5Dopen2)(file.get(), name.as_ptr(), access) };
        let (opened, failed) = noting(|| {
            let opened = self.quietly(open, |id| *id < 0).map_err(Error::reported);
            opened.or_else(|error| match self.is_missing(file, path) {
                Ok(true) => Ok(NOTHING),
                _ => Err(error),
            })
        });
        match (opened, failed) {
            (Ok(NOTHING), None) => Ok(None),
            (Ok(NOTHING) | Err(_), Some(failed)) => Err(failed),
            (opened, _) => Id::from_call(self, opened?, "H5Dopen2").map(Some),
        }
    }

    /// Returns whether no object exists at a path: a component is missing, or the last component is a dangling link.
    /// Each component is checked, because libhdf5 reports the existence of the last component only.
    fn is_missing(self, file: &Id, path: &[u8]) -> Result<bool> {
        let slashes = (0..path.len()).filter(|end| path[*end] == b'/');
        for end in slashes.chain([path.len()]) {
            let part = path[..end].rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            if matches!(part, b"" | b".") {
                continue;
            }
            let (name, is_last) = (c_string(&path[..end], "a dataset name")?, end == path.len());
            // HDF5 2.0 reports only whether links exist, and of an existing link whether it leads to an object.
            if !self.answers_yes(self.table().H5Lexists, file, &name)? {
                return Ok(true);
            }
            if !self.answers_yes(self.table().H5Oexists_by_name, file, &name)? {
                return Ok(is_last);
            }
            if !is_last && self.kind_at(file, &name)? != sys::H5O_TYPE_GROUP {
                return Ok(false);
            }
        }
        Ok(false)
    }

    fn answers_yes(
        self,
        exists: unsafe extern "C" fn(Hid, *const c_char, Hid) -> sys::htri_t,
        file: &Id,
        path: &CStr,
    ) -> Result<bool> {
        // SAFETY: the function is one of libhdf5's that take a path; identifiers are checked by libhdf5, and the path
        // is terminated.
        let ask = || unsafe { exists(file.get(), path.as_ptr(), sys::H5P_DEFAULT) };
        Ok(self.quietly(ask, |answer| *answer < 0).map_err(Error::reported)? > 0)
    }

    /// Returns the kind of the object at a path.
    fn kind_at(self, file: &Id, path: &CStr) -> Result<sys::H5O_type_t> {
        let (table, access) = (self.table(), sys::H5P_DEFAULT);
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut info: sys::H5O_info2_t = unsafe { std::mem::zeroed() };
        // SAFETY: identifiers are checked by libhdf5; the path is terminated, and the answer's place outlives the call.
        let get = || unsafe {
            let basic = sys::H5O_INFO_BASIC;
            (table.H5Oget_info_by_name3)(file.get(), path.as_ptr(), &mut info, basic, access)
        };
        self.quietly(get, |answer| *answer < 0).map_err(Error::reported)?;
        Ok(info.type_)
    }

    /// Returns the dataspace of an open dataset.
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub fn native_space(self, dataset: &Id) -> Result<Id> {
        // SAFETY: identifiers are checked by libhdf5.
        let get = || unsafe { (self.table().H5Dget_space)(dataset.get()) };
        let id = self.quietly(get, |id| *id < 0).map_err(Error::reported)?;
        Id::from_call(self, id, "H5Dget_space")
    }

    /// Reads the elements that `selection` selects into `buffer`, packed, as `memory_type`.
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub fn read_native(
        self,
        dataset: &Id,
        memory_type: Hid,
        selection: &Id,
        transfer: Hid,
        buffer: &mut [u8],
    ) -> Result<()> {
        let memory = self.row_of(memory_type, selection, buffer.len())?;
        // SAFETY: the buffer holds as many elements as are selected.
        let read = || unsafe {
            (self.table().H5Dread)(
                dataset.get(),
                memory_type,
                memory.get(),
                selection.get(),
                transfer,
                buffer.as_mut_ptr().cast(),
            )
        };
        self.quietly(read, |result| *result < 0).map_err(Error::reported).map(drop)
    }

    /// Fills packed elements of `memory_type`, of `element` bytes each, with a dataset's fill value. The elements are
    /// unchanged if the dataset defines no fill value, or if they hold data of variable length.
    ///
    /// # Errors
    /// If the library cannot convert the fill value.
    pub fn fill_native(
        self,
        dataset: &Id,
        memory_type: Hid,
        element: usize,
        elements: &mut [u8],
    ) -> Result<()> {
        let table = self.table();
        // SAFETY: identifiers are checked by libhdf5.
        let list = Id::from_call(
            self,
            unsafe { (table.H5Dget_create_plist)(dataset.get()) },
            "H5Dget_create_plist",
        )?;
        let mut defined = sys::H5D_FILL_VALUE_UNDEFINED;
        // SAFETY: the answer's place outlives the call.
        check(unsafe { (table.H5Pfill_value_defined)(list.get(), &mut defined) }, "H5Pfill_value_defined")?;
        let has_pointers = self.type_contains(memory_type, TypeClass::VariableLength)?
            || self.type_contains(memory_type, TypeClass::Reference)?
            || self.is_variable_string(memory_type)?;
        if defined == sys::H5D_FILL_VALUE_UNDEFINED || has_pointers || self.type_size(memory_type)? != element
        {
            return Ok(());
        }
        let mut value = vec![0_u8; element];
        // SAFETY: the buffer holds one element of the type.
        let result = unsafe { (table.H5Pget_fill_value)(list.get(), memory_type, value.as_mut_ptr().cast()) };
        check(result, "H5Pget_fill_value")?;
        elements.chunks_exact_mut(element.max(1)).for_each(|one| one.copy_from_slice(&value));
        Ok(())
    }

    /// Writes elements of a program's to the elements that `selection` selects.
    pub fn write_native(
        self,
        dataset: &Id,
        region: &MemoryRegion,
        selection: &Id,
        transfer: Hid,
    ) -> Result<()> {
        let elements = region.copied()?;
        let (memory_type, buffer) = elements.parts()?;
        let memory = self.row_of(memory_type, selection, buffer.len())?;
        // SAFETY: the buffer holds as many elements as are selected, of that type, and the data that they point to is
        // valid.
        let result = unsafe {
            (self.table().H5Dwrite)(
                dataset.get(),
                memory_type,
                memory.get(),
                selection.get(),
                transfer,
                buffer.as_ptr().cast(),
            )
        };
        check(result, "H5Dwrite of a native source")?;
        // The dataset's file is closed with the callback, and a failure to write cached data could not be reported
        // then.
        // SAFETY: identifiers are checked by libhdf5.
        let flushed = unsafe { (self.table().H5Fflush)(dataset.get(), sys::H5F_SCOPE_LOCAL) };
        check(flushed, "H5Fflush of a native source")
    }

    fn row_of(self, memory_type: Hid, selection: &Id, bytes: usize) -> Result<Id> {
        let points = self.selected_points(selection.get())?;
        let needed =
            usize::try_from(points).ok().and_then(|n| n.checked_mul(self.type_size(memory_type).ok()?));
        if needed != Some(bytes) {
            return Err(Error::argument("a buffer does not fit what is selected in a native source"));
        }
        self.row_space(points)
    }
}
