//! What each H5VL callback does, one file per class of the connector interface: decoded arguments in, the
//! container asked, an answer out. No `unsafe` here; that is in the ffi room.
#![forbid(unsafe_code)]

pub mod attribute;
pub mod blob;
pub mod buffers;
pub mod dataset;
pub mod dataset_chunks;
pub mod datatype;
pub mod external;
pub mod external_data;
pub mod file;
pub mod file_optional;
pub mod group;
pub mod heap;
pub mod link;
pub mod location;
pub mod mount;
pub mod native_files;
pub mod object;
pub mod parallel;
pub mod parts;
pub mod pipeline;
pub mod pointers;
pub mod prefixes;
pub mod references;
pub mod sequences;
pub mod stored_references;
pub mod transfer;
pub mod virtual_extent;
pub mod virtual_io;
pub mod virtual_layout;
pub mod virtual_sources;
pub mod visit;
