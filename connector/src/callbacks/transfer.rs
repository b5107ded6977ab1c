//! Moving elements between the application's buffer and the container, converting on the way.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use h5lake_container::ObjectId;
use h5lake_ledger::buffers::{LONGEST, Scratch};

use crate::callbacks::references::Slots;
use crate::callbacks::sequences;
use crate::error::{Error, Result};
use crate::ffi::library::Hid;
use crate::ffi::memory::MemoryRegion;
use crate::file_type::FileType;
use crate::session::Session;

thread_local! {
    /// Whose heap the variable-length data goes to that libhdf5 hands us while it converts in this thread.
    static HEAP_OWNER: Cell<Option<ObjectId>> = const { Cell::new(None) };
    /// What went wrong with that data.
    static HEAP_FAILURE: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// The object that owns variable-length data which is being written in this thread.
pub fn heap_owner() -> Option<ObjectId> {
    HEAP_OWNER.get()
}

/// Runs `body` with `owner` as the owner of the variable-length data it writes.
pub fn owning_heap<T>(owner: ObjectId, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = HEAP_OWNER.replace(Some(owner));
    let result = body();
    HEAP_OWNER.set(before);
    heap_failure().and(result)
}

/// Keeps what went wrong with variable-length data that is being written, for [`owning_heap`]: libhdf5 is not told in
/// the middle of a conversion, for it then frees the elements that it has converted as if they were pointers
/// (H5T__conv_vlen). Gives the error back when nothing is being written.
pub fn fail_later(error: Error) -> Result<()> {
    if heap_owner().is_none() {
        return Err(error);
    }
    note_failure(error);
    Ok(())
}

/// Keeps what went wrong in a conversion, for whoever asked for it.
pub fn note_failure(error: Error) {
    HEAP_FAILURE.with_borrow_mut(|kept| {
        kept.get_or_insert(error);
    });
}

/// What went wrong with variable-length data in a conversion that is over.
pub fn heap_failure() -> Result<()> {
    HEAP_FAILURE.take().map_or(Ok(()), Err)
}

/// Fills `region` with elements that `fetch` delivers in file form, packed.
pub fn read(
    session: &Arc<Session>,
    types: &FileType,
    memory_type: Hid,
    region: &mut MemoryRegion,
    transfer: Hid,
    fetch: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<()> {
    let count = region.points() as usize;
    if count == 0 {
        return Ok(());
    }
    if types.is_same_in_memory(memory_type)? {
        if let Some(buffer) = region.contiguous_mut() {
            return fetch(buffer);
        }
        let mut packed = scratch_of(count, types.size)?;
        fetch(&mut packed)?;
        region.scatter(0, &packed);
        return Ok(());
    }
    let library = types.library();
    if let Some(kind) = types.pointers_in(memory_type)?
        && !library.has_allocator(transfer)?
    {
        return sequences::read(session, kind, region, fetch);
    }
    let size = region.element();
    let mut packed = scratch_of(count, types.size.max(size))?;
    fetch(&mut packed[..count * types.size])?;
    types.slots.to_memory(session, types.size, &mut packed[..count * types.size])?;
    // Only from a type located in the file does libhdf5 make new references (`H5R_ref_t`) of old ones.
    let located = match makes_new_references(types, memory_type)? {
        true if types.carries_regions => {
            return Err(Error::unsupported(
                "reading old references beside region references and variable-length data as new ones (H5R_ref_t)",
            ));
        }
        true => Some(session.file_type(types.stored()?)?),
        false => None,
    };
    let source = located.as_ref().map_or_else(|| types.in_file(session), |id| Ok(id.get()))?;
    let mut background = None;
    if types.needs_background {
        let kept = background.insert(scratch_of(count, size)?);
        // Variable-length data that the application left in its buffer is not ours to free: zeros there.
        match !types.has_heap && library.needs_existing(source, memory_type, transfer)? {
            true => region.gather(0, kept),
            false => kept.fill(0),
        }
    }
    let background = background.as_deref_mut();
    types.converting(session, || {
        library.convert(source, memory_type, count, &mut packed, background, transfer)
    })?;
    region.scatter(0, &packed[..count * size]);
    Ok(())
}

/// Hands the elements of `region` to `store` in file form, packed. `existing` delivers what the elements held
/// before, where that matters.
pub fn write(
    session: &Arc<Session>,
    types: &FileType,
    memory_type: Hid,
    region: &MemoryRegion,
    transfer: Hid,
    existing: impl FnOnce(&mut [u8]) -> Result<()>,
    store: impl FnOnce(&[u8]) -> Result<()>,
) -> Result<()> {
    let count = region.points() as usize;
    if count == 0 {
        return Ok(());
    }
    if types.is_same_in_memory(memory_type)? {
        if let Some(buffer) = region.contiguous() {
            return store(buffer);
        }
        let mut packed = scratch_of(count, types.size)?;
        region.gather(0, &mut packed);
        return store(&packed);
    }
    if let Some(kind) = types.pointers_in(memory_type)? {
        return sequences::write(session, kind, region, existing, store);
    }
    if makes_new_references(types, memory_type)? {
        return Err(Error::unsupported("writing new references (H5R_ref_t) as old ones"));
    }
    let library = types.library();
    let size = region.element();
    let mut packed = scratch_of(count, types.size.max(size))?;
    region.gather(0, &mut packed[..count * size]);
    let mut background = None;
    if types.needs_background {
        let before = background.insert(scratch_of(count, types.size)?);
        if types.has_heap || library.needs_existing(memory_type, types.in_file(session)?, transfer)? {
            existing(before)?;
            types.slots.to_memory(session, types.size, before)?;
        } else {
            before.fill(0);
        }
    }
    let background = background.as_deref_mut();
    types.converting(session, || {
        library.convert(memory_type, types.in_file(session)?, count, &mut packed, background, transfer)
    })?;
    heap_failure()?;
    let packed = &mut packed[..count * types.size];
    types.slots.to_file(session, types.size, packed)?;
    store(packed)
}

/// Whether the stored references are old ones and those in memory new ones.
fn makes_new_references(types: &FileType, memory_type: Hid) -> Result<bool> {
    Ok(types.slots != Slots::default() && Slots::of(types.library(), memory_type)?.is_none())
}

/// A buffer of `count` elements with any content, for the duration of a transfer.
pub fn scratch_of(count: usize, size: usize) -> Result<Scratch> {
    match count.checked_mul(size).filter(|bytes| *bytes <= LONGEST) {
        Some(bytes) => Ok(Scratch::new(bytes)),
        None => buffer_of(count, size).map(Scratch::from),
    }
}

/// A zeroed buffer of `count` elements.
pub fn buffer_of(count: usize, size: usize) -> Result<Vec<u8>> {
    let too_large = || Error::argument(format!("{count} elements of {size} bytes do not fit into memory"));
    let bytes =
        count.checked_mul(size).filter(|bytes| isize::try_from(*bytes).is_ok()).ok_or_else(too_large)?;
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(bytes).map_err(|_| too_large())?;
    buffer.resize(bytes, 0);
    Ok(buffer)
}
