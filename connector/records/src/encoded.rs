//! HDF5's own encodings: of datatypes (`H5Tencode`), dataspaces with selections (`H5Sencode2`), creation property lists
//! (`H5Pencode2`) and references (`H5Rencode`).
//!
//! libhdf5's decoders do not get the length of an encoding, and trust the lengths, counts and sizes in it. A container
//! may come from an untrusted source, so every encoding is checked here before it reaches them. The checks cover the
//! needs of memory safety: that an encoding ends within its bytes, that its nesting is bounded, and that its sizes are
//! consistent.

mod bytes;
mod dataspace;
mod datatype;
mod property_list;
mod reference;
mod relocation;
mod selection;

pub use bytes::Checked;
pub use dataspace::{SimpleSelection, SimpleSpace, check_dataspace, simple_space};
pub use datatype::{EncodedType, MAX_NESTING, REFERENCE, check_datatype};
pub use property_list::listed_filters;
pub use property_list::{ListKind, check_property_list, without_defaults};
pub use reference::{EncodedReference, check_reference, is_whole_reference};
pub use relocation::{rename_sources, without_external_files};
pub use selection::{StoredSelection, stored_selection};

#[cfg(test)]
mod tests;
