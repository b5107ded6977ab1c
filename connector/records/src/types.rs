//! The types of the data model: ids, datatypes, dataspaces, layouts.

use crate::{Error, ObjectId, Result};
use bytes::Bytes;

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A group, which holds links.
    Group,
    /// A dataset, which holds elements.
    Dataset,
    /// A committed (named) datatype.
    Datatype,
}

/// The tracking of the creation order of links or attributes (`H5Pset_link_creation_order`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CreationOrder {
    /// True if the order is tracked.
    pub tracked: bool,
    /// True if the order is indexed as well; needs `tracked`.
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
    /// By creation order; only if it is tracked.
    CreationOrder,
}

/// The direction along an index (`H5_iter_order_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// From the first to the last.
    Increasing,
    /// From the last to the first.
    Decreasing,
    /// The fastest order; here the same as increasing.
    Native,
}

/// An element type as far as the container needs it; its full meaning is in `encoded`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datatype {
    /// The type in HDF5's portable encoding (`H5Tencode`), kept unchanged.
    pub encoded: Bytes,
    /// Bytes of one element in file form; at least 1.
    pub size: u64,
    /// The class (`H5T_class_t`).
    pub class: u8,
    /// True if elements hold heap ids (variable-length data).
    pub has_heap: bool,
    /// True if elements hold references.
    pub has_references: bool,
    /// The id of the committed type, if this is one. Each object that uses a committed type counts as a link to it, as
    /// in native files, so that the type outlives its name.
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
        /// The present sizes.
        dims: Vec<u64>,
        /// The maximum sizes, [`UNLIMITED`] for a dimension without bound. As long as `dims`.
        max: Vec<u64>,
    },
}

impl Dataspace {
    /// Returns the number of elements.
    ///
    /// # Errors
    /// `OutOfRange` if the product of the dimensions does not fit 64 bits.
    pub fn points(&self) -> Result<u64> {
        match self {
            Self::Null => Ok(0),
            Self::Scalar => Ok(1),
            Self::Simple { dims, .. } => product(dims),
        }
    }

    /// Returns the present dimensions; empty for scalar and null spaces.
    pub fn dims(&self) -> &[u64] {
        match self {
            Self::Simple { dims, .. } => dims,
            _ => &[],
        }
    }

    /// Returns the maximum dimensions; empty for scalar and null spaces.
    pub fn max_dims(&self) -> &[u64] {
        match self {
            Self::Simple { max, .. } => max,
            _ => &[],
        }
    }
}

/// Returns the product of `dims`; 1 for none.
pub fn product(dims: &[u64]) -> Result<u64> {
    if dims.contains(&0) {
        return Ok(0);
    }
    dims.iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d))
        .ok_or_else(|| Error::range(format!("the number of elements of {dims:?} does not fit 64 bits")))
}

/// The layout of a dataset's elements (`H5D_layout_t`).
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
    /// One sequence, in files of the user outside of the container (`H5Pset_external`). The container stores their
    /// names and never reads or writes them.
    External {
        /// The parts, in the order in which they hold the sequence.
        files: Vec<ExternalFile>,
    },
    /// Elements of other datasets (`H5Pset_virtual`). The caller reads and writes them, because the sources may be in
    /// other files.
    Virtual {
        /// The mappings, in the order in which they were added.
        mappings: Vec<VirtualMapping>,
    },
}

/// A part of a user's file that holds elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalFile {
    /// Its name, as given.
    pub name: Vec<u8>,
    /// Offset of the part in the file, in bytes.
    pub offset: u64,
    /// Bytes of the part; [`UNLIMITED`] for all bytes to the end of the file.
    pub size: u64,
}

/// Elements of a source dataset that a virtual dataset shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualMapping {
    /// The source's file, as given; `.` is the container itself. May hold `%b`, the number of a block.
    pub file: Vec<u8>,
    /// The path of the source in it. May hold `%b`.
    pub dataset: Vec<u8>,
    /// The elements of the source: an extent and a selection as encoded by `H5Sencode2`, without an offset.
    pub source: Bytes,
    /// The elements of the virtual dataset at which they appear, encoded likewise.
    pub place: Bytes,
}

/// The value of an element that was never written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FillValue {
    /// Undefined; reads as zeros.
    Undefined,
    /// The library's default: zeros.
    Default,
    /// One element in file form.
    User(Bytes),
}

/// The time at which fill values are written (`H5D_fill_time_t`). Elements that were never written read as the fill
/// value in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillTime {
    /// On allocation.
    Alloc,
    /// Never.
    Never,
    /// On allocation, if the user set one.
    IfSet,
}

/// The time at which space is allocated (`H5D_alloc_time_t`). It affects the results of `storage_size` and
/// `space_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllocTime {
    /// When the dataset is created.
    Early,
    /// All space, at the first write.
    Late,
    /// Chunk by chunk, when written.
    Incremental,
}

/// The fill properties of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// The fill value.
    pub value: FillValue,
    /// The time at which it is written.
    pub time: FillTime,
    /// The time at which space is allocated.
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

/// The state of the storage allocation (`H5D_space_status_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpaceStatus {
    /// No storage is allocated.
    NotAllocated,
    /// Some chunks have storage.
    Part,
    /// All storage is allocated.
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

/// The target of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkTarget {
    /// An object of this container.
    Hard(ObjectId),
    /// A path that is resolved when the link is followed, from the group that holds the link.
    Soft(Vec<u8>),
    /// An object of another file.
    External {
        /// The other file's name, as given.
        file: Vec<u8>,
        /// The path within it.
        path: Vec<u8>,
        /// Flags as stored by HDF5; 0 at present.
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
    /// The target.
    pub target: LinkTarget,
    /// Its position among all links ever created in the group, if tracked.
    pub creation_order: Option<i64>,
    /// The name's character set.
    pub cset: CharSet,
}

/// Information about a group (`H5G_info_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupInfo {
    /// Links in the group.
    pub link_count: u64,
    /// The creation order of the next link; 0 if not tracked.
    pub max_creation_order: i64,
    /// The tracking of the creation order.
    pub link_order: CreationOrder,
}

/// Information about an object (`H5O_info2_t`). Times are seconds since 1970, 0 if not tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The kind of the object.
    pub kind: ObjectKind,
    /// Number of hard links to it, and of uses of a committed type.
    pub link_count: u32,
    /// Time of the last access.
    pub access_time: i64,
    /// Time of the last change of the data.
    pub modify_time: i64,
    /// Time of the last change of the metadata.
    pub change_time: i64,
    /// Time of creation.
    pub birth_time: i64,
    /// Number of attributes.
    pub attribute_count: u64,
}

/// The place of the blobs of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeapPlace {
    /// The heap of the container, for as long as this object or attribute exists: passed to
    /// `heap_put`.
    Owner(ObjectId),
    /// The bytes after the elements of an attribute, in its [`InlineHeap`](crate::InlineHeap).
    Local,
}

/// Information about an attribute (`H5A_info_t`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttrInfo {
    /// Its name.
    pub name: Vec<u8>,
    /// Its position among all attributes ever created on the object, if tracked.
    pub creation_order: Option<u32>,
    /// The name's character set.
    pub cset: CharSet,
    /// Bytes of its value.
    pub data_size: u64,
}
