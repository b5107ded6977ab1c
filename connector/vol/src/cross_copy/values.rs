//! Data of datasets and attributes, read and written by public calls.

use std::ffi::{CStr, CString, c_void};
use std::rc::Rc;

use h5lake_container::Layout;
use h5lake_plugin_abi::bindings as sys;

use super::CrossCopier;
use super::numbers::Numbers;
use super::progress::{ObjectKey, Part, Progress};
use super::shapes::Shift;
use crate::error::{Error, Minor, Result};
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;
use crate::operations::path::external_link::variable;
use crate::transfer::memory::references::MemoryReferences;

/// The bytes held in memory at a time.
const BLOCK_BYTES: u64 = 16 << 20;

/// Elements of a dataset that take more bytes are copied last, if the copy may be abandoned for an object that the
/// destination cannot hold.
const MANY_BYTES: u64 = 64 << 10;

/// Elements to copy from one dataset to another.
pub(super) struct Elements<'a> {
    pub from: Hid,
    pub to: Hid,
    /// The properties of `from`: its datatype, dataspace and creation list.
    pub datatype: &'a Id,
    pub space: &'a Id,
    pub list: &'a Id,
    /// The position of the elements in `to`; `None` for the same position.
    pub shift: Option<Shift>,
}

/// Elements to copy, with the values that each block needs.
struct Blocks<'a> {
    from: Hid,
    to: Hid,
    memory: &'a Id,
    size: usize,
    space: &'a Id,
    target: &'a Id,
    shift: Option<Shift>,
}

impl CrossCopier {
    /// Returns whether the elements of a dataset are copied after all objects have been made: they hold references to
    /// objects, or they are many, and the copy may still be abandoned.
    pub(super) fn is_for_later(&self, elements: &Elements<'_>) -> Result<bool> {
        let (library, datatype) = (self.library, elements.datatype.get());
        let points = library.extent_points(elements.space.get())?;
        let is_large = points.saturating_mul(library.type_size(datatype)? as u64) > MANY_BYTES;
        Ok((self.refused.is_some() && is_large) || self.has_references(datatype)?)
    }

    /// Returns whether elements of a type hold references that this copy redirects to copies.
    fn has_references(&self, datatype: Hid) -> Result<bool> {
        Ok(self.follows_references() && !MemoryReferences::of(self.library, datatype)?.is_empty())
    }

    /// Copies the elements of a dataset to a copy that has none yet.
    pub(super) fn elements(&self, from: &Id, to: &Id, progress: &mut Progress) -> Result<()> {
        let (table, from, to) = (self.table(), from.get(), to.get());
        // SAFETY: identifiers are checked by the library.
        let (datatype, space, list) = unsafe {
            let datatype = self.id((table.H5Dget_type)(from))?;
            let space = self.id((table.H5Dget_space)(from))?;
            (datatype, space, self.id((table.H5Dget_create_plist)(from))?)
        };
        let (datatype, space, list) = (&datatype, &space, &list);
        self.data(&Elements { from, to, datatype, space, list, shift: None }, progress)
    }

    /// Copies the elements of a dataset, block by block.
    pub(super) fn data(&self, elements: &Elements<'_>, progress: &mut Progress) -> Result<()> {
        let Elements { from, to, datatype, space, list, shift } = *elements;
        let table = self.table();
        let mut status = sys::H5D_SPACE_STATUS_NOT_ALLOCATED;
        // SAFETY: the answer's place outlives the call.
        unsafe { self.ok((table.H5Dget_space_status)(from, &mut status))? };
        // Elements that were never written have the fill value, which the creation list carries.
        if self.is_elsewhere(list)?
            || status == sys::H5D_SPACE_STATUS_NOT_ALLOCATED
            || !self.has_elements(space)?
        {
            return Ok(());
        }
        // SAFETY: identifiers are checked by the library.
        let memory = self.id(unsafe { (table.H5Tcopy)(datatype.get()) })?;
        let size = self.library.type_size(memory.get())?;
        // SAFETY: identifiers are checked by the library.
        let target = self.id(unsafe { (table.H5Dget_space)(to) })?;
        let blocks = Blocks { from, to, memory: &memory, size, space, target: &target, shift };
        let extent = self.extent(space)?;
        let chunk = self.chunk(list)?;
        if self.stored_chunks(elements, &extent, &chunk)? {
            return Ok(());
        }
        if let Some(chunks) = self.written_chunks(from, space, &extent, &chunk)? {
            for start in chunks {
                let count = within(&extent, &start, &chunk);
                self.block(&blocks, &start, &count, progress)?;
            }
            return Ok(());
        }
        let block = block_of(&extent, &chunk, size as u64);
        let mut start = vec![0_u64; extent.len()];
        loop {
            let count = within(&extent, &start, &block);
            self.block(&blocks, &start, &count, progress)?;
            if !advance(&mut start, &block, &extent) {
                return Ok(());
            }
        }
    }

    /// Returns whether the elements of a copy made with this creation list are in the same external files or sources
    /// as the original's.
    fn is_elsewhere(&self, list: &Id) -> Result<bool> {
        Ok(match self.library.layout_elsewhere(list.get())? {
            None => false,
            Some(Layout::External { .. }) => {
                self.places.is_none() && !variable("HDF5_EXTFILE_PREFIX").starts_with(b"${ORIGIN}")
            }
            Some(_) => true,
        })
    }

    fn block(
        &self,
        blocks: &Blocks<'_>,
        start: &[u64],
        count: &[u64],
        progress: &mut Progress,
    ) -> Result<()> {
        let Blocks { from, to, memory, size, space, target, shift } = *blocks;
        let table = self.table();
        let points = count.iter().product::<u64>();
        let bytes = usize::try_from(points).ok().and_then(|points| points.checked_mul(size));
        let bytes = bytes.ok_or_else(|| Error::new(Minor::BadRange, "a block of a dataset is too large"))?;
        let mut buffer = vec![0_u8; bytes];
        let data: *mut c_void = buffer.as_mut_ptr().cast();
        let all = sys::H5P_DEFAULT;
        // SAFETY: start and count have an entry for each dimension; the buffer holds the block.
        unsafe {
            let in_memory = if count.is_empty() {
                self.library.scalar_space()?
            } else {
                self.select(space, start, count)?;
                let rank = i32::try_from(count.len()).map_err(|_| Error::argument("too many dimensions"))?;
                self.id((table.H5Screate_simple)(rank, count.as_ptr(), std::ptr::null()))?
            };
            let (start, count) = match shift {
                Some(shift) => (shift.start(start), shift.count(count)),
                None => (start.to_vec(), count.to_vec()),
            };
            self.select(target, &start, &count)?;
            self.ok((table.H5Dread)(from, memory.get(), in_memory.get(), space.get(), all, data))?;
            let written = self.translate(from, memory, &mut buffer, progress).and_then(|()| {
                self.ok((table.H5Dwrite)(to, memory.get(), in_memory.get(), target.get(), all, data))
            });
            // SAFETY: the elements were just read as that type.
            self.library.reclaim(memory.get(), in_memory.get(), &mut buffer);
            written
        }
    }

    /// Selects one block of a dataspace; everything in a scalar one.
    pub(super) fn select(&self, space: &Id, start: &[u64], count: &[u64]) -> Result<()> {
        if count.is_empty() {
            return Ok(());
        }
        let none = std::ptr::null();
        let (start, count) = (start.as_ptr(), count.as_ptr());
        let select = self.table().H5Sselect_hyperslab;
        // SAFETY: start and count have an entry for each dimension.
        self.ok(unsafe { select(space.get(), sys::H5S_SELECT_SET, start, none, count, none) })
    }

    /// Copies all attributes of an object. Values that hold references stay null until the objects they lead to have
    /// been made.
    pub(super) fn attributes(
        &self,
        from: Hid,
        to: Hid,
        of: &sys::H5O_info2_t,
        progress: &mut Progress,
    ) -> Result<()> {
        if of.num_attrs == 0 {
            return Ok(());
        }
        let tracked = self.tracks_attributes(to)?;
        let order = if tracked { sys::H5_INDEX_CRT_ORDER } else { sys::H5_INDEX_NAME };
        let mut numbers = Numbers::of(tracked);
        let mut has_references = false;
        for index in 0..of.num_attrs {
            let attribute = self.attribute_at(from, order, index)?;
            // SAFETY: all-zero is a valid value of the plain structure.
            let mut info: sys::H5A_info_t = unsafe { std::mem::zeroed() };
            // SAFETY: the answer's place outlives the call.
            self.ok(unsafe { (self.table().H5Aget_info)(attribute.get(), &mut info) })?;
            while let Some(filler) = numbers.filler(i64::from(info.corder)) {
                self.filler_attribute(to, &filler)?;
            }
            let copied = self.attribute(&attribute, to, progress);
            let name = self.attribute_name(&attribute).ok();
            if let Some(is_whole) = self.tried(copied, from, name.as_deref())? {
                has_references |= !is_whole;
                numbers.used();
            }
        }
        for filler in numbers.fillers {
            // SAFETY: the name is terminated.
            self.ok(unsafe { (self.table().H5Adelete)(to, filler.as_ptr()) })?;
        }
        match has_references {
            true => progress.defer(Part::References, ObjectKey::of(of)?, &self.library.share(from)?),
            false => Ok(()),
        }
    }

    /// Copies the values of those attributes of an object that hold references.
    pub(super) fn attributes_with_references(
        &self,
        from: &Id,
        to: &Id,
        progress: &mut Progress,
    ) -> Result<()> {
        for index in 0..self.info(from.get())?.num_attrs {
            let attribute = self.attribute_at(from.get(), sys::H5_INDEX_NAME, index)?;
            // SAFETY: identifiers are checked by the library.
            let datatype = self.id(unsafe { (self.table().H5Aget_type)(attribute.get()) })?;
            if self.has_references(datatype.get())? {
                let name = self.attribute_name(&attribute)?;
                // SAFETY: the name is terminated.
                let copy = unsafe { (self.table().H5Aopen)(to.get(), name.as_ptr(), sys::H5P_DEFAULT) };
                self.attribute_elements(&attribute, &self.id(copy)?, &datatype, progress)?;
            }
        }
        Ok(())
    }

    /// Opens an attribute by its position.
    fn attribute_at(&self, object: Hid, by: sys::H5_index_t, index: u64) -> Result<Id> {
        let (open, here, inc) = (self.table().H5Aopen_by_idx, c".".as_ptr(), sys::H5_ITER_INC);
        // SAFETY: the name is terminated; identifiers are checked by the library.
        self.id(unsafe { open(object, here, by, inc, index, sys::H5P_DEFAULT, sys::H5P_DEFAULT) })
    }

    /// Returns whether an object tracks the creation order of its attributes.
    fn tracks_attributes(&self, object: Hid) -> Result<bool> {
        let table = self.table();
        // SAFETY: identifiers are checked by the library.
        let list = self.id(unsafe {
            match (table.H5Iget_type)(object) {
                sys::H5I_DATASET => (table.H5Dget_create_plist)(object),
                sys::H5I_DATATYPE => (table.H5Tget_create_plist)(object),
                _ => (table.H5Gget_create_plist)(object),
            }
        })?;
        Ok(self.library.attribute_order(list.get())?.tracked)
    }

    fn filler_attribute(&self, object: Hid, name: &CStr) -> Result<()> {
        let table = self.table();
        let space = self.library.scalar_space()?;
        let default = sys::H5P_DEFAULT;
        // SAFETY: identifiers are checked by the library, the name is terminated.
        let made = unsafe {
            let byte = table.H5T_NATIVE_SCHAR_g();
            self.id((table.H5Acreate2)(object, name.as_ptr(), byte, space.get(), default, default))
        };
        made.map(drop)
    }

    /// Copies an attribute. Returns false if its value is still to be copied, because it holds references.
    fn attribute(&self, from: &Id, to: Hid, progress: &mut Progress) -> Result<bool> {
        let table = self.table();
        let name = self.attribute_name(from)?;
        // SAFETY: identifiers are checked by the library, the name is terminated.
        let (datatype, copy) = unsafe {
            let datatype = self.id((table.H5Aget_type)(from.get()))?;
            let space = self.id((table.H5Aget_space)(from.get()))?;
            let list = self.id((table.H5Aget_create_plist)(from.get()))?;
            let created_as = match (table.H5Tcommitted)(datatype.get()) > 0 {
                true => self.object(datatype.get(), 0, None, progress)?.id,
                false => Rc::new(self.id((table.H5Tcopy)(datatype.get()))?),
            };
            let copy = self.id((table.H5Acreate2)(
                to,
                name.as_ptr(),
                created_as.get(),
                space.get(),
                list.get(),
                sys::H5P_DEFAULT,
            ))?;
            (datatype, copy)
        };
        if self.has_references(datatype.get())? {
            return Ok(false);
        }
        self.attribute_elements(from, &copy, &datatype, progress).map(|()| true)
    }

    /// Copies the value of an attribute to another attribute.
    fn attribute_elements(&self, from: &Id, to: &Id, datatype: &Id, progress: &mut Progress) -> Result<()> {
        let table = self.table();
        // SAFETY: identifiers are checked by the library.
        let (space, memory) = unsafe {
            (self.id((table.H5Aget_space)(from.get()))?, self.id((table.H5Tcopy)(datatype.get()))?)
        };
        if !self.has_elements(&space)? {
            return Ok(());
        }
        let mut buffer = self.attribute_value(from, &memory, &space)?;
        // SAFETY: the buffer holds the whole value.
        unsafe {
            let written = self
                .translate(from.get(), &memory, &mut buffer, progress)
                .and_then(|()| self.ok((table.H5Awrite)(to.get(), memory.get(), buffer.as_ptr().cast())));
            self.library.reclaim(memory.get(), space.get(), &mut buffer);
            written
        }
    }

    /// Returns all elements of an attribute in the layout of `memory`. The caller frees the data that variable-length
    /// elements point to.
    pub(super) fn attribute_value(&self, attribute: &Id, memory: &Id, space: &Id) -> Result<Vec<u8>> {
        let points = self.library.extent_points(space.get())?;
        let size = self.library.type_size(memory.get())?;
        let bytes = usize::try_from(points).ok().and_then(|points| points.checked_mul(size));
        let mut buffer = vec![0_u8; bytes.ok_or_else(|| Error::argument("an attribute is too large"))?];
        if !buffer.is_empty() {
            let to = buffer.as_mut_ptr().cast();
            // SAFETY: the buffer holds the whole value.
            self.ok(unsafe { (self.table().H5Aread)(attribute.get(), memory.get(), to) })?;
        }
        Ok(buffer)
    }

    fn attribute_name(&self, attribute: &Id) -> Result<CString> {
        // SAFETY: the buffer has the size given along.
        self.name(|buffer, size| unsafe { (self.table().H5Aget_name)(attribute.get(), size, buffer) })
    }

    fn has_elements(&self, space: &Id) -> Result<bool> {
        Ok(self.library.has_extent(space.get())? && self.library.extent_points(space.get())? > 0)
    }

    pub(super) fn extent(&self, space: &Id) -> Result<Vec<u64>> {
        let table = self.table();
        // SAFETY: the array has an entry for each dimension.
        unsafe {
            let rank = usize::try_from((table.H5Sget_simple_extent_ndims)(space.get()))
                .map_err(|_| self.failed())?;
            let mut extent = vec![0_u64; rank];
            if rank > 0 {
                self.ok((table.H5Sget_simple_extent_dims)(
                    space.get(),
                    extent.as_mut_ptr(),
                    std::ptr::null_mut(),
                ))?;
            }
            Ok(extent)
        }
    }

    fn chunk(&self, list: &Id) -> Result<Vec<u64>> {
        Ok(match self.library.layout(list.get())? {
            Layout::Chunked { chunk } => chunk,
            _ => Vec::new(),
        })
    }
}

/// Returns the part of a block at `start` that is within the extent.
pub(super) fn within(extent: &[u64], start: &[u64], block: &[u64]) -> Vec<u64> {
    extent.iter().zip(start).zip(block).map(|((all, at), most)| all.saturating_sub(*at).min(*most)).collect()
}

/// Returns the size of one block in each dimension: whole chunks if a chunk fits.
fn block_of(extent: &[u64], chunk: &[u64], element: u64) -> Vec<u64> {
    let mut block = extent.to_vec();
    for dimension in 0..block.len() {
        let step_bytes =
            block.iter().skip(dimension + 1).fold(element.max(1), |a, b| a.saturating_mul((*b).max(1)));
        let fits = (BLOCK_BYTES / step_bytes).max(1);
        if fits >= block[dimension] {
            break;
        }
        let whole = chunk.get(dimension).map_or(fits, |chunk| fits / (*chunk).max(1) * chunk);
        block[dimension] = if whole > 0 { whole } else { fits };
        if fits > 1 {
            break;
        }
    }
    block
}

/// Moves to the next block, the last dimension first; returns false after the last block.
pub(super) fn advance(start: &mut [u64], block: &[u64], extent: &[u64]) -> bool {
    for dimension in (0..start.len()).rev() {
        start[dimension] += block[dimension];
        if start[dimension] < extent[dimension] {
            return true;
        }
        start[dimension] = 0;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_an_extent_within_their_bytes() {
        for (extent, chunk, element) in [
            (vec![], vec![], 8),
            (vec![10], vec![], 8),
            (vec![100_000_000], vec![1000], 8),
            (vec![3, 5_000_000, 7], vec![], 16),
            (vec![5, 1_000_000_000], vec![5, 1 << 20], 1),
        ] {
            let block = block_of(&extent, &chunk, element);
            assert!(block.iter().product::<u64>() * element <= BLOCK_BYTES, "{extent:?} {block:?}");
            let (mut start, mut covered) = (vec![0; extent.len()], 0_u64);
            loop {
                covered += (0..extent.len()).map(|d| block[d].min(extent[d] - start[d])).product::<u64>();
                if !advance(&mut start, &block, &extent) {
                    break;
                }
            }
            assert_eq!(covered, extent.iter().product::<u64>());
        }
    }
}
