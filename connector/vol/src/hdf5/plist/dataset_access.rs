//! Dataset access lists.

use std::ffi::CStr;

use h5lake_plugin_abi::bindings as sys;

use crate::error::Result;
use crate::hdf5::datatype::check;
use crate::hdf5::library::{Hid, Library};

/// The size of a chunk cache, as stored in lists.
#[derive(Clone, Copy)]
struct ChunkCache {
    slots: usize,
    bytes: usize,
    /// The preemption policy (`rdcc_w0`).
    preemption: f64,
}

/// The values in a list that sets none.
const UNSET: ChunkCache = ChunkCache {
    slots: sys::H5D_CHUNK_CACHE_NSLOTS_DEFAULT,
    bytes: sys::H5D_CHUNK_CACHE_NBYTES_DEFAULT,
    preemption: sys::H5D_CHUNK_CACHE_W0_DEFAULT,
};

impl ChunkCache {
    /// Replaces unset values by those of `other`.
    fn or(self, other: Self) -> Self {
        Self {
            slots: if self.slots == UNSET.slots { other.slots } else { self.slots },
            bytes: if self.bytes == UNSET.bytes { other.bytes } else { self.bytes },
            preemption: if self.preemption < 0.0 { other.preemption } else { self.preemption },
        }
    }

    /// Returns no cache at all, if either size is 0 (`H5D__chunk_init`).
    fn none_if_empty(self) -> Self {
        if self.slots == 0 || self.bytes == 0 { Self { slots: 0, bytes: 0, ..self } } else { self }
    }
}

impl Library {
    /// Sets the chunk cache on a dataset access list that the application gets: unset values are taken from the file
    /// access list. Without a file access list, for a dataset without chunks, the values remain unset
    /// (`H5D_get_access_plist`).
    ///
    /// # Errors
    /// If an identifier is no such list.
    pub fn set_chunk_cache_of(self, access: Hid, file_access: Option<Hid>) -> Result<()> {
        let cache = match file_access {
            Some(file) => self.chunk_cache(access)?.or(self.file_chunk_cache(file)?).none_if_empty(),
            None => UNSET,
        };
        let ChunkCache { slots, bytes, preemption } = cache;
        // SAFETY: any value may be given; a bad one is an error.
        let result = unsafe { (self.table().H5Pset_chunk_cache)(access, slots, bytes, preemption) };
        check(result, "H5Pset_chunk_cache")
    }

    /// Returns the values of a dataset access list itself. `H5Pget_chunk_cache` would replace unset values by the
    /// library's defaults.
    fn chunk_cache(self, access: Hid) -> Result<ChunkCache> {
        let mut cache = UNSET;
        // SAFETY: the properties have these types (H5Pdapl.c).
        unsafe {
            self.property(access, c"rdcc_nslots", &mut cache.slots)?;
            self.property(access, c"rdcc_nbytes", &mut cache.bytes)?;
            self.property(access, c"rdcc_w0", &mut cache.preemption)?;
        }
        Ok(cache)
    }

    /// # Safety
    /// The property's value is a `T`.
    unsafe fn property<T>(self, list: Hid, name: &CStr, value: &mut T) -> Result<()> {
        // SAFETY: as the caller says; the name is terminated.
        let result = unsafe { (self.table().H5Pget)(list, name.as_ptr(), (&raw mut *value).cast()) };
        check(result, "H5Pget")
    }

    fn file_chunk_cache(self, access: Hid) -> Result<ChunkCache> {
        let mut cache = UNSET;
        let ChunkCache { slots, bytes, preemption } = &mut cache;
        // SAFETY: the answers' places outlive the call; unneeded ones may be null.
        let result =
            unsafe { (self.table().H5Pget_cache)(access, std::ptr::null_mut(), slots, bytes, preemption) };
        check(result, "H5Pget_cache")?;
        Ok(cache)
    }
}
