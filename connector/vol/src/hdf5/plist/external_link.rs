//! Properties of external links.

use std::ffi::{CString, c_int, c_uint};

use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::file_flags::OpenFlags;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::strings::c_string;

impl Library {
    /// Refuses a class of links that the program has not registered. External links are always registered.
    ///
    /// # Errors
    /// If it is not registered.
    pub fn check_link_class(self, class: c_int) -> Result<()> {
        // SAFETY: any number may be given.
        let answer = unsafe { (self.table().H5Lis_registered)(sys::H5L_type_t(class)) };
        match answer > 0 {
            true => Ok(()),
            false => Err(Error::new(Minor::BadValue, format!("link class {class} has not been registered"))),
        }
    }

    /// Returns whether a list is a default list of a class with properties for following links.
    pub(in crate::hdf5) fn is_default_link_access(self, list: Hid) -> bool {
        let table = self.table();
        list == sys::H5P_DEFAULT
            || list == table.H5P_LST_LINK_ACCESS_ID_g()
            || list == table.H5P_LST_GROUP_ACCESS_ID_g()
            || list == table.H5P_LST_DATASET_ACCESS_ID_g()
            || list == table.H5P_LST_DATATYPE_ACCESS_ID_g()
    }

    /// Returns the access list with which the file of an external link is opened: the link access list's own, or a
    /// copy of the linking file's. Such a file never closes objects that were opened through it.
    pub fn external_access_list(self, access: Hid, of_file: Hid) -> Result<Id> {
        let table = self.table();
        let mut list = None;
        if !self.is_default_link_access(access) {
            // SAFETY: any value may be given; a bad one is negative.
            let own = unsafe { (table.H5Pget_elink_fapl)(access) };
            if own > 0 {
                list = Some(Id::from_call(self, own, "H5Pget_elink_fapl")?);
            }
        }
        let list = match list {
            Some(list) => list,
            None => self.copy_list(of_file)?,
        };
        check(
            // SAFETY: the list is ours.
            unsafe { (table.H5Pset_fclose_degree)(list.get(), sys::H5F_CLOSE_WEAK) },
            "H5Pset_fclose_degree",
        )?;
        Ok(list)
    }

    /// Returns the access flags that a link access list requests, if it does.
    pub fn external_access_flags(self, access: Hid) -> Result<Option<OpenFlags>> {
        if self.is_default_link_access(access) {
            return Ok(None);
        }
        let mut flags: c_uint = 0;
        check(
            // SAFETY: the answer's place outlives the call.
            unsafe { (self.table().H5Pget_elink_acc_flags)(access, &mut flags) },
            "H5Pget_elink_acc_flags",
        )?;
        Ok((flags != sys::H5F_ACC_DEFAULT).then(|| OpenFlags::from_bits(flags)))
    }

    /// Returns the folder in which a link access list requests to search, if it does.
    pub fn external_prefix(self, access: Hid) -> Result<Option<Vec<u8>>> {
        if self.is_default_link_access(access) {
            return Ok(None);
        }
        let get = self.table().H5Pget_elink_prefix;
        // SAFETY: a null buffer requests the length.
        let length = unsafe { get(access, std::ptr::null_mut(), 0) };
        let length = usize::try_from(length).map_err(|_| Error::call("H5Pget_elink_prefix"))?;
        if length == 0 {
            return Ok(None);
        }
        let mut text = vec![0_u8; length + 1];
        // SAFETY: the buffer has the size that is passed along.
        unsafe { get(access, text.as_mut_ptr().cast(), text.len()) };
        text.truncate(length);
        Ok(Some(text))
    }

    /// Calls the application's callback (`H5Pset_elink_cb`) before an external link is followed. It may change the
    /// access flags and the access list. The path of the `group` is searched only if there is such a callback.
    #[expect(clippy::too_many_arguments, reason = "they are the callback's own")]
    pub fn ask_external_callback(
        self,
        access: Hid,
        file: &[u8],
        group: impl FnOnce() -> Result<Vec<u8>>,
        external_file: &[u8],
        object: &[u8],
        flags: &mut OpenFlags,
        list: Hid,
    ) -> Result<()> {
        if self.is_default_link_access(access) {
            return Ok(());
        }
        let (mut callback, mut data): (sys::H5L_elink_traverse_t, _) = (None, std::ptr::null_mut());
        check(
            // SAFETY: the answers' places outlive the call.
            unsafe { (self.table().H5Pget_elink_cb)(access, &mut callback, &mut data) },
            "H5Pget_elink_cb",
        )?;
        let Some(callback) = callback else { return Ok(()) };
        let text = |bytes: &[u8]| -> Result<CString> { c_string(bytes, "a name") };
        let (file, group) = (text(file)?, text(&group()?)?);
        let (external_file, object) = (text(external_file)?, text(object)?);
        let mut bits = flags.to_bits();
        // SAFETY: the application's callback, called as H5Pset_elink_cb describes.
        let answer = unsafe {
            callback(
                file.as_ptr(),
                group.as_ptr(),
                external_file.as_ptr(),
                object.as_ptr(),
                &mut bits,
                list,
                data,
            )
        };
        if answer < 0 {
            return Err(Error::new(
                Minor::CannotOperate,
                "the callback for external links refused to follow",
            ));
        }
        *flags = OpenFlags::from_bits(bits);
        Ok(())
    }
}
