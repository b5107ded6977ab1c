//! The properties of lists for data stored elsewhere: in sources of a virtual dataset, or in external files.

use std::ffi::{c_char, c_uint};

use h5lake_container::{ExternalFile, Layout, UNLIMITED, VirtualMapping};
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::strings::c_string;

/// The rule for the end of a virtual dataset with unlimited mappings (`H5D_vds_view_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Before the first element that no source has.
    FirstMissing,
    /// Behind the last element that a source has.
    LastAvailable,
}

impl Library {
    /// Returns the layout of a creation list for data stored elsewhere; `None` for any other list.
    pub fn layout_elsewhere(self, creation: Hid) -> Result<Option<Layout>> {
        // SAFETY: any value may be given; a bad one is negative.
        let layout = unsafe { (self.table().H5Pget_layout)(creation) };
        match layout {
            sys::H5D_CHUNKED if self.external_file_count(creation)? > 0 => {
                Err(Error::argument("external storage not supported with chunked layout"))
            }
            sys::H5D_VIRTUAL => Ok(Some(Layout::Virtual { mappings: self.virtual_mappings(creation)? })),
            sys::H5D_CONTIGUOUS if self.external_file_count(creation)? > 0 => {
                Ok(Some(Layout::External { files: self.external_files(creation)? }))
            }
            _ => Ok(None),
        }
    }

    fn external_file_count(self, creation: Hid) -> Result<c_uint> {
        // SAFETY: any value may be given; a bad one is negative.
        u32::try_from(unsafe { (self.table().H5Pget_external_count)(creation) })
            .map_err(|_| Error::call("H5Pget_external_count"))
    }

    /// Returns the first external file of a dataset, if it has external files: if a list names any, native HDF5 reads
    /// no other storage, whatever the layout is (`H5D__layout_oh_read`).
    pub fn first_external_file(self, creation: Hid) -> Result<Option<Vec<u8>>> {
        match self.external_file_count(creation)? {
            0 => Ok(None),
            _ => self.external_slot(creation, 0).map(|(name, ..)| Some(name)),
        }
    }

    fn external_files(self, creation: Hid) -> Result<Vec<ExternalFile>> {
        (0..self.external_file_count(creation)?).map(|index| self.external_file(creation, index)).collect()
    }

    fn external_file(self, creation: Hid, index: c_uint) -> Result<ExternalFile> {
        let (name, offset, size) = self.external_slot(creation, index)?;
        let offset = u64::try_from(offset).map_err(|_| Error::call("H5Pget_external"))?;
        Ok(ExternalFile { name, offset, size })
    }

    /// Returns a file's name, the offset of the elements in it, and the number of bytes reserved for them.
    fn external_slot(self, creation: Hid, index: c_uint) -> Result<(Vec<u8>, sys::off_t, u64)> {
        let mut capacity = 256;
        loop {
            let mut name = vec![0_u8; capacity];
            let (mut offset, mut size): (sys::off_t, u64) = (0, 0);
            // SAFETY: the buffer has the size that is passed along; the answers' places outlive the call.
            let result = unsafe {
                (self.table().H5Pget_external)(
                    creation,
                    index,
                    capacity,
                    name.as_mut_ptr().cast::<c_char>(),
                    &mut offset,
                    &mut size,
                )
            };
            check(result, "H5Pget_external")?;
            // A name that does not fit is truncated without a terminator.
            if let Some(end) = name.iter().position(|byte| *byte == 0) {
                name.truncate(end);
                return Ok((name, offset, size));
            }
            capacity *= 2;
        }
    }

    fn virtual_mappings(self, creation: Hid) -> Result<Vec<VirtualMapping>> {
        let table = self.table();
        let mut count = 0_usize;
        // SAFETY: the answer's place outlives the call.
        check(unsafe { (table.H5Pget_virtual_count)(creation, &mut count) }, "H5Pget_virtual_count")?;
        let space = |id: Hid, function: &str| -> Result<_> {
            let space = Id::from_call(self, id, function)?;
            if self.unlimited_selection(&space)?.is_none() {
                self.check_parameters(space.get())?;
            }
            self.without_offset(&space)?;
            Ok(self.encode_space(space.get())?.into())
        };
        (0..count)
            .map(|index| {
                // SAFETY: the index is below the count; names are written into buffers of the size passed along.
                unsafe {
                    Ok(VirtualMapping {
                        file: text("H5Pget_virtual_filename", |buffer, size| {
                            (table.H5Pget_virtual_filename)(creation, index, buffer, size)
                        })?,
                        dataset: text("H5Pget_virtual_dsetname", |buffer, size| {
                            (table.H5Pget_virtual_dsetname)(creation, index, buffer, size)
                        })?,
                        source: space(
                            (table.H5Pget_virtual_srcspace)(creation, index),
                            "H5Pget_virtual_srcspace",
                        )?,
                        place: space(
                            (table.H5Pget_virtual_vspace)(creation, index),
                            "H5Pget_virtual_vspace",
                        )?,
                    })
                }
            })
            .collect()
    }

    /// Returns the rule for the end of a virtual dataset, and the number of missing sources that are skipped in the
    /// search for the end.
    pub fn virtual_view(self, access: Hid) -> Result<(View, u64)> {
        let table = self.table();
        let mut view = sys::H5D_VDS_LAST_AVAILABLE;
        // SAFETY: the answer's place outlives the call.
        check(unsafe { (table.H5Pget_virtual_view)(access, &mut view) }, "H5Pget_virtual_view")?;
        if view == sys::H5D_VDS_FIRST_MISSING {
            return Ok((View::FirstMissing, 0));
        }
        let mut gap = 0_u64;
        // SAFETY: the answer's place outlives the call.
        check(unsafe { (table.H5Pget_virtual_printf_gap)(access, &mut gap) }, "H5Pget_virtual_printf_gap")?;
        if gap == UNLIMITED {
            return Err(Error::call("H5Pget_virtual_printf_gap"));
        }
        Ok((View::LastAvailable, gap))
    }

    /// Returns the folder in which an access list has sources of virtual datasets searched; empty for none.
    pub fn virtual_prefix(self, access: Hid) -> Result<Vec<u8>> {
        let get = self.table().H5Pget_virtual_prefix;
        // SAFETY: the buffer has the size that is passed along.
        text("H5Pget_virtual_prefix", |buffer, size| unsafe { get(access, buffer, size) })
    }

    /// Sets both folders of an access list, unless they are empty.
    pub fn set_prefixes(self, access: &Id, files: &[u8], sources: &[u8]) -> Result<()> {
        let table = self.table();
        if !files.is_empty() {
            let folder = c_string(files, "a prefix")?;
            // SAFETY: the text is terminated.
            let set = unsafe { (table.H5Pset_efile_prefix)(access.get(), folder.as_ptr()) };
            check(set, "H5Pset_efile_prefix")?;
        }
        if !sources.is_empty() {
            let folder = c_string(sources, "a prefix")?;
            // SAFETY: the text is terminated.
            let set = unsafe { (table.H5Pset_virtual_prefix)(access.get(), folder.as_ptr()) };
            check(set, "H5Pset_virtual_prefix")?;
        }
        Ok(())
    }

    /// Returns the folder in which an access list has external files searched; empty for none.
    pub fn external_file_prefix(self, access: Hid) -> Result<Vec<u8>> {
        let get = self.table().H5Pget_efile_prefix;
        // SAFETY: the buffer has the size that is passed along.
        text("H5Pget_efile_prefix", |buffer, size| unsafe { get(access, buffer, size) })
    }
}

/// Returns the text of a function that writes it into a buffer of a given size and returns its length; a null buffer
/// requests the length.
fn text(function: &str, mut get: impl FnMut(*mut c_char, usize) -> isize) -> Result<Vec<u8>> {
    let length = usize::try_from(get(std::ptr::null_mut(), 0)).map_err(|_| Error::call(function))?;
    let mut text = vec![0_u8; length + 1];
    let written = get(text.as_mut_ptr().cast(), text.len());
    text.truncate(usize::try_from(written).map_err(|_| Error::call(function))?.min(length));
    Ok(text)
}
