//! What is given to make or open things.

use crate::chunk::memory_budget::MemoryBudget;
use crate::types::{CharSet, CreationOrder, Dataspace, Datatype, Fill, Filter, Layout};
use bytes::Bytes;
use h5lake_ledger::OpenedFile;
use object_stores::ObjectStore;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a container lies.
#[derive(Clone)]
pub enum Target {
    /// One ordinary file.
    File(PathBuf),
    /// Objects of a store.
    Objects {
        /// The store.
        store: Arc<dyn ObjectStore>,
        /// The container's key in it.
        key: String,
        /// The store's address for people, without credentials. With `key` it tells containers apart.
        url: String,
    },
}

/// What creating does over an existing container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Fail with `AlreadyExists` (`H5F_ACC_EXCL`).
    Never,
    /// Put an empty container in its place (`H5F_ACC_TRUNC`).
    Truncate,
    /// Fail with `AlreadyExists` if something is there, unless it is an empty container in an object store whose creator was killed
    /// before it committed anything: that one is replaced.
    IfAbsent,
}

/// What one of many writers does when another writer committed a change of the same thing first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Commit nothing of the batch, drop it, and return a `Conflict` error.
    #[default]
    Fail,
    /// Commit the rest of the batch, keep the other writer's change, and return a `Conflict` error. A conflict in a move,
    /// a deletion or a shrink has no rest: then nothing is committed.
    Merge,
    /// The last commit wins, and nobody is told.
    Last,
}

/// How a container is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the ledger beneath wants to know.
    pub ledger: h5lake_ledger::Options,
    /// Bound of the cache of blocks, clean and dirty, in bytes. Default 256 MiB.
    pub cache_bytes: usize,
    /// What the caches of several containers share. All of them together hold at most the largest of their bounds.
    pub memory: Arc<MemoryBudget>,
    /// With many writers ([`h5lake_ledger::Writers::Many`]): what a flush does that meets a conflict.
    pub on_conflict: OnConflict,
    /// The target's file, for whoever has looked at it; it is then read without looking for it again.
    pub opened: Option<OpenedFile>,
    /// The processes that open the container together, if it is not opened for this one alone.
    pub together: Option<Together>,
}

/// One of the processes of a program that have a container open together, and change its structure alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Together {
    /// How many there are.
    pub processes: usize,
    /// This one's number, from 0 on. The first one commits what all have changed alike.
    pub rank: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ledger: h5lake_ledger::Options::default(),
            cache_bytes: 256 << 20,
            memory: Arc::default(),
            on_conflict: OnConflict::default(),
            opened: None,
            together: None,
        }
    }
}

/// What a new container starts with.
#[derive(Debug, Clone, Default)]
pub struct FileCreation {
    /// The file creation properties (`H5Pencode2`), kept as they are.
    pub properties: Bytes,
    /// The root group.
    pub root: GroupSpec,
    /// Bytes of the user block before the container: 0, or a power of two of at least 512.
    pub user_block: u64,
}

/// A group to be made.
#[derive(Debug, Clone, Default)]
pub struct GroupSpec {
    /// The creation properties (`H5Pencode2`), kept as they are.
    pub creation_properties: Bytes,
    /// The order of links.
    pub link_order: CreationOrder,
    /// The order of attributes.
    pub attribute_order: CreationOrder,
    /// Whether times are kept.
    pub track_times: bool,
}

/// A dataset to be made.
#[derive(Debug, Clone)]
pub struct DatasetSpec {
    /// The element type.
    pub datatype: Datatype,
    /// The shape.
    pub space: Dataspace,
    /// The layout.
    pub layout: Layout,
    /// The fill properties.
    pub fill: Fill,
    /// The pipeline, in the order of encoding.
    pub filters: Vec<Filter>,
    /// Chunks that reach beyond the extent are stored without filters (`H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS`).
    pub unfiltered_edges: bool,
    /// The creation properties (`H5Pencode2`), kept as they are.
    pub creation_properties: Bytes,
    /// The order of attributes.
    pub attribute_order: CreationOrder,
    /// Whether times are kept.
    pub track_times: bool,
}

/// A committed type to be made.
#[derive(Debug, Clone)]
pub struct DatatypeSpec {
    /// The type; its `committed` is ignored.
    pub datatype: Datatype,
    /// The creation properties (`H5Pencode2`), kept as they are.
    pub creation_properties: Bytes,
    /// The order of attributes.
    pub attribute_order: CreationOrder,
    /// Whether times are kept.
    pub track_times: bool,
}

/// An attribute to be made.
#[derive(Debug, Clone)]
pub struct AttrSpec {
    /// The element type.
    pub datatype: Datatype,
    /// The shape.
    pub space: Dataspace,
    /// The name's character set.
    pub cset: CharSet,
    /// The creation properties (`H5Pencode2`), kept as they are.
    pub creation_properties: Bytes,
}

/// How `H5Ocopy` copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopyOptions {
    /// Only the immediate members of a group.
    pub shallow: bool,
    /// Soft links become the objects that they lead to.
    pub expand_soft: bool,
    /// External links become the objects that they lead to. Refused for now.
    pub expand_external: bool,
    /// Objects that references lead to are copied as well.
    pub expand_references: bool,
    /// References to objects that are copied as well lead to the copies, even if the copies are in another file.
    pub keep_references: bool,
    /// Without attributes.
    pub without_attributes: bool,
    /// A committed type that the destination has already is used instead of a copy.
    pub merge_committed: bool,
    /// Null messages are kept; without meaning here.
    pub preserve_null: bool,
}

/// What to do with the last link of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLink {
    /// Follow it to its object.
    Follow,
    /// Stay at the link.
    Keep,
}
