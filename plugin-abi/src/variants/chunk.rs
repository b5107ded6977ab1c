//! Raw chunks: `H5Dread_chunk` and the arguments of the native operations behind it, which 2.x enlarged.

use std::ffi::c_void;

use super::ReadChunk;
use crate::Hdf5;
use crate::bindings::{
    H5VL_native_dataset_chunk_read_t, H5VL_native_dataset_chunk_write_t, herr_t, hid_t, hsize_t,
};

/// The arguments of a client's `H5VL_NATIVE_DATASET_CHUNK_READ`, whichever version it is of.
#[derive(Debug, Clone, Copy)]
pub struct ChunkRead {
    /// Element coordinates of the chunk's first element, one for each dimension.
    pub offset: *const hsize_t,
    /// Where the mask of skipped filters goes.
    pub filters: *mut u32,
    /// Where the stored bytes go. With [`buf_size`](Self::buf_size) it may be NULL: only the size is asked.
    pub buf: *mut c_void,
    /// HDF5 2.x only: on entry bytes in `buf`, on return bytes that the chunk has.
    pub buf_size: Option<*mut usize>,
}

/// The arguments of a client's `H5VL_NATIVE_DATASET_CHUNK_WRITE`, whichever version it is of.
#[derive(Debug, Clone, Copy)]
pub struct ChunkWrite {
    /// Element coordinates of the chunk's first element, one for each dimension.
    pub offset: *const hsize_t,
    /// Mask of filters that were skipped.
    pub filters: u32,
    /// Bytes in `buf`.
    pub size: usize,
    /// The chunk as it is to be stored.
    pub buf: *const c_void,
}

/// A chunk as [`Hdf5::read_chunk`] gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredChunk {
    /// Mask of filters that were skipped when it was written.
    pub filters: u32,
    /// Bytes that were put into the buffer.
    pub size: usize,
}

/// Why a raw chunk was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkReadError {
    /// HDF5 failed; its error stack has the reason.
    #[error("HDF5 cannot read the chunk")]
    Hdf5,
    /// The buffer is smaller than the stored chunk. Nothing was read.
    #[error("the chunk has {needed} bytes, the buffer {given}")]
    TooSmall {
        /// Bytes that the chunk has.
        needed: u64,
        /// Bytes that the buffer has.
        given: usize,
    },
}

/// 2.x's arguments of the read operation (H5VLnative.h); the bindings' own struct is 1.14's.
#[repr(C)]
#[derive(Debug)]
pub struct ChunkReadArgs2 {
    /// Element coordinates of the chunk's first element.
    pub offset: *const hsize_t,
    /// Mask of skipped filters, written by the connector.
    pub filters: u32,
    /// Where the stored bytes go, or NULL.
    pub buf: *mut c_void,
    /// Bytes in `buf`, then bytes of the chunk.
    pub buf_size: *mut usize,
}

/// 2.x's arguments of the write operation (H5VLnative.h); the bindings' own struct is 1.14's.
#[repr(C)]
#[derive(Debug)]
pub struct ChunkWriteArgs2 {
    /// Element coordinates of the chunk's first element.
    pub offset: *const hsize_t,
    /// Mask of skipped filters.
    pub filters: u32,
    /// Bytes in `buf`; 32 bits wide in 1.14.
    pub size: usize,
    /// The chunk as it is to be stored.
    pub buf: *const c_void,
}

// The operation's union begins at `args`, so both versions' structs are read from the same address.
const _: () = {
    assert!(size_of::<H5VL_native_dataset_chunk_read_t>() == 24 && size_of::<ChunkReadArgs2>() == 32);
    assert!(size_of::<H5VL_native_dataset_chunk_write_t>() == 24 && size_of::<ChunkWriteArgs2>() == 32);
};

impl Hdf5 {
    /// Decodes the arguments of `H5VL_NATIVE_DATASET_CHUNK_READ`: what `H5VL_optional_args_t::args` points to.
    ///
    /// # Safety
    ///
    /// `args` must be what this library gave with that operation, and stay so while the result is used.
    pub unsafe fn chunk_read_args(&self, args: *mut c_void) -> ChunkRead {
        if self.is_v2() {
            let args = args.cast::<ChunkReadArgs2>();
            // SAFETY: a 2.x library passes its own struct, says the caller.
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

    /// Decodes the arguments of `H5VL_NATIVE_DATASET_CHUNK_WRITE`: what `H5VL_optional_args_t::args` points to.
    ///
    /// # Safety
    ///
    /// As for [`Hdf5::chunk_read_args`].
    pub unsafe fn chunk_write_args(&self, args: *const c_void) -> ChunkWrite {
        if self.is_v2() {
            // SAFETY: a 2.x library passes its own struct, says the caller.
            let args = unsafe { &*args.cast::<ChunkWriteArgs2>() };
            ChunkWrite { offset: args.offset, filters: args.filters, size: args.size, buf: args.buf }
        } else {
            // SAFETY: a 1.14 library passes its own struct, says the caller.
            let args = unsafe { &*args.cast::<H5VL_native_dataset_chunk_write_t>() };
            ChunkWrite { offset: args.offset, filters: args.filters, size: args.size as usize, buf: args.buf }
        }
    }

    /// Calls `operate` with arguments of `H5VL_NATIVE_DATASET_CHUNK_READ` in this library's layout; gives what it returned
    /// and the mask of skipped filters that was put in.
    ///
    /// `buf` must be as large as the stored chunk: 1.14 is not told its size.
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

    /// Calls `operate` with arguments of `H5VL_NATIVE_DATASET_CHUNK_WRITE` in this library's layout; `None` when the
    /// library cannot say a size as large.
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

    /// Reads a stored chunk as it is, filters not undone (`H5Dread_chunk`), never beyond `buf`.
    ///
    /// 1.14 is not told the buffer's size, so the chunk's is asked first (`H5Dget_chunk_storage_size`).
    ///
    /// # Errors
    ///
    /// [`ChunkReadError::TooSmall`], with nothing read; [`ChunkReadError::Hdf5`] if the library fails.
    ///
    /// # Safety
    ///
    /// On a thread that may call the library; `offset` must have a coordinate for each dimension of `dataset`.
    pub unsafe fn read_chunk(
        &self,
        dataset: hid_t,
        dxpl: hid_t,
        offset: &[hsize_t],
        buf: &mut [u8],
    ) -> Result<StoredChunk, ChunkReadError> {
        let mut stored: hsize_t = 0;
        // SAFETY: `offset` is long enough, says the caller; `stored` is ours to write.
        if unsafe { (self.H5Dget_chunk_storage_size)(dataset, offset.as_ptr(), &raw mut stored) } < 0 {
            return Err(ChunkReadError::Hdf5);
        }
        let size = usize::try_from(stored).ok().filter(|size| *size <= buf.len());
        let Some(size) = size else {
            return Err(ChunkReadError::TooSmall { needed: stored, given: buf.len() });
        };
        let mut filters = 0;
        let mut room = buf.len();
        let (start, target) = (offset.as_ptr(), buf.as_mut_ptr().cast());
        let done = match self.variants.read_chunk {
            // SAFETY: the chunk has `size` bytes, and no other thread can change it meanwhile.
            ReadChunk::Unbounded(read) => unsafe { read(dataset, dxpl, start, &raw mut filters, target) },
            // SAFETY: `room` is the size of the buffer.
            ReadChunk::Bounded(read) => unsafe {
                read(dataset, dxpl, start, &raw mut filters, target, &raw mut room)
            },
        };
        if done < 0 { Err(ChunkReadError::Hdf5) } else { Ok(StoredChunk { filters, size }) }
    }
}
