//! Lists that files are created and opened with.

use std::ffi::{c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::library::{Hid, Library};

impl Library {
    /// Bytes in front of the container that belong to the user.
    pub fn user_block(self, file_creation: Hid) -> Result<u64> {
        let mut size = 0_u64;
        // SAFETY: the answer's place outlives the call.
        check(unsafe { (self.table().H5Pget_userblock)(file_creation, &mut size) }, "H5Pget_userblock")?;
        Ok(size)
    }

    /// Sets the size of the user block on a list that is given out.
    pub fn set_user_block(self, file_creation: Hid, size: u64) -> Result<()> {
        // SAFETY: any value may be given; a bad one is an error.
        check(unsafe { (self.table().H5Pset_userblock)(file_creation, size) }, "H5Pset_userblock")
    }

    /// Checks that no sort of message is shared in two indexes (`H5SM_init`): containers share nothing that way, but native
    /// files are refused so.
    ///
    /// # Errors
    /// For such a list.
    pub fn check_shared_messages(self, creation: Hid) -> Result<()> {
        let table = self.table();
        let (mut count, mut seen) = (0, 0);
        // SAFETY: the answer's place outlives the call.
        let result = unsafe { (table.H5Pget_shared_mesg_nindexes)(creation, &mut count) };
        check(result, "H5Pget_shared_mesg_nindexes")?;
        for index in 0..count {
            let (mut flags, mut least) = (0, 0);
            // SAFETY: the answers' places outlive the call; the index is below the count.
            let result = unsafe { (table.H5Pget_shared_mesg_index)(creation, index, &mut flags, &mut least) };
            check(result, "H5Pget_shared_mesg_index")?;
            if seen & flags != 0 {
                let text = "the same shared message type flag is assigned to more than one index";
                return Err(Error::file(Minor::BadValue, text, None));
            }
            seen |= flags;
        }
        Ok(())
    }

    /// Checks that a user block fits the alignment of a file's objects, as native HDF5 demands it (`H5F__super_init`).
    ///
    /// # Errors
    /// For one that is no multiple of it.
    pub fn check_user_block(self, creation: Hid, access: Hid) -> Result<()> {
        let size = self.user_block(creation)?;
        let (mut threshold, mut alignment) = (0, 0);
        // SAFETY: the answers' places outlive the call.
        let result = unsafe { (self.table().H5Pget_alignment)(access, &mut threshold, &mut alignment) };
        check(result, "H5Pget_alignment")?;
        if let Some(page) = self.page_size(creation)? {
            alignment = page;
        }
        if size > 0 && !size.is_multiple_of(alignment.max(1)) {
            let text = "userblock size must be an integral multiple of file object alignment";
            return Err(Error::file(Minor::BadValue, text, None));
        }
        Ok(())
    }

    /// Whether the file must not close before its objects, and whether it takes them along:
    /// `H5F_CLOSE_STRONG` is 3, `H5F_CLOSE_SEMI` 2, `H5F_CLOSE_WEAK` 1, the driver's default 0.
    pub fn close_degree(self, file_access: Hid) -> Result<u32> {
        let mut degree = sys::H5F_CLOSE_DEFAULT;
        check(
            // SAFETY: the answer's place outlives the call.
            unsafe { (self.table().H5Pget_fclose_degree)(file_access, &mut degree) },
            "H5Pget_fclose_degree",
        )?;
        Ok(degree.0)
    }

    /// The function that a file access list has called with an object's identifier when that was flushed (`H5Pset_object_flush_cb`).
    ///
    /// # Errors
    /// What is no such list. The call fails if the function says so.
    pub fn object_flush_callback(self, file_access: Hid) -> Result<Option<impl FnOnce(Hid) -> Result<()>>> {
        let (mut function, mut data): (sys::H5F_flush_cb_t, _) = (None, std::ptr::null_mut());
        // SAFETY: the answers' places outlive the call.
        let result = unsafe { (self.table().H5Pget_object_flush_cb)(file_access, &mut function, &mut data) };
        check(result, "H5Pget_object_flush_cb")?;
        let call = |function: unsafe extern "C" fn(Hid, *mut c_void) -> c_int| {
            // SAFETY: the application's function, called as H5Pset_object_flush_cb describes.
            move |object| match unsafe { function(object, data) } {
                0.. => Ok(()),
                _ => Err(Error::new(Minor::CannotOperate, "object flush callback returns error")),
            }
        };
        Ok(function.map(call))
    }

    /// Sets what closing a file does to its objects on a list that is given out.
    pub fn set_close_degree(self, file_access: Hid, degree: u32) -> Result<()> {
        // SAFETY: any value may be given; a bad one is an error.
        let result =
            unsafe { (self.table().H5Pset_fclose_degree)(file_access, sys::H5F_close_degree_t(degree)) };
        check(result, "H5Pset_fclose_degree")
    }

    /// Sets between which formats of native files a list that is given out chooses.
    pub fn set_format_bounds(
        self,
        file_access: Hid,
        bounds: (sys::H5F_libver_t, sys::H5F_libver_t),
    ) -> Result<()> {
        // SAFETY: any values may be given; bad ones are an error.
        let result = unsafe { (self.table().H5Pset_libver_bounds)(file_access, bounds.0, bounds.1) };
        check(result, "H5Pset_libver_bounds")
    }

    /// Has a native file beneath ours take types that its old format would rather not (`H5O__dtype_decode` takes them for
    /// damaged headers, for lack of a checksum). Containers have checksums.
    pub(crate) fn allow_unusual_types(self, file_access: Hid) -> Result<()> {
        let Some(set) = self.table().H5Pset_relax_file_integrity_checks else { return Ok(()) };
        // SAFETY: any value may be given; a bad one is an error.
        let result = unsafe { set(file_access, sys::H5F_RFIC_UNUSUAL_NUM_UNUSED_NUMERIC_BITS.into()) };
        check(result, "H5Pset_relax_file_integrity_checks")
    }

    /// The page size of files that are kept in pages.
    ///
    /// # Errors
    /// What is no file creation list.
    pub fn page_size(self, creation: Hid) -> Result<Option<u64>> {
        let table = self.table();
        let (mut strategy, mut persist, mut threshold) = (sys::H5F_FSPACE_STRATEGY_FSM_AGGR, false, 0);
        let mut page = 0_u64;
        // SAFETY: the answers' places outlive the calls.
        unsafe {
            let result =
                (table.H5Pget_file_space_strategy)(creation, &mut strategy, &mut persist, &mut threshold);
            check(result, "H5Pget_file_space_strategy")?;
            check((table.H5Pget_file_space_page_size)(creation, &mut page), "H5Pget_file_space_page_size")?;
        }
        Ok((strategy == sys::H5F_FSPACE_STRATEGY_PAGE).then_some(page))
    }

    /// Makes the size of the page buffer in a file access list what HDF5 makes of it: a whole number of the file's
    /// pages, at least one, and none for a file whose space is not managed in pages. Nothing is buffered by pages
    /// here, but programs read the size back. `page_size` is asked where a page buffer is asked for.
    ///
    /// # Errors
    /// For a new file that asks for a page buffer without pages.
    pub fn fit_page_buffer(
        self,
        access: Hid,
        page_size: impl FnOnce() -> Result<Option<u64>>,
        is_new: bool,
    ) -> Result<()> {
        let table = self.table();
        let (mut size, mut metadata, mut raw) = (0_usize, 0_u32, 0_u32);
        // SAFETY: the answers' places outlive the call.
        let result = unsafe { (table.H5Pget_page_buffer_size)(access, &mut size, &mut metadata, &mut raw) };
        check(result, "H5Pget_page_buffer_size")?;
        if size == 0 {
            return Ok(());
        }
        let page = page_size()?;
        if is_new && page.is_none() {
            let text = "page buffering is for files created with the paged file space strategy";
            return Err(Error::file(Minor::CannotCreateFile, text, None));
        }
        let fitted = page.map_or(0, |page| {
            let page = usize::try_from(page).unwrap_or(usize::MAX).max(1);
            (size / page).max(1) * page
        });
        // SAFETY: any value may be given; a bad one is an error.
        check(
            unsafe { (table.H5Pset_page_buffer_size)(access, fitted, metadata, raw) },
            "H5Pset_page_buffer_size",
        )
    }
}
