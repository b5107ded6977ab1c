//! Containers as native files in memory (`H5Fget_file_image`, and the core driver without a backing store).

use h5lake_plugin_abi::bindings as sys;

use crate::cross_copy;
use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::saved_errors::silently;
use crate::hdf5::strings;

impl Library {
    /// Returns a native file with everything beneath `root`, made with the creation list of its file, as bytes. The
    /// bytes are in memory twice while the file is made.
    ///
    /// # Errors
    /// The errors of the copy; for objects that a native file cannot hold.
    pub fn native_image(self, root: Hid, creation: Hid) -> Result<Vec<u8>> {
        let table = self.table();
        self.set_user_block(creation, 0)?;
        let access = self.access_to_native_in_memory(false)?;
        // SAFETY: identifiers are checked by the library, the name is terminated.
        let (file, copy) = unsafe {
            let file =
                (table.H5Fcreate)(c"h5lake-image".as_ptr(), sys::H5F_ACC_TRUNC, creation, access.get());
            let file = Id::from_call(self, file, "H5Fcreate")?;
            let copy = (table.H5Gopen2)(file.get(), c"/".as_ptr(), sys::H5P_DEFAULT);
            (file, Id::from_call(self, copy, "H5Gopen2")?)
        };
        let left_out = cross_copy::copy_root(self, root, copy.get())?;
        if let Some(link) = left_out.first() {
            return Err(Error::unsupported(format!(
                "an image of a file with {}: {}",
                link.path, link.reason
            )));
        }
        silently(self, || {
            // SAFETY: a null buffer requests the size; the buffer then has it.
            unsafe {
                check((table.H5Fflush)(file.get(), sys::H5F_SCOPE_LOCAL), "H5Fflush")?;
                let size = (table.H5Fget_file_image)(file.get(), std::ptr::null_mut(), 0);
                let size = usize::try_from(size).map_err(|_| Error::call("H5Fget_file_image"))?;
                let mut image = vec![0_u8; size];
                let taken = (table.H5Fget_file_image)(file.get(), image.as_mut_ptr().cast(), size);
                if usize::try_from(taken) != Ok(size) {
                    return Err(Error::new(Minor::Internal, "a file's image has another size than it said"));
                }
                Ok(image)
            }
        })
    }

    /// Returns the image of the container to which an access list of ours leads. It is made by public calls, because
    /// in a callback that opens a file no object of that file can have an identifier.
    ///
    /// # Errors
    /// The errors of opening the container to read; as for [`Library::native_image`].
    pub fn image_of_file(self, name: &[u8], access: Hid) -> Result<Vec<u8>> {
        let table = self.table();
        let name = strings::c_string(name, "a file name")?;
        let opened = self.quietly(
            // SAFETY: the name is terminated; the list is checked by the library.
            || unsafe { (table.H5Fopen)(name.as_ptr(), sys::H5F_ACC_RDONLY, access) },
            |answer| *answer < 0,
        );
        let file = Id::from_call(self, opened.map_err(Error::reported)?, "H5Fopen")?;
        // SAFETY: identifiers are checked by the library, the name is terminated.
        let (root, creation) = unsafe {
            let root = (table.H5Gopen2)(file.get(), c"/".as_ptr(), sys::H5P_DEFAULT);
            let root = Id::from_call(self, root, "H5Gopen2")?;
            (root, Id::from_call(self, (table.H5Fget_create_plist)(file.get()), "H5Fget_create_plist")?)
        };
        self.native_image(root.get(), creation.get())
    }

    /// Makes a copy of a file access list that carries the content of the file.
    ///
    /// # Errors
    /// If the library refuses the list.
    pub fn with_image(self, access: Hid, image: &mut [u8]) -> Result<Id> {
        let list = self.copy_list(access)?;
        // SAFETY: the call copies the bytes.
        let result =
            unsafe { (self.table().H5Pset_file_image)(list.get(), image.as_mut_ptr().cast(), image.len()) };
        check(result, "H5Pset_file_image")?;
        Ok(list)
    }
}
