//! Variable-length data: libhdf5 hands us each sequence or string while it converts, and keeps a 16-byte id.

use h5lake_container::InlineHeap;

use crate::error::{Error, Result};
use crate::handles::Handle;
use crate::hdf5::blob_id::{ID_BYTES, is_null, null};
use crate::transfer::is_replacing;
use crate::transfer::vlen_context::{self, in_heap};

/// Keeps `data` in the heap of the object that is being written.
pub fn put(handle: &Handle, data: &[u8]) -> Result<[u8; ID_BYTES]> {
    let mut id = null();
    let put = vlen_context::put_all(&*handle.session()?, std::iter::once(data), |kept| id = kept);
    put.or_else(vlen_context::fail_later)?;
    vlen_context::note_kept(id);
    Ok(id)
}

/// Fills `data` with what `id` stands for; with zeros if that cannot be had of elements that are written over.
pub fn get(handle: &Handle, id: &[u8; ID_BYTES], data: &mut [u8]) -> Result<()> {
    vlen_context::get(&*handle.session()?, id, data).or_else(|error| {
        data.fill(0);
        fail_once_converted(error)
    })
}

/// Checks that `id` stands for so many bytes, before a buffer for them is touched. Otherwise it stands for zeros if that is of
/// elements which are written over.
pub fn stands_for(handle: &Handle, id: &[u8; ID_BYTES], length: usize) -> Result<bool> {
    let checked = vlen_context::check_length(&*handle.session()?, id, length as u64);
    checked.map(|()| true).or_else(|error| fail_once_converted(error).map(|()| false))
}

/// Keeps an error for the end of a write, whose conversion libhdf5 must not break off. Reads end with it at once: what libhdf5
/// frees then is what it has put into memory itself.
fn fail_once_converted(error: Error) -> Result<()> {
    if is_replacing() { vlen_context::fail_later(error) } else { Err(error) }
}

/// Gives the data of `id` back. That of an attribute goes with its value.
pub fn delete(handle: &Handle, id: &[u8; ID_BYTES]) -> Result<()> {
    if is_null(id) || InlineHeap::has(id) || vlen_context::is_deleted_later(id) {
        return Ok(());
    }
    handle.session()?.container.heap_delete(id).or_else(|error| vlen_context::fail_later(in_heap(error)))
}
