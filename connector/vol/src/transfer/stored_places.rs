//! The positions in an element of a container that refer to data elsewhere: sequences and strings of variable length,
//! and new references.
//!
//! libhdf5 moves members apart to make space for members that are larger in a file (`H5T_set_loc`). But it returns
//! members of a located datatype in their form in memory (`H5Tget_member_type`), so positions are computed from the
//! datatype in memory.
#![forbid(unsafe_code)]

use crate::error::Result;
use crate::hdf5::blob_id::ID_BYTES;
use crate::hdf5::datatype::{ARRAY, COMPOUND, REFERENCE, VARIABLE_LENGTH};
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::references::NEW_BYTES;

/// The bytes of a kind and flags (`H5R_ENCODE_HEADER_SIZE`).
const HEADER: usize = 2;
/// The bytes of a length.
pub(super) const LENGTH: usize = 4;
/// The bytes of a new reference in an element of a container.
pub(super) const REFERENCE_BYTES: usize = HEADER + LENGTH + ID_BYTES;
/// The bytes of a sequence in an element of a container.
pub(super) const SEQUENCE_BYTES: usize = LENGTH + ID_BYTES;

/// Places in an element, in bytes from its beginning.
#[derive(Debug, Default, Clone)]
pub(super) struct Places(pub Vec<(usize, Place)>);

#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A new reference (`H5R_ref_t`).
    Reference,
    /// An array of items: their number, the size of each, and the places in an item.
    Array(usize, usize, Places),
    /// A sequence, or a string, of items.
    Sequence(Items),
}

/// The items of a sequence.
#[derive(Debug, Clone)]
pub(super) struct Items {
    /// The stored bytes of each item.
    pub kept: usize,
    /// The distance from one item to the next, in bytes.
    pub stride: usize,
    pub places: Places,
}

impl Places {
    /// Returns the size and the places of an element of the container, given its datatype in memory.
    ///
    /// # Errors
    /// If the library refuses the datatype.
    pub fn of(library: Library, datatype: Hid) -> Result<(usize, Self)> {
        let size = library.type_size(datatype)?;
        let sequence = |items| (SEQUENCE_BYTES, Self(vec![(0, Place::Sequence(items))]));
        Ok(match library.type_class(datatype)? {
            COMPOUND => Self::of_members(library, datatype)?,
            ARRAY => {
                let items = library.base_type(datatype)?;
                let count = size / library.type_size(items.get())?.max(1);
                let (stored, inner) = Self::of(library, items.get())?;
                let array = (!inner.is_empty()).then_some((0, Place::Array(count, stored, inner)));
                (count.saturating_mul(stored), Self(array.into_iter().collect()))
            }
            VARIABLE_LENGTH => sequence(Items::of(library, library.base_type(datatype)?.get())?),
            REFERENCE if size == NEW_BYTES => (REFERENCE_BYTES, Self(vec![(0, Place::Reference)])),
            _ if library.is_variable_string(datatype)? => {
                sequence(Items { kept: 1, stride: 1, places: Self::default() })
            }
            _ => (size, Self::default()),
        })
    }

    fn of_members(library: Library, datatype: Hid) -> Result<(usize, Self)> {
        let mut members = Vec::new();
        for (index, member) in library.member_types(datatype)?.into_iter().enumerate() {
            members.push((library.member_offset(datatype, index)?, member));
        }
        members.sort_by_key(|(offset, _)| *offset);
        // The distance by which members are further behind in the file: sequences are longer there, and new references
        // shorter.
        let (mut places, mut longer, mut shorter) = (Vec::new(), 0_usize, 0_usize);
        for (offset, member) in members {
            let (stored, inner) = Self::of(library, member.get())?;
            let start = offset.saturating_add(longer).saturating_sub(shorter);
            places.extend(inner.0.into_iter().map(|(at, place)| (start.saturating_add(at), place)));
            longer = longer.saturating_add(stored);
            shorter = shorter.saturating_add(library.type_size(member.get())?);
        }
        let size = library.type_size(datatype)?;
        Ok((size.saturating_add(longer).saturating_sub(shorter), Self(places)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the places that are new references, or contain some.
    pub fn with_references(&self) -> Self {
        self.chosen(true)
    }

    /// Returns the places that are sequences, or contain some.
    pub fn with_sequences(&self) -> Self {
        self.chosen(false)
    }

    fn chosen(&self, references: bool) -> Self {
        let chosen = self.0.iter().filter_map(|(at, place)| {
            let place = match place {
                Place::Reference if references => Place::Reference,
                Place::Reference => return None,
                Place::Array(count, size, inner) => match inner.chosen(references) {
                    inner if inner.is_empty() => return None,
                    inner => Place::Array(*count, *size, inner),
                },
                Place::Sequence(items) => match items.places.chosen(references) {
                    places if places.is_empty() && references => return None,
                    places => Place::Sequence(Items { places, ..*items }),
                },
            };
            Some((*at, place))
        });
        Self(chosen.collect())
    }
}

impl Items {
    fn of(library: Library, datatype: Hid) -> Result<Self> {
        let (stride, places) = Places::of(library, datatype)?;
        // libhdf5 does not locate references that are items (H5T_set_loc), until it converts (H5T__conv_vlen). It stores as many bytes as
        // they have in memory, and packs them at the front.
        let is_reference = library.type_class(datatype)? == REFERENCE;
        let kept = if is_reference { library.type_size(datatype)? } else { stride };
        Ok(Self { kept, stride, places })
    }
}
