//! Raw chunks: `H5Dread_chunk` and the arguments of the native operations behind it, which 2.x extended.

use std::ffi::c_void;

use super::ReadChunk;
use crate::Hdf5;
use crate::bindings::{
    H5VL_native_dataset_chunk_read_t, H5VL_native_dataset_chunk_write_t, herr_t, hid_t, hsize_t,
};

/// The arguments of a client's `H5VL_NATIVE_DATASET_CHUNK_READ`, in any version.
#[derive(Debug, Clone, Copy)]
pub struct ChunkRead {
    /// The coordinates of the chunk's first element, one for each dimension.
    pub offset: *const hsize_t,
    /// The location for the mask of skipped filters.
    pub filters: *mut u32,
    /// The buffer for the stored bytes. It may be NULL if [`buf_size`](Self::buf_size) is given and only the size is requested.
    pub buf: *mut c_void,
    /// HDF5 2.x only: on entry the size of `buf`, on return the size of the chunk, in bytes.
    pub buf_size: Option<*mut usize>,
}

/// The arguments of a client's `H5VL_NATIVE_DATASET_CHUNK_WRITE`, in any version.
#[derive(Debug, Clone, Copy)]
pub struct ChunkWrite {
    /// The coordinates of the chunk's first element, one for each dimension.
    pub offset: *const hsize_t,
    /// The mask of filters that were skipped.
    pub filters: u32,
    /// The size of `buf` in bytes.
    pub size: usize,
    /// The chunk in the form in which it is stored.
    pub buf: *const c_void,
}

/// A chunk that [`Hdf5::read_chunk`] has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredChunk {
    /// The mask of filters that were skipped when the chunk was written.
    pub filters: u32,
    /// The number of bytes in the buffer.
    pub size: usize,
}

/// The reason why a raw chunk was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkReadError {
    /// HDF5 failed, and its error stack has the reason.
    #[error("HDF5 cannot read the chunk")]
    Hdf5,
    /// The buffer is smaller than the stored chunk. Nothing was read.
    #[error("the chunk has {needed} bytes, the buffer {given}")]
    TooSmall {
        /// The size of the chunk in bytes.
        needed: u64,
        /// The size of the buffer in bytes.
        given: usize,
    },
}

/// The arguments of the read operation in 2.x (H5VLnative.h). The struct of the bindings is that of 1.14.
#[repr(C)]
#[derive(Debug)]
pub struct ChunkReadArgs2 {
    /// The coordinates of the chunk's first element.
    pub offset: *const hsize_t,
    /// The mask of skipped filters, which the connector writes.
    pub filters: u32,
    /// The buffer for the stored bytes, or NULL.
    pub buf: *mut c_void,
    /// The size of `buf` on entry, and the size of the chunk on return, in bytes.
    pub buf_size: *mut usize,
}

/// The arguments of the write operation in 2.x (H5VLnative.h). The struct of the bindings is that of 1.14.
#[repr(C)]
#[derive(Debug)]
pub struct ChunkWriteArgs2 {
    /// The coordinates of the chunk's first element.
    pub offset: *const hsize_t,
    /// The mask of skipped filters.
    pub filters: u32,
    /// The size of `buf` in bytes. The field has 32 bits in 1.14.
    pub size: usize,
    /// The chunk in the form in which it is stored.
    pub buf: *const c_void,
}

// The operation's union begins at `args`, so both versions' structs are read from the same address.
const _: () = {
    assert!(size_of::<H5VL_native_dataset_chunk_read_t>() == 24 && size_of::<ChunkReadArgs2>() == 32);
    assert!(size_of::<H5VL_native_dataset_chunk_write_t>() == 24 && size_of::<ChunkWriteArgs2>() == 32);
};

impl Hdf5 {
    /// Decodes the arguments of `H5VL_NATIVE_DATASET_CHUNK_READ`, to which `H5VL_optional_args_t::args` points.
    ///
    /// # Safety
    ///
    /// `args` must be the pointer that this library passed with that operation, and must stay valid while the result is used.
    pub unsafe fn chunk_read_args(&self, args: *mut c_void) -> ChunkRead {
        if self.is_v2() {
            let args = args.cast::<ChunkReadArgs2>();
            // SAFETY: the caller guarantees that a 2.x library passed its own struct.
            unsafe {
                ChunkRead {
                    offset: (*args).offset,
                    filters: &raw mut (*args).filters,
                    buf: (*args).buf,
                    buf_size: Some((*args).buf_size).filter(|p| !p.is_null()),
                }
            }
        } else {
            let args = args.cast::<H5VL_native_dataset_chunk_read_t>();
            // SAFETY: a 1.14 library passes its own struct, which ends after `buf`.
            unsafe {
                ChunkRead {
                    offset: (*args).offset,
                    filters: &raw mut (*args).filters,
                    buf: (*args).buf,
                    buf_size: None,
                }
            }
        }
    }

    /// Decodes the arguments of `H5VL_NATIVE_DATASET_CHUNK_WRITE`, to which `H5VL_optional_args_t::args` points.
    ///
    /// # Safety
    ///
    /// As for [`Hdf5::chunk_read_args`].
    pub unsafe fn chunk_write_args(&self, args: *const c_void) -> ChunkWrite {
        if self.is_v2() {
            // SAFETY: the caller guarantees that a 2.x library passed its own struct.
            let args = unsafe { &*args.cast::<ChunkWriteArgs2>() };
            ChunkWrite { offset: args.offset, filters: args.filters, size: args.size, buf: args.buf }
        } else {
            // SAFETY: the caller guarantees that a 1.14 library passed its own struct.
            let args = unsafe { &*args.cast::<H5VL_native_dataset_chunk_write_t>() };
            ChunkWrite { offset: args.offset, filters: args.filters, size: args.size as usize, buf: args.buf }
        }
    }

    /// Calls `operate` with arguments of `H5VL_NATIVE_DATASET_CHUNK_READ` in the layout of this library. Returns the result of `operate`
    /// and the mask of skipped filters that it set.
    ///
    /// `buf` must be at least as large as the stored chunk, because 1.14 does not get its size.
    pub fn with_chunk_read_args(
        &self,
        offset: &[hsize_t],
        buf: &mut [u8],
        operate: impl FnOnce(*mut c_void) -> herr_t,
    ) -> (herr_t, u32) {
        let (offset, mut buf_size, buf) = (offset.as_ptr(), buf.len(), buf.as_mut_ptr().cast());
        if self.is_v2() {
            let mut args = ChunkReadArgs2 { offset, filters: 0, buf, buf_size: &raw mut buf_size };
            (operate((&raw mut args).cast()), args.filters)
        } else {
            let mut args = H5VL_native_dataset_chunk_read_t { offset, filters: 0, buf };
            (operate((&raw mut args).cast()), args.filters)
        }
    }

    /// Calls `operate` with arguments of `H5VL_NATIVE_DATASET_CHUNK_WRITE` in the layout of this library. Returns `None` if the size of the
    /// data exceeds the range of the library's size field.
    pub fn with_chunk_write_args(
        &self,
        offset: &[hsize_t],
        filters: u32,
        data: &[u8],
        operate: impl FnOnce(*mut c_void) -> herr_t,
    ) -> Option<herr_t> {
        let (offset, buf) = (offset.as_ptr(), data.as_ptr().cast());
        Some(if self.is_v2() {
            let mut args = ChunkWriteArgs2 { offset, filters, size: data.len(), buf };
            operate((&raw mut args).cast())
        } else {
            let size = u32::try_from(data.len()).ok()?;
            let mut args = H5VL_native_dataset_chunk_write_t { offset, filters, size, buf };
            operate((&raw mut args).cast())
        })
    }

    /// Reads a stored chunk without decoding its filters (`H5Dread_chunk`). Never writes beyond `buf`.
    ///
    /// 1.14 does not get the size of the buffer, so the size of the chunk is requested first (`H5Dget_chunk_storage_size`).
    ///
    /// # Errors
    ///
    /// Returns [`ChunkReadError::TooSmall`] without reading, or [`ChunkReadError::Hdf5`] if the library fails.
    ///
    /// # Safety
    ///
    /// Must be called on a thread that may call the library. `offset` must have a coordinate for each dimension of `dataset`.
    pub unsafe fn read_chunk(
        &self,
        dataset: hid_t,
        dxpl: hid_t,
        offset: &[hsize_t],
        buf: &mut [u8],
    ) -> Result<StoredChunk, ChunkReadError> {
        let mut stored: hsize_t = 0;
        // SAFETY: the caller guarantees that `offset` is long enough; `stored` is ours to write.
        if unsafe { (self.H5Dget_chunk_storage_size)(dataset, offset.as_ptr(), &raw mut stored) } < 0 {
            return Err(ChunkReadError::Hdf5);
        }
        let size = usize::try_from(stored).ok().filter(|size| *size <= buf.len());
        let Some(size) = size else {
            return Err(ChunkReadError::TooSmall { needed: stored, given: buf.len() });
        };
        let mut filters = 0;
        let mut buffer_size = buf.len();
        let (start, target) = (offset.as_ptr(), buf.as_mut_ptr().cast());
        let done = match self.variants.read_chunk {
            // SAFETY: the chunk has `size` bytes, and no other thread can change it meanwhile.
            ReadChunk::Unbounded(read) => unsafe { read(dataset, dxpl, start, &raw mut filters, target) },
            // SAFETY: `buffer_size` is the size of the buffer.
            ReadChunk::Bounded(read) => unsafe {
                read(dataset, dxpl, start, &raw mut filters, target, &raw mut buffer_size)
            },
        };
        if done < 0 { Err(ChunkReadError::Hdf5) } else { Ok(StoredChunk { filters, size }) }
    }
}
