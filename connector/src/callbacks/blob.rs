//! Variable-length data: libhdf5 hands us each sequence or string while it converts, and keeps a 16-byte id.

use crate::callbacks::transfer::{fail_later, heap_owner};
use crate::error::{Major, Result};
use crate::ffi::handle::Handle;

/// Bytes of an id, as told by `H5VL_FILE_GET_CONT_INFO`.
pub const ID_BYTES: usize = 16;

/// The id of no data.
const NULL: [u8; ID_BYTES] = [0; ID_BYTES];

/// Keeps `data` in the heap of the object that is being written.
pub fn put(handle: &Handle, data: &[u8]) -> Result<[u8; ID_BYTES]> {
    let session = handle.session()?;
    let owner = heap_owner().unwrap_or_else(|| session.container.root());
    session.container.heap_put(owner, data).or_else(|error| fail_later(in_heap(error)).map(|()| NULL))
}

/// Fills `data` with what `id` stands for.
pub fn get(handle: &Handle, id: &[u8; ID_BYTES], data: &mut [u8]) -> Result<()> {
    handle.session()?.container.heap_get(id, data).map_err(in_heap)
}

/// Gives the data of `id` back.
pub fn delete(handle: &Handle, id: &[u8; ID_BYTES]) -> Result<()> {
    if is_null(id) {
        return Ok(());
    }
    handle.session()?.container.heap_delete(id).or_else(|error| fail_later(in_heap(error)))
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
