//! Creation and access lists of files.

use std::ffi::{c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::library::{Hid, Library};

impl Library {
    /// Returns the size in bytes of the user block in front of the container.
    pub fn user_block(self, file_creation: Hid) -> Result<u64> {
        let mut size = 0_u64;
        // SAFETY: the answer's place outlives the call.
        check(unsafe { (self.table().H5Pget_userblock)(file_creation, &mut size) }, "H5Pget_userblock")?;
        Ok(size)
    }

    /// Sets the size of the user block on a list that the application gets.
    pub fn set_user_block(self, file_creation: Hid, size: u64) -> Result<()> {
        // SAFETY: any value may be given; a bad one is an error.
        check(unsafe { (self.table().H5Pset_userblock)(file_creation, size) }, "H5Pset_userblock")
    }

    /// Checks that no kind of message is shared in two indexes (`H5SM_init`): containers share no messages, but native
    /// HDF5 refuses such files.
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

    /// Checks that a user block fits the alignment of a file's objects, as native HDF5 requires (`H5F__super_init`).
    ///
    /// # Errors
    /// For a user block that is no multiple of the alignment.
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

    /// Returns how closing a file treats its open objects: `H5F_CLOSE_STRONG` is 3, `H5F_CLOSE_SEMI` 2,
    /// `H5F_CLOSE_WEAK` 1, the driver's default 0.
    pub fn close_degree(self, file_access: Hid) -> Result<u32> {
        let mut degree = sys::H5F_CLOSE_DEFAULT;
        check(
            // SAFETY: the answer's place outlives the call.
            unsafe { (self.table().H5Pget_fclose_degree)(file_access, &mut degree) },
            "H5Pget_fclose_degree",
        )?;
        Ok(degree.0)
    }

    /// Returns the function that a file access list registers to be called with the identifier of each flushed object
    /// (`H5Pset_object_flush_cb`).
    ///
    /// # Errors
    /// If `file_access` is no such list. The returned call fails if the function reports a failure.
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

    /// Sets the file close degree on a list that the application gets.
    pub fn set_close_degree(self, file_access: Hid, degree: u32) -> Result<()> {
        // SAFETY: any value may be given; a bad one is an error.
        let result =
            unsafe { (self.table().H5Pset_fclose_degree)(file_access, sys::H5F_close_degree_t(degree)) };
        check(result, "H5Pset_fclose_degree")
    }

    /// Sets the bounds of the formats of native files on a list that the application gets.
    pub fn set_format_bounds(
        self,
        file_access: Hid,
        bounds: (sys::H5F_libver_t, sys::H5F_libver_t),
    ) -> Result<()> {
        // SAFETY: any values may be given; bad ones are an error.
        let result = unsafe { (self.table().H5Pset_libver_bounds)(file_access, bounds.0, bounds.1) };
        check(result, "H5Pset_libver_bounds")
    }

    /// Makes a native file beneath h5lake's objects accept unusual types, which `H5O__dtype_decode` considers damaged
    /// headers in the old format, because that format has no checksums. Containers have checksums.
    pub(crate) fn allow_unusual_types(self, file_access: Hid) -> Result<()> {
        let Some(set) = self.table().H5Pset_relax_file_integrity_checks else { return Ok(()) };
        // SAFETY: any value may be given; a bad one is an error.
        let result = unsafe { set(file_access, sys::H5F_RFIC_UNUSUAL_NUM_UNUSED_NUMERIC_BITS.into()) };
        check(result, "H5Pset_relax_file_integrity_checks")
    }

    /// Returns the page size of files that are managed in pages.
    ///
    /// # Errors
    /// If `creation` is no file creation list.
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

    /// Adjusts the size of the page buffer in a file access list as HDF5 does: to a whole number of the file's pages,
    /// at least one, and to zero for a file without paged space. h5lake has no page buffer, but programs read the size
    /// back. `page_size` is called only if a page buffer is requested.
    ///
    /// # Errors
    /// For a new file with a page buffer but without pages.
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
