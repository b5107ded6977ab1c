//! Transfer of elements between the application's buffer and the container, with conversions.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::hdf5::datatype::Background;
use crate::hdf5::library::Hid;
use crate::hdf5::located_types::Located;
use crate::session::Session;
use crate::thread_state::OfThisThread;
use crate::transfer::buffers::scratch_of;
use crate::transfer::context::CONVERSION;
use crate::transfer::memory::element_conversion::MemoryElements;
use crate::transfer::memory::region::MemoryRegion;
use crate::transfer::references::Slots;
use crate::transfer::stored_type::FileType;

pub mod buffers;
pub mod context;
pub mod filter_pipeline;
pub mod library_codec;
pub mod memory;
pub mod native_chunks;
pub mod object_chunks;
pub mod references;
pub mod split;
mod stored_places;
pub mod stored_references;
pub mod stored_sequences;
pub mod stored_type;
pub mod vlen_context;
pub mod vlen_copies;
pub mod vlen_direct;

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
        // The types have to fit even so, like for native HDF5 (H5D__typeinfo_init).
        return check_read(session, types, memory_type);
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
        return vlen_direct::read(session, kind, region, fetch);
    }
    let size = region.element();
    let mut packed = scratch_of(count, types.size.max(size))?;
    fetch(&mut packed[..count * types.size])?;
    types.slots.to_memory(session, types.size, &mut packed[..count * types.size])?;
    let located = located_for_reading(session, types, memory_type)?;
    let source = located.as_ref().map_or_else(|| types.in_file(session), |id| Ok(id.get()))?;
    let mut background = None;
    let needed = background_of(types, (source, memory_type), transfer)?;
    if needed > Background::None {
        let kept = background.insert(scratch_of(count, size)?);
        match needed {
            // Pointers and new references of the program's are included: values that the file does not have are kept,
            // and for all other values libhdf5 follows pointers in a background only if it converts into a file
            // (H5T__vlen_mem_seq_write, H5T__ref_mem_write).
            Background::Existing => region.gather(0, kept),
            _ => kept.fill(0),
        }
    }
    let background = background.as_deref_mut();
    types.to_memory(session, located.as_ref(), memory_type, count, &mut packed, background, transfer)?;
    region.scatter(0, &packed[..count * size]);
    Ok(())
}

/// Passes the elements of `region` to `store` in file form, packed. `existing` returns the previous elements, if they
/// are needed.
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
        return check_write(session, types, memory_type);
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
        return vlen_direct::write(session, kind, region, existing, store);
    }
    check_references_to_write(types, memory_type)?;
    let elements = MemoryElements::gathered(region, types, memory_type)?;
    let mut background = None;
    let needed = background_of(types, (memory_type, types.in_file(session)?), transfer)?;
    if needed > Background::None {
        let before = background.insert(scratch_of(count, types.size)?);
        let gives_back = types.has_heap && !vlen_context::is_local();
        if gives_back || needed == Background::Existing {
            existing(before)?;
            types.check_replaced(session, before)?;
            types.slots.to_memory(session, types.size, before)?;
        } else {
            before.fill(0);
        }
    }
    let background = background.as_deref_mut();
    vlen_context::replacing(session, || {
        let mut packed =
            types.converting(session, || elements.into_stored(session, types, background, transfer))?;
        vlen_context::failure()?;
        let packed = &mut packed[..count * types.size];
        types.slots.to_file(session, types.size, packed)?;
        store(packed)
    })
}

/// Returns the background that the conversion of elements from one type to the other needs: some types need one
/// whatever the library says.
///
/// # Errors
/// If the library has no such conversion.
pub fn background_of(types: &FileType, (from, to): (Hid, Hid), transfer: Hid) -> Result<Background> {
    let asked = types.library().background(from, to, transfer)?;
    Ok(if types.needs_background { asked.max(Background::Temporary) } else { asked })
}

/// Returns whether this thread converts elements that are being written: then it reads the elements that they replace.
pub fn is_replacing() -> bool {
    CONVERSION.with_borrow(Option::is_some)
}

/// Checks that elements of the container can be converted to a datatype in memory, before any are converted.
///
/// # Errors
/// As for [`read`], for errors in the datatypes.
pub fn check_read(session: &Arc<Session>, types: &FileType, memory_type: Hid) -> Result<()> {
    if goes_as_it_is(types, memory_type)? {
        return Ok(());
    }
    let located = located_for_reading(session, types, memory_type)?;
    let source = located.as_ref().map_or_else(|| types.in_file(session), |id| Ok(id.get()))?;
    types.library().check_conversion(source, memory_type)
}

/// Checks that elements in memory can be converted to the container's datatype, before any are converted.
///
/// # Errors
/// As for [`write`](fn@write), for errors in the datatypes.
pub fn check_write(session: &Arc<Session>, types: &FileType, memory_type: Hid) -> Result<()> {
    if goes_as_it_is(types, memory_type)? {
        return Ok(());
    }
    check_references_to_write(types, memory_type)?;
    types.library().check_conversion(memory_type, types.in_file(session)?)
}

fn goes_as_it_is(types: &FileType, memory_type: Hid) -> Result<bool> {
    Ok(types.is_same_in_memory(memory_type)? || types.pointers_in(memory_type)?.is_some())
}

/// Returns the type located in the file from which elements are read if libhdf5 makes new references (`H5R_ref_t`)
/// from old ones: it does so only from such a type. Returns `None` if the elements are read with their own type.
fn located_for_reading(
    session: &Arc<Session>,
    types: &FileType,
    memory_type: Hid,
) -> Result<Option<Located>> {
    match makes_new_references(types, memory_type)? {
        true if types.carries_regions => Err(Error::unsupported(
            "reading old references beside region references and variable-length data as new ones (H5R_ref_t)",
        )),
        true => session.located_type(&types.encoded, types.stored()?).map(Some),
        false => Ok(None),
    }
}

fn check_references_to_write(types: &FileType, memory_type: Hid) -> Result<()> {
    match makes_new_references(types, memory_type)? {
        true => Err(Error::unsupported("writing new references (H5R_ref_t) as old ones")),
        false => Ok(()),
    }
}

/// Returns whether the stored references are old ones and those in memory new ones.
fn makes_new_references(types: &FileType, memory_type: Hid) -> Result<bool> {
    Ok(types.slots != Slots::default() && Slots::of(types.library(), memory_type)?.is_none())
}
