//! References: their sizes, and old-style region references.

use h5lake_container::ObjectId;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::token;

/// The bytes of an object reference, in memory and in the container.
pub const OBJECT_BYTES: usize = 8;
/// The bytes of a region reference, in memory and in the container.
pub const REGION_BYTES: usize = 12;
/// The bytes of a new reference (`H5R_ref_t`) in memory.
pub const NEW_BYTES: usize = sys::H5R_REF_BUF_SIZE as usize;

impl Library {
    /// Returns the object and the selection (`H5Sencode2`) of a region reference in memory. `location` is any object
    /// of the file.
    pub fn region_of(self, location: Hid, reference: &[u8; REGION_BYTES]) -> Result<(ObjectId, Vec<u8>)> {
        let table = self.table();
        let place = reference.as_ptr().cast();
        // SAFETY: the reference has the bytes of its kind.
        let (space, object) = unsafe {
            let space = (table.H5Rget_region)(location, sys::H5R_DATASET_REGION1, place);
            let space = Id::from_call(self, space, "H5Rget_region")?;
            let access = table.H5P_LST_DATASET_ACCESS_ID_g();
            let object = (table.H5Rdereference2)(location, access, sys::H5R_DATASET_REGION1, place);
            (space, Id::from_call(self, object, "H5Rdereference2")?)
        };
        let (id, _) = self.object_of(object.get()).ok_or_else(|| Error::call("H5Oget_info3"))?;
        Ok((id, self.encode_space(space.get())?))
    }

    /// Opens an object by its id. `location` is any object of the file.
    pub fn open_by_id(self, location: Hid, id: ObjectId) -> Result<Id> {
        let token = sys::H5O_token_t { __data: token::encode(id) };
        // SAFETY: identifiers and tokens are checked by the library.
        let opened = unsafe { (self.table().H5Oopen_by_token)(location, token) };
        Id::from_call(self, opened, "H5Oopen_by_token")
    }

    /// Makes a region reference in memory to elements of `dataset`.
    pub fn region_reference(self, dataset: Hid, selection: &[u8]) -> Result<[u8; REGION_BYTES]> {
        let table = self.table();
        if selection.is_empty() {
            return Err(Error::new(Minor::ReadError, "a region reference holds no selection"));
        }
        let space = self.decode_space(selection)?;
        let mut reference = [0; REGION_BYTES];
        // SAFETY: the buffer has the bytes of the reference's kind; the name is terminated.
        let result = unsafe {
            (table.H5Rcreate)(
                reference.as_mut_ptr().cast(),
                dataset,
                c".".as_ptr(),
                sys::H5R_DATASET_REGION1,
                space.get(),
            )
        };
        check(result, "H5Rcreate")?;
        Ok(reference)
    }

    /// Returns HDF5's portable encoding of a dataspace with its selection.
    pub fn encode_space(self, space: Hid) -> Result<Vec<u8>> {
        let (table, mut size) = (self.table(), 0_usize);
        let access = table.H5P_LST_FILE_ACCESS_ID_g();
        // SAFETY: a null buffer requests the size.
        check(unsafe { (table.H5Sencode2)(space, std::ptr::null_mut(), &mut size, access) }, "H5Sencode2")?;
        let mut bytes = vec![0_u8; size];
        check(
            // SAFETY: the buffer has `size` bytes.
            unsafe { (table.H5Sencode2)(space, bytes.as_mut_ptr().cast(), &mut size, access) },
            "H5Sencode2",
        )?;
        bytes.truncate(size);
        Ok(bytes)
    }

    /// Returns the offset of a compound's member in bytes.
    pub fn member_offset(self, datatype: Hid, index: usize) -> Result<usize> {
        let index = u32::try_from(index).map_err(|_| Error::argument("too many members"))?;
        // SAFETY: any value may be given; a bad one gives 0.
        Ok(unsafe { (self.table().H5Tget_member_offset)(datatype, index) })
    }
}
