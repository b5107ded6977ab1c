//! Variable-length data: libhdf5 passes each sequence or string to us during a conversion, and stores a 16-byte id.

use h5lake_container::InlineHeap;

use crate::error::{Error, Result};
use crate::handles::Handle;
use crate::hdf5::blob_id::{ID_BYTES, is_null, null};
use crate::transfer::is_replacing;
use crate::transfer::vlen_context::{self, in_heap};

/// Stores `data` in the heap of the object that is being written.
pub fn put(handle: &Handle, data: &[u8]) -> Result<[u8; ID_BYTES]> {
    let mut id = null();
    let put = vlen_context::put_all(&*handle.session()?, std::iter::once(data), |kept| id = kept);
    put.or_else(vlen_context::fail_later)?;
    vlen_context::note_kept(id);
    Ok(id)
}

/// Fills `data` with the blob of `id`; with zeros if the blob cannot be read and belongs to elements that are
/// overwritten.
pub fn get(handle: &Handle, id: &[u8; ID_BYTES], data: &mut [u8]) -> Result<()> {
    vlen_context::get(&*handle.session()?, id, data).or_else(|error| {
        data.fill(0);
        fail_once_converted(error)
    })
}

/// Checks that the blob of `id` has at least `length` bytes, before a buffer for them is touched. Returns false if it
/// does not and belongs to elements that are overwritten: then zeros take its place.
pub fn stands_for(handle: &Handle, id: &[u8; ID_BYTES], length: usize) -> Result<bool> {
    let checked = vlen_context::check_length(&*handle.session()?, id, length as u64);
    checked.map(|()| true).or_else(|error| fail_once_converted(error).map(|()| false))
}

/// Stores an error until the end of a write, because libhdf5 must not abort the write's conversion. A read ends with
/// the error at once: then libhdf5 only frees memory that it has allocated itself.
fn fail_once_converted(error: Error) -> Result<()> {
    if is_replacing() { vlen_context::fail_later(error) } else { Err(error) }
}

/// Frees the data of `id`. The data of an attribute is freed with its value.
pub fn delete(handle: &Handle, id: &[u8; ID_BYTES]) -> Result<()> {
    if is_null(id) || InlineHeap::has(id) || vlen_context::is_deleted_later(id) {
        return Ok(());
    }
    handle.session()?.container.heap_delete(id).or_else(|error| vlen_context::fail_later(in_heap(error)))
}
