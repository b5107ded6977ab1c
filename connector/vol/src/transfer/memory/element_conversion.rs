//! Elements on their way between a container and memory. Elements in memory can hold pointers, which libhdf5 follows:
//! so the elements that libhdf5 gets come from a program or from the library itself, never from bytes assembled by
//! h5lake.

use std::sync::Arc;

use h5lake_ledger::buffers::Scratch;

use crate::error::{Error, Minor, Result};
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::session::Session;
use crate::thread_state::ThreadValue;
use crate::transfer::buffers::scratch_of;
use crate::transfer::context::{self, CONVERSION};
use crate::transfer::memory::region::MemoryRegion;
use crate::transfer::memory::vlen::MemoryPointers;
use crate::transfer::stored_type::FileType;

/// Contiguous elements of a datatype in memory.
pub struct MemoryElements {
    library: Library,
    datatype: Hid,
    count: usize,
    size: usize,
    /// The elements, with space for those of the container.
    data: Scratch,
    /// True if the data that the elements point to is freed with them.
    are_own: bool,
}

impl MemoryElements {
    /// Allocates elements of a datatype, with space for as many elements of `other` bytes. The content is arbitrary.
    fn empty(library: Library, datatype: Hid, count: usize, other: usize) -> Result<Self> {
        let size = library.type_size(datatype)?;
        let data = scratch_of(count, size.max(other))?;
        Ok(Self { library, datatype, count, size, data, are_own: false })
    }

    /// Copies the elements of an application's buffer, which are of the datatype that the application gave with them.
    ///
    /// # Errors
    /// If there is no memory, or elements of the datatype have another size.
    pub fn gathered(region: &MemoryRegion, types: &FileType, datatype: Hid) -> Result<Self> {
        let count = region.points() as usize;
        let mut elements = Self::empty(types.library(), datatype, count, types.size)?;
        if elements.size != region.element() {
            return Err(Error::new(Minor::Internal, "elements in memory have another size than their type"));
        }
        if region.datatype()? != datatype {
            return Err(Error::new(Minor::Internal, "elements in memory are of another datatype"));
        }
        region.gather(0, elements.bytes_mut());
        Ok(elements)
    }

    /// Converts elements of a container to the form that the application gets. `stored` are checked first.
    ///
    /// # Errors
    /// For elements that libhdf5 must not use; if it cannot convert them.
    pub fn of_stored(session: &Arc<Session>, types: &FileType, datatype: Hid, stored: &[u8]) -> Result<Self> {
        let library = types.library();
        let count = stored.len() / types.size;
        let mut elements = Self::empty(library, datatype, count, types.size)?;
        elements.data.fill(0);
        let stored = &stored[..count * types.size];
        elements.data[..stored.len()].copy_from_slice(stored);
        let mut background = scratch_of(count, elements.size)?;
        background.fill(0);
        types.to_memory(session, None, datatype, count, &mut elements.data, Some(&mut background), 0)?;
        elements.are_own = types.has_heap || types.has_references;
        Ok(elements)
    }

    /// Returns the fill value of a creation list, converted to a dataset's type.
    ///
    /// # Errors
    /// If it does not convert to the datatype.
    pub fn fill_value(types: &FileType, creation: Hid) -> Result<Self> {
        let (library, datatype) = (types.library(), types.stored()?);
        let mut value = Self::empty(library, datatype, 1, 0)?;
        value.data.fill(0);
        // SAFETY: the buffer holds one element of the type.
        let result = unsafe {
            (library.table().H5Pget_fill_value)(creation, datatype, value.data.as_mut_ptr().cast())
        };
        crate::hdf5::datatype::check(result, "H5Pget_fill_value")?;
        value.are_own = types.has_heap || types.has_references;
        Ok(value)
    }

    /// Sets the first element as the fill value of a creation list that the application gets.
    ///
    /// # Errors
    /// If the library refuses the value, or there is no element.
    pub fn set_fill_value(&self, creation: Hid) -> Result<()> {
        if self.count == 0 {
            return Err(Error::new(Minor::Internal, "a fill value is smaller than its datatype"));
        }
        // SAFETY: the buffer holds one element of the type.
        let result = unsafe {
            (self.library.table().H5Pset_fill_value)(creation, self.datatype, self.data.as_ptr().cast())
        };
        crate::hdf5::datatype::check(result, "H5Pset_fill_value")
    }

    /// Returns the elements.
    pub fn bytes(&self) -> &[u8] {
        &self.data[..self.count * self.size]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data[..self.count * self.size]
    }

    /// Returns the datatype, the size of an element in bytes, and the elements, for code that changes references in
    /// them.
    pub(super) fn parts(&mut self) -> (Hid, usize, &mut [u8]) {
        (self.datatype, self.size, self.bytes_mut())
    }

    /// Converts the elements to elements of a container. `background` has the previous elements there.
    ///
    /// # Errors
    /// If the library cannot convert them.
    pub fn into_stored(
        mut self,
        session: &Arc<Session>,
        types: &FileType,
        background: Option<&mut [u8]>,
        transfer: Hid,
    ) -> Result<Scratch> {
        // The data that the elements point to is freed with the elements.
        let mut data = if self.are_own {
            let mut copy = scratch_of(self.count, self.size.max(types.size))?;
            copy.fill(0);
            copy[..self.bytes().len()].copy_from_slice(self.bytes());
            copy
        } else {
            std::mem::replace(&mut self.data, Scratch::new(0))
        };
        let both = (self.datatype, types.in_file(session)?);
        context::converting_elements_of(session, || {
            // SAFETY: the elements are of that type, and the data that they point to is valid.
            unsafe { self.library.convert(both, self.count, &mut data, background, transfer) }
        })?;
        Ok(data)
    }
}

impl Drop for MemoryElements {
    fn drop(&mut self) {
        if !self.are_own || self.count == 0 {
            return;
        }
        let dims = [self.count as u64];
        let table = self.library.table();
        // SAFETY: one dimension has one size.
        let space = unsafe { (table.H5Screate_simple)(1, dims.as_ptr(), std::ptr::null()) };
        if let Ok(space) = Id::from_call(self.library, space, "H5Screate_simple") {
            // SAFETY: the elements of the space are of the type, and nothing else refers to the data that they point
            // to.
            unsafe { self.library.reclaim(self.datatype, space.get(), &mut self.data) };
        }
    }
}

impl FileType {
    /// Returns the kind of elements of a type in memory, if they hold only variable-length data of the plainest kind,
    /// in its stored form.
    ///
    /// # Errors
    /// If `memory_type` is no datatype.
    pub fn pointers_in(&self, memory_type: Hid) -> Result<Option<MemoryPointers>> {
        match self.pointers {
            Some(kind) if self.equals(memory_type)? => Ok(Some(MemoryPointers::new(kind, memory_type))),
            _ => Ok(None),
        }
    }

    /// Converts elements of the container to a datatype in memory, in place. They are of the type `source`, or by
    /// default of the type located in the container: new references are made from old ones by another type. Pointers
    /// in a background are not followed.
    ///
    /// # Errors
    /// For elements that libhdf5 must not use; if it cannot convert them.
    #[expect(clippy::too_many_arguments, reason = "those of H5Tconvert")]
    pub fn to_memory(
        &self,
        session: &Arc<Session>,
        source: Option<&crate::hdf5::located_types::Located>,
        memory: Hid,
        count: usize,
        buffer: &mut [u8],
        background: Option<&mut [u8]>,
        transfer: Hid,
    ) -> Result<()> {
        let stored = count.checked_mul(self.size).and_then(|bytes| buffer.get(..bytes));
        let stored = stored.ok_or_else(|| Error::new(Minor::Internal, "a buffer is too small"))?;
        self.check_stored(session, stored)?;
        let source = source.map_or_else(|| self.in_file(session), |id| Ok(id.get()))?;
        // A function of the program's may read while libhdf5 converts elements that are being written: the errors
        // belong to that read.
        let _reading = CONVERSION.scoped(None);
        self.converting(session, || {
            context::converting_elements_of(session, || {
                // SAFETY: elements of a container hold no pointers, and the parts that libhdf5 would trust were
                // checked.
                unsafe { self.library().convert((source, memory), count, buffer, background, transfer) }
            })
        })
    }
}
