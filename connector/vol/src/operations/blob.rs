//! Variable-length data: libhdf5 hands us each sequence or string while it converts, and keeps a 16-byte id.

use h5lake_container::InlineHeap;

use crate::error::Result;
use crate::handles::Handle;
use crate::hdf5::blob_id::{ID_BYTES, is_null, null};
use crate::transfer::vlen_context::{self, in_heap};

/// Keeps `data` in the heap of the object that is being written.
pub fn put(handle: &Handle, data: &[u8]) -> Result<[u8; ID_BYTES]> {
    let mut id = null();
    let put = vlen_context::put_all(&*handle.session()?, std::iter::once(data), |kept| id = kept);
    put.or_else(vlen_context::fail_later)?;
    vlen_context::note_kept(id);
    Ok(id)
}

/// Fills `data` with what `id` stands for.
pub fn get(handle: &Handle, id: &[u8; ID_BYTES], data: &mut [u8]) -> Result<()> {
    vlen_context::get(&*handle.session()?, id, data)
}

/// Checks that `id` stands for so many bytes, before a buffer for them is touched.
pub fn check(handle: &Handle, id: &[u8; ID_BYTES], length: usize) -> Result<()> {
    vlen_context::check_length(&*handle.session()?, id, length as u64)
}

/// Gives the data of `id` back. That of an attribute goes with its value.
pub fn delete(handle: &Handle, id: &[u8; ID_BYTES]) -> Result<()> {
    if is_null(id) || InlineHeap::has(id) || vlen_context::is_deleted_later(id) {
        return Ok(());
    }
    handle.session()?.container.heap_delete(id).or_else(|error| vlen_context::fail_later(in_heap(error)))
}
