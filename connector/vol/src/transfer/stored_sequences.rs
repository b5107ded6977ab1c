//! Sequences and strings of variable length in elements of a container: their lengths are checked before libhdf5
//! converts them.
//!
//! libhdf5 makes buffers of as many items as an element says before it requests the items, and a container may come
//! from anyone. Among elements that are overwritten, libhdf5 reads those that contain nested sequences. In that case
//! an error in the middle of the conversion is worse than a large buffer: libhdf5 frees the elements that it has
//! converted so far, which are elements of the file, as if they were pointers (H5T__conv_vlen).
#![forbid(unsafe_code)]

use crate::error::{Error, Minor, Result};
use crate::hdf5::blob_id;
use crate::session::Session;
use crate::transfer::stored_places::{Items, Place, Places, SEQUENCE_BYTES};
use crate::transfer::stored_references::{counted, fetch};
use crate::transfer::vlen_context;

/// The positions of the sequences and strings of variable length of an element of a container, and the path to them.
#[derive(Debug, Default)]
pub struct StoredSequences(Places);

/// The use that libhdf5 makes of elements of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// libhdf5 converts them to memory.
    Read,
    /// libhdf5 overwrites them.
    Replace,
}

impl StoredSequences {
    /// Returns the sequences among the places of an element.
    pub(super) fn of(places: &Places) -> Self {
        Self(places.with_sequences())
    }

    /// Returns the offset in an element, and the bytes of an item, of each sequence, if sequences exist, all of them
    /// are in the element itself, and none contains further sequences.
    pub(super) fn plain(&self) -> Option<Vec<(usize, usize)>> {
        let plain = self.0.0.iter().map(|(at, place)| match place {
            Place::Sequence(items) if items.places.is_empty() => Some((*at, items.kept)),
            _ => None,
        });
        plain.collect::<Option<Vec<_>>>().filter(|places| !places.is_empty())
    }

    /// Checks that the data of elements of `size` bytes each is as long as they say, as far as libhdf5 makes buffers
    /// for it: for all data that it reads, and for sequences of sequences that are overwritten.
    ///
    /// # Errors
    /// For a forged length; errors of the heap.
    pub fn check(&self, session: &Session, size: usize, elements: &[u8], purpose: Purpose) -> Result<()> {
        if self.0.is_empty() || (purpose == Purpose::Replace && !has_nested(&self.0)) {
            return Ok(());
        }
        check_all(session, &self.0, size, elements, purpose)
    }
}

/// Returns whether any place is a sequence of items that contain sequences or strings themselves.
fn has_nested(places: &Places) -> bool {
    places.0.iter().any(|(_, place)| match place {
        Place::Reference => false,
        Place::Array(_, _, inner) => has_nested(inner),
        Place::Sequence(items) => !items.places.is_empty(),
    })
}

fn check_all(
    session: &Session,
    places: &Places,
    size: usize,
    elements: &[u8],
    purpose: Purpose,
) -> Result<()> {
    for element in elements.chunks_exact(size) {
        for (at, place) in &places.0 {
            let bytes = element.get(*at..).unwrap_or_default();
            match place {
                Place::Reference => {}
                Place::Array(count, size, inner) => {
                    let items = bytes.get(..count.saturating_mul(*size)).ok_or_else(damaged)?;
                    check_all(session, inner, *size, items, purpose)?;
                }
                Place::Sequence(items) => {
                    check_sequence(session, bytes.first_chunk().ok_or_else(damaged)?, items, purpose)?;
                }
            }
        }
    }
    Ok(())
}

fn check_sequence(
    session: &Session,
    sequence: &[u8; SEQUENCE_BYTES],
    items: &Items,
    purpose: Purpose,
) -> Result<()> {
    let (count, id) = counted(sequence);
    let inner = &items.places;
    // Nothing is read for an empty sequence, and its blob may be deleted.
    if count == 0 || blob_id::is_null(&id) || (purpose == Purpose::Replace && inner.is_empty()) {
        return Ok(());
    }
    let length = count.checked_mul(items.kept as u64).ok_or_else(damaged)?;
    let is_looked_into = match purpose {
        Purpose::Read => !inner.is_empty(),
        Purpose::Replace => has_nested(inner),
    };
    if is_looked_into {
        return check_all(session, inner, items.stride, &fetch(session, &id, length)?, purpose);
    }
    vlen_context::check_length(session, &id, length)
}

fn damaged() -> Error {
    Error::new(Minor::ReadError, "stored variable-length data is damaged: it lies outside of its element")
}
