//! Strings and sequences of variable length that have the same form in memory and in the container: they go from the
//! application's pointers into the heap and back, many at once. libhdf5's conversion would do the same one by one,
//! with a callback for each. Everything that needs more (other types inside, allocators of the application) is left to
//! libhdf5.
#![forbid(unsafe_code)]

use h5lake_ledger::buffers::Scratch;

use crate::error::{Error, Result};
use crate::hdf5::blob_id;
use crate::session::Session;
use crate::transfer::buffers::scratch_of;
use crate::transfer::memory::region::MemoryRegion;
use crate::transfer::memory::vlen::{Allocated, MemoryPointers, Pointers};
use crate::transfer::vlen_context;

/// The bytes of an element in the container: the number of its items (little-endian), and the id of its data, in
/// libhdf5's layout (`H5T__vlen_disk_write`).
const STORED: usize = COUNT + blob_id::ID_BYTES;
const COUNT: usize = 4;

/// Reads elements in file form, which `fetch` returns, into the application's buffer.
///
/// # Errors
/// The errors of `fetch` and of the heap; the buffer is unchanged then.
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

/// Passes the elements of the application's buffer to `store` in file form. `existing` returns the previous elements;
/// their data is freed once the new elements are stored, unless it is stored with them.
///
/// # Errors
/// The errors of `existing`, of `store` and of the heap.
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
        // Elements that were never written show the fill value, and do not own its data.
        if !blob_id::is_null(&id) && vlen_context::is_own(&id) {
            session.container.heap_delete(&id).map_err(vlen_context::in_heap)?;
        }
    }
    Ok(())
}

/// Stores data in the heap of the object that is being written, and makes elements in file form.
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
