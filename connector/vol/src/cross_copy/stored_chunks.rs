//! Chunks that are copied in their stored form, because libhdf5 lacks a filter that the plugin has, such as h5py's
//! LZF.

use h5lake_container::Filter;
use h5lake_plugin_abi::bindings as sys;

use super::CrossCopier;
use super::values::{Elements, advance, within};
use crate::error::{Error, Minor, Result};
use crate::hdf5::id::Id;
use crate::hdf5::identity::NAME;
use crate::hdf5::library::Hid;

impl CrossCopier {
    /// Copies the chunks of a dataset in their stored form, if that is necessary and possible. Returns false if not:
    /// libhdf5 has all filters, or the copy has other filters, or elements refer to data elsewhere in their file. Each
    /// chunk is decoded once, from the container, so that damage is found.
    ///
    /// # Errors
    /// Errors of the library; for a chunk that the plugin's filters cannot decode.
    pub(super) fn stored_chunks(
        &self,
        elements: &Elements<'_>,
        extent: &[u64],
        chunk: &[u64],
    ) -> Result<bool> {
        let Elements { from, to, space, .. } = *elements;
        if chunk.is_empty()
            || chunk.len() != extent.len()
            || chunk.contains(&0)
            || !self.needs_stored(elements)?
        {
            return Ok(false);
        }
        // One of the two datasets is in a container, which decodes with all filters that the plugin has.
        let container = if self.is_native(to)? { from } else { to };
        let copy = |start: &[u64]| {
            let count = within(extent, start, chunk);
            self.stored_chunk(&StoredChunk { elements, container, start, count: &count })
        };
        if let Some(chunks) = self.written_chunks(from, space, extent, chunk)? {
            chunks.iter().try_for_each(|start| copy(start))?;
            return Ok(true);
        }
        let mut start = vec![0_u64; extent.len()];
        loop {
            copy(&start)?;
            if !advance(&mut start, chunk, extent) {
                return Ok(true);
            }
        }
    }

    /// Returns whether libhdf5 lacks a filter, and chunks have the same meaning in the copy.
    fn needs_stored(&self, elements: &Elements<'_>) -> Result<bool> {
        let Elements { to, datatype, list, shift, .. } = *elements;
        let library = self.library;
        let filters = library.filters(list.get())?;
        if shift.is_some() || filters.iter().all(|filter| library.has_filter(filter.id)) {
            return Ok(false);
        }
        // SAFETY: identifiers are checked by the library.
        let (made, made_type) = unsafe {
            let made = self.id((self.table().H5Dget_create_plist)(to))?;
            (made, self.id((self.table().H5Dget_type)(to))?)
        };
        // Names of filters are not always stored.
        let made_filters = library.filters(made.get())?;
        let plain = |filter: &Filter| (filter.id, filter.client_data.clone());
        let is_alike = made_filters.iter().map(plain).eq(filters.iter().map(plain))
            && library.layout(made.get())? == library.layout(list.get())?
            && library.types_equal(datatype.get(), made_type.get())?;
        Ok(is_alike && self.is_plain(datatype)?)
    }

    /// Returns whether the object is in a native file. The native connector is beneath every connector of ours, so
    /// only the name distinguishes them.
    fn is_native(&self, object: Hid) -> Result<bool> {
        let get = self.table().H5VLget_connector_name;
        // SAFETY: the buffer has the size given along.
        let name = self.name(|buffer, size| unsafe { get(object, buffer, size) })?;
        Ok(name.as_c_str() != NAME)
    }

    fn stored_chunk(&self, chunk: &StoredChunk<'_>) -> Result<()> {
        let StoredChunk { elements, start, .. } = chunk;
        let (table, all) = (self.table(), sys::H5P_DEFAULT);
        let mut size = 0;
        // SAFETY: the offset has an entry for each dimension; the answer's place outlives the call.
        self.ok(unsafe { (table.H5Dget_chunk_storage_size)(elements.from, start.as_ptr(), &mut size) })?;
        if size == 0 {
            return Ok(());
        }
        let mut bytes = buffer_for(size)?;
        // SAFETY: the offset has an entry for each dimension.
        let read = unsafe { table.read_chunk(elements.from, all, start, &mut bytes) };
        let read = read.map_err(|_| self.failed())?;
        let (offset, data) = (start.as_ptr(), bytes.as_ptr().cast());
        // SAFETY: as above; the buffer has the bytes.
        self.ok(unsafe { (table.H5Dwrite_chunk)(elements.to, all, read.filters, offset, read.size, data) })?;
        self.check_decodes(chunk)
    }

    /// Reads a chunk's elements, and discards them.
    fn check_decodes(&self, chunk: &StoredChunk<'_>) -> Result<()> {
        let StoredChunk { elements, container, start, count } = chunk;
        let (table, all) = (self.table(), sys::H5P_DEFAULT);
        let size = self.library.type_size(elements.datatype.get())? as u64;
        let mut scratch = buffer_for(count.iter().fold(size, |product, n| product.saturating_mul(*n)))?;
        let rank = i32::try_from(count.len()).map_err(|_| Error::argument("too many dimensions"))?;
        self.select(elements.space, start, count)?;
        // SAFETY: the array has an entry for each dimension; the buffer holds the chunk's elements.
        unsafe {
            let memory: Id = self.id((table.H5Screate_simple)(rank, count.as_ptr(), std::ptr::null()))?;
            let (of, space) = (elements.datatype.get(), elements.space.get());
            self.ok((table.H5Dread)(*container, of, memory.get(), space, all, scratch.as_mut_ptr().cast()))
        }
    }
}

/// One chunk that is being copied.
struct StoredChunk<'a> {
    elements: &'a Elements<'a>,
    /// The one of the two datasets that is in a container.
    container: Hid,
    start: &'a [u64],
    /// The part of the chunk that is within the extent.
    count: &'a [u64],
}

/// Allocates a buffer with a size that a file specifies.
fn buffer_for(bytes: u64) -> Result<Vec<u8>> {
    let too_long = || Error::new(Minor::BadRange, format!("a chunk of {bytes} bytes is too long"));
    let length = usize::try_from(bytes).map_err(|_| too_long())?;
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(length).map_err(|_| too_long())?;
    buffer.resize(length, 0);
    Ok(buffer)
}
