//! The files that `plugin-abi/regenerate` generates from HDF5's headers.

/// Types and constants, under their C names.
#[allow(missing_docs, non_camel_case_types, non_snake_case, non_upper_case_globals)]
#[allow(clippy::all, clippy::undocumented_unsafe_blocks)]
#[rustfmt::skip]
pub mod bindings;

/// The functions and ids that a libhdf5 exports.
#[allow(non_snake_case)]
#[allow(clippy::all, clippy::undocumented_unsafe_blocks)]
#[rustfmt::skip]
pub(crate) mod symbols;
