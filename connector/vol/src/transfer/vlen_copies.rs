//! Copies strings and sequences of variable length from heap to heap, many at once. libhdf5's conversion to memory and
//! back would do the same one by one, with an allocation and two callbacks for each. It still copies sequences with
//! items that refer to further data, and elements with references.
#![forbid(unsafe_code)]

use std::sync::Arc;

use h5lake_container::{Elements, HeapPlace, InlineHeap};

use crate::error::{Error, Minor, Result};
use crate::hdf5::blob_id;
use crate::session::Session;
use crate::transfer::buffers::scratch_of;
use crate::transfer::stored_places::{LENGTH, SEQUENCE_BYTES};
use crate::transfer::stored_references::counted;
use crate::transfer::stored_sequences::Purpose;
use crate::transfer::stored_type::FileType;
use crate::transfer::vlen_context;

/// A sequence in elements in file form.
#[derive(Clone, Copy)]
struct Sequence {
    /// The offset of the sequence in the elements.
    at: usize,
    id: [u8; blob_id::ID_BYTES],
    /// The bytes of the sequence's data.
    length: u64,
}

/// Copies the data of elements to another place, if they hold only plain sequences; returns `None` for elements of
/// other types, and leaves them unchanged.
///
/// # Errors
/// `ReadError` for damaged elements; errors of the heaps.
pub fn copy_plain(
    [source, destination]: [&Arc<Session>; 2],
    types: &FileType,
    to: HeapPlace,
    elements: &mut Elements,
) -> Result<Option<Elements>> {
    let Some(places) = types.stored_sequences.plain().filter(|_| !types.has_references) else {
        return Ok(None);
    };
    let Elements { mut data, heap } = std::mem::take(elements);
    types.stored_sequences.check(source, types.size, &data, Purpose::Read)?;
    let sequences = sequences_of(&data, types.size, &places)?;
    let lengths = sequences.iter().map(|s| s.length);
    let total =
        lengths.clone().try_fold(0_u64, u64::checked_add).and_then(|total| usize::try_from(total).ok());
    let mut packed = scratch_of(total.ok_or_else(damaged)?, 1)?;
    let ends = lengths.scan(0, |end, length| {
        *end += length as usize;
        Some(*end)
    });
    let ends: Vec<usize> = ends.collect();
    let slot = |index: usize| index.checked_sub(1).map_or(0, |before| ends[before])..ends[index];
    if sequences.iter().any(|s| InlineHeap::has(&s.id)) {
        vlen_context::reading(heap, || {
            let mut all = sequences.iter().enumerate().filter(|(_, s)| s.length > 0);
            all.try_for_each(|(index, s)| vlen_context::get(source, &s.id, &mut packed[slot(index)]))
        })?;
    } else {
        let blobs = sequences.iter().map(|s| (s.id, s.length));
        source.container.heap_get_all(blobs, |index, bytes| -> Result<()> {
            packed[slot(index)].copy_from_slice(bytes);
            Ok(())
        })?;
    }
    vlen_context::writing(to, || {
        let mut copies = sequences.iter();
        let blobs = (0..sequences.len()).map(|index| &packed[slot(index)]);
        vlen_context::put_all(destination, blobs, |id| {
            if let Some(s) = copies.next() {
                data[s.at + LENGTH..s.at + SEQUENCE_BYTES].copy_from_slice(&id);
            }
        })?;
        Ok(Some(Elements { data, heap: vlen_context::take() }))
    })
}

/// Returns the sequences that have data, in order.
fn sequences_of(data: &[u8], size: usize, places: &[(usize, usize)]) -> Result<Vec<Sequence>> {
    let mut found = Vec::new();
    for start in (0..data.len() / size).map(|n| n * size) {
        for (offset, item) in places {
            let at = start + offset;
            let bytes = data.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(damaged)?;
            let (count, id) = counted(bytes);
            if !blob_id::is_null(&id) {
                let length = count.checked_mul(*item as u64).ok_or_else(damaged)?;
                found.push(Sequence { at, id, length });
            }
        }
    }
    Ok(found)
}

fn damaged() -> Error {
    Error::new(Minor::ReadError, "stored variable-length data is damaged: it lies outside of its element")
}
