//! The entries of a container: their keys, the records that are their values, HDF5's encodings in these, and the types
//! of the data model.
//!
//! This crate reads and writes no storage. docs/format.md describes the bytes.
#![forbid(unsafe_code)]

pub mod conversion;
pub mod encoded;
mod error;
mod extent_set;
mod fragment;
mod header;
mod inline_heap;
pub mod keys;
pub mod memory;
pub mod number;
mod object_id;
mod payload_references;
pub mod record;
pub mod types;

pub use error::{Error, ErrorKind, Result};
pub use extent_set::{ExtentSet, distinct};
pub use fragment::{Fragment, FragmentSource};
pub use header::now;
pub use inline_heap::InlineHeap;
pub use object_id::ObjectId;
pub use payload_references::{EntryValue, PayloadReference, extents_of};
pub use types::{
    AllocTime, AttrInfo, CharSet, ChunkInfo, CreationOrder, Dataspace, Datatype, ExternalFile, Fill,
    FillTime, FillValue, Filter, GroupInfo, HeapPlace, Index, Layout, Link, LinkTarget, ObjectInfo,
    ObjectKind, Order, SpaceStatus, UNLIMITED, VirtualMapping,
};
