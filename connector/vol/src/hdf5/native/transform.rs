//! Data transforms (`H5Pset_data_transform`): libhdf5 itself applies an expression to elements that are written to a
//! native dataset in memory. The elements read from there are those that native HDF5 would have stored, or returned to
//! the program.

use std::ffi::{CStr, c_void};

use h5lake_ledger::locks::assert_none_held;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};

const PROPERTY: &CStr = c"data_transform";
/// The number of elements that are transformed at once.
const AT_ONCE: usize = 1 << 18;
/// The number of bytes by which the file in memory grows.
const INCREMENT: usize = 1 << 16;

impl Library {
    /// Makes a copy of a transfer list without its expression.
    ///
    /// # Errors
    /// If the library cannot copy the list.
    pub fn without_transform(self, list: Hid) -> Result<Id> {
        let copy = self.copy_list(list)?;
        let nothing = std::ptr::null_mut::<c_void>();
        // `H5Pcopy_prop` leaves a list of the same class without the property (HDF5 1.14.6).
        // SAFETY: the property is a pointer, and may be null; a terminated name.
        let done =
            unsafe { (self.table().H5Pset)(copy.get(), PROPERTY.as_ptr(), (&raw const nothing).cast()) };
        check(done, "H5Pset")?;
        Ok(copy)
    }

    /// Returns the terminated expression of a transfer list that has one.
    pub(in crate::hdf5) fn expression(self, list: Hid) -> Result<Vec<u8>> {
        let get = self.table().H5Pget_data_transform;
        // SAFETY: a null pointer requests the length alone.
        let length = unsafe { get(list, std::ptr::null_mut(), 0) };
        let length = usize::try_from(length).map_err(|_| Error::call("H5Pget_data_transform"))?;
        let mut text = vec![0_u8; length + 1];
        // SAFETY: the buffer has that many bytes; the last one is for the terminator.
        let answer = unsafe { get(list, text.as_mut_ptr().cast(), text.len()) };
        if answer < 0 || text.last() != Some(&0) {
            return Err(Error::call("H5Pget_data_transform"));
        }
        Ok(text)
    }

    /// Applies the data transform of a transfer list to elements in memory. The list's other properties are ignored:
    /// it may request a collective transfer.
    ///
    /// # Errors
    /// For elements that are no native numbers, which native HDF5 refuses, too.
    pub fn transform(self, datatype: Hid, data: &mut [u8], list: Hid) -> Result<()> {
        let (table, size) = (self.table(), self.type_size(datatype)?);
        if size == 0 || !data.len().is_multiple_of(size) {
            return Err(Error::new(Minor::Internal, "a buffer is no whole number of elements"));
        }
        let expression = self.expression(list)?;
        // SAFETY: the class of transfer lists; a terminated text.
        let transforming = unsafe {
            let new = Id::from_call(self, (table.H5Pcreate)(table.H5P_CLS_DATASET_XFER_ID_g()), "H5Pcreate")?;
            let set = (table.H5Pset_data_transform)(new.get(), expression.as_ptr().cast());
            check(set, "H5Pset_data_transform")?;
            new
        };
        let file = self.file_in_memory()?;
        for part in data.chunks_mut(size.saturating_mul(AT_ONCE)) {
            self.transform_part(&file, datatype, part, (part.len() / size) as u64, &transforming)?;
        }
        Ok(())
    }

    /// Makes a native file in memory, for the duration of one callback.
    fn file_in_memory(self) -> Result<Id> {
        let table = self.table();
        let connector = self.native_connector()?;
        // SAFETY: the class of file access lists, and constants.
        let access = unsafe {
            let access =
                Id::from_call(self, (table.H5Pcreate)(table.H5P_CLS_FILE_ACCESS_ID_g()), "H5Pcreate")?;
            check((table.H5Pset_fapl_core)(access.get(), INCREMENT, false), "H5Pset_fapl_core")?;
            check((table.H5Pset_vol)(access.get(), connector.get(), std::ptr::null()), "H5Pset_vol")?;
            access
        };
        let name = c"h5lake data transform (in memory)";
        let create = || {
            // SAFETY: a terminated name; the list is valid.
            unsafe { (table.H5Fcreate)(name.as_ptr(), sys::H5F_ACC_TRUNC, sys::H5P_DEFAULT, access.get()) }
        };
        let id = self.quietly(create, |id| *id < 0).map_err(Error::reported)?;
        Id::from_call(self, id, "H5Fcreate")
    }

    fn transform_part(self, file: &Id, datatype: Hid, part: &mut [u8], count: u64, list: &Id) -> Result<()> {
        const ALL: Hid = sys::H5S_ALL as Hid;
        let (table, none) = (self.table(), sys::H5P_DEFAULT);
        assert_none_held("native code");
        // SAFETY: one dimension has one size; identifiers are checked by libhdf5.
        let set = unsafe {
            let space = (table.H5Screate_simple)(1, &count, std::ptr::null());
            let space = Id::from_call(self, space, "H5Screate_simple")?;
            let set = (table.H5Dcreate_anon)(file.get(), datatype, space.get(), none, none);
            Id::from_call(self, set, "H5Dcreate_anon")?
        };
        let (given, place) = (part.as_ptr().cast(), part.as_mut_ptr().cast());
        let through = || {
            // SAFETY: the buffer holds as many elements of the type as the dataset has.
            unsafe {
                let written = (table.H5Dwrite)(set.get(), datatype, ALL, ALL, list.get(), given);
                if written < 0 {
                    written
                } else {
                    (table.H5Dread)(set.get(), datatype, ALL, ALL, none, place)
                }
            }
        };
        self.quietly(through, |done| *done < 0).map_err(Error::reported).map(drop)
    }
}
