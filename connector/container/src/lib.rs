//! The HDF5 data model on a ledger: groups, links, attributes, datasets, committed types.
//!
//! A [`Container`] is what HDF5 calls a file. Everything in it is reached by [`ObjectId`]s; nothing here knows
//! of libhdf5's handles. Changes are staged and become one commit when [`Container::flush`] is called.
#![forbid(unsafe_code)]

mod error;
mod selection;
mod spec;
mod stubs;
mod types;

pub use error::{Error, ErrorKind, Result};
pub use selection::{Run, Selection};
pub use spec::{
    Access, AttrSpec, CopyOptions, DatasetSpec, DatatypeSpec, FileCreation, GroupSpec, LastLink, Options,
    Replace, Target,
};
pub use stubs::{Attribute, Container, Dataset, OpenObject, Parent, Resolution};
pub use types::{
    AllocTime, AttrInfo, CharSet, ChunkInfo, CreationOrder, Dataspace, Datatype, Fill, FillTime, FillValue,
    Filter, GroupInfo, Index, Layout, Link, LinkTarget, ObjectId, ObjectInfo, ObjectKind, Order, SpaceStatus,
    UNLIMITED,
};
