//! The words of the data model: ids, types, spaces, layouts.

use crate::{Error, Result};
use bytes::Bytes;

/// Names an object within its container: the address half of a token. Never 0 or all ones, always at
/// least 2^62 (so that no address of a native file equals one), stable, and not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// Holds links.
    Group,
    /// Holds elements.
    Dataset,
    /// A committed (named) datatype.
    Datatype,
}

/// Whether the order in which links or attributes were created is kept (`H5Pset_link_creation_order`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CreationOrder {
    /// The order is kept.
    pub tracked: bool,
    /// The order is indexed as well; needs `tracked`.
    pub indexed: bool,
}

/// The character set of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CharSet {
    /// `H5T_CSET_ASCII`.
    #[default]
    Ascii,
    /// `H5T_CSET_UTF8`.
    Utf8,
}

/// The index that positions and iterations follow (`H5_index_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Index {
    /// By name, bytes compared as unsigned numbers.
    Name,
    /// By creation order; only where it is tracked.
    CreationOrder,
}

/// The direction along an index (`H5_iter_order_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// From the first to the last.
    Increasing,
    /// From the last to the first.
    Decreasing,
    /// Whatever is quickest; here the same as increasing.
    Native,
}

/// An element type as the container needs it; its meaning stays in `encoded`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datatype {
    /// The type in HDF5's portable encoding (`H5Tencode`), kept as it is.
    pub encoded: Bytes,
    /// Bytes that one element takes in file form; at least 1.
    pub size: u64,
    /// The class (`H5T_class_t`).
    pub class: u8,
    /// Elements hold heap ids (variable-length data).
    pub has_heap: bool,
    /// Elements hold references.
    pub has_references: bool,
    /// The committed type that this one is, if it is. What uses a committed type counts as a link to it,
    /// as in native files, so the type outlives its name.
    pub committed: Option<ObjectId>,
}

/// The unlimited size of a dimension (`H5S_UNLIMITED`).
pub const UNLIMITED: u64 = u64::MAX;

/// The shape of a dataset or attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dataspace {
    /// No elements.
    Null,
    /// One element.
    Scalar,
    /// An array.
    Simple {
        /// Present sizes.
        dims: Vec<u64>,
        /// Largest sizes, [`UNLIMITED`] where there is no bound. As long as `dims`.
        max: Vec<u64>,
    },
}

impl Dataspace {
    /// Number of elements.
    ///
    /// # Errors
    /// `OutOfRange` when the product of the dimensions does not fit 64 bits.
    pub fn points(&self) -> Result<u64> {
        match self {
            Self::Null => Ok(0),
            Self::Scalar => Ok(1),
            Self::Simple { dims, .. } => product(dims),
        }
    }

    /// The present dimensions; empty for scalar and null spaces.
    pub fn dims(&self) -> &[u64] {
        match self {
            Self::Simple { dims, .. } => dims,
            _ => &[],
        }
    }

    /// The largest dimensions; empty for scalar and null spaces.
    pub fn max_dims(&self) -> &[u64] {
        match self {
            Self::Simple { max, .. } => max,
            _ => &[],
        }
    }
}

/// The product of `dims`; 1 for none.
pub(crate) fn product(dims: &[u64]) -> Result<u64> {
    if dims.contains(&0) {
        return Ok(0);
    }
    dims.iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d))
        .ok_or_else(|| Error::range(format!("the number of elements of {dims:?} does not fit 64 bits")))
}

/// How a dataset's elements are laid out (`H5D_layout_t`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Inside the header; less than 64 KiB.
    Compact,
    /// One sequence.
    Contiguous,
    /// Boxes of equal shape.
    Chunked {
        /// Elements along each dimension of a chunk.
        chunk: Vec<u64>,
    },
    /// One sequence, in files of the user's own beside the container (`H5Pset_external`). The container knows where
    /// they are and never touches them.
    External {
        /// The parts, in the order in which they hold the sequence.
        files: Vec<ExternalFile>,
    },
    /// Elements of other datasets (`H5Pset_virtual`). Who reads and writes them is the caller: the sources may lie in
    /// other files.
    Virtual {
        /// What shows where, in the order in which it was said.
        mappings: Vec<VirtualMapping>,
    },
}

/// A part of a file of the user's own that holds elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalFile {
    /// Its name, as given.
    pub name: Vec<u8>,
    /// Where in the file the part begins, in bytes.
    pub offset: u64,
    /// Bytes of the part; [`UNLIMITED`] for all that follows.
    pub size: u64,
}

/// Elements of a source dataset that a virtual dataset shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualMapping {
    /// The source's file, as given; `.` is the container itself. May hold `%b`, the number of a block.
    pub file: Vec<u8>,
    /// The path of the source in it. May hold `%b`.
    pub dataset: Vec<u8>,
    /// What is taken from the source: an extent and a selection as `H5Sencode2` gave them, without an offset.
    pub source: Bytes,
    /// Where it shows, likewise.
    pub place: Bytes,
}

/// What an element that was never written reads as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FillValue {
    /// Undefined; reads as zeros.
    Undefined,
    /// The library's default: zeros.
    Default,
    /// One element in file form.
    User(Bytes),
}

/// When fill values are written (`H5D_fill_time_t`). What was never written reads as the fill value anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillTime {
    /// On allocation.
    Alloc,
    /// Never.
    Never,
    /// On allocation, if the user set one.
    IfSet,
}

/// When space is allocated (`H5D_alloc_time_t`). It shapes what `storage_size` and `space_status` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllocTime {
    /// At creation.
    Early,
    /// All, at the first write.
    Late,
    /// Chunk by chunk, when written.
    Incremental,
}

/// The fill properties of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// The value.
    pub value: FillValue,
    /// When it is written.
    pub time: FillTime,
    /// When space is allocated.
    pub allocate: AllocTime,
}

impl Default for Fill {
    fn default() -> Self {
        Self { value: FillValue::Default, time: FillTime::IfSet, allocate: AllocTime::Late }
    }
}

/// One step of a filter pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The registered number (`H5Z_filter_t`).
    pub id: i32,
    /// Bit 0: optional (`H5Z_FLAG_OPTIONAL`).
    pub flags: u32,
    /// The name, may be empty.
    pub name: Vec<u8>,
    /// The parameters (`cd_values`).
    pub client_data: Vec<u32>,
}

/// Whether storage is allocated (`H5D_space_status_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpaceStatus {
    /// None of it.
    NotAllocated,
    /// Some chunks.
    Part,
    /// All of it.
    Allocated,
}

/// A chunk that has storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkInfo {
    /// Coordinates of its first element in the dataset.
    pub offset: Vec<u64>,
    /// Bit n is set when filter n of the pipeline was skipped.
    pub filter_mask: u32,
    /// Stored bytes, after filters.
    pub size: u64,
}

/// What a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkTarget {
    /// An object of this container.
    Hard(ObjectId),
    /// A path, resolved when followed, from the group that holds the link.
    Soft(Vec<u8>),
    /// An object of another file.
    External {
        /// The other file's name, as given.
        file: Vec<u8>,
        /// The path within it.
        path: Vec<u8>,
        /// Flags as stored by HDF5; 0 now.
        flags: u32,
    },
    /// A link of a class that the user registered.
    UserDefined {
        /// The class (`H5L_type_t`, 65 to 255).
        class: i32,
        /// The link's data.
        data: Vec<u8>,
    },
}

/// A link of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name; bytes, not necessarily UTF-8; no `/`.
    pub name: Vec<u8>,
    /// What it leads to.
    pub target: LinkTarget,
    /// Its position among all links ever made in the group, where that is tracked.
    pub creation_order: Option<i64>,
    /// The name's character set.
    pub cset: CharSet,
}

/// What a group says of itself (`H5G_info_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupInfo {
    /// Links in the group.
    pub link_count: u64,
    /// The creation order that the next link gets; 0 where not tracked.
    pub max_creation_order: i64,
    /// What is tracked.
    pub link_order: CreationOrder,
}

/// What an object says of itself (`H5O_info2_t`). Times are seconds since 1970, 0 where not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectInfo {
    /// What it is.
    pub kind: ObjectKind,
    /// Hard links to it, and uses of a committed type.
    pub link_count: u32,
    /// Last access.
    pub access_time: i64,
    /// Last change of the data.
    pub modify_time: i64,
    /// Last change of the metadata.
    pub change_time: i64,
    /// Creation.
    pub birth_time: i64,
    /// Attributes.
    pub attribute_count: u64,
}

/// Where the blobs of elements lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeapPlace {
    /// In the heap of the container, for as long as this object or attribute is there: given to [`Container::heap_put`](crate::Container::heap_put).
    Owner(ObjectId),
    /// Behind the elements of an attribute, in its [`InlineHeap`](crate::InlineHeap).
    Local,
}

/// What an attribute says of itself (`H5A_info_t`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttrInfo {
    /// Its name.
    pub name: Vec<u8>,
    /// Its position among all attributes ever made on the object, where that is tracked.
    pub creation_order: Option<u32>,
    /// The name's character set.
    pub cset: CharSet,
    /// Bytes of its value.
    pub data_size: u64,
}
