//! Strings and sequences of variable length that are the same in memory as in the container: they go from the
//! application's pointers into the heap and back, many at once. libhdf5's conversion would do the same one by one, with
//! a callback for each; everything that needs more than that (other types inside, allocators of the application) is its.
#![forbid(unsafe_code)]

use h5lake_ledger::buffers::Scratch;

use crate::error::{Error, Result};
use crate::hdf5::blob_id;
use crate::hdf5::datatype::{REFERENCE, TypeClass, VARIABLE_LENGTH};
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::references::OBJECT_BYTES;
use crate::session::Session;
use crate::transfer::buffers::scratch_of;
use crate::transfer::memory::region::MemoryRegion;
use crate::transfer::memory::vlen::{Allocated, MemoryPointers, Pointers};
use crate::transfer::vlen_context;

/// Bytes of an element in the container: the number of its items (little-endian), and the id of its data, as libhdf5 lays
/// them out (`H5T__vlen_disk_write`).
const STORED: usize = COUNT + blob_id::ID_BYTES;
const COUNT: usize = 4;

/// The kind of a datatype that is variable-length data of the plainest kind: a string, or a sequence of items without
/// data elsewhere, which are in the container (as in `located`) what they are in memory. Object references are; there may
/// be no others among the items.
///
/// # Errors
/// If the library cannot tell.
pub fn kind_of(library: Library, datatype: Hid, located: Hid) -> Result<Option<Pointers>> {
    if library.is_variable_string(datatype)? {
        return Ok(Some(Pointers::Strings));
    }
    if library.type_class(datatype)? != VARIABLE_LENGTH {
        return Ok(None);
    }
    let items = library.base_type(datatype)?;
    let size = library.type_size(items.get())?;
    if library.type_class(items.get())? == REFERENCE {
        // libhdf5 does nothing to convert these (H5T__conv_noop).
        let is_object = size == OBJECT_BYTES && library.type_size(library.base_type(located)?.get())? == size;
        return Ok(is_object.then_some(Pointers::Sequences(size)));
    }
    for class in [TypeClass::VariableLength, TypeClass::String, TypeClass::Reference] {
        if library.type_contains(items.get(), class)? {
            return Ok(None);
        }
    }
    Ok(Some(Pointers::Sequences(size)))
}

/// Reads elements in file form, which `fetch` delivers, into the application's buffer.
///
/// # Errors
/// Those of `fetch` and of the heap; the buffer is then as it was.
pub fn read(
    session: &Session,
    kind: MemoryPointers,
    region: &mut MemoryRegion,
    fetch: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<()> {
    let count = region.points() as usize;
    let mut stored = scratch_of(count, STORED)?;
    fetch(&mut stored)?;
    let (stored, _) = stored.as_chunks::<STORED>();
    let blobs = stored.iter().map(|element| {
        let (items, id) = taken_apart(element);
        (id, if blob_id::is_null(&id) { 0 } else { items * kind.unit() as u64 })
    });
    let mut elements = Allocated::new(*kind, count);
    vlen_context::get_all(session, blobs, |index, data| {
        if blob_id::is_null(&taken_apart(&stored[index]).1) { Ok(()) } else { elements.set(index, data) }
    })?;
    region.scatter(0, &Scratch::from(elements.into_elements()));
    Ok(())
}

fn taken_apart(element: &[u8; STORED]) -> (u64, [u8; blob_id::ID_BYTES]) {
    let (mut items, mut id) = ([0; COUNT], [0; blob_id::ID_BYTES]);
    items.copy_from_slice(&element[..COUNT]);
    id.copy_from_slice(&element[COUNT..]);
    (u32::from_le_bytes(items).into(), id)
}

/// Hands the elements of the application's buffer to `store` in file form. `existing` delivers what was there before; its
/// data is given back once the new elements are stored, unless it lies with them.
///
/// # Errors
/// Those of `existing`, of `store` and of the heap.
pub fn write(
    session: &Session,
    kind: MemoryPointers,
    region: &MemoryRegion,
    existing: impl FnOnce(&mut [u8]) -> Result<()>,
    store: impl FnOnce(&[u8]) -> Result<()>,
) -> Result<()> {
    let count = region.points() as usize;
    if vlen_context::is_local() {
        return store(&region.with_data(kind, |data| put(session, *kind, data))?);
    }
    let mut before = scratch_of(count, STORED)?;
    existing(&mut before)?;
    let stored = region.with_data(kind, |data| put(session, *kind, data))?;
    store(&stored)?;
    for element in before.as_chunks::<STORED>().0 {
        let (_, id) = taken_apart(element);
        if !blob_id::is_null(&id) {
            session.container.heap_delete(&id).map_err(vlen_context::in_heap)?;
        }
    }
    Ok(())
}

/// Keeps data in the heap of the object that is being written, and makes elements in file form of it.
fn put(session: &Session, kind: Pointers, data: &[Option<&[u8]>]) -> Result<Scratch> {
    if data.iter().flatten().any(|data| u32::try_from(data.len() / kind.unit()).is_err()) {
        return Err(Error::argument("a sequence has more than 4294967295 items"));
    }
    let mut stored = scratch_of(data.len(), STORED)?;
    stored.fill(0);
    let mut elements = stored.chunks_exact_mut(STORED).zip(data).filter(|(_, data)| data.is_some());
    let keep = |id: [u8; blob_id::ID_BYTES]| {
        if let Some((element, Some(data))) = elements.next() {
            let (count, place) = element.split_at_mut(COUNT);
            count.copy_from_slice(&((data.len() / kind.unit()) as u32).to_le_bytes());
            place.copy_from_slice(&id);
        }
    };
    vlen_context::put_all(session, data.iter().copied().flatten(), keep)?;
    Ok(stored)
}
