//! Sequences and strings of variable length in elements of a container, whose lengths are checked before libhdf5 converts them.
//!
//! libhdf5 makes buffers of as many items as an element says before it asks for these, and a container may come from anyone. Of
//! elements that are written over it reads what holds sequences in turn. There an error in the middle of the conversion is worse
//! than a large buffer: it frees what it has converted so far, elements of the file, as if it were pointers (H5T__conv_vlen).
#![forbid(unsafe_code)]

use crate::error::{Error, Minor, Result};
use crate::hdf5::blob_id;
use crate::hdf5::datatype::{ARRAY, COMPOUND, REFERENCE, VARIABLE_LENGTH};
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::references::NEW_BYTES;
use crate::session::Session;
use crate::transfer::stored_references::{REFERENCE_BYTES, SEQUENCE_BYTES, counted, fetch};
use crate::transfer::vlen_context;

/// Where the sequences and strings of variable length of an element of a container lie, in bytes from its beginning.
#[derive(Debug, Default)]
pub struct StoredSequences(Vec<(usize, SequencePlace)>);

#[derive(Debug)]
enum SequencePlace {
    /// So many items, of a size, one behind the other.
    Array(usize, usize, StoredSequences),
    /// A sequence of items of a size.
    Sequence(usize, StoredSequences),
}

/// What libhdf5 does with elements of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It converts them to memory.
    Read,
    /// It writes over them.
    Replace,
}

impl StoredSequences {
    /// The bytes and the places of an element of the container, given its datatype in memory. libhdf5 moves members apart for what
    /// is larger in a file (H5T_set_loc); of a type that lies there it gives members as they are in memory (H5Tget_member_type).
    ///
    /// # Errors
    /// If the library refuses the datatype.
    pub fn of(library: Library, datatype: Hid) -> Result<(usize, Self)> {
        let size = library.type_size(datatype)?;
        let one = |size, inner| (SEQUENCE_BYTES, Self(vec![(0, SequencePlace::Sequence(size, inner))]));
        Ok(match library.type_class(datatype)? {
            COMPOUND => {
                let mut members = Vec::new();
                for (index, member) in library.member_types(datatype)?.into_iter().enumerate() {
                    members.push((library.member_offset(datatype, index)?, member));
                }
                members.sort_by_key(|(offset, _)| *offset);
                let (mut places, mut moved) = (Vec::new(), 0);
                for (offset, member) in members {
                    let (stored, inner) = Self::of(library, member.get())?;
                    places.extend(inner.0.into_iter().map(|(at, place)| (offset + moved + at, place)));
                    moved = (moved + stored).saturating_sub(library.type_size(member.get())?);
                }
                (size + moved, Self(places))
            }
            ARRAY => {
                let items = library.base_type(datatype)?;
                let count = size / library.type_size(items.get())?.max(1);
                let (stored, inner) = Self::of(library, items.get())?;
                let has_any = !inner.0.is_empty();
                let array = has_any.then_some((0, SequencePlace::Array(count, stored, inner)));
                (count * stored, Self(array.into_iter().collect()))
            }
            VARIABLE_LENGTH => {
                let items = library.base_type(datatype)?;
                match library.type_class(items.get())? {
                    // Items that are references stay as they are in memory.
                    REFERENCE => one(library.type_size(items.get())?, Self::default()),
                    _ => {
                        let (stored, inner) = Self::of(library, items.get())?;
                        one(stored, inner)
                    }
                }
            }
            REFERENCE if size == NEW_BYTES => (REFERENCE_BYTES, Self::default()),
            _ if library.is_variable_string(datatype)? => one(1, Self::default()),
            _ => (size, Self::default()),
        })
    }

    /// Whether any is a sequence of items that hold sequences or strings in turn.
    fn has_nested(&self) -> bool {
        self.0.iter().any(|(_, place)| match place {
            SequencePlace::Array(_, _, inner) => inner.has_nested(),
            SequencePlace::Sequence(_, inner) => !inner.0.is_empty(),
        })
    }

    /// Checks that the data of elements of a size is as long as they say, as far as libhdf5 makes buffers for it: for all that it
    /// reads, and of what is written over for sequences of sequences.
    ///
    /// # Errors
    /// For a length that somebody forged; those of the heap.
    pub fn check(&self, session: &Session, size: usize, elements: &[u8], purpose: Purpose) -> Result<()> {
        if self.0.is_empty() || (purpose == Purpose::Replace && !self.has_nested()) {
            return Ok(());
        }
        for element in elements.chunks_exact(size) {
            for (at, place) in &self.0 {
                let bytes = element.get(*at..).unwrap_or_default();
                match place {
                    SequencePlace::Array(count, size, inner) => {
                        let items = bytes.get(..count * size).ok_or_else(damaged)?;
                        inner.check(session, *size, items, purpose)?;
                    }
                    SequencePlace::Sequence(size, inner) => {
                        let sequence = bytes.first_chunk().ok_or_else(damaged)?;
                        check_sequence(session, sequence, *size, inner, purpose)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn check_sequence(
    session: &Session,
    sequence: &[u8; SEQUENCE_BYTES],
    size: usize,
    inner: &StoredSequences,
    purpose: Purpose,
) -> Result<()> {
    let (count, id) = counted(sequence);
    // Of no items nothing is read, and what kept nothing may be gone.
    if count == 0 || blob_id::is_null(&id) || (purpose == Purpose::Replace && inner.0.is_empty()) {
        return Ok(());
    }
    let length = count.checked_mul(size as u64).ok_or_else(damaged)?;
    let is_looked_into = match purpose {
        Purpose::Read => !inner.0.is_empty(),
        Purpose::Replace => inner.has_nested(),
    };
    if is_looked_into {
        return inner.check(session, size, &fetch(session, &id, length)?, purpose);
    }
    vlen_context::check_length(session, &id, length)
}

fn damaged() -> Error {
    Error::new(Minor::ReadError, "stored variable-length data is damaged: it lies outside of its element")
}
