//! References in elements in memory, at any depth: old ones, new ones (`H5R_ref_t`), and those in sequences, which are
//! in the memory that the elements point to.

use std::ffi::{CStr, c_void};

use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::{ARRAY, COMPOUND, REFERENCE, VARIABLE_LENGTH};
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::references::{NEW_BYTES, OBJECT_BYTES, REGION_BYTES};
use crate::transfer::memory::element_conversion::MemoryElements;

/// The positions of the references in an element in memory, in bytes from the element's beginning.
#[derive(Debug, Default)]
pub struct MemoryReferences(Vec<(usize, MemoryReference)>);

#[derive(Debug)]
enum MemoryReference {
    Object,
    Region,
    New,
    /// A sequence, with the size of its elements and the references in them.
    Sequence(usize, MemoryReferences),
}

/// A reference that was found in memory.
pub enum Reference<'a> {
    /// `hobj_ref_t`.
    Object(&'a mut [u8; OBJECT_BYTES]),
    /// `hdset_reg_ref_t`, or the type that replaces it (`region_conversions`).
    Region(&'a mut [u8; REGION_BYTES]),
    /// `H5R_ref_t`.
    New(&'a mut NewReference),
}

/// An `H5R_ref_t` in memory.
#[repr(transparent)]
pub struct NewReference([u8; NEW_BYTES]);

/// The target of a new reference.
pub struct ReferenceTarget {
    /// The object.
    pub object: Id,
    /// The selection of a region reference.
    region: Option<Id>,
    /// The attribute's name, terminated.
    attribute: Option<Vec<u8>>,
}

impl MemoryReferences {
    /// Returns the positions in a datatype in memory.
    ///
    /// # Errors
    /// If the library refuses the datatype.
    pub fn of(library: Library, datatype: Hid) -> Result<Self> {
        let mut places = Self::default();
        places.collect(library, datatype, 0)?;
        Ok(places)
    }

    /// Returns whether there are no references.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn collect(&mut self, library: Library, datatype: Hid, at: usize) -> Result<()> {
        match library.type_class(datatype)? {
            REFERENCE => self.0.push((
                at,
                match library.type_size(datatype)? {
                    OBJECT_BYTES => MemoryReference::Object,
                    REGION_BYTES => MemoryReference::Region,
                    NEW_BYTES => MemoryReference::New,
                    other => {
                        return Err(Error::new(Minor::BadType, format!("references of {other} bytes")));
                    }
                },
            )),
            COMPOUND => {
                for (index, member) in library.member_types(datatype)?.iter().enumerate() {
                    self.collect(library, member.get(), at + library.member_offset(datatype, index)?)?;
                }
            }
            ARRAY => {
                let base = library.base_type(datatype)?;
                let (whole, size) = (library.type_size(datatype)?, library.type_size(base.get())?);
                for offset in (0..whole).step_by(size) {
                    self.collect(library, base.get(), at + offset)?;
                }
            }
            VARIABLE_LENGTH => {
                let base = library.base_type(datatype)?;
                let inner = Self::of(library, base.get())?;
                if !inner.is_empty() {
                    self.0.push((at, MemoryReference::Sequence(library.type_size(base.get())?, inner)));
                }
            }
            _ if library.is_carried_region(datatype)? => self.0.push((at, MemoryReference::Region)),
            _ => {}
        }
        Ok(())
    }

    /// Visits the references of all elements that are not null.
    ///
    /// # Errors
    /// The errors of `visit`.
    ///
    /// # Safety
    /// `data` holds elements of the type in memory, `size` bytes each, made by the library: the data that sequences
    /// point to is valid, and no other code accesses it.
    pub(crate) unsafe fn visit(
        &self,
        size: usize,
        data: &mut [u8],
        visit: &mut dyn FnMut(Reference<'_>) -> Result<()>,
    ) -> Result<()> {
        for element in data.chunks_exact_mut(size) {
            for (at, place) in &self.0 {
                let bytes = element.get_mut(*at..).unwrap_or_default();
                match place {
                    MemoryReference::Object => one(bytes, |slot| visit(Reference::Object(slot)))?,
                    MemoryReference::Region => one(bytes, |slot| visit(Reference::Region(slot)))?,
                    MemoryReference::New => one(bytes, |slot: &mut [u8; NEW_BYTES]| {
                        // Works on a copy with the alignment that the library requires.
                        let mut aligned = Aligned(NewReference(*slot));
                        let result = visit(Reference::New(&mut aligned.0));
                        *slot = aligned.0.0;
                        result
                    })?,
                    MemoryReference::Sequence(of, inner) => {
                        // SAFETY: as the caller says; a sequence is a length and a pointer.
                        unsafe {
                            let sequence = bytes.as_ptr().cast::<sys::hvl_t>().read_unaligned();
                            if sequence.len == 0 || sequence.p.is_null() {
                                continue;
                            }
                            let length = sequence.len.saturating_mul(*of);
                            let content = std::slice::from_raw_parts_mut(sequence.p.cast::<u8>(), length);
                            inner.visit(*of, content, visit)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

#[repr(C, align(8))]
struct Aligned(NewReference);

/// Visits one slot unless it is null.
fn one<const BYTES: usize>(
    bytes: &mut [u8],
    visit: impl FnOnce(&mut [u8; BYTES]) -> Result<()>,
) -> Result<()> {
    match bytes.first_chunk_mut::<BYTES>() {
        Some(slot) if *slot != [0; BYTES] => visit(slot),
        Some(_) => Ok(()),
        None => Err(Error::new(Minor::Internal, "a reference without bytes")),
    }
}

impl NewReference {
    fn pointer(&mut self) -> *mut sys::H5R_ref_t {
        self.0.as_mut_ptr().cast()
    }

    /// Frees the resources that the reference holds, and makes it null.
    pub fn clear(&mut self, library: Library) {
        // SAFETY: the reference is one of the library's.
        unsafe { (library.table().H5Rdestroy)(self.pointer()) };
        self.0 = [0; NEW_BYTES];
    }

    /// Returns the reference's target; `None` if it does not exist any more.
    pub fn target(&mut self, library: Library) -> Option<ReferenceTarget> {
        let table = library.table();
        let default = sys::H5P_DEFAULT;
        let failed = |id: &Hid| *id < 0;
        // SAFETY: the reference is one of the library's; the buffer has the size given along.
        unsafe {
            let kind = (table.H5Rget_type)(self.pointer());
            let object = || (table.H5Ropen_object)(self.pointer(), default, default);
            let object = library.quietly(object, failed).ok()?;
            let object = Id::from_call(library, object, "H5Ropen_object").ok()?;
            let region = match kind {
                sys::H5R_DATASET_REGION2 => {
                    let region = || (table.H5Ropen_region)(self.pointer(), default, default);
                    let region = library.quietly(region, failed).ok()?;
                    Some(Id::from_call(library, region, "H5Ropen_region").ok()?)
                }
                _ => None,
            };
            let attribute = match kind {
                sys::H5R_ATTR => {
                    let length = (table.H5Rget_attr_name)(self.pointer(), std::ptr::null_mut(), 0);
                    let mut name = vec![0_u8; usize::try_from(length).ok()? + 1];
                    (table.H5Rget_attr_name)(self.pointer(), name.as_mut_ptr().cast(), name.len());
                    Some(name)
                }
                _ => None,
            };
            Some(ReferenceTarget { object, region, attribute })
        }
    }

    /// Makes the reference lead from `object` to the same target as `target`.
    ///
    /// # Errors
    /// The library's own error; the reference is null then.
    pub fn lead_to(&mut self, library: Library, object: Hid, target: &ReferenceTarget) -> Result<()> {
        self.clear(library);
        let table = library.table();
        let (place, itself, default) = (self.pointer(), c".".as_ptr(), sys::H5P_DEFAULT);
        // SAFETY: the reference is null and aligned; names are terminated.
        let result = unsafe {
            match (&target.region, &target.attribute) {
                (Some(region), _) => (table.H5Rcreate_region)(object, itself, region.get(), default, place),
                (None, Some(name)) => {
                    let name = CStr::from_bytes_until_nul(name).map_err(|_| {
                        Error::new(Minor::Internal, "a name of the library is not terminated")
                    })?;
                    (table.H5Rcreate_attr)(object, itself, name.as_ptr(), default, place)
                }
                (None, None) => (table.H5Rcreate_object)(object, itself, default, place),
            }
        };
        if result < 0 {
            self.0 = [0; NEW_BYTES];
            return Err(Error::reported(library.take_errors()));
        }
        Ok(())
    }
}

impl Library {
    /// Changes the references of elements in memory.
    ///
    /// # Errors
    /// The errors of `visit`.
    pub fn change_references(
        self,
        elements: &mut MemoryElements,
        visit: &mut dyn FnMut(Reference<'_>) -> Result<()>,
    ) -> Result<()> {
        let (datatype, size, data) = elements.parts();
        let places = MemoryReferences::of(self, datatype)?;
        if places.is_empty() {
            return Ok(());
        }
        // SAFETY: elements in memory are of their type, and no other code accesses them.
        unsafe { places.visit(size, data, visit) }
    }
}

const _: () = assert!(size_of::<sys::hvl_t>() == size_of::<usize>() + size_of::<*mut c_void>());
