//! Parameters for creating and opening containers and objects.

use crate::chunk::memory_budget::MemoryBudget;
use crate::{Access, Result};
use bytes::Bytes;
use h5lake_ledger::{Ledger, OpenedFile};
use h5lake_records::types::{CharSet, CreationOrder, Dataspace, Datatype, Fill, Filter, Layout};
use object_stores::ObjectStore;
use std::path::PathBuf;
use std::sync::Arc;

/// The location of a container.
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
        /// The store's address for messages, without credentials. Together with `key` it identifies the container.
        url: String,
    },
}

impl Target {
    /// Returns the name for messages, without the query of a URL, because the query may contain a signature.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Objects { key, url, .. } => {
                format!("{}/{}", url.trim_end_matches('/'), object_stores::without_query(key))
            }
        }
    }

    /// Opens the ledger of an existing container.
    ///
    /// # Errors
    /// Those of opening a ledger.
    pub fn open_ledger(&self, access: Access, options: h5lake_ledger::Options) -> Result<Ledger> {
        Ok(match self {
            Self::File(path) => Ledger::open_file(path, access, options)?,
            Self::Objects { store, key, .. } => Ledger::open_objects(store.clone(), key, access, options)?,
        })
    }
}

/// The effect of creating a container over an existing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Fail with `AlreadyExists` (`H5F_ACC_EXCL`).
    Never,
    /// Put an empty container in its place (`H5F_ACC_TRUNC`).
    Truncate,
    /// Fail with `AlreadyExists` if the target exists. An exception is an empty container in an object store: if the process that
    /// created it was killed before its first commit, it is replaced.
    IfAbsent,
}

/// The behaviour of a shared writer when another writer committed a change of the same object first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Commit nothing of the batch, drop it, and return a `Conflict` error.
    #[default]
    Fail,
    /// Commit the other changes of the batch, keep the other writer's change, and return a `Conflict` error. A conflict
    /// in a move, a deletion or a shrink cannot be separated from the batch: then nothing is committed.
    Merge,
    /// The last commit wins, and no error is returned.
    Last,
}

/// Options for opening a container.
#[derive(Debug, Clone)]
pub struct Options {
    /// Options of the ledger.
    pub ledger: h5lake_ledger::Options,
    /// Bound of the cache of blocks, clean and dirty, in bytes. Default 256 MiB.
    pub cache_bytes: usize,
    /// The memory budget that the caches of several containers share. Together they hold at most the largest of their
    /// bounds.
    pub memory: Arc<MemoryBudget>,
    /// The behaviour of a flush that encounters a conflict, in multi-writer mode ([`h5lake_ledger::Writers::Many`]).
    pub on_conflict: OnConflict,
    /// The target's file, if the caller has already opened it; the container is then read through it, without another
    /// lookup.
    pub opened: Option<OpenedFile>,
    /// The processes that open the container together, if it is not opened for this one alone.
    pub together: Option<Together>,
}

/// One of the processes of a program that have a container open together and make the same changes to its structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Together {
    /// Number of processes.
    pub processes: usize,
    /// The number of this process, from 0 on. Process 0 commits the changes that all processes have made.
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

/// The initial content of a new container.
#[derive(Debug, Clone, Default)]
pub struct FileCreation {
    /// The file creation properties (`H5Pencode2`), kept as they are.
    pub properties: Bytes,
    /// The root group.
    pub root: GroupSpec,
    /// Bytes of the user block before the container: 0, or a power of two of at least 512.
    pub user_block: u64,
}

/// Parameters of a new group.
#[derive(Debug, Clone, Default)]
pub struct GroupSpec {
    /// The creation properties (`H5Pencode2`), kept as they are.
    pub creation_properties: Bytes,
    /// The creation order of links.
    pub link_order: CreationOrder,
    /// The creation order of attributes.
    pub attribute_order: CreationOrder,
    /// True if times are tracked.
    pub track_times: bool,
}

/// Parameters of a new dataset.
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
    /// The creation order of attributes.
    pub attribute_order: CreationOrder,
    /// True if times are tracked.
    pub track_times: bool,
}

/// Parameters of a new committed datatype.
#[derive(Debug, Clone)]
pub struct DatatypeSpec {
    /// The type; its `committed` is ignored.
    pub datatype: Datatype,
    /// The creation properties (`H5Pencode2`), kept as they are.
    pub creation_properties: Bytes,
    /// The creation order of attributes.
    pub attribute_order: CreationOrder,
    /// True if times are tracked.
    pub track_times: bool,
}

/// Parameters of a new attribute.
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

/// Options of `H5Ocopy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopyOptions {
    /// Copy only the immediate members of a group.
    pub shallow: bool,
    /// Replace soft links by the objects that they lead to.
    pub expand_soft: bool,
    /// Replace external links by the objects that they lead to. Not supported yet, so it is refused.
    pub expand_external: bool,
    /// Copy the objects that references lead to as well.
    pub expand_references: bool,
    /// Let references to objects that are copied as well lead to the copies, even if the copies are in another file.
    pub keep_references: bool,
    /// Leave attributes out.
    pub without_attributes: bool,
    /// Use a committed datatype of the destination instead of a copy, if it has an equal one.
    pub merge_committed: bool,
    /// Keep null messages; without meaning here.
    pub preserve_null: bool,
}

/// The treatment of the last link of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLink {
    /// Follow it to its object.
    Follow,
    /// Return the link itself.
    Keep,
}
