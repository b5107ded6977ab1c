//! References in copied elements, and their targets.

use std::cell::RefCell;
use std::ffi::CString;
use std::rc::Rc;

use h5lake_plugin_abi::bindings as sys;

use super::elsewhere::Folders;
use super::joined::Joins;
use super::place_list::Places;
use super::progress::{ObjectKey, PathNumber, PendingGroup, Progress};
use super::{CrossCopier, Refused};
use crate::error::Result;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::saved_errors::silently;
use crate::transfer::memory::references::{MemoryReferences, NewReference, Reference};

/// Copies everything in a file, from its root group into that of another file: links, attributes, and references to
/// copied objects. Returns the links that are left out.
///
/// # Errors
/// The error of the first call that failed, as the library reported it.
pub(in crate::cross_copy) fn copy_root(library: Library, from: Hid, to: Hid) -> Result<Vec<Refused>> {
    let copier = CrossCopier::new(library, to, sys::H5O_COPY_EXPAND_REFERENCE_FLAG).leaving_out_links();
    copy_root_with(&copier, from)?;
    Ok(copier.noted().0)
}

/// Copies everything in a file except elements that can be referred to, and lists the places of these. Returns the
/// copier that then takes the parts of further files, and finishes the list.
///
/// # Errors
/// The error of the first call that failed, as the library reported it.
pub(in crate::cross_copy) fn adopt_root(
    library: Library,
    from: Hid,
    to: Hid,
    places: Places,
    folders: Folders,
    joins: Joins,
) -> Result<CrossCopier> {
    let mut copier = CrossCopier::new(library, to, sys::H5O_COPY_EXPAND_REFERENCE_FLAG).leaving_out_links();
    (copier.places, copier.folders, copier.joins) = (Some(places), folders, joins);
    copy_root_with(&copier, from)?;
    Ok(copier)
}

/// Copies like [`copy_root`], but abandons the copy if the file of `to` cannot hold an object or an attribute. Returns
/// the links that are left out, and the objects and attributes that the file cannot hold; if there are any, most
/// elements of datasets were not copied.
///
/// # Errors
/// The error of the first call that failed for another reason.
pub(in crate::cross_copy) fn try_root(
    library: Library,
    from: Hid,
    to: Hid,
) -> Result<(Vec<Refused>, Vec<Refused>)> {
    let mut copier = CrossCopier::new(library, to, sys::H5O_COPY_EXPAND_REFERENCE_FLAG).leaving_out_links();
    copier.refused = Some(RefCell::default());
    copy_root_with(&copier, from)?;
    Ok(copier.noted())
}

fn copy_root_with(copier: &CrossCopier, from: Hid) -> Result<()> {
    let (library, to) = (copier.library, copier.destination);
    silently(library, || {
        let mut progress = Progress::default();
        let info = copier.info(from)?;
        let (original, copy) = (ObjectKey::of(&info)?, ObjectKey::of(&copier.info(to)?)?.token);
        progress.add(original, copy);
        let root = PendingGroup { original, copy, depth: 0, path: PathNumber::TOP };
        progress.add_group(root, &library.share(from)?)?;
        copier.attributes(from, to, &info, &mut progress)?;
        copier.comment(from, to)?;
        copier.pending(&mut progress)?;
        copier.link_referenced(&progress)?;
        progress.close()
    })
}

impl CrossCopier {
    /// Makes references in elements that were read from `from` lead to copies, or null if their targets are not
    /// copied. Within a file, references in datasets remain unchanged, and so do those in attributes with elements
    /// that are no references themselves (`H5A__attr_post_copy_file`, `H5Dcontig.c`). A dangling reference becomes
    /// null.
    ///
    /// # Safety
    /// The library has just read `data` as elements of the type.
    pub(super) unsafe fn translate(
        &self,
        from: Hid,
        memory: &Id,
        data: &mut [u8],
        progress: &mut Progress,
    ) -> Result<()> {
        let places = MemoryReferences::of(self.library, memory.get())?;
        if places.is_empty() {
            return Ok(());
        }
        let size = self.library.type_size(memory.get())?;
        let expands = self.has(sys::H5O_COPY_EXPAND_REFERENCE_FLAG);
        let follows = self.follows_references();
        if self.file_number(from)? == self.file_number(self.destination)? {
            // SAFETY: any value may be given.
            let is_attribute = unsafe { (self.table().H5Iget_type)(from) } == sys::H5I_ATTR;
            if !(expands && is_attribute && self.library.is_reference(memory.get())?) {
                return Ok(());
            }
        }
        let mut one = |reference: Reference<'_>| match reference {
            Reference::Object(slot) if follows => self.reference(from, slot, sys::H5R_OBJECT1, progress),
            Reference::Region(slot) if follows => {
                self.reference(from, slot, sys::H5R_DATASET_REGION1, progress)
            }
            Reference::New(new) if follows => self.new_reference(from, new, progress),
            Reference::Object(slot) => {
                slot.fill(0);
                Ok(())
            }
            Reference::Region(slot) => {
                slot.fill(0);
                Ok(())
            }
            Reference::New(new) => {
                new.clear(self.library);
                Ok(())
            }
        };
        // SAFETY: as the caller says.
        unsafe { places.visit(size, data, &mut one) }
    }

    /// Translates a new reference. A reference to another file than the copied one leads there from the copy, too.
    fn new_reference(&self, from: Hid, new: &mut NewReference, progress: &mut Progress) -> Result<()> {
        let Some(target) = new.target(self.library) else {
            new.clear(self.library);
            return Ok(());
        };
        let original = target.object.get();
        if self.info(original)?.fileno != self.file_number(from)? {
            return Ok(());
        }
        match self.target(original, progress)? {
            Some(copy) => new.lead_to(self.library, copy.get(), &target),
            None => {
                new.clear(self.library);
                Ok(())
            }
        }
    }

    /// Returns whether references in the copy lead to copies; otherwise they become null.
    pub(super) fn follows_references(&self) -> bool {
        self.keeps_references || self.has(sys::H5O_COPY_EXPAND_REFERENCE_FLAG)
    }

    /// Returns the copy of the object to which a reference leads; `None` if only references to copied objects are
    /// kept, and this object is not copied.
    fn target(&self, original: Hid, progress: &mut Progress) -> Result<Option<Rc<Id>>> {
        let known = progress.copy_of(ObjectKey::of(&self.info(original)?)?);
        match known {
            Some(token) => self.open_copy(token, progress).map(|copy| Some(copy.id)),
            None if self.has(sys::H5O_COPY_EXPAND_REFERENCE_FLAG) => {
                let copy = self.object(original, 0, None, progress)?.id;
                progress.referenced.push(copy.clone());
                Ok(Some(copy))
            }
            None => Ok(None),
        }
    }

    /// Returns the number of the file of an object or an attribute.
    fn file_number(&self, of: Hid) -> Result<std::ffi::c_ulong> {
        let mut number = 0;
        let table = self.table();
        // SAFETY: the answer's place outlives the call.
        unsafe {
            let file = self.id((table.H5Iget_file_id)(of))?;
            self.ok((table.H5Fget_fileno)(file.get(), &mut number))?;
        }
        Ok(number)
    }

    fn reference(
        &self,
        from: Hid,
        slot: &mut [u8],
        kind: sys::H5R_type_t,
        progress: &mut Progress,
    ) -> Result<()> {
        let table = self.table();
        // SAFETY: the slot has the bytes of a reference of its kind.
        let (object, space) = unsafe {
            let place = slot.as_ptr().cast();
            let object = (table.H5Rdereference2)(from, table.H5P_LST_DATASET_ACCESS_ID_g(), kind, place);
            let space =
                if kind == sys::H5R_OBJECT1 { None } else { Some((table.H5Rget_region)(from, kind, place)) };
            (self.id(object), space.map(|space| self.id(space)).transpose())
        };
        let (Ok(object), Ok(space)) = (object, space) else {
            slot.fill(0);
            return Ok(());
        };
        let Some(copy) = self.target(object.get(), progress)? else {
            slot.fill(0);
            return Ok(());
        };
        let space = space.as_ref().map_or(-1, Id::get);
        // SAFETY: as above; the name is terminated.
        self.ok(unsafe {
            (table.H5Rcreate)(slot.as_mut_ptr().cast(), copy.get(), c".".as_ptr(), kind, space)
        })
    }

    /// Gives objects that only references lead to a link in the root group, with the name that native HDF5 uses
    /// (`H5O__copy_obj_by_ref`).
    pub(super) fn link_referenced(&self, progress: &Progress) -> Result<()> {
        for copy in &progress.referenced {
            let info = self.info(copy.get())?;
            if info.rc > 0 {
                continue;
            }
            let [a, b, c, d, e, f, g, h, ..] = info.token.__data;
            let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            let name = CString::new(format!("/~obj_pointed_by_{number}")).unwrap_or_default();
            // SAFETY: identifiers are checked by the library, the name is terminated.
            self.ok(unsafe {
                (self.table().H5Olink)(
                    copy.get(),
                    self.destination,
                    name.as_ptr(),
                    sys::H5P_DEFAULT,
                    sys::H5P_DEFAULT,
                )
            })?;
        }
        Ok(())
    }
}
