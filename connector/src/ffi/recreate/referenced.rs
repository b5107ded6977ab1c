//! References in what is copied, and what they lead to.

use std::ffi::CString;
use std::rc::Rc;

use h5lake_plugin_abi::bindings as sys;

use super::{Copier, Group, Made};
use crate::callbacks::references::{REGION_BYTES, Slots};
use crate::error::{Error, Minor, Result};
use crate::ffi::error_stack::silently;
use crate::ffi::ids::Id;
use crate::ffi::library::{Hid, Library};
use crate::ffi::types::TypeClass;

const OBJECT_BYTES: usize = 8;

/// Copies everything in a file, from its root group into that of another: links, attributes, and references to what is
/// copied.
///
/// # Errors
/// That of the first call which failed, as the library reported it.
pub(in crate::ffi) fn copy_root(library: Library, from: Hid, to: Hid) -> Result<()> {
    let copier = Copier { library, destination: to, flags: sys::H5O_COPY_EXPAND_REFERENCE_FLAG };
    silently(library, || {
        let mut made = Made::default();
        let info = copier.info(from)?;
        let (original, copy) = (library.share(from)?, Rc::new(library.share(to)?));
        made.objects.insert((info.fileno, info.token.__data), copy.clone());
        made.groups.push_back(Group { original, copy, depth: 0 });
        copier.attributes(from, to, info.num_attrs, &mut made)?;
        copier.comment(from, to)?;
        copier.all_links(&mut made)?;
        copier.link_referenced(&made)
    })
}

impl Copier {
    /// Whether what the references of a type lead to is copied, and they become references to the copies: old ones, and
    /// not in variable-length data.
    pub(super) fn follows(&self, datatype: Hid) -> Result<bool> {
        if !self.has(sys::H5O_COPY_EXPAND_REFERENCE_FLAG)
            || !self.library.type_contains(datatype, TypeClass::Reference)?
        {
            return Ok(false);
        }
        let old = Slots::of(self.library, datatype)?;
        Ok(old.is_some_and(|slots| slots != Slots::default())
            && !self.library.type_contains(datatype, TypeClass::VariableLength)?)
    }

    /// Makes references in elements that were read from `from` lead to copies. One that leads nowhere becomes null.
    pub(super) fn translate(&self, from: Hid, memory: &Id, data: &mut [u8], made: &mut Made) -> Result<()> {
        if !self.follows(memory.get())? {
            return Ok(());
        }
        let slots = Slots::of(self.library, memory.get())?.unwrap_or_default();
        let size = self.library.type_size(memory.get())?;
        for element in data.chunks_exact_mut(size) {
            for (places, bytes, kind) in [
                (&slots.objects, OBJECT_BYTES, sys::H5R_OBJECT1),
                (&slots.regions, REGION_BYTES, sys::H5R_DATASET_REGION1),
            ] {
                for at in places {
                    let slot = element.get_mut(*at..).and_then(|rest| rest.get_mut(..bytes));
                    let slot =
                        slot.ok_or_else(|| Error::new(Minor::Internal, "a reference without bytes"))?;
                    self.reference(from, slot, kind, made)?;
                }
            }
        }
        Ok(())
    }

    fn reference(&self, from: Hid, slot: &mut [u8], kind: sys::H5R_type_t, made: &mut Made) -> Result<()> {
        if slot.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
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
        let copy = self.object(object.get(), 0, made)?;
        made.referenced.push(copy.clone());
        let space = space.as_ref().map_or(-1, Id::get);
        // SAFETY: as above; the name is terminated.
        self.ok(unsafe {
            (table.H5Rcreate)(slot.as_mut_ptr().cast(), copy.get(), c".".as_ptr(), kind, space)
        })
    }

    /// Gives what references lead to, and nothing else, a link in the root group, as native HDF5 names it
    /// (`H5O__copy_obj_by_ref`).
    pub(super) fn link_referenced(&self, made: &Made) -> Result<()> {
        for copy in &made.referenced {
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
