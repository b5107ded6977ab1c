//! New references (`H5R_ref_t`) in elements of a container, checked before libhdf5 decodes them.
//!
//! An element holds a reference's kind, its flags, the length of its encoding and the id of a blob with the encoding.
//! libhdf5 trusts the lengths and the rank in that blob (`H5R__decode`), and a container may come from anyone. An
//! error in the middle of a conversion is no better: libhdf5 then frees all elements that it has converted so far. So
//! all elements are checked first, including those of sequences.
#![forbid(unsafe_code)]

use std::sync::Arc;

use h5lake_container::encoded::{Checked, EncodedReference, check_reference, is_whole_reference};
use h5lake_container::{Dataspace, ObjectKind};

use crate::error::{Error, Minor, Result};
use crate::hdf5::blob_id::{self, ID_BYTES};
use crate::hdf5::token;
use crate::session::Session;
use crate::transfer::buffers::buffer_of;
use crate::transfer::stored_places::{Items, LENGTH, Place, Places, REFERENCE_BYTES, SEQUENCE_BYTES};
use crate::transfer::vlen_context;

/// The positions of the new references of an element of a container, and the path to them.
#[derive(Debug, Default)]
pub struct StoredReferences(Places);

impl StoredReferences {
    /// Returns the references among the places of an element.
    pub(super) fn of(places: &Places) -> Self {
        Self(places.with_references())
    }

    /// Returns whether there are no references.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks all references of elements of `size` bytes each.
    ///
    /// # Errors
    /// For a reference that libhdf5 must not decode; errors of the heap.
    pub fn check(&self, session: &Arc<Session>, size: usize, elements: &[u8]) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        check_all(session, &self.0, size, elements)
    }
}

fn check_all(session: &Arc<Session>, places: &Places, size: usize, elements: &[u8]) -> Result<()> {
    for element in elements.chunks_exact(size) {
        for (at, place) in &places.0 {
            let bytes = element.get(*at..).unwrap_or_default();
            match place {
                Place::Reference => check_one(session, first(bytes)?)?,
                Place::Array(count, size, inner) => {
                    let items = bytes.get(..count.saturating_mul(*size)).ok_or_else(|| damaged(OUTSIDE))?;
                    check_all(session, inner, *size, items)?;
                }
                Place::Sequence(Items { stride, places, .. }) => {
                    let (count, id) = counted(first(bytes)?);
                    let bytes = count.checked_mul(*stride as u64).ok_or_else(|| damaged(OUTSIDE))?;
                    check_all(session, places, *stride, &fetch(session, &id, bytes)?)?;
                }
            }
        }
    }
    Ok(())
}

const OUTSIDE: &str = "it lies outside of its element";

fn damaged(why: &str) -> Error {
    Error::new(Minor::ReadError, format!("a stored reference is damaged: {why}"))
}

fn first<const BYTES: usize>(bytes: &[u8]) -> Result<&[u8; BYTES]> {
    bytes.first_chunk().ok_or_else(|| damaged(OUTSIDE))
}

/// Splits a sequence into its count and the id of its blob.
pub(super) fn counted(bytes: &[u8; SEQUENCE_BYTES]) -> (u64, [u8; ID_BYTES]) {
    let (mut count, mut id) = ([0; LENGTH], [0; ID_BYTES]);
    count.copy_from_slice(&bytes[..LENGTH]);
    id.copy_from_slice(&bytes[LENGTH..]);
    (u32::from_le_bytes(count).into(), id)
}

/// Returns `length` bytes of a blob; none for the null blob.
pub(super) fn fetch(session: &Session, id: &[u8; ID_BYTES], length: u64) -> Result<Vec<u8>> {
    if blob_id::is_null(id) {
        return Ok(Vec::new());
    }
    vlen_context::check_length(session, id, length)?;
    let mut bytes = buffer_of(usize::try_from(length).map_err(|_| damaged("it is too long"))?, 1)?;
    vlen_context::get(session, id, &mut bytes)?;
    Ok(bytes)
}

fn check_one(session: &Arc<Session>, slot: &[u8; REFERENCE_BYTES]) -> Result<()> {
    let (&[kind, flags], rest) = slot.split_first_chunk().ok_or_else(|| damaged(OUTSIDE))?;
    if is_whole_reference(kind, flags) {
        return sound(check_reference(kind, flags, rest)).map(drop);
    }
    let (length, id) = counted(first(rest)?);
    // A null reference in libhdf5's sense (H5T__ref_disk_isnull).
    if kind == 0 && blob_id::is_null(&id) {
        return Ok(());
    }
    let encoded = fetch(session, &id, length)?;
    check_rank(session, &sound(check_reference(kind, flags, &encoded))?)
}

fn sound(checked: Checked<EncodedReference<'_>>) -> Result<EncodedReference<'_>> {
    checked.map_err(damaged)
}

/// Checks that a region has the rank of its dataset: libhdf5 applies the selection to the dataset's dataspace without
/// comparing ranks (`H5R__get_region`). An object that is no dataset, or does not exist, is reported when the
/// reference is opened.
fn check_rank(session: &Arc<Session>, reference: &EncodedReference<'_>) -> Result<()> {
    let (Some(rank), false) = (reference.rank, reference.is_external) else { return Ok(()) };
    let mut bytes = [0; token::BYTES];
    for (to, from) in bytes.iter_mut().zip(reference.token) {
        *to = *from;
    }
    let id = token::decode(bytes);
    let container = &session.container;
    if !container.object_info(id).is_ok_and(|info| info.kind == ObjectKind::Dataset) {
        return Ok(());
    }
    let Ok(dataset) = container.dataset(id) else { return Ok(()) };
    let dims = dataset.with_space(|space| match space {
        Dataspace::Simple { dims, .. } => dims.len(),
        _ => 0,
    });
    if dims == rank as usize {
        return Ok(());
    }
    Err(damaged(&format!("it selects from {rank} dimensions of a dataset of {dims}")))
}
