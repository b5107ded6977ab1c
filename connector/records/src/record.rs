//! The values of entries: protobuf messages, so that fields can be added without a new format. `docs/format.md`
//! describes every field; field numbers are never reused.

use crate::{Error, Result};
use bytes::Bytes;
use h5lake_ledger::Extent;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use std::cmp::Ordering;

/// The version of the records that this build writes and reads.
pub const RECORDS_VERSION: u32 = 2;

/// The container's own record, under the key `C`.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerRecord {
    /// The version of the records ([`RECORDS_VERSION`]).
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The file creation property list, in HDF5's encoding; empty if it is the default.
    #[prost(bytes = "bytes", tag = "2")]
    pub creation_properties: Bytes,
    /// The part of object ids that differs between containers.
    #[prost(uint32, tag = "3")]
    pub salt: u32,
    /// The user block's length in bytes.
    #[prost(uint64, tag = "4")]
    pub user_block: u64,
}

impl ContainerRecord {
    /// Checks that this build can read the container's records.
    ///
    /// # Errors
    /// `Unsupported` for records of another version, with the remedy.
    pub fn check_version(&self) -> Result<()> {
        let version = self.version;
        match version.cmp(&RECORDS_VERSION) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(Error::unsupported(format!(
                "was written by a newer h5lake (records of version {version}); update h5lake"
            ))),
            Ordering::Less => Err(Error::unsupported(format!(
                "was made by a build of h5lake before its first release (records of version {version}); this build reads \
                 version {RECORDS_VERSION}. With the build that made it, run 'h5lake export NAME NATIVE.h5', then \
                 'h5lake import' here."
            ))),
        }
    }
}

/// Flag of [`HeaderRecord::flags`]: attribute creation order is tracked.
pub const ATTRIBUTES_TRACKED: u32 = 1;
/// Flag of [`HeaderRecord::flags`]: attribute creation order is indexed.
pub const ATTRIBUTES_INDEXED: u32 = 2;
/// Flag of [`HeaderRecord::flags`]: times are tracked.
pub const TIMES_TRACKED: u32 = 4;

/// An object, under the key `O` id.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderRecord {
    /// The number of hard links to the object. A committed type also counts the objects that use it.
    #[prost(uint32, tag = "1")]
    pub link_count: u32,
    /// The flags [`ATTRIBUTES_TRACKED`], [`ATTRIBUTES_INDEXED`] and [`TIMES_TRACKED`].
    #[prost(uint32, tag = "2")]
    pub flags: u32,
    /// The time of creation, in seconds since 1970; this and the following times are 0 if times are not tracked.
    #[prost(int64, tag = "3")]
    pub birth: i64,
    /// The time of the last access.
    #[prost(int64, tag = "4")]
    pub access: i64,
    /// The time of the last change of data.
    #[prost(int64, tag = "5")]
    pub modify: i64,
    /// The time of the last change of metadata.
    #[prost(int64, tag = "6")]
    pub change: i64,
    /// The comment (`H5Oset_comment`).
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub comment: Option<Bytes>,
    /// The creation property list, in HDF5's encoding; empty if it is the default.
    #[prost(bytes = "bytes", tag = "8")]
    pub creation_properties: Bytes,
    /// The number of attributes.
    #[prost(uint64, tag = "9")]
    pub attribute_count: u64,
    /// The creation order of the next attribute.
    #[prost(uint32, tag = "10")]
    pub next_attribute: u32,
    /// Present for a group.
    #[prost(message, optional, tag = "11")]
    pub group: Option<GroupRecord>,
    /// Present for a dataset.
    #[prost(message, optional, tag = "12")]
    pub dataset: Option<DatasetRecord>,
    /// Present for a committed type.
    #[prost(message, optional, tag = "13")]
    pub datatype: Option<DatatypeRecord>,
}

/// A group's part of a header.
#[derive(Clone, PartialEq, Message)]
pub struct GroupRecord {
    /// True if the creation order of links is tracked.
    #[prost(bool, tag = "1")]
    pub order_tracked: bool,
    /// True if the creation order of links is indexed.
    #[prost(bool, tag = "2")]
    pub order_indexed: bool,
    /// The number of links in the group.
    #[prost(uint64, tag = "3")]
    pub link_count: u64,
    /// The creation order of the next link.
    #[prost(int64, tag = "4")]
    pub next_order: i64,
}

/// An element type.
#[derive(Clone, PartialEq, Message)]
pub struct DatatypeRecord {
    /// The type in HDF5's encoding (`H5Tencode`).
    #[prost(bytes = "bytes", tag = "1")]
    pub encoded: Bytes,
    /// Bytes of one element in file form.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// The class (`H5T_class_t`).
    #[prost(uint32, tag = "3")]
    pub class: u32,
    /// True if elements hold heap ids (variable-length data).
    #[prost(bool, tag = "4")]
    pub has_heap: bool,
    /// True if elements hold references.
    #[prost(bool, tag = "5")]
    pub has_references: bool,
    /// The id of the committed type, if the type is one.
    #[prost(fixed64, optional, tag = "6")]
    pub committed: Option<u64>,
}

/// A shape: `rank` absent means null, 0 means scalar.
#[derive(Clone, PartialEq, Message)]
pub struct SpaceRecord {
    /// The number of dimensions.
    #[prost(uint32, optional, tag = "1")]
    pub rank: Option<u32>,
    /// The present sizes.
    #[prost(uint64, repeated, tag = "2")]
    pub dims: Vec<u64>,
    /// The maximum sizes plus one, 0 for unlimited, so that the usual cases are short.
    #[prost(uint64, repeated, tag = "3")]
    pub max: Vec<u64>,
}

/// A dataset's part of a header.
#[derive(Clone, PartialEq, Message)]
pub struct DatasetRecord {
    /// The element type.
    #[prost(message, optional, tag = "1")]
    pub datatype: Option<DatatypeRecord>,
    /// The extent.
    #[prost(message, optional, tag = "2")]
    pub space: Option<SpaceRecord>,
    /// 0 compact, 1 contiguous, 2 chunked, 3 virtual, 4 external.
    #[prost(uint32, tag = "3")]
    pub layout: u32,
    /// The dimensions of a chunk, for a chunked layout.
    #[prost(uint64, repeated, tag = "4")]
    pub chunk: Vec<u64>,
    /// 0 undefined, 1 default, 2 user.
    #[prost(uint32, tag = "5")]
    pub fill_status: u32,
    /// The fill value in file form, if the user set one.
    #[prost(bytes = "bytes", tag = "6")]
    pub fill_value: Bytes,
    /// 0 on allocation, 1 never, 2 if set.
    #[prost(uint32, tag = "7")]
    pub fill_time: u32,
    /// 1 early, 2 late, 3 incremental.
    #[prost(uint32, tag = "8")]
    pub allocate: u32,
    /// The filter pipeline.
    #[prost(message, repeated, tag = "9")]
    pub filters: Vec<FilterRecord>,
    /// True if chunks that reach beyond the extent do not go through the filters.
    #[prost(bool, tag = "10")]
    pub unfiltered_edges: bool,
    /// The parts of an external layout.
    #[prost(message, repeated, tag = "11")]
    pub external: Vec<ExternalRecord>,
    /// The sources of a virtual layout.
    #[prost(message, repeated, tag = "12")]
    pub mappings: Vec<MappingRecord>,
}

/// A part of a file that holds a dataset's elements.
#[derive(Clone, PartialEq, Message)]
pub struct ExternalRecord {
    /// The file's name, as given.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// Offset of the part in the file, in bytes.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// The size plus one, 0 for unlimited.
    #[prost(uint64, tag = "3")]
    pub size: u64,
}

/// A source of a virtual dataset.
#[derive(Clone, PartialEq, Message)]
pub struct MappingRecord {
    /// The source's file, as given; `.` is the container itself.
    #[prost(bytes = "vec", tag = "1")]
    pub file: Vec<u8>,
    /// The path of the source dataset.
    #[prost(bytes = "vec", tag = "2")]
    pub dataset: Vec<u8>,
    /// The elements of the source, as encoded by `H5Sencode2`.
    #[prost(bytes = "bytes", tag = "3")]
    pub source: Bytes,
    /// The elements of the virtual dataset, as encoded by `H5Sencode2`.
    #[prost(bytes = "bytes", tag = "4")]
    pub place: Bytes,
}

/// A step of a pipeline.
#[derive(Clone, PartialEq, Message)]
pub struct FilterRecord {
    /// The registered number (`H5Z_filter_t`).
    #[prost(int32, tag = "1")]
    pub id: i32,
    /// Bit 0: optional.
    #[prost(uint32, tag = "2")]
    pub flags: u32,
    /// The name, may be empty.
    #[prost(bytes = "vec", tag = "3")]
    pub name: Vec<u8>,
    /// The parameters (`cd_values`).
    #[prost(uint32, repeated, tag = "4")]
    pub client_data: Vec<u32>,
}

/// A link, under the key `L` group name.
#[derive(Clone, PartialEq, Message)]
pub struct LinkRecord {
    /// Present for a hard link.
    #[prost(fixed64, optional, tag = "1")]
    pub hard: Option<u64>,
    /// Present for a soft link.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub soft: Option<Vec<u8>>,
    /// Present for an external link: its file; the path is in `data`.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub file: Option<Vec<u8>>,
    /// The path of an external link, the data of a user-defined one.
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
    /// The flags of an external link.
    #[prost(uint32, tag = "5")]
    pub flags: u32,
    /// Present for a user-defined link: its class.
    #[prost(int32, optional, tag = "6")]
    pub class: Option<i32>,
    /// The creation order, if the group tracks it.
    #[prost(int64, optional, tag = "7")]
    pub creation_order: Option<i64>,
    /// True if the name's character set is UTF-8.
    #[prost(bool, tag = "8")]
    pub utf8: bool,
    /// The name, if it is too long for a key.
    #[prost(bytes = "vec", tag = "9")]
    pub name: Vec<u8>,
}

/// An attribute, under the key `A` object name.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeRecord {
    /// The element type.
    #[prost(message, optional, tag = "1")]
    pub datatype: Option<DatatypeRecord>,
    /// The extent.
    #[prost(message, optional, tag = "2")]
    pub space: Option<SpaceRecord>,
    /// True if the name's character set is UTF-8.
    #[prost(bool, tag = "3")]
    pub utf8: bool,
    /// The creation order, if the object tracks it.
    #[prost(uint32, tag = "4")]
    pub creation_order: u32,
    /// The creation property list, in HDF5's encoding; empty if it is the default.
    #[prost(bytes = "bytes", tag = "5")]
    pub creation_properties: Bytes,
    /// Bytes of the value's elements in file form. Further bytes are the inline heap.
    #[prost(uint64, tag = "6")]
    pub data_size: u64,
    /// The value, unless it is zeros (empty) or in `extents`.
    #[prost(bytes = "bytes", tag = "7")]
    pub inline: Bytes,
    /// Encoded extents that make up the value.
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub extents: Vec<Bytes>,
    // Field 9 is reserved (docs/format.md, "Messages").
    /// The name, if it is too long for a key.
    #[prost(bytes = "vec", tag = "10")]
    pub name: Vec<u8>,
}

/// A fragment of a block.
#[derive(Clone, PartialEq, Message)]
pub struct PieceRecord {
    /// First byte within the block.
    #[prost(uint64, tag = "1")]
    pub offset: u64,
    /// Its length in bytes, for a fragment in an extent.
    #[prost(uint64, tag = "2")]
    pub length: u64,
    /// The bytes themselves, for an inline fragment.
    #[prost(bytes = "bytes", tag = "3")]
    pub inline: Bytes,
    /// The encoded extent; empty for an inline fragment.
    #[prost(bytes = "bytes", tag = "4")]
    pub extent: Bytes,
    /// Offset of the fragment in the extent.
    #[prost(uint64, tag = "5")]
    pub skip: u64,
}

/// A block of a dataset, under `B` dataset coordinates, or a heap segment, under `H` owner number.
#[derive(Clone, PartialEq, Message)]
pub struct BlockRecord {
    /// The fragments in order, without overlap. Bytes between them read as the fill value.
    #[prost(message, repeated, tag = "1")]
    pub pieces: Vec<PieceRecord>,
    /// True if the only fragment holds the output of a pipeline.
    #[prost(bool, tag = "2")]
    pub encoded: bool,
    /// Bit n is set if filter n was skipped.
    #[prost(uint32, tag = "3")]
    pub filter_mask: u32,
    /// A heap segment's length in bytes.
    #[prost(uint64, tag = "4")]
    pub length: u64,
    /// Statistics of a chunk of numbers.
    #[prost(message, optional, tag = "5")]
    pub statistics: Option<StatisticsRecord>,
}

/// Statistics of a chunk's elements in a box at its origin.
#[derive(Clone, PartialEq, Message)]
pub struct StatisticsRecord {
    /// The minimum, as 64 bits; absent if all elements are NaN.
    #[prost(fixed64, optional, tag = "1")]
    pub minimum: Option<u64>,
    /// The maximum, likewise.
    #[prost(fixed64, optional, tag = "2")]
    pub maximum: Option<u64>,
    /// Number of elements that are not NaN; absent if unknown.
    #[prost(uint64, optional, tag = "3")]
    pub count: Option<u64>,
    /// The box's dimensions; empty if the box is the whole chunk.
    #[prost(uint64, repeated, tag = "4")]
    pub within: Vec<u64>,
}

/// Encodes the record of a block with one inline fragment: the result is the same as by the message, with only one copy
/// of the bytes.
pub fn inline_block(bytes: &[u8], statistics: Option<StatisticsRecord>) -> Vec<u8> {
    const PIECES: u32 = 1;
    const INLINE: u32 = 3;
    const LENGTH: u32 = 4;
    const STATISTICS: u32 = 5;
    let length = bytes.len() as u64;
    let piece = key_len(INLINE) + encoded_len_varint(length) + bytes.len();
    let mut out = Vec::with_capacity(piece + 64);
    encode_key(PIECES, WireType::LengthDelimited, &mut out);
    encode_varint(piece as u64, &mut out);
    encode_key(INLINE, WireType::LengthDelimited, &mut out);
    encode_varint(length, &mut out);
    out.extend_from_slice(bytes);
    encode_key(LENGTH, WireType::Varint, &mut out);
    encode_varint(length, &mut out);
    if let Some(statistics) = statistics {
        prost::encoding::message::encode(STATISTICS, &statistics, &mut out);
    }
    out
}

/// The usage of a heap segment, under the key `U` owner number.
#[derive(Clone, PartialEq, Message)]
pub struct UsageRecord {
    /// The segment's length in bytes.
    #[prost(uint64, tag = "1")]
    pub length: u64,
    /// The bytes that blobs have taken, from the start.
    #[prost(uint64, tag = "2")]
    pub used: u64,
    /// The bytes of blobs that are not deleted.
    #[prost(uint64, tag = "3")]
    pub live: u64,
}

/// Decodes a value; `what` describes the value in the error.
///
/// # Errors
/// `Corrupt` for bytes that are not of this message.
pub fn decode<T: Message + Default>(value: Bytes, what: impl Fn() -> String) -> Result<T> {
    T::decode(value).map_err(|e| Error::corrupt(format!("{}: {e}", what())))
}

/// Decodes the extents of values in attributes' records.
///
/// # Errors
/// `Corrupt` for bytes that are not an extent.
pub fn decode_extents<'e>(encoded: impl IntoIterator<Item = &'e Bytes>) -> Result<Vec<Extent>> {
    encoded.into_iter().map(|e| Ok(Extent::decode(e)?.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_one_piece_is_encoded_as_any_other() {
        for n in [1, 2, 100, 127, 128, 400, 16 << 10] {
            let bytes = vec![n as u8; n];
            let piece = PieceRecord { inline: bytes.clone().into(), ..PieceRecord::default() };
            let known = StatisticsRecord {
                minimum: Some(n as u64),
                within: vec![n as u64, 3],
                ..StatisticsRecord::default()
            };
            for statistics in [None, Some(known)] {
                let record = BlockRecord {
                    pieces: vec![piece.clone()],
                    length: n as u64,
                    statistics,
                    ..BlockRecord::default()
                };
                assert_eq!(inline_block(&bytes, record.statistics.clone()), record.encode_to_vec(), "{n}");
            }
        }
    }
}
