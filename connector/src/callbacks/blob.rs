//! Variable-length data: libhdf5 hands us each sequence or string while it converts, and keeps a 16-byte id.

use h5lake_container::InlineHeap;

use crate::callbacks::heap;
use crate::error::{Major, Result};
use crate::ffi::handle::Handle;

/// Bytes of an id, as told by `H5VL_FILE_GET_CONT_INFO`.
pub const ID_BYTES: usize = 16;

/// The id of no data.
const NULL: [u8; ID_BYTES] = [0; ID_BYTES];

/// Keeps `data` in the heap of the object that is being written.
pub fn put(handle: &Handle, data: &[u8]) -> Result<[u8; ID_BYTES]> {
    let mut id = NULL;
    let put = heap::put_all(&*handle.session()?, std::iter::once(data), |kept| id = kept);
    put.or_else(heap::fail_later)?;
    Ok(id)
}

/// Fills `data` with what `id` stands for.
pub fn get(handle: &Handle, id: &[u8; ID_BYTES], data: &mut [u8]) -> Result<()> {
    heap::get(&*handle.session()?, id, data)
}

/// Checks that `id` stands for so many bytes, before a buffer for them is touched.
pub fn check(handle: &Handle, id: &[u8; ID_BYTES], length: usize) -> Result<()> {
    heap::check_length(&*handle.session()?, id, length as u64)
}

/// Gives the data of `id` back. That of an attribute goes with its value.
pub fn delete(handle: &Handle, id: &[u8; ID_BYTES]) -> Result<()> {
    if is_null(id) || InlineHeap::has(id) {
        return Ok(());
    }
    handle.session()?.container.heap_delete(id).or_else(|error| heap::fail_later(in_heap(error)))
}

/// Whether `id` stands for no data.
pub fn is_null(id: &[u8; ID_BYTES]) -> bool {
    *id == NULL
}

/// The id of no data.
pub fn null() -> [u8; ID_BYTES] {
    NULL
}

/// An error of the heap.
pub fn in_heap(error: h5lake_container::Error) -> crate::error::Error {
    crate::error::Error::from(error).in_class(Major::Heap)
}
